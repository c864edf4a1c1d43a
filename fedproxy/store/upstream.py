"""Results of other tasks as arguments: a task is sent with a mark where each goes, and with their frames behind its own arguments."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from attrs import frozen

from fedproxy.errors import DataLostError
from fedproxy.protocol.carried import frame_of
from fedproxy.proxy import Proxy, extract
from fedproxy.serialize import Buffer, deserialize

_at_hand: ContextVar[Mapping[bytes, Buffer]] = ContextVar("upstream")


@frozen
class ResultOf:
    """Stands for the value of a task; whoever unpickles it where the frame is at hand has the value itself."""

    task_id: bytes

    def __reduce__(self) -> tuple[Any, ...]:
        return load_result, (self.task_id,)


@contextmanager
def results_at_hand(frames: Mapping[bytes, Buffer]) -> Iterator[None]:
    """Within the block, marks of these tasks can be unpickled."""
    token = _at_hand.set(frames)
    try:
        yield
    finally:
        _at_hand.reset(token)


def load_result(task_id: bytes) -> Any:
    """What a pickled mark calls: the task's value; a large one is fetched from its store.

    Raises:
        DataLostError: the task's result did not come along.
    """
    frame = _at_hand.get({}).get(task_id)
    if frame is None:
        raise DataLostError("the result of a task that this one needs is not here", key=task_id.hex())
    value = deserialize(frame_of(frame))
    return extract(value) if type(value) is Proxy else value
