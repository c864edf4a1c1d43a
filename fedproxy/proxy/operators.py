"""Every special method of a proxy: the same operation on the target.

Strategy: Python looks special methods up on the type, so each has to be written out. ``self.__fp_target__`` is a slot
that stays empty until the target is there; reading an empty slot falls to ``__getattr__``, which resolves. So a
resolved proxy pays one slot read and no check.
"""

from __future__ import annotations

import math
import operator
import os
from collections.abc import Callable
from typing import Any


class TransparentOperators:
    """Operators of the target. The concrete class has the slot ``__fp_target__``."""

    __slots__ = ()
    __fp_target__: Any

    # -- conversions

    def __str__(self) -> str:
        return str(self.__fp_target__)

    def __bytes__(self) -> bytes:
        return bytes(self.__fp_target__)

    def __hash__(self) -> int:
        return hash(self.__fp_target__)

    def __bool__(self) -> bool:
        return bool(self.__fp_target__)

    def __int__(self) -> int:
        return int(self.__fp_target__)

    def __float__(self) -> float:
        return float(self.__fp_target__)

    def __complex__(self) -> complex:
        return complex(self.__fp_target__)

    def __index__(self) -> int:
        return operator.index(self.__fp_target__)

    def __fspath__(self) -> Any:
        return os.fspath(self.__fp_target__)

    def __len__(self) -> int:
        return len(self.__fp_target__)

    def __length_hint__(self) -> int:
        return operator.length_hint(self.__fp_target__)

    def __trunc__(self) -> Any:
        return math.trunc(self.__fp_target__)

    def __floor__(self) -> Any:
        return math.floor(self.__fp_target__)

    def __ceil__(self) -> Any:
        return math.ceil(self.__fp_target__)

    def __neg__(self) -> Any:
        return -self.__fp_target__

    def __pos__(self) -> Any:
        return +self.__fp_target__

    def __abs__(self) -> Any:
        return abs(self.__fp_target__)

    def __invert__(self) -> Any:
        return ~self.__fp_target__

    def __format__(self, spec: str) -> str:
        return format(self.__fp_target__, spec)

    def __round__(self, digits: int | None = None) -> Any:
        return round(self.__fp_target__) if digits is None else round(self.__fp_target__, digits)

    # -- comparison

    def __eq__(self, other: object) -> Any:
        return self.__fp_target__ == other

    def __ne__(self, other: object) -> Any:
        return self.__fp_target__ != other

    def __lt__(self, other: object) -> Any:
        return self.__fp_target__ < other

    def __le__(self, other: object) -> Any:
        return self.__fp_target__ <= other

    def __gt__(self, other: object) -> Any:
        return self.__fp_target__ > other

    def __ge__(self, other: object) -> Any:
        return self.__fp_target__ >= other

    # -- arithmetic

    def __add__(self, other: Any) -> Any:
        return self.__fp_target__ + other

    def __sub__(self, other: Any) -> Any:
        return self.__fp_target__ - other

    def __mul__(self, other: Any) -> Any:
        return self.__fp_target__ * other

    def __matmul__(self, other: Any) -> Any:
        return self.__fp_target__ @ other

    def __truediv__(self, other: Any) -> Any:
        return self.__fp_target__ / other

    def __floordiv__(self, other: Any) -> Any:
        return self.__fp_target__ // other

    def __mod__(self, other: Any) -> Any:
        return self.__fp_target__ % other

    def __lshift__(self, other: Any) -> Any:
        return self.__fp_target__ << other

    def __rshift__(self, other: Any) -> Any:
        return self.__fp_target__ >> other

    def __and__(self, other: Any) -> Any:
        return self.__fp_target__ & other

    def __or__(self, other: Any) -> Any:
        return self.__fp_target__ | other

    def __xor__(self, other: Any) -> Any:
        return self.__fp_target__ ^ other

    def __divmod__(self, other: Any) -> Any:
        return divmod(self.__fp_target__, other)

    def __pow__(self, other: Any, modulo: Any = None) -> Any:
        return pow(self.__fp_target__, other, modulo)

    def __radd__(self, other: Any) -> Any:
        return other + self.__fp_target__

    def __rsub__(self, other: Any) -> Any:
        return other - self.__fp_target__

    def __rmul__(self, other: Any) -> Any:
        return other * self.__fp_target__

    def __rmatmul__(self, other: Any) -> Any:
        return other @ self.__fp_target__

    def __rtruediv__(self, other: Any) -> Any:
        return other / self.__fp_target__

    def __rfloordiv__(self, other: Any) -> Any:
        return other // self.__fp_target__

    def __rmod__(self, other: Any) -> Any:
        return other % self.__fp_target__

    def __rlshift__(self, other: Any) -> Any:
        return other << self.__fp_target__

    def __rrshift__(self, other: Any) -> Any:
        return other >> self.__fp_target__

    def __rand__(self, other: Any) -> Any:
        return other & self.__fp_target__

    def __ror__(self, other: Any) -> Any:
        return other | self.__fp_target__

    def __rxor__(self, other: Any) -> Any:
        return other ^ self.__fp_target__

    def __rdivmod__(self, other: Any) -> Any:
        return divmod(other, self.__fp_target__)

    def __rpow__(self, other: Any, modulo: Any = None) -> Any:
        return pow(other, self.__fp_target__, modulo)

    # -- in place: the proxy stands for what the operation gives

    def _fp_inplace(self, operation: Callable[[Any, Any], Any], other: Any) -> Any:
        target = operation(self.__fp_target__, other)
        object.__setattr__(self, "__fp_target__", target)
        return self

    def __iadd__(self, other: Any) -> Any:
        return self._fp_inplace(operator.iadd, other)

    def __isub__(self, other: Any) -> Any:
        return self._fp_inplace(operator.isub, other)

    def __imul__(self, other: Any) -> Any:
        return self._fp_inplace(operator.imul, other)

    def __imatmul__(self, other: Any) -> Any:
        return self._fp_inplace(operator.imatmul, other)

    def __itruediv__(self, other: Any) -> Any:
        return self._fp_inplace(operator.itruediv, other)

    def __ifloordiv__(self, other: Any) -> Any:
        return self._fp_inplace(operator.ifloordiv, other)

    def __imod__(self, other: Any) -> Any:
        return self._fp_inplace(operator.imod, other)

    def __ilshift__(self, other: Any) -> Any:
        return self._fp_inplace(operator.ilshift, other)

    def __irshift__(self, other: Any) -> Any:
        return self._fp_inplace(operator.irshift, other)

    def __iand__(self, other: Any) -> Any:
        return self._fp_inplace(operator.iand, other)

    def __ior__(self, other: Any) -> Any:
        return self._fp_inplace(operator.ior, other)

    def __ixor__(self, other: Any) -> Any:
        return self._fp_inplace(operator.ixor, other)

    def __ipow__(self, other: Any, modulo: Any = None) -> Any:
        return self._fp_inplace(operator.ipow, other)

    # -- containers

    def __getitem__(self, key: Any) -> Any:
        return self.__fp_target__[key]

    def __setitem__(self, key: Any, value: Any) -> None:
        self.__fp_target__[key] = value

    def __delitem__(self, key: Any) -> None:
        del self.__fp_target__[key]

    def __contains__(self, item: Any) -> bool:
        return item in self.__fp_target__

    def __iter__(self) -> Any:
        return iter(self.__fp_target__)

    def __next__(self) -> Any:
        return next(self.__fp_target__)

    def __reversed__(self) -> Any:
        return reversed(self.__fp_target__)

    # -- calls, contexts, async

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the target."""
        return self.__fp_target__(*args, **kwargs)

    def __enter__(self) -> Any:
        return self.__fp_target__.__enter__()

    def __aenter__(self) -> Any:
        return self.__fp_target__.__aenter__()

    def __exit__(self, *exc_info: Any) -> Any:
        return self.__fp_target__.__exit__(*exc_info)

    def __aexit__(self, *exc_info: Any) -> Any:
        return self.__fp_target__.__aexit__(*exc_info)

    def __await__(self) -> Any:
        return self.__fp_target__.__await__()

    def __aiter__(self) -> Any:
        return aiter(self.__fp_target__)

    def __anext__(self) -> Any:
        return anext(self.__fp_target__)

    # -- targets that are classes or buffers

    def __instancecheck__(self, instance: Any) -> bool:
        return isinstance(instance, self.__fp_target__)

    def __subclasscheck__(self, subclass: Any) -> bool:
        return issubclass(subclass, self.__fp_target__)

    def __mro_entries__(self, bases: Any) -> tuple[Any, ...]:
        return (self.__fp_target__,)

    def __buffer__(self, flags: int) -> memoryview:
        return memoryview(self.__fp_target__)  # Python 3.12 and later ask for it
