"""Look at tasks closely: what they wrote, why they are where they are, the accounts of a whole group."""

from __future__ import annotations

import math
import time
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from fedproxy.errors import ProtocolError, UnknownTaskError
from fedproxy.protocol import messages as m
from fedproxy.protocol.codec import encode
from fedproxy.protocol.ids import TaskId, parse_task_id, task_id_text
from fedproxy.protocol.states import TaskState
from fedproxy.protocol.timeline import stations
from fedproxy.service.core import Core
from fedproxy.service.routes.answers import core_of, forwarder_of, user_of
from fedproxy.service.rows import DONE_COLUMNS, done_from_row, read_account, read_output

BINARY = "application/vnd.fedproxy"
_PAGE = 2_000
_DIGITS = 18
_EXPLAINED = "seq, id, state, attempt, failures, losses, acked, endpoint, spec, needs, grp, priority, deadline, not_before, memo"
_REASON_BYTES = 1000
# As `DONE_COLUMNS`, but of results only those that are words; then the sizes of arguments (while they are kept) and result.
_ACCOUNT_COLUMNS = ", ".join(
    "CASE WHEN t.state > 11 THEN t.result END" if name == "result" else f"t.{name}" for name in DONE_COLUMNS.split(", ")
) + ", length(t.payload), length(t.result)"


async def _row(request: Request, columns: str) -> tuple[Core, str, tuple[Any, ...]]:
    """The task that the path names, if it is the user's."""
    core, user, text = core_of(request), user_of(request), request.path_params["task_id"]
    try:
        task_id = parse_task_id(text)
    except ValueError as exc:
        raise UnknownTaskError(f"{text!r} is not a task id") from exc
    await core.commit.flush()
    rows = core.ledger.rows(f"SELECT {columns} FROM tasks WHERE id = ? AND user = ?", (task_id, user))  # noqa: S608 - constants
    if not rows:
        raise UnknownTaskError(f"no task {text}")
    return core, user, rows[0]


async def logs(request: Request) -> Response:
    """GET what a task wrote: live while it runs, else of the last attempt that wrote anything."""
    core, _, (seq, task_id, state, attempt) = await _row(request, "seq, id, state, attempt")
    live = forwarder_of(request).looking.live.of(TaskId(task_id)) if state < 10 else None
    if live is not None:
        attempt, output = live
    else:
        rows = core.ledger.rows("SELECT attempt, output FROM attempts WHERE seq = ? AND output IS NOT NULL ORDER BY attempt DESC LIMIT 1", (seq,))
        attempt, output = (rows[0][0], read_output(rows[0][1])) if rows else (attempt, m.Output())
    return Response(encode(m.TaskOutput(attempt, state, output)), media_type=BINARY)


async def explain(request: Request) -> Response:
    """GET why a task is where it is, as data."""
    core, user, row = await _row(request, _EXPLAINED)
    seq, task_id, state, attempt, failures, losses, acked, endpoint, spec_name, needs, group, priority, deadline, not_before, done_memo = row
    spec = core.catalog.spec(user, spec_name)
    facts: dict[str, Any] = {
        "task_id": task_id_text(task_id), "task_group_id": group, "state": TaskState(state).name, "attempt": attempt, "now": time.time(),
        "function": spec.name if spec else "", "endpoint": _endpoint(request, core, endpoint),
        "retries": {"failures": failures, "losses": losses, "allowed": spec.retries if spec else 0, "allowed_on_loss": spec.retries_on_loss if spec else 0},
        "priority": priority, "deadline": deadline, "not_before": not_before or None, "memoized": done_memo is not None,
        "walltime_s": spec.walltime_s if spec else None, "client_python": spec.python if spec else "",
        "attempts": [_attempt(a) for a in core.ledger.rows(
            "SELECT attempt, state, finished, reason, worker, output IS NOT NULL FROM attempts WHERE seq = ? ORDER BY attempt", (seq,))],
    }
    if state == TaskState.WAITING:
        facts["needs"] = _needs(core, user, needs)
    elif state == TaskState.QUEUED:
        facts["queue"] = {"position": core.queues.position(endpoint, user, seq), "length": core.queues.length(endpoint)}
    elif state == TaskState.SENT:
        forwarder = forwarder_of(request)
        place = await forwarder.looking.place(forwarder.sessions.get(endpoint), TaskId(task_id))
        facts["acknowledged"] = bool(acked)
        facts["place"] = None if place is None else {
            "at": place.at, "position": place.position, "seconds": _finite(place.seconds), "worker": place.worker}
    facts.update(_account(core, task_id))
    return JSONResponse(facts)


def _endpoint(request: Request, core: Core, endpoint_id: str) -> dict[str, Any]:
    endpoint = core.registry.get(endpoint_id)
    session = forwarder_of(request).sessions.get(endpoint_id)
    if endpoint is None:
        return {"id": endpoint_id, "name": "", "online": False, "deleted": True}
    online = session is not None and session.online
    heard = time.time() - (time.monotonic() - session.heard) if session is not None and endpoint.seen else endpoint.seen
    status = session.status if session is not None and online else m.Heartbeat(0.0)
    return {
        "id": endpoint_id, "name": endpoint.name, "online": online, "last_seen": heard, "python": endpoint.profile.get("python", ""),
        "site": endpoint.profile.get("site", ""), "workers": status.workers, "idle": status.idle,
        "queued": core.queues.length(endpoint_id), "in_flight": len(session.in_flight) if session is not None else 0}


def _needs(core: Core, user: str, needs: bytes | None) -> list[dict[str, str]]:
    found = []
    for needed in (needs[i:i + 16] for i in range(0, len(needs or b""), 16)) if needs else ():
        rows = core.ledger.rows("SELECT state FROM tasks WHERE id = ? AND user = ?", (needed, user))
        found.append({"task_id": task_id_text(needed), "state": TaskState(rows[0][0]).name if rows else "UNKNOWN"})
    return found


def _attempt(row: tuple[Any, ...]) -> dict[str, Any]:
    attempt, state, finished, reason, worker, wrote = row
    return {"attempt": attempt, "state": TaskState(state).name, "finished": finished, "reason": reason, "worker": worker, "wrote": bool(wrote)}


def _account(core: Core, task_id: bytes) -> dict[str, Any]:
    """Stations and bytes of one task."""
    (row,) = core.ledger.rows(f"SELECT {_ACCOUNT_COLUMNS} FROM tasks t WHERE t.id = ?", (task_id,))  # noqa: S608 - constants
    return _account_of(row)


def _account_of(row: tuple[Any, ...]) -> dict[str, Any]:
    done, text, _ = done_from_row(row[:11])
    account, sent, result = read_account(row[8]), *row[11:13]
    return {
        "timeline": {name: value for name, value in stations(done).items() if math.isfinite(value)}, "worker": done.ran[0],
        "bytes": {"arguments": account.size if sent is None else sent, "result": result or 0, "read": done.moved[0], "written": done.moved[1]},
        "used": {"cpu_s": done.used[0], "peak_bytes": done.used[1]}, "reason": text[:_REASON_BYTES].decode(errors="replace")}


def _finite(value: float) -> float:
    return value if math.isfinite(value) else 0.0


async def account(request: Request) -> Response:
    """GET the accounts of a group's tasks, in order of submission; a page at a time: ``after`` is the last ``seq`` seen."""
    core, user = core_of(request), user_of(request)
    given = request.query_params.get("after", "0")
    if not (given.isascii() and given.isdigit() and len(given) <= _DIGITS):
        raise ProtocolError(f"`after` is a number of at most {_DIGITS} digits")
    await core.commit.flush()
    rows = core.ledger.rows(
        f"SELECT {_ACCOUNT_COLUMNS}, t.seq, t.spec, t.endpoint, a.reason FROM tasks t"  # noqa: S608 - constants
        f" LEFT JOIN attempts a ON a.seq = t.seq AND a.attempt = t.attempt"
        f" WHERE t.grp = ? AND t.user = ? AND t.seq > ? ORDER BY t.seq LIMIT {_PAGE}",
        (request.path_params["group_id"], user, int(given)))
    return JSONResponse([_entry(core, user, row) for row in rows])


def _entry(core: Core, user: str, row: tuple[Any, ...]) -> dict[str, Any]:
    seq, spec_name, endpoint, reason = row[13:]
    spec, known = core.catalog.spec(user, spec_name), core.registry.get(endpoint)
    entry = {
        "seq": seq, "task_id": task_id_text(row[0]), "state": TaskState(row[1]).name, "attempt": row[2], "function": spec.name if spec else "",
        "endpoint": known.name if known else endpoint, **_account_of(row)}
    return {**entry, "reason": reason or entry["reason"]}


ROUTES = [
    Route("/v1/tasks/{task_id}/logs", logs),
    Route("/v1/tasks/{task_id}/explain", explain),
    Route("/v1/groups/{group_id}/account", account),
]
