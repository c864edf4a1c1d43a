"""Objects to pickle streams and back.

Strategy: the C pickler first. It stops at the first function or class that the far side cannot be expected to import;
only then cloudpickle, which sends such code by value. Where that fails (a module-level lock, say) but everything could
be imported by name, it goes by name. Large buffers always stay out of band. dill is used only where it is asked for: it
"pickles" locks and open files without a word, and changes what pickle does everywhere.
"""

from __future__ import annotations

import pickle
import types
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from attrs import define

from fedproxy.errors import FedproxyError, SerializationError
from fedproxy.serialize.diagnose import describe_failure
from fedproxy.serialize.frame import Buffer
from fedproxy.serialize.origin import goes_by_value
from fedproxy.serialize.reducers import reducers

if TYPE_CHECKING:
    import cloudpickle

PROTOCOL = 5
IN_BAND_BYTES = 8 * 1024


@define
class Pickled:
    """A stream in chunks (large ``bytes`` objects are chunks of their own, not copied) and out-of-band buffers."""

    chunks: list[Buffer]
    buffers: list[pickle.PickleBuffer]


class _NeedsCodeError(Exception):
    """The C pickler met code that has to go by value."""


class _Sink:
    """The least that a pickler takes for a file."""

    __slots__ = ("write",)

    def __init__(self, write: Callable[[Any], Any]) -> None:
        self.write = write


def _out_of_band(buffers: list[pickle.PickleBuffer]) -> Callable[[pickle.PickleBuffer], bool]:
    """A callback that keeps large buffers out of the stream; small ones cost less inside it."""

    def keep(buffer: pickle.PickleBuffer) -> bool:
        with buffer.raw() as view:
            inside = view.nbytes < IN_BAND_BYTES
        if not inside:
            buffers.append(buffer)
        return inside

    return keep


class _FastPickler(pickle.Pickler):
    """The C pickler, refusing code that must go by value. Called only for what is not a plain builtin value."""

    arrays: dict[type, Callable[[Any], Any]]

    def reducer_override(self, obj: Any) -> Any:
        kind = type(obj)
        if kind is types.FunctionType or issubclass(kind, type):
            if goes_by_value(getattr(obj, "__module__", None)):
                raise _NeedsCodeError
            return NotImplemented
        reducer = self.arrays.get(kind)
        return NotImplemented if reducer is None else reducer(obj)


def pickle_object(obj: Any) -> Pickled:
    """Pickle ``obj`` by the cheapest way that works.

    Raises:
        SerializationError: nothing can pickle it; the message names the part that is to blame.
    """
    chunks: list[Buffer] = []
    buffers: list[pickle.PickleBuffer] = []
    pickler = _FastPickler(_Sink(chunks.append), PROTOCOL, buffer_callback=_out_of_band(buffers))
    pickler.arrays = reducers()
    try:
        pickler.dump(obj)
    except FedproxyError:
        raise
    except Exception:  # noqa: BLE001  __reduce__ is the user's code; cloudpickle may know better, else it reports
        return _pickle_with_code(obj)
    return Pickled(chunks, buffers)


def _pickle_with_code(obj: Any) -> Pickled:
    from fedproxy.serialize.code import NamePickler, ValuePickler

    failure: Exception | None = None
    for kind in (ValuePickler, NamePickler):
        try:
            return _dump_with(kind, obj)
        except FedproxyError:
            raise
        except Exception as exc:  # noqa: BLE001  __reduce__ is the user's code and may raise anything
            failure = failure or exc
    raise SerializationError(describe_failure(obj, failure, _can_pickle)) from failure


def _dump_with(kind: type[cloudpickle.Pickler], obj: Any) -> Pickled:
    chunks: list[Buffer] = []
    buffers: list[pickle.PickleBuffer] = []
    kind(_Sink(chunks.append), PROTOCOL, buffer_callback=_out_of_band(buffers)).dump(obj)
    return Pickled(chunks, buffers)


def _can_pickle(obj: Any) -> bool:
    from fedproxy.serialize.code import NamePickler

    try:
        _dump_with(NamePickler, obj)
    except Exception:  # noqa: BLE001  a probe: the user's __reduce__ may raise anything
        return False
    return True


def unpickle(stream: Buffer, buffers: Sequence[Any]) -> Any:
    """The object.

    Raises:
        SerializationError: a module or attribute that the stream names is not here, or its code failed.
    """
    try:
        return pickle.loads(stream, buffers=buffers)
    except (FedproxyError, MemoryError):
        raise
    except ImportError as exc:
        hint = f"install {exc.name} here, or define what is sent in a script of your own so that it travels by value"
        raise SerializationError(f"cannot unpickle: {exc}", hint=hint) from exc
    except Exception as exc:  # unpickling runs code of any class
        raise SerializationError(f"cannot unpickle: {type(exc).__name__}: {exc}") from exc
