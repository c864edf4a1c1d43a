"""Sizes as people write them: ``512MB``, ``2 GiB``, ``65536``."""

from __future__ import annotations

import re

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "KI": 2**10, "MI": 2**20, "GI": 2**30, "TI": 2**40}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]I?)?B?", re.IGNORECASE)


def size_bytes(text: str) -> int:
    """The number of bytes that ``text`` says.

    Raises:
        ValueError: it is not a size above zero.
    """
    found = _SIZE.fullmatch(text.strip())
    size = int(float(found[1]) * _UNITS[(found[2] or "").upper()]) if found else 0
    if size <= 0:
        raise ValueError(f"not a size: {text!r}; write for example 512MB or 2GiB")
    return size
