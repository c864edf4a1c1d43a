"""Many calls submitted together, by the names that Globus Compute uses."""

from __future__ import annotations

from typing import Any

from attrs import define, field


@define
class Batch:
    """Calls to be submitted in one go: made by `Client.create_batch`, run by `Client.batch_run`."""

    calls: list[tuple[str, tuple[Any, ...], dict[str, Any], dict[str, Any]]] = field(factory=list)
    options: dict[str, Any] = field(factory=dict)
    """Of all calls; see `Options`."""

    def add(self, function_id: str, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None, **options: Any) -> None:
        """Add one call of a registered function, with options of its own: ``batch.add(function_id, (1,), priority=5)``."""
        self.calls.append((function_id, tuple(args), dict(kwargs or {}), {**self.options, **options}))

    def __len__(self) -> int:
        return len(self.calls)
