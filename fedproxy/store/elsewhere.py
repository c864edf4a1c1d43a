"""Objects whose store cannot be reached from here: fetched by this site's stager, read from the copy that it makes.

A worker asks its endpoint's agent, whose address is in the file that ``FEDPROXY_STAGER`` names; a client has a stager of its own. Whoever has
neither is told that the store cannot be reached.
"""

from __future__ import annotations

import http.client
import json
import os
import weakref
from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
from attrs import frozen

from fedproxy import errors
from fedproxy.config.home import default_site, read_json
from fedproxy.errors import DataLostError, FedproxyError, StoreUnavailableError
from fedproxy.serialize import FrameOptions, deserialize
from fedproxy.store.connectors.base import Buffer
from fedproxy.store.credentials import site_key
from fedproxy.store.failures import StoredFailure
from fedproxy.store.ref import Ref
from fedproxy.store.registry import get_store, open_store, reachable
from fedproxy.store.urls import StoreUrl

STAGER_VARIABLE = "FEDPROXY_STAGER"
REACH_VARIABLE = "FEDPROXY_REACH"
"""``site``: stores of other sites are not read in place even where that would work (a file system mounted over a slow link, say)."""
ANY_STORE = "site:"
"""Among a task's result stores: a store of the endpoint's own site; the client fetches the object from there."""

Find = Callable[[Sequence[Ref]], list[Buffer]]
"""The bytes of objects that lie elsewhere, in order. Raises ``FedproxyError``."""

_finders: list[weakref.WeakMethod[Find]] = []


@frozen
class AgentStager:
    """Where the agent of this worker's endpoint stages."""

    url: str
    token: str
    replicas: str
    site: str
    stores: tuple[str, ...] = ()
    files: str = ""
    """The folder of the files that it has brought."""


def use_finder(find: Find) -> None:
    """Have this process fetch through ``find``, a method, first, for as long as its object lives."""
    _finders.insert(0, weakref.WeakMethod(find, _finders.remove))


def drop_finder(find: Find) -> None:
    """Undo `use_finder`. Idempotent."""
    _finders[:] = [known for known in _finders if known() not in (find, None)]


@lru_cache(maxsize=4)
def _agent(path: str) -> AgentStager | None:
    told = read_json(Path(path))
    return None if told is None else AgentStager(
        str(told["url"]), str(told["token"]), str(told["replicas"]), str(told["site"]), tuple(told["stores"]), str(told.get("files", "")))  # type: ignore[arg-type]


def agent_stager() -> AgentStager | None:
    """This worker's, if it is one."""
    path = os.environ.get(STAGER_VARIABLE)
    return _agent(path) if path else None


@cache
def own_sites_only() -> bool:
    """Whether stores of other sites are not to be read in place."""
    return os.environ.get(REACH_VARIABLE) == "site"


def at_hand(ref: Ref) -> bool:
    """Whether the object's store can be read from here, and may be."""
    if not (_finders or agent_stager()) or (_own(ref) and not ref.store.startswith("relay:")):
        return True  # nobody else could fetch it: let the store say what is wrong
    if own_sites_only():
        return False
    return get_store(ref.store) is not None or reachable(ref.store)


def _own(ref: Ref) -> bool:
    agent = agent_stager()
    site = agent.site if agent else default_site()
    return ref.site == site or (agent is not None and ref.store in (*agent.stores, agent.replicas))


def load_elsewhere(refs: Sequence[Ref]) -> list[Any]:
    """Objects that are not at hand.

    Raises:
        DataLostError: one is nowhere any more.
        TransferError: one cannot be brought here.
    """
    return [_load(frame, ref) for frame, ref in zip(_find(refs), refs, strict=True)]


def _find(refs: Sequence[Ref]) -> list[Buffer]:
    agent = agent_stager()
    if agent is not None:
        return _from_agent(agent, refs)
    if not _finders:
        raise StoreUnavailableError("the store cannot be reached from here", key=refs[0].key, store=refs[0].store, site=refs[0].site)
    problem: FedproxyError | None = None
    for find in [found for known in list(_finders) if (found := known()) is not None]:
        try:
            return find(refs)
        except FedproxyError as exc:
            problem = problem or exc
    assert problem is not None
    raise problem


def _from_agent(agent: AgentStager, refs: Sequence[Ref]) -> list[Buffer]:
    copies = open_store(agent.replicas).connector
    found = [copies.get(ref.object_id) for ref in refs]
    missing = [ref for ref, frame in zip(refs, found, strict=True) if frame is None]
    if missing:
        ask_agent(agent, missing)
        found = [copies.get(ref.object_id) for ref in refs]
    frames: list[Buffer] = []
    for ref, frame in zip(refs, found, strict=True):
        if frame is None:
            raise DataLostError("the object was staged, but its copy is gone", key=ref.key, store=ref.store, site=ref.site)
        frames.append(frame)
    return frames


def ask_agent(agent: AgentStager, refs: Sequence[Ref]) -> None:
    """Have the agent fetch them; returns when they are here."""
    split = urlsplit(agent.url)
    connection = http.client.HTTPConnection(split.hostname or "", split.port)
    try:
        body = msgspec.msgpack.encode([ref.to_bytes() for ref in refs])
        connection.request("POST", "/v1/stage", body, {"Authorization": f"Fedproxy-Site {agent.token}"})
        answer = connection.getresponse()
        data = answer.read()
    except (OSError, http.client.HTTPException) as exc:
        raise StoreUnavailableError(f"the endpoint's agent does not answer: {exc}", key=refs[0].key, store=refs[0].store, site=refs[0].site) from exc
    finally:
        connection.close()
    if answer.status != 200:
        raise _told(data)


def _told(data: bytes) -> FedproxyError:
    told = json.loads(data)
    kind = getattr(errors, str(told.get("error")), FedproxyError)
    if not (isinstance(kind, type) and issubclass(kind, FedproxyError)):
        kind = FedproxyError
    return kind(str(told.get("message")))


def _load(frame: Buffer, ref: Ref) -> Any:
    signed = StoreUrl.parse(ref.store).options.get("signed") == "1"
    value = deserialize(frame, options=FrameOptions(sign_key=site_key() if signed else None))
    if type(value) is StoredFailure:
        raise value.rebuild()
    return value
