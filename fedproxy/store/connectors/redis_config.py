"""What a Redis URL says, as plain data.

::

    redis://HOST:PORT/DB          rediss:// the same over TLS
    redis+unix:///PATH?db=N
    rediscluster://H1:P1,H2:P2    redisscluster:// the same over TLS; any of the cluster's nodes

Options: ``prefix`` (default ``fp:``), ``ca`` (a PEM file), ``timeout_s``, ``connect_timeout_s``, ``lease_s``,
``chunk_bytes``, ``chunk_above_bytes``. Whoever opens a URL brings the password: see ``fedproxy.store.credentials``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from attrs import fields_dict, frozen

from fedproxy.errors import ConfigError
from fedproxy.store.credentials import Credentials, remember

DEFAULT_PORT = 6379
SCHEMES = ("redis", "rediss", "redis+unix", "rediscluster", "redisscluster")
_PREFIX = re.compile(r"[A-Za-z0-9_.:-]{1,64}")


@frozen
class RedisConfig:
    """One Redis store. ``servers`` are ``HOST:PORT``, or the one path of a unix socket."""

    scheme: str
    servers: tuple[str, ...]
    db: int = 0
    prefix: str = "fp:"
    ca: str = ""
    """PEM file of the authority that signed the server's certificate; empty: those that the system trusts."""
    timeout_s: float = 4.0
    """Longest silence of a server in the middle of an operation."""
    connect_timeout_s: float = 3.0
    lease_s: float = 86_400.0
    """How long what was put without a lifetime outlives the process that put it. 0: for ever."""
    chunk_above_bytes: int = 4 * 1024 * 1024
    """Larger values are cut into chunks."""
    chunk_bytes: int = 1024 * 1024 - 4096
    """With its header a chunk fits the allocator's 1 MiB class, and the caches of both processes."""

    @property
    def tls(self) -> bool:
        """Whether the link is encrypted."""
        return self.scheme.startswith("rediss")

    @property
    def cluster(self) -> bool:
        """Whether the servers are nodes of one Redis Cluster."""
        return self.scheme.endswith("cluster")

    @property
    def unix(self) -> bool:
        """Whether the server is a unix socket."""
        return self.scheme == "redis+unix"

    @property
    def url(self) -> str:
        """The canonical URL: only what differs from the defaults, and never a secret."""
        options = {name: getattr(self, name) for name in _OPTIONS if getattr(self, name) != _default(name)}
        if self.db and self.unix:
            options["db"] = self.db
        place = quote(self.servers[0]) if self.unix else ",".join(self.servers) + (f"/{self.db}" if self.db else "")
        query = urlencode(sorted(options.items()), safe="/:,")
        return f"{self.scheme}://{place}" + (f"?{query}" if query else "")


_OPTIONS: dict[str, Callable[[str], Any]] = {
    "prefix": str,
    "ca": str,
    "timeout_s": float,
    "connect_timeout_s": float,
    "lease_s": float,
    "chunk_bytes": int,
    "chunk_above_bytes": int,
}


def _default(name: str) -> object:
    return fields_dict(RedisConfig)[name].default


def parse_url(url: str) -> RedisConfig:
    """The configuration in ``url``. A password in it is taken out and kept for this process only.

    Raises:
        ConfigError: a part that is not understood. The message never shows the password.
    """
    split = urlsplit(url)
    scheme = split.scheme
    if scheme not in SCHEMES:
        raise ConfigError(f"not a Redis URL scheme: {scheme!r}", hint="one of " + ", ".join(SCHEMES))
    userinfo, _, hosts = split.netloc.rpartition("@")
    options = _options(split.query)
    db = options.pop("db", None)
    if scheme == "redis+unix":
        servers: tuple[str, ...] = (unquote(split.path),)
        if not split.path or hosts:
            raise ConfigError("a unix socket needs a path", hint="redis+unix:///run/redis.sock?db=0")
    else:
        servers = _servers(hosts)
        db = db if db is not None else _database(split.path)
    config = _checked(RedisConfig(scheme=scheme, servers=servers, db=db or 0, **options))
    _keep_secret(config, userinfo)
    return config


def _options(query: str) -> dict[str, Any]:
    options: dict[str, Any] = {}
    for name, text in parse_qsl(query, keep_blank_values=True):
        convert = int if name == "db" else _OPTIONS.get(name)
        if convert is None:
            raise ConfigError(f"a Redis URL has no option {name!r}", hint="db, " + ", ".join(_OPTIONS))
        try:
            options[name] = convert(text)
        except ValueError:
            raise ConfigError(f"option {name}={text!r} of a Redis URL is not a number") from None
    return options


def _servers(hosts: str) -> tuple[str, ...]:
    return tuple(_server(host) for host in hosts.split(",")) if hosts else (f"localhost:{DEFAULT_PORT}",)


def _server(text: str) -> str:
    host, colon, port = text.rpartition(":")
    if not colon or text.endswith("]"):
        host, port = text, str(DEFAULT_PORT)
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise ConfigError(f"not HOST:PORT: {text!r}")
    return f"{host}:{port}"


def _database(path: str) -> int:
    text = path.strip("/")
    if text and not text.isdecimal():
        raise ConfigError(f"not a database number: {text!r}", hint="redis://HOST:PORT/0")
    return int(text or 0)


def _checked(config: RedisConfig) -> RedisConfig:
    if _PREFIX.fullmatch(config.prefix) is None:
        raise ConfigError(f"not a prefix: {config.prefix!r}", hint="1 to 64 letters, digits and _.:-")
    if config.cluster and config.db:
        raise ConfigError("Redis Cluster has only database 0")
    if not config.cluster and len(config.servers) > 1:
        raise ConfigError("several servers are a cluster", hint="rediscluster://HOST:PORT,HOST:PORT")
    if not config.lease_s >= 0:
        raise ConfigError(f"lease_s is not a number of at least 0: {config.lease_s}")
    if min(config.timeout_s, config.connect_timeout_s) <= 0 or min(config.chunk_bytes, config.chunk_above_bytes) < 1024:
        raise ConfigError("time-outs are positive, and chunk sizes at least 1024 bytes")
    return config


def _keep_secret(config: RedisConfig, userinfo: str) -> None:
    if not userinfo:
        return
    username, _, password = userinfo.partition(":")
    for server in config.servers:
        remember(server, Credentials(unquote(username) or None, unquote(password) or None))
