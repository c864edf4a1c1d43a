"""Endpoints and their profiles."""

from __future__ import annotations

import json
import time
from functools import partial
from sqlite3 import Connection
from typing import Any

from attrs import define, field

from fedproxy.errors import UnknownEndpointError
from fedproxy.protocol.ids import EndpointId, new_uuid
from fedproxy.service.commit import GroupCommit
from fedproxy.service.ledger import Ledger


@define
class Endpoint:
    """One registered endpoint. ``profile`` is what it told of itself; it holds no secret."""

    id: EndpointId
    user: str
    name: str
    public_key: bytes
    profile: dict[str, Any] = field(factory=dict)
    epoch: int = 0
    journal: str | None = None
    boot: str | None = None
    seen: float | None = None


class Registry:
    """All endpoints, in memory and in the database."""

    def __init__(self, ledger: Ledger, commit: GroupCommit) -> None:
        self._commit = commit
        self._by_id: dict[str, Endpoint] = {}
        self._by_name: dict[tuple[str, str], Endpoint] = {}
        self._by_key: dict[bytes, str] = {}
        for row in ledger.rows("SELECT id, user, name, public_key, profile, epoch, journal, boot, seen FROM endpoints"):
            endpoint_id, owner, name, public_key, profile, *session = row
            self._index(Endpoint(endpoint_id, owner, name, public_key, json.loads(profile), *session))

    def register(self, user: str, name: str, public_key: bytes, profile: dict[str, Any]) -> Endpoint:
        """Add or update the user's endpoint ``name``; its id stays."""
        endpoint = self._by_name.get((user, name)) or Endpoint(EndpointId(new_uuid()), user, name, public_key)
        self._by_key.pop(endpoint.public_key, None)
        endpoint.public_key, endpoint.profile = public_key, profile
        self._index(endpoint)
        self._save(endpoint)
        return endpoint

    def opened(self, endpoint: Endpoint, journal: str, boot: str) -> int:
        """A new session begins: returns its epoch, larger than any before."""
        endpoint.epoch += 1
        endpoint.journal, endpoint.boot, endpoint.seen = journal, boot, time.time()
        self._save(endpoint)
        return endpoint.epoch

    def delete(self, endpoint: Endpoint) -> None:
        """Forget an endpoint: its key is refused from now on."""
        self._by_id.pop(endpoint.id, None)
        self._by_name.pop((endpoint.user, endpoint.name), None)
        self._by_key.pop(endpoint.public_key, None)
        self._commit.next.other.append(lambda c: c.execute("DELETE FROM endpoints WHERE id = ?", (endpoint.id,)))  # type: ignore[arg-type]

    def find(self, user: str, name_or_id: str) -> Endpoint:
        """The user's endpoint of that name or id.

        Raises:
            UnknownEndpointError: there is none.
        """
        found = self._by_name.get((user, name_or_id)) or self._by_id.get(name_or_id)
        if found is None or found.user != user:
            names = ", ".join(sorted(name for owner, name in self._by_name if owner == user)) or "none"
            raise UnknownEndpointError(f"no endpoint {name_or_id!r}", hint=f"registered: {names}; see `fedproxy endpoint list`")
        return found

    def named(self, user: str, name: str) -> Endpoint | None:
        """The user's endpoint of that name, if there is one."""
        return self._by_name.get((user, name))

    def get(self, endpoint_id: str) -> Endpoint | None:
        """The endpoint of that id, whoever's it is."""
        return self._by_id.get(endpoint_id)

    def of(self, user: str) -> list[Endpoint]:
        """The user's endpoints by name."""
        return sorted((e for e in self._by_id.values() if e.user == user), key=lambda e: e.name)

    def who(self, public_key: bytes) -> str | None:
        """The id of the endpoint with this CURVE key: asked by ZAP."""
        return self._by_key.get(public_key)

    def _index(self, endpoint: Endpoint) -> None:
        self._by_id[endpoint.id] = endpoint
        self._by_name[endpoint.user, endpoint.name] = endpoint
        self._by_key[endpoint.public_key] = endpoint.id

    def _save(self, e: Endpoint) -> None:
        row = (e.id, e.user, e.name, e.public_key, json.dumps(e.profile).encode(), e.epoch, e.journal, e.boot, e.seen)
        self._commit.next.other.append(partial(_write, row))


def _write(row: tuple[object, ...], connection: Connection) -> None:
    connection.execute("INSERT OR REPLACE INTO endpoints VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
