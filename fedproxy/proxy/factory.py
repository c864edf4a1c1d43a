"""What a proxy calls to get its target."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

T_co = TypeVar("T_co", covariant=True)


class Factory(Generic[T_co]):
    """A picklable callable that gives the target. Any callable without arguments serves; this class can do more."""

    __slots__ = ()

    def __call__(self) -> T_co:
        """The target."""
        raise NotImplementedError

    def where(self) -> str:
        """Where the target lies, for messages."""
        return repr(self)

    def reduce_proxy(self, kind: str | None) -> tuple[Any, ...] | None:
        """A short pickle recipe for a proxy of this factory; None for the ordinary one."""
        return None

    @classmethod
    def resolve_many(cls, factories: Sequence[Any]) -> list[Any]:
        """The targets of several factories of this class, or the exceptions that stand in for some."""
        results: list[Any] = []
        for factory in factories:
            try:
                results.append(factory())
            except Exception as exc:  # noqa: BLE001  each result stands for itself; the caller raises the first
                results.append(exc)
        return results


class SimpleFactory(Factory[T_co]):
    """Gives an object that it holds."""

    __slots__ = ("obj",)

    def __init__(self, obj: T_co) -> None:
        self.obj = obj

    def __call__(self) -> T_co:
        """The object."""
        return self.obj

    def __reduce__(self) -> tuple[Any, ...]:
        return SimpleFactory, (self.obj,)


class LambdaFactory(Factory[T_co]):
    """Calls a function with fixed arguments."""

    __slots__ = ("args", "function", "kwargs")

    def __init__(self, function: Callable[..., T_co], *args: Any, **kwargs: Any) -> None:
        self.function, self.args, self.kwargs = function, args, kwargs

    def __call__(self) -> T_co:
        """What the function gives."""
        return self.function(*self.args, **self.kwargs)

    def __reduce__(self) -> tuple[Any, ...]:
        return _lambda_factory, (self.function, self.args, self.kwargs)


def _lambda_factory(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> LambdaFactory[Any]:
    return LambdaFactory(function, *args, **kwargs)
