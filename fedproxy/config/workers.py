"""What surrounds a task: plain data."""

from __future__ import annotations

from attrs import field, frozen
from attrs.validators import in_

USES = ("shell", "all", "none")
KEEPS = ("never", "failed", "always")
AFFINITIES = ("none", "block", "alternating")


@frozen
class Sandbox:
    """A folder of its own for each task, in which it starts."""

    use: str = field(default="shell", validator=in_(USES))
    """Which tasks have one: shell functions, all, none."""
    keep: str = field(default="never", validator=in_(KEEPS))
    """Whose folders stay: nobody's, those of tasks that failed, all."""
    folder: str = ""
    """Where they are made, on the machine of the worker; empty: below the endpoint's own folder."""


def accelerators(value: int | tuple[str, ...]) -> tuple[str, ...]:
    """Their ids: ``4`` stands for 0 to 3."""
    return tuple(map(str, range(value))) if isinstance(value, int) else tuple(value)
