"""Arrays whose own pickling would copy their data into the stream or lose their type.

numpy sends plain arrays out of band; subclasses (masked, record, memmap, matrix) go through a slower path that copies.
Here they become a plain array, sent out of band, and a recipe. torch copies a storage into the stream several times over;
here it is an array too. numpy and torch are only touched when the program already uses them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

Reduction = tuple[Any, ...]
_reducers: dict[type, Callable[[Any], Any]] = {}
_SEEN_NUMPY = False
_SEEN_TORCH = False


def reducers() -> dict[type, Callable[[Any], Any]]:
    """Exact type to a function that gives its reduction, or NotImplemented."""
    if not _SEEN_NUMPY and "numpy" in sys.modules:
        _add_numpy()
    if not _SEEN_TORCH and "torch" in sys.modules:
        _add_torch()
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


def _add_torch() -> None:
    global _SEEN_TORCH
    torch = sys.modules["torch"]
    if not hasattr(torch, "storage") or not hasattr(torch, "from_numpy"):
        return  # half imported by another thread
    _reducers[torch.storage.TypedStorage] = _reduce_storage
    _SEEN_TORCH = True


def _reduce_storage(storage: Any) -> Any:
    """What torch's own reduction of a tensor holds, beside its shape: all of its memory."""
    untyped = storage._untyped_storage
    if untyped.device.type != "cpu" or not untyped.nbytes():
        return NotImplemented
    torch = sys.modules["torch"]
    flat = torch.empty(0, dtype=torch.uint8).set_(untyped)
    return _build_storage, (flat.numpy(), storage.dtype)


def _build_storage(data: Any, dtype: Any) -> Any:
    import torch

    untyped = torch.from_numpy(data).untyped_storage()
    return torch.storage.TypedStorage(wrap_storage=untyped, dtype=dtype, _internal=True)
