"""Exceptions with their remote traceback.

Strategy: each exception of the chain (``raise ... from ...``) is pickled by itself, without running its ``__init__`` on
the far side, next to a plain description of its traceback (tblib). What cannot be pickled or loaded becomes a
``TaskFailedError`` that carries the text.
"""

from __future__ import annotations

import traceback
from typing import Any

from fedproxy.errors import SerializationError, TaskFailedError
from fedproxy.serialize.facade import deserialize, serialize
from fedproxy.serialize.frame import Buffer, Frame

_MAX_CHAIN = 16


def serialize_exception(exc: BaseException) -> Frame:
    """``exc``, its causes and contexts, their tracebacks and the printed text. Never raises for a strange exception."""
    chain = _chain(exc)
    index = {id(link): place for place, link in enumerate(chain)}
    return serialize(
        {
            "text": "".join(traceback.format_exception(exc)),
            "chain": [_describe(link, index) for link in chain],
        }
    )


def _chain(exc: BaseException) -> list[BaseException]:
    chain: list[BaseException] = []
    waiting = [exc]
    while waiting and len(chain) < _MAX_CHAIN:
        link = waiting.pop(0)
        if any(link is known for known in chain):
            continue
        chain.append(link)
        waiting += [other for other in (link.__cause__, link.__context__) if other is not None]
    return chain


def _describe(exc: BaseException, index: dict[int, int]) -> dict[str, Any]:
    return {
        "body": _body(exc),
        "text": "".join(traceback.format_exception_only(exc)).strip(),
        "traceback": _traceback(exc),
        "cause": index.get(id(exc.__cause__)),
        "context": index.get(id(exc.__context__)),
        "suppress": exc.__suppress_context__,
    }


def _body(exc: BaseException) -> bytes | None:
    try:
        return bytes(serialize(_reduce(exc)))
    except SerializationError:
        return None


def _reduce(exc: BaseException) -> Any:
    """The parts of an exception whose class pickles by default; where its class has its own way, the exception."""
    kind = type(exc)
    if kind.__reduce__ is BaseException.__reduce__ and kind.__reduce_ex__ is object.__reduce_ex__:
        return (kind, exc.args, dict(exc.__dict__))
    return exc


def _traceback(exc: BaseException) -> Any:
    if exc.__traceback__ is None:
        return None
    import tblib

    return tblib.Traceback(exc.__traceback__).to_dict()


def deserialize_exception(buffer: Buffer) -> BaseException:
    """The exception, ready to be raised; printing it shows the remote frames.

    Raises:
        FrameError: the buffer is corrupted or holds no exception.
    """
    record = deserialize(buffer)
    if not isinstance(record, dict) or "chain" not in record:
        raise SerializationError("these bytes hold no exception")
    links = [_build(link, record["text"]) for link in record["chain"]]
    for exc, link in zip(links, record["chain"], strict=True):
        exc.__cause__ = None if link["cause"] is None else links[link["cause"]]
        exc.__context__ = None if link["context"] is None else links[link["context"]]
        exc.__suppress_context__ = link["suppress"]
    return links[0]


def _build(link: dict[str, Any], text: str) -> BaseException:
    exc = _load(link["body"])
    if exc is None:
        exc = TaskFailedError(f"{link['text']}\n\n{text}", hint="its own type cannot be rebuilt here")
    if link["traceback"] is not None:
        import tblib

        exc.__traceback__ = tblib.Traceback.from_dict(link["traceback"]).as_traceback()
    return exc


def _load(body: bytes | None) -> BaseException | None:
    if body is None:
        return None
    try:
        value = deserialize(body)
        exc = _rebuild(*value) if isinstance(value, tuple) else value
    except Exception:  # noqa: BLE001  loading runs the user's code; the text stands in
        return None
    return exc if isinstance(exc, BaseException) else None


def _rebuild(kind: type[BaseException], args: tuple[Any, ...], state: dict[str, Any]) -> BaseException:
    exc = kind.__new__(kind, *args)
    builtin = next(base for base in kind.__mro__ if base.__module__ == "builtins")
    try:
        builtin.__init__(exc, *args)  # type: ignore[misc]
    except TypeError:
        BaseException.__init__(exc, *args)
    exc.args = args
    exc.__dict__.update(state)
    return exc
