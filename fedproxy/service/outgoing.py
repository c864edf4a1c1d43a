"""The messages that carry tasks to endpoints: each spec and function goes along once for each connection, results of other tasks behind the arguments."""

from __future__ import annotations

from collections.abc import Iterable

from fedproxy.protocol import messages as m
from fedproxy.protocol.codec import Buffer, encode
from fedproxy.service.core import Core
from fedproxy.service.rows import LiveTask
from fedproxy.service.sessions import Session

_MESSAGE_BYTES = 8 * 1024 * 1024


def by_size(tasks: list[LiveTask]) -> Iterable[list[LiveTask]]:
    """Cut by bytes: one message stays small unless one task alone is large."""
    batch: list[LiveTask] = []
    size = 0
    for task in tasks:
        if batch and size + len(task.payload or b"") > _MESSAGE_BYTES:
            yield batch
            batch, size = [], 0
        batch.append(task)
        size += len(task.payload or b"")
    if batch:
        yield batch


def tasks_message(core: Core, session: Session, tasks: list[LiveTask]) -> list[Buffer]:
    """A `Tasks` message with all that the endpoint needs to run them. What is settled goes along."""
    specs, functions, bodies = _unknown_to(core, session, tasks)
    items: list[m.Task] = []
    payloads: list[Buffer] = []
    for task in tasks:
        own = task.payload or b""
        results = core.ledger.results((*task.needs, task.recall) if task.recall else task.needs) if task.needs or task.recall else {}
        items.append(m.Task(task.id, task.spec, task.attempt, len(own) + sum(map(len, results.values())),
                            tuple((i, len(body)) for i, body in results.items()), task.priority, task.recall))
        payloads += (own, *results.values())
    settled, session.settled = tuple(session.settled), []
    return [encode(m.Tasks(specs, functions, tuple(items), settled)), *bodies, *payloads]


def _unknown_to(core: Core, session: Session, tasks: Iterable[LiveTask]) -> tuple[dict[bytes, bytes], tuple[m.Blob, ...], list[bytes]]:
    specs: dict[bytes, bytes] = {}
    blobs: list[m.Blob] = []
    bodies: list[bytes] = []
    for name in {task.spec for task in tasks} - session.known:
        spec, encoded = core.catalog.spec(session.user, name), core.catalog.encoded_spec(session.user, name)
        body = core.catalog.function(session.user, spec.function) if spec else None
        if spec is None or encoded is None or body is None:
            continue
        specs[name] = encoded
        session.known.add(name)
        if spec.function not in session.known:
            session.known.add(spec.function)
            blobs.append(m.Blob(spec.function, len(body)))
            bodies.append(body)
    return specs, tuple(blobs), bodies


def catalog_message(core: Core, session: Session, need: m.Need) -> list[Buffer]:
    """The specs and functions that an endpoint asked for, as far as they are registered."""
    specs = {s: e for s in need.specs if (e := core.catalog.encoded_spec(session.user, s)) is not None}
    functions = [(f, b) for f in need.functions if (b := core.catalog.function(session.user, f)) is not None]
    blobs = tuple(m.Blob(f, len(b)) for f, b in functions)
    return [encode(m.Catalog(specs, blobs)), *(b for _, b in functions)]
