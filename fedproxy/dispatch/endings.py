"""What an ending becomes in a future."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

from fedproxy import errors
from fedproxy.dispatch.future import TaskFuture
from fedproxy.dispatch.owned import own_result
from fedproxy.protocol.carried import frame_of
from fedproxy.protocol.ids import task_id_text
from fedproxy.protocol.messages import Done
from fedproxy.protocol.states import TaskState
from fedproxy.serialize import deserialize, deserialize_exception

_ERRORS: dict[TaskState, type[errors.TaskError]] = {
    TaskState.LOST: errors.TaskLostError, TaskState.EXPIRED: errors.TaskExpiredError, TaskState.DEAD: errors.TaskDeadError,
    TaskState.CANCELLED: errors.TaskCancelledError,
}
_HINTS = {TaskState.LOST: "if running it twice does no harm, submit it with retries_on_loss=1"}


def read_ending(done: Done, body: memoryview | bytes | bytearray, name: str = "") -> tuple[Any, BaseException | None]:
    """The value, or the exception."""
    state = TaskState(done.state)
    try:
        if state is TaskState.SUCCEEDED:
            return deserialize(frame_of(body)), None
        if state is TaskState.FAILED:
            return None, deserialize_exception(body)
    except errors.SerializationError as exc:
        return None, exc
    text = bytes(body).decode(errors="replace")
    task = f"task {task_id_text(done.id)}" + (f" ({name})" if name else "")
    return None, _ERRORS[state](f"{task} ended {state.name}: {text}", task_id=task_id_text(done.id), hint=_HINTS.get(state))


def settle(future: TaskFuture[Any], done: Done, body: memoryview | bytes | bytearray) -> None:
    """Give a future its ending, unless it has one or is just being given it. Callbacks run here."""
    if future.done():
        return
    if done.state == TaskState.CANCELLED:
        future.arrived(done)
        future.cancel_here()
        return
    value, exception = read_ending(done, body, future.name)
    if not future.claim():
        return
    try:
        future.arrived(done)
        if exception is None:
            future.set_result(own_result(value) if future.owns_result else value)
        else:
            future.set_exception(exception)
    except BaseException:
        future.unclaim()
        raise


def end_alike(future: TaskFuture[Any], first: Future[Any]) -> None:
    """Give a future the ending of another one of the same task. They share the value, so that a large one stays until both are gone."""
    if isinstance(first, TaskFuture) and first.done_info is not None:
        future.arrived(first.done_info)
    if first.cancelled():
        future.cancel_here()
    elif (exception := Future.exception(first)) is not None:
        future.fail(exception)
    elif future.claim():
        future.set_result(Future.result(first))
