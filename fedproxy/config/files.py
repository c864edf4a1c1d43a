"""The configuration files in fedproxy's folder: read, written and settled with flags and environment.

``endpoints/NAME/config.yaml`` uses the keys that Globus Compute users know, ``service/config.yaml`` the fields of
``ServiceConfig``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from fedproxy.config.endpoint import ENGINES, EndpointConfig, Transfer
from fedproxy.config.engines import check_engine
from fedproxy.config.home import endpoint_dir, home, private_dir, service_dir, write_private
from fedproxy.config.located import KeyPath, read_located
from fedproxy.config.service import ServiceConfig
from fedproxy.config.settle import Settled, Sources, peek, settle
from fedproxy.config.templates import TEMPLATES, with_workers
from fedproxy.errors import ConfigError

CONFIG_FILE = "config.yaml"

ENDPOINT_ALIASES: Mapping[KeyPath, KeyPath] = {
    ("heartbeat_period",): ("heartbeat", "period_s"),
    ("heartbeat_threshold",): ("heartbeat", "grace"),
    ("engine", "max_workers_per_node"): ("engine", "max_workers"),
    ("engine", "class"): ("engine", "factory"),
    ("engine", "max_idletime"): ("engine", "scaling", "idle_s"),
    ("engine", "job_status_kwargs", "max_idletime"): ("engine", "scaling", "idle_s"),
    ("engine", "job_status_kwargs", "strategy_period"): ("engine", "scaling", "period_s"),
}

ENDPOINT_TEMPLATE = """\
# Endpoint {name}. Every key may be left out; FEDPROXY_ENDPOINT_... variables and command-line flags win over this file.
display_name: {display_name}
{site}
{engine}{stores}
# proxy_threshold_bytes: 65536   # larger results become proxies: they stay in the site's stores
# heartbeat:
#   period_s: 30
#   grace: 3               # silent for period_s * grace: lost
# service_url: ""          # empty: the local service
"""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


def check_name(name: str) -> str:
    """``name``, if it may name an endpoint (and so its folder)."""
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"{name!r} cannot name an endpoint", hint="use up to 63 letters, digits, dots, dashes and underscores"
        )
    return name


def endpoint_names() -> list[str]:
    """The endpoints configured in this home, sorted."""
    return sorted(path.parent.name for path in (home() / "endpoints").glob(f"*/{CONFIG_FILE}"))


def load_endpoint(
    name: str, *, flags: Mapping[KeyPath, object] | None = None, env: Mapping[str, str] | None = None
) -> Settled[EndpointConfig]:
    """The configuration of the endpoint ``name``.

    Raises:
        ConfigError: not configured, or a value is wrong (with its line).
    """
    path = endpoint_dir(check_name(name)) / CONFIG_FILE
    if not path.exists():
        raise ConfigError(f"endpoint {name!r} is not configured", hint=f"fedproxy endpoint configure {name}")
    sources = Sources(
        flags=flags or {}, env=os.environ if env is None else env, prefix="FEDPROXY_ENDPOINT_",
        file=read_located(path), aliases=ENDPOINT_ALIASES,
    )
    kind, where = peek(("engine", "type"), sources) or ("local", "")
    if kind not in ENGINES:
        raise ConfigError(f"{where}: engine.type: unknown engine {kind!r}", hint=f"known engines: {', '.join(ENGINES)}")
    settled = settle(EndpointConfig, sources, fixed={"name": name}, variants={("engine",): ENGINES[str(kind)]})
    check_engine(settled)
    return settled


def write_endpoint(
    name: str, *, site: str = "", workers: int | None = None, stores: tuple[str, ...] = (), display_name: str = "",
    template: str = "laptop", replace: bool = False,
) -> Path:
    """Write the endpoint's ``config.yaml`` (0600), commented, and return its path.

    Raises:
        ConfigError: it is there already and ``replace`` is false, there is no such template, or the folder cannot be written.
    """
    if template not in TEMPLATES:
        raise ConfigError(f"there is no template {template!r}", hint=f"there are: {', '.join(TEMPLATES)}")
    if workers and template != "laptop":
        raise ConfigError(f"the template {template!r} does not take a number of workers", hint="edit the configuration that it makes")
    path = private_dir(endpoint_dir(check_name(name))) / CONFIG_FILE
    if path.exists() and not replace:
        raise ConfigError(f"endpoint {name!r} is configured already: {path}", hint="edit it, or start afresh: --force")
    listed = "".join(f"\n  - {_quoted(url)}" for url in stores)
    text = ENDPOINT_TEMPLATE.format(
        name=name, display_name=_quoted(display_name or name),
        site=f"site: {_quoted(site)}" if site else "# site: my-machine        # machines that share stores",
        engine=with_workers(template, workers),
        stores=f"stores:{listed}" if stores else "# stores: []               # default: shared memory, then files",
    )
    write_private(path, text.encode())
    return path


def load_transfer(*, env: Mapping[str, str] | None = None) -> Transfer:
    """How this machine's clients move data: from ``FEDPROXY_TRANSFER_...``, ``client/config.yaml`` in fedproxy's folder, and the defaults.

    Raises:
        ConfigError: a value is wrong (with its line).
    """
    path = home() / "client" / CONFIG_FILE
    sources = Sources(env=os.environ if env is None else env, prefix="FEDPROXY_TRANSFER_", file=read_located(path) if path.exists() else None)
    return settle(Transfer, sources).value


def load_service(
    *, flags: Mapping[KeyPath, object] | None = None, env: Mapping[str, str] | None = None
) -> Settled[ServiceConfig]:
    """The embedded service's configuration; its file is optional.

    Raises:
        ConfigError: a value is wrong (with its line).
    """
    directory = service_dir()
    path = directory / CONFIG_FILE
    sources = Sources(
        flags=flags or {}, env=os.environ if env is None else env, prefix="FEDPROXY_SERVICE_",
        file=read_located(path) if path.exists() else None,
    )
    settled = settle(ServiceConfig, sources, fixed={"directory": directory})
    for name in ("port", "zmq_port"):
        if not 0 <= getattr(settled.value, name) <= 65535:
            raise ConfigError(f"{settled.origins[(name,)]}: {name}: expected 0 to 65535")
    return settled


def _quoted(text: str) -> str:
    if "\n" in text:
        raise ConfigError(f"{text!r} must be one line")
    return "'" + text.replace("'", "''") + "'"
