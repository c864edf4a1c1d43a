"""Links to one Redis server: dialling, logging in, a pool, and every error said in our words."""

from __future__ import annotations

import os
import socket
import ssl
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

import redis
from attrs import define

from fedproxy.errors import StoreError, StoreFullError, StoreUnavailableError
from fedproxy.store.connectors.redis_config import RedisConfig
from fedproxy.store.connectors.redis_wire import BrokenReplyError, ReplyError, Wire, wire_for
from fedproxy.store.credentials import Credentials, credentials_for

T = TypeVar("T")

MAX_IDLE = 16
"""Idle links kept per server."""

LOGIN_HINT = (
    "set FEDPROXY_REDIS_PASSWORD (and FEDPROXY_REDIS_USERNAME), FEDPROXY_REDIS_PASSWORD_FILE, "
    "or an entry in credentials.json on this machine"
)
_LOGIN_CODES = ("NOAUTH", "WRONGPASS", "NOPERM")
_BUSY_CODES = {
    "LOADING": "it is loading its data; try again soon",
    "BUSY": "it runs a script; try again soon",
    "CLUSTERDOWN": "part of the cluster is down; it comes back when its nodes do",
    "MASTERDOWN": "its master is down",
    "TRYAGAIN": "keys are being moved; try again",
    "READONLY": "that server is a replica; name the master",
    "MISCONF": "it cannot save to its disk; see its log",
}


@define
class Link:
    """One connection. ``source`` is redis-py's object, which closes the socket."""

    wire: Wire
    source: Any
    pid: int
    reused: bool = False

    def close(self) -> None:
        """Hang up; never raises. Does not disturb the parent's connection after a fork."""
        with suppress(OSError, redis.RedisError):
            self.source.disconnect()


class Pool:
    """Links to ``server``; one thread uses a link at a time. Last in, first out, so that few stay open."""

    def __init__(self, config: RedisConfig, server: str) -> None:
        self.config, self.server = config, server
        self._idle: deque[Link] = deque()
        self._pid = os.getpid()

    def take(self) -> Link:
        """An idle link, or a new one.

        Raises:
            StoreUnavailableError: the server cannot be reached or refuses the login.
        """
        try:
            link = self._idle.pop()
        except IndexError:
            return self.dial()
        if link.pid != os.getpid():
            self._idle.clear()
            return self.dial()
        link.reused = True
        return link

    def give(self, link: Link) -> None:
        """Take back a link whose replies have all been read."""
        if len(self._idle) < MAX_IDLE:
            self._idle.append(link)
        else:
            link.close()

    def close(self) -> None:
        """Hang up all idle links."""
        while self._idle:
            with suppress(IndexError):
                self._idle.pop().close()

    def run(self, work: Callable[[Wire], T]) -> T:
        """``work`` on a link. Done once more on a new link where a kept one turns out to be dead."""
        link = self.take()
        while True:
            try:
                result = work(link.wire)
            except BaseException as exc:  # noqa: BLE001 - replace() raises all but a dead kept link
                link = self.replace(link, exc)
                continue
            self.give(link)
            return result

    def replace(self, link: Link, exc: BaseException) -> Link:
        """A new link where ``exc`` says that a kept one had died meanwhile; else ``exc`` in our words.

        Raises:
            StoreUnavailableError: the server is gone, silent or not Redis.
        """
        link.close()
        if link.reused and isinstance(exc, ConnectionError | ssl.SSLError):
            self.close()
            return self.dial()
        if isinstance(exc, OSError | BrokenReplyError):
            raise translated(exc, self.config, self.server) from exc
        raise exc

    def dial(self, timeout_s: float | None = None) -> Link:
        """A new link, logged in.

        Raises:
            StoreUnavailableError: as ``take``.
        """
        config = self.config
        source = _source(config, self.server, timeout_s or config.connect_timeout_s)
        try:
            source.connect()
            wire = wire_for(_socket_of(source), timeout_s=timeout_s or config.connect_timeout_s)
            _log_in(wire, config.db, credentials_for(self.server))
            wire.set_timeout(timeout_s or config.timeout_s)
        except (OSError, redis.RedisError, BrokenReplyError, ReplyError) as exc:
            source.disconnect()
            raise translated(exc, config, self.server) from exc
        except BaseException:
            source.disconnect()
            raise
        return Link(wire, source, os.getpid())


def _source(config: RedisConfig, server: str, timeout_s: float) -> Any:
    """redis-py's connection object. It only dials (and speaks TLS); the login is ours, so that errors come one way."""
    library: Any = redis
    common: dict[str, Any] = {"socket_timeout": timeout_s, "redis_connect_func": _nothing}
    if config.unix:
        return library.UnixDomainSocketConnection(path=server, **common)
    host, _, port = server.rpartition(":")
    common |= {"host": host.strip("[]"), "port": int(port), "socket_connect_timeout": timeout_s}
    if config.tls:
        return library.SSLConnection(**common, ssl_ca_certs=config.ca or None, ssl_cert_reqs="required")
    return library.Connection(**common)


def _nothing(_source: object) -> None:
    """In place of redis-py's own handshake."""


def _socket_of(source: Any) -> socket.socket:
    sock = source._sock
    if not isinstance(sock, socket.socket):
        raise ConnectionResetError("redis-py gave no socket")
    if sock.family != socket.AF_UNIX:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def _log_in(wire: Wire, db: int, credentials: Credentials) -> None:
    if credentials.password:
        user = [credentials.username.encode()] if credentials.username else []
        try:
            wire.call(b"AUTH", *user, credentials.password.encode())
        except ReplyError as refusal:
            if "without any password configured" not in refusal.text:
                raise
    if db:
        wire.call(b"SELECT", b"%d" % db)
    wire.call(b"PING")


def translated(exc: BaseException, config: RedisConfig, server: str) -> StoreError:
    """``exc`` in our words; never with a secret in it."""
    where, url = f"Redis server {server}", config.url
    if isinstance(exc, ReplyError):
        return _refusal(exc, where, url)
    if isinstance(exc, redis.TimeoutError | TimeoutError | BlockingIOError):
        return StoreUnavailableError(
            f"{where} did not answer within {config.timeout_s:g} s", store=url, hint="is it overloaded or stopped?"
        )
    if isinstance(exc, BrokenReplyError):
        return StoreUnavailableError(
            f"{where} does not speak Redis: {exc}", store=url, hint="check host and port, and whether it wants TLS"
        )
    hint = "is it running, and are host, port and TLS right?"
    return StoreUnavailableError(f"cannot reach {where}: {exc}", store=url, hint=hint)


def _refusal(error: ReplyError, where: str, url: str) -> StoreError:
    if error.code == "OOM":
        return StoreFullError(
            f"{where} is full (maxmemory)", store=url, hint="evict objects, give them a ttl, or raise maxmemory"
        )
    if error.code in _LOGIN_CODES or "invalid password" in error.text:
        return StoreUnavailableError(f"{where} refuses the login: {error.text}", store=url, hint=LOGIN_HINT)
    if error.code in ("MOVED", "ASK", "CROSSSLOT"):
        return StoreUnavailableError(f"{where} is part of a cluster", store=url, hint="use rediscluster://HOST:PORT")
    if hint := _BUSY_CODES.get(error.code):
        return StoreUnavailableError(f"{where} cannot serve now: {error.text}", store=url, hint=hint)
    return StoreError(f"{where} refused: {error.text}", store=url)
