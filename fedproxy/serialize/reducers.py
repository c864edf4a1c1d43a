"""Arrays whose own pickling would copy their data into the stream or lose their type.

numpy sends plain arrays out of band; subclasses (masked, record, memmap, matrix) go through a slower path that copies.
Here they become a plain array, sent out of band, and a recipe. numpy is only touched when the program already uses it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

Reduction = tuple[Any, ...]
_reducers: dict[type, Callable[[Any], Any]] = {}
_SEEN_NUMPY = False


def reducers() -> dict[type, Callable[[Any], Any]]:
    """Exact type to a function that gives its reduction, or NotImplemented."""
    if not _SEEN_NUMPY and "numpy" in sys.modules:
        _add_numpy()
    return _reducers


def _add_numpy() -> None:
    global _SEEN_NUMPY
    numpy = sys.modules["numpy"]
    if not hasattr(numpy, "matrix"):
        return  # half imported by another thread
    for kind in (numpy.memmap, numpy.recarray, numpy.matrix):
        _reducers[kind] = _reduce_view
    _reducers[numpy.ma.MaskedArray] = _reduce_masked
    _SEEN_NUMPY = True


def _reduce_view(array: Any) -> Any:
    if array.dtype.hasobject or array.ndim == 0 or not (array.flags.c_contiguous or array.flags.f_contiguous):
        return NotImplemented
    numpy = sys.modules["numpy"]
    kind, dtype = type(array), array.dtype
    base = array.view(numpy.ndarray)
    if dtype.type is not numpy.void and dtype.names:  # numpy.record: plain fields travel, the record type is put back
        base = base.view(numpy.dtype((numpy.void, dtype)))
        return _view_as, (base, kind, dtype)
    return _view_as, (base, kind, None)


def _view_as(base: Any, kind: Any, dtype: Any) -> Any:
    view = base.view(kind)
    if dtype is not None:
        view.dtype = dtype
    return view


def _reduce_masked(array: Any) -> Any:
    numpy = sys.modules["numpy"]
    if array.dtype.hasobject or type(array._data) is not numpy.ndarray:
        return NotImplemented
    state = dict(array.__dict__)
    mask = state.pop("_mask", numpy.ma.nomask)
    is_nomask = mask is numpy.ma.nomask
    return _build_masked, (array._data, None if is_nomask else numpy.asarray(mask), state)


def _build_masked(data: Any, mask: Any, state: dict[str, Any]) -> Any:
    import numpy as np

    array = data.view(np.ma.MaskedArray)
    if mask is not None:
        array._mask = mask
    array.__dict__.update(state)
    return array
