"""Passwords of stores, from the machine that resolves: never from a ref, a proxy or a task.

Looked up per server, the most specific first:

1. what this process was told (``remember``; a password typed into a URL is taken out of it and lands here),
2. the table ``credentials.json`` in fedproxy's home, 0600: ``{"HOST:PORT": {"username": ..., "password": ...}}``;
keys may
   also be ``HOST`` or the path of a unix socket,
3. ``FEDPROXY_REDIS_USERNAME`` with ``FEDPROXY_REDIS_PASSWORD``, or ``FEDPROXY_REDIS_PASSWORD_FILE`` (0600).
"""

from __future__ import annotations

import fcntl
import json
import os
import stat
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from attrs import field, frozen

from fedproxy.config.home import home, private_dir, write_private
from fedproxy.errors import ConfigError

TABLE_NAME = "credentials.json"


@frozen
class Credentials:
    """A user name (empty: the server's default user) and a password. Neither is shown by ``repr``."""

    username: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)


_told: dict[str, Credentials] = {}
_lock = threading.Lock()


def remember(server: str, credentials: Credentials) -> None:
    """Use ``credentials`` for ``server`` (``HOST:PORT``, ``HOST`` or a socket's path) in this process."""
    with _lock:
        _told[server] = credentials


def forget() -> None:
    """Forget what this process was told (for tests)."""
    with _lock:
        _told.clear()


def publish(entries: Mapping[str, Credentials]) -> None:
    """Put credentials into this home's table, for all its processes. What was there for these servers is replaced.

    Raises:
        ConfigError: the table cannot be read or written.
    """
    _change_table(lambda rows: rows.update({server: {"username": each.username, "password": each.password} for server, each in entries.items()}))


def withdraw(servers: Iterable[str]) -> None:
    """Take credentials out of this home's table.

    Raises:
        ConfigError: as ``publish``.
    """
    gone = set(servers)
    _change_table(lambda rows: [rows.pop(server, None) for server in gone])


def _change_table(change: Callable[[dict[str, Any]], object]) -> None:
    path = private_dir(home()) / TABLE_NAME
    descriptor = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        rows = {server: {"username": each.username, "password": each.password} for server, each in _table().items()}
        before = dict(rows)
        change(rows)
        if rows != before:
            write_private(path, json.dumps(rows, indent=1).encode())
    except OSError as exc:
        raise ConfigError(f"cannot write {path}: {exc.strerror}") from exc
    finally:
        os.close(descriptor)


def credentials_for(server: str) -> Credentials:
    """What to log in to the Redis ``server`` with; empty where nothing is known.

    Raises:
        ConfigError: a file of secrets that others can read, or a table that is not JSON.
    """
    return _listed(server) or _from_environment()


def listed_credentials(server: str) -> Credentials:
    """What to log in to ``server`` with, without the environment's Redis password.

    Raises:
        ConfigError: as ``credentials_for``.
    """
    return _listed(server) or Credentials()


def _listed(server: str) -> Credentials | None:
    names = (server, server.rpartition(":")[0] or server)
    for name in names:
        if name in _told:
            return _told[name]
    table = _table()
    for name in names:
        if name in table:
            return table[name]
    return None


def _from_environment() -> Credentials:
    username = os.environ.get("FEDPROXY_REDIS_USERNAME") or None
    if password := os.environ.get("FEDPROXY_REDIS_PASSWORD"):
        return Credentials(username, password)
    if path := os.environ.get("FEDPROXY_REDIS_PASSWORD_FILE"):
        return Credentials(username, read_private(Path(path)).rstrip("\r\n"))
    return Credentials(username)


def _table() -> dict[str, Credentials]:
    path = home() / TABLE_NAME
    if not path.is_file():
        return {}
    try:
        rows = json.loads(read_private(path))
        return {name: Credentials(row.get("username"), row.get("password")) for name, row in rows.items()}
    except (ValueError, AttributeError) as exc:
        raise ConfigError(
            f"{path} is not a table of credentials", hint='{"HOST:PORT": {"username": "...", "password": "..."}}'
        ) from exc


def read_private(path: Path) -> str:
    """The text of a file of secrets.

    Raises:
        ConfigError: others can read it, or nobody can.
    """
    try:
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            raise ConfigError(f"others can read {path}", hint=f"chmod 600 {path}")
        return path.read_text()
    except OSError as exc:
        raise ConfigError(f"cannot read {path}: {exc.strerror}") from exc


def site_key() -> bytes:
    """The key that signs and checks the objects of signed stores, from ``FEDPROXY_SITE_KEY``.

    Raises:
        ConfigError: it is not set, or too short.
    """
    key = os.environ.get("FEDPROXY_SITE_KEY", "")
    if len(key) < 16:
        raise ConfigError("a signed store needs a site key", hint="set FEDPROXY_SITE_KEY to 16 characters or more")
    return key.encode()
