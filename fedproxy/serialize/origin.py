"""Which modules the far side cannot be expected to have.

Strategy: what lies in the standard library or in a ``site-packages`` folder is installed software and goes by
reference; ``__main__`` and any other module is the user's own code and goes by value.
"""

from __future__ import annotations

import sys
import sysconfig
from types import ModuleType

_INSTALLED_FOLDERS = ("/site-packages/", "/dist-packages/")
_known: dict[str, bool] = {"__main__": True, "__mp_main__": True, "builtins": False, "fedproxy": False}


def goes_by_value(module_name: str | None) -> bool:
    """Whether functions and classes of this module are sent as code instead of as a name."""
    if module_name is None:
        return False
    try:
        return _known[module_name]
    except KeyError:
        return _decide(module_name)


def _decide(module_name: str) -> bool:
    module = sys.modules.get(module_name)
    if module is None:
        return False  # made at run time: cloudpickle sees that by itself
    by_value = module_name.partition(".")[0] != "fedproxy" and _is_users(module)
    _known[module_name] = by_value
    return by_value


def _is_users(module: ModuleType) -> bool:
    file = getattr(module, "__file__", None)
    if not isinstance(file, str):
        return False
    if any(folder in file for folder in _INSTALLED_FOLDERS):
        return False
    return not file.startswith(_standard_library())


def _standard_library() -> tuple[str, ...]:
    paths = sysconfig.get_paths()
    return tuple({paths["stdlib"] + "/", paths["platstdlib"] + "/"})
