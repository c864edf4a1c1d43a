"""Submit, look at, cancel tasks; stream results."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from typing import Annotated

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from fedproxy.errors import ProtocolError, UnknownTaskError
from fedproxy.protocol import messages as m
from fedproxy.protocol.codec import decode, encode
from fedproxy.protocol.ids import TaskId, parse_task_id, task_id_text
from fedproxy.protocol.states import TaskState
from fedproxy.protocol.timeline import stations
from fedproxy.service.core import Core
from fedproxy.service.intake import Intake
from fedproxy.service.routes.answers import core_of, declared_bytes, forwarder_of, intake_of, read_body, user_of
from fedproxy.service.rows import DONE_COLUMNS, done_from_row
from fedproxy.service.streams import Subscriber, Write, framed

BINARY = "application/vnd.fedproxy"
_BATCH_OVERHEAD = 64 * 1024 * 1024
_PAGE = 500
_CURSOR_DIGITS = 18
_NOTHING_TO_SAY = m.SubmitAck()
_PLAIN = Response(b"", media_type=BINARY)
"""Says that, in one piece with the headers."""
Priority = Annotated[int, msgspec.Meta(ge=-2**31 + 1, le=2**31 - 1)]


async def submit(request: Request) -> Response:
    """POST a batch of tasks; answered once it is durable."""
    user, core = user_of(request), core_of(request)
    limit_bytes = core.config.payload_limit_bytes + _BATCH_OVERHEAD
    with core.admission.reading(user, declared_bytes(request, limit_bytes)):
        return await accept(intake_of(request), user, await read_body(request, limit_bytes))


async def accept(intake: Intake, user: str, data: bytes) -> Response:
    """The answer to a batch of tasks.

    Raises:
        FedproxyError: as `Intake.submit`.
    """
    message, body = decode(data)
    if not isinstance(message, m.Submit):
        raise ProtocolError(f"expected a Submit, got a {type(message).__name__}")
    ack = await intake.submit(user, message, body)
    return _PLAIN if ack == _NOTHING_TO_SAY else Response(encode(ack), media_type=BINARY)


async def _find(core: Core, user: str, text: str) -> tuple[m.Done, bytes, str, str]:
    try:
        task_id = parse_task_id(text)
    except ValueError as exc:
        raise UnknownTaskError(f"{text!r} is not a task id") from exc
    await core.commit.flush()  # a result may have been pushed before its commit: nobody may see the task go back
    rows = core.ledger.rows(f"SELECT {DONE_COLUMNS}, endpoint, grp FROM tasks WHERE id = ? AND user = ?", (task_id, user))  # noqa: S608 - constants
    if not rows:
        raise UnknownTaskError(f"no task {text}")
    done, body, _ = done_from_row(rows[0][:11])
    return done, body, rows[0][11], rows[0][12]


async def status(request: Request) -> Response:
    """GET one task: state and timeline."""
    core, user = core_of(request), user_of(request)
    done, _, endpoint, group = await _find(core, user, request.path_params["task_id"])
    return JSONResponse({
        "task_id": task_id_text(done.id), "state": TaskState(done.state).name, "attempt": done.attempt, "endpoint_id": endpoint,
        "task_group_id": group, "timeline": stations(done)})


async def result(request: Request) -> Response:
    """GET one task's ending with its body; 204 while it has none."""
    core, user = core_of(request), user_of(request)
    done, body, _, _ = await _find(core, user, request.path_params["task_id"])
    if not TaskState(done.state).terminal:
        return Response(status_code=204)
    core.stats.of(user).bytes_out += len(body)
    return Response(encode(m.Finished(0, (done,))) + body, media_type=BINARY)


async def cancel(request: Request) -> Response:
    """POST a list of task ids to cancel. Those already over stay as they are."""
    core, user = core_of(request), user_of(request)
    data = await read_body(request, _BATCH_OVERHEAD)
    try:
        ids = [parse_task_id(text) for text in msgspec.json.decode(data, type=list[str])]
    except (ValueError, msgspec.MsgspecError) as exc:
        raise ProtocolError(f"expected a JSON list of task ids: {exc}") from exc
    for task in core.ledger.find(user, ids):
        forwarder_of(request).control.cancel(task)
    await core.commit.flush()
    return _states(core, user, ids)


async def reprioritize(request: Request) -> Response:
    """POST an object of task id → priority, for tasks that are not over."""
    core, user = core_of(request), user_of(request)
    data = await read_body(request, _BATCH_OVERHEAD)
    try:
        wanted = {parse_task_id(text): priority for text, priority in msgspec.json.decode(data, type=dict[str, Priority]).items()}
    except (ValueError, msgspec.MsgspecError) as exc:
        raise ProtocolError(f"expected a JSON object of task id and priority: {exc}") from exc
    await core.commit.flush()
    live = core.ledger.find(user, wanted)
    forwarder_of(request).control.reprioritize((task, wanted[task.id]) for task in live)
    await core.commit.flush()
    return _states(core, user, wanted)


def _states(core: Core, user: str, ids: Iterable[TaskId]) -> Response:
    ids = list(ids)
    states = core.ledger.states(user, ids)
    return JSONResponse({task_id_text(i): states[i].name if i in states else "UNKNOWN" for i in ids})


async def group(request: Request) -> Response:
    """GET the ids, states and idempotency keys of a task group."""
    core, user = core_of(request), user_of(request)
    await core.commit.flush()
    rows = core.ledger.rows("SELECT id, state, key FROM tasks WHERE grp = ? AND user = ? ORDER BY seq", (request.path_params["group_id"], user))
    return JSONResponse([{"task_id": task_id_text(i), "state": TaskState(state).name, "key": key} for i, state, key in rows])


async def stream(request: Request) -> Response:
    """GET results of a task group as they end: messages, each behind its length (4 bytes). ``after`` is the last cursor seen."""
    core, user = core_of(request), user_of(request)
    given = request.query_params.get("after", "0")
    if not (given.isascii() and given.isdigit() and len(given) <= _CURSOR_DIGITS):
        raise ProtocolError(f"`after` is a number of at most {_CURSOR_DIGITS} digits")
    after = int(given)
    return StreamingResponse(results(core, user, request.path_params["group_id"], after), media_type=BINARY)


async def close_stream(request: Request) -> Response:
    """POST: end the open result streams of a task group."""
    core, user = core_of(request), user_of(request)
    core.streams.end(user, request.path_params["group_id"])
    return JSONResponse({})


async def results(core: Core, user: str, group_id: str, after: int, write: Write | None = None) -> AsyncGenerator[bytes, None]:
    """Endings after the cursor ``after``, framed, for as long as somebody reads. What can be sent by ``write`` at once is sent that way."""
    # A group belongs to whoever submits to it: another user's stream of the same name is another stream.
    with core.streams.subscribe(user, group_id, after, write) as subscriber:
        subscriber.behind = True  # begin with what has already ended
        yield framed(after, [])
        while not (core.streams.closing or subscriber.ended):
            if subscriber.behind:
                async for chunk in _catch_up(core, user, group_id, subscriber):
                    yield chunk
            else:
                await subscriber.wait()
            items = subscriber.take()
            if not subscriber.behind:
                subscriber.cursor = core.streams.committed
                yield framed(subscriber.cursor, items)


async def _catch_up(core: Core, user: str, group_id: str, subscriber: Subscriber) -> AsyncIterator[bytes]:
    """Page through what ended after ``cursor``; from the last page on, the subscriber is live again."""
    sql = f"SELECT {DONE_COLUMNS} FROM tasks WHERE grp = ? AND done_seq > ? AND user = ? ORDER BY done_seq LIMIT {_PAGE}"  # noqa: S608 - constants
    while True:
        subscriber.behind = False  # what ends from here on is buffered, and may come twice
        subscriber.take()
        await core.commit.flush()  # what was pushed before is then in the ledger
        rows = core.ledger.rows(sql, (group_id, subscriber.cursor, user))
        items = []
        for row in rows:
            done, body, subscriber.cursor = done_from_row(row)
            items.append((done, body))
        if items:
            yield framed(subscriber.cursor, items)
        if len(rows) < _PAGE:
            return
        await asyncio.sleep(0)


ROUTES = [
    Route("/v1/tasks", submit, methods=["POST"]),
    Route("/v1/tasks/cancel", cancel, methods=["POST"]),
    Route("/v1/tasks/priority", reprioritize, methods=["POST"]),
    Route("/v1/tasks/{task_id}", status),
    Route("/v1/tasks/{task_id}/result", result),
    Route("/v1/groups/{group_id}", group),
    Route("/v1/groups/{group_id}/close", close_stream, methods=["POST"]),
    Route("/v1/groups/{group_id}/results", stream),
]
