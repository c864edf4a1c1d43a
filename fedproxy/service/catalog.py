"""Specs and functions: content-addressed, registered by a user, cached in memory."""

from __future__ import annotations

import time
from collections.abc import Iterable
from functools import partial
from sqlite3 import Connection

from attrs import define

from fedproxy.errors import ProtocolError
from fedproxy.protocol.codec import decode_spec
from fedproxy.protocol.ids import function_hash, spec_hash
from fedproxy.protocol.messages import Spec
from fedproxy.service.commit import GroupCommit
from fedproxy.service.ledger import Ledger

_CACHED_SPECS = 20_000
_CACHED_FUNCTION_BYTES = 64 * 1024 * 1024


@define
class _Cached:
    spec: Spec
    encoded: bytes


class Catalog:
    """What users have registered. New entries are written with the next commit, so with the tasks that use them."""

    def __init__(self, ledger: Ledger, commit: GroupCommit) -> None:
        self._ledger, self._commit = ledger, commit
        self._specs: dict[tuple[str, bytes], _Cached] = {}
        self._functions: dict[tuple[str, bytes], bytes] = {}
        self._function_bytes = 0

    def add_spec(self, user: str, name: bytes, encoded: bytes) -> None:
        """Register a spec.

        Raises:
            ProtocolError: it cannot be read, or is not what its name says.
        """
        if (user, name) in self._specs:
            return
        if spec_hash(encoded) != name:
            raise ProtocolError("a spec does not match its hash")
        self._remember(user, name, bytes(encoded))
        self._commit.next.other.append(partial(_write_spec, (name, user, bytes(encoded))))

    def spec(self, user: str, name: bytes) -> Spec | None:
        """A registered spec, or None."""
        cached = self._cached(user, name)
        return cached.spec if cached else None

    def encoded_spec(self, user: str, name: bytes) -> bytes | None:
        """A registered spec's bytes, or None."""
        cached = self._cached(user, name)
        return cached.encoded if cached else None

    def add_function(self, user: str, name: bytes, body: bytes) -> None:
        """Register a function.

        Raises:
            ProtocolError: it is not what its name says.
        """
        if function_hash(body) != name:
            raise ProtocolError("a function does not match its hash")
        if (user, name) not in self._functions:
            self._keep(user, name, body)
            self._commit.next.other.append(partial(_write_function, (name, user, body, time.time())))

    def function(self, user: str, name: bytes) -> bytes | None:
        """A registered function's body, or None."""
        body = self._functions.get((user, name))
        if body is None:
            rows = self._ledger.rows("SELECT body FROM functions WHERE hash = ? AND user = ?", (name, user))
            if not rows:
                return None
            body = bytes(rows[0][0])
            self._keep(user, name, body)
        return body

    def missing(self, user: str, specs: Iterable[bytes]) -> list[bytes]:
        """Those specs, and the functions of specs, that are not registered."""
        gone: list[bytes] = []
        for name in specs:
            spec = self.spec(user, name)
            if spec is None:
                gone.append(name)
            elif self.function(user, spec.function) is None:
                gone.append(spec.function)
        return gone

    def _cached(self, user: str, name: bytes) -> _Cached | None:
        cached = self._specs.get((user, name))
        if cached is None:
            rows = self._ledger.rows("SELECT body FROM specs WHERE hash = ? AND user = ?", (name, user))
            cached = self._remember(user, name, bytes(rows[0][0])) if rows else None
        return cached

    def _remember(self, user: str, name: bytes, encoded: bytes) -> _Cached:
        if len(self._specs) >= _CACHED_SPECS:
            self._specs.clear()
        cached = self._specs[user, name] = _Cached(decode_spec(encoded), encoded)
        return cached

    def _keep(self, user: str, name: bytes, body: bytes) -> None:
        if self._function_bytes + len(body) > _CACHED_FUNCTION_BYTES:
            self._functions.clear()
            self._function_bytes = 0
        self._functions[user, name] = body
        self._function_bytes += len(body)


def _write_spec(row: tuple[bytes, str, bytes], connection: Connection) -> None:
    connection.execute("INSERT INTO specs VALUES (?, ?, ?) ON CONFLICT DO NOTHING", row)


def _write_function(row: tuple[bytes, str, bytes, float], connection: Connection) -> None:
    connection.execute("INSERT INTO functions VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING", row)
