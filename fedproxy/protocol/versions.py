"""Which protocol versions work together, and what to tell those that do not. Pure.

Rule: what version N writes, N-1 and N+1 can read: fields are only added, with defaults; what is not known is passed over. So each side understands its own
version and both neighbours; nothing is negotiated, and a peer further off is refused by name while all others go on.
"""

from __future__ import annotations

from collections.abc import Sequence

VERSION = 1
UNDERSTOOD = frozenset({VERSION - 1, VERSION, VERSION + 1})
UPGRADE = "pip install -U fedproxy"


def mismatch(peer: str, spoken: int) -> str | None:
    """What is wrong with a peer that speaks this version; None if nothing is."""
    if spoken in UNDERSTOOD:
        return None
    older = peer if spoken < VERSION else "this side"
    return f"{peer} speaks protocol {spoken}, and this side {VERSION}, which are too far apart: upgrade {older} ({UPGRADE})"


def mismatch_of(peer: str, understood: Sequence[int]) -> str | None:
    """The same for a peer that says which versions it understands."""
    if not understood or VERSION in understood:
        return None
    newer = min(understood) > VERSION
    return mismatch(peer, min(understood) + 1 if newer else max(understood) - 1)
