"""Parsl's providers and launchers from plain data: what is said is checked against their own signatures before anything starts."""

from __future__ import annotations

import difflib
import importlib
import inspect
import typing
from collections.abc import Callable, Mapping
from typing import Any

from attrs import frozen

from fedproxy.config.endpoint import ParslEngine, Tree
from fedproxy.config.located import KeyPath
from fedproxy.errors import ConfigError, MissingExtraError

Where = Callable[[KeyPath], str]
"""Where a key was set, such as ``config.yaml:7``; empty where that is not known."""

_LOOPBACK = "127.0.0.1"


def _nowhere(_key: KeyPath) -> str:
    return ""


def parsl_module(name: str) -> Any:
    """A module of Parsl.

    Raises:
        MissingExtraError: Parsl is not installed.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as exc:
        if (exc.name or "").partition(".")[0] != "parsl":
            raise
        raise MissingExtraError("the parsl engine needs Parsl", hint="pip install 'fedproxy[parsl]'") from exc


def check_engine_arguments(engine: ParslEngine, where: Where = _nowhere) -> None:
    """Check provider, launcher and address without making any of them.

    Raises:
        ConfigError: an unknown name, key or type; with the key and, where it is known, file and line.
    """
    _Checker(where).check("parsl.providers", engine.provider, ("engine", "provider"))
    if not isinstance(engine.address, str):
        _Checker(where).check("parsl.addresses", engine.address, ("engine", "address"))


def build_provider(tree: Tree, where: Where = _nowhere) -> Any:
    """The provider that ``tree`` describes.

    Raises:
        ConfigError: as `check_engine_arguments`, or the provider refuses for reasons of its own.
    """
    kind, arguments = _Checker(where).check("parsl.providers", tree, ("engine", "provider"))
    if isinstance(arguments.get("launcher"), Mapping):
        launcher, options = _Checker(where).check("parsl.launchers", arguments["launcher"], ("engine", "provider", "launcher"))
        arguments["launcher"] = launcher(**options)
    try:
        return kind(**arguments)
    except Exception as exc:
        raise ConfigError(f"engine.provider: {kind.__name__} refuses: {exc}", hint=_install_hint(exc)) from exc


def _install_hint(exc: BaseException) -> str | None:
    return "pip install 'parsl[all]', or what the message names" if "Optional" in type(exc).__name__ else None


@frozen
class Reach:
    """Where this machine listens for its workers, and where they are told to look."""

    bind: str
    hosts: tuple[str, ...]


def reach(engine: ParslEngine) -> Reach:
    """Loopback for workers on this machine; the address that is configured; or all that this machine has.

    Raises:
        ConfigError: the interface that is named has no address.
    """
    if isinstance(engine.address, Mapping):
        function, arguments = _Checker(_nowhere).check("parsl.addresses", engine.address, ("engine", "address"))
        try:
            address = str(function(**arguments))
        except (OSError, ValueError) as exc:
            raise ConfigError(f"engine.address: {exc}", hint=f"addresses of this machine: {', '.join(own_addresses())}") from exc
        return Reach(address, (address,))
    if engine.address:
        return Reach(engine.address if engine.address in (_LOOPBACK, *own_addresses()) else "0.0.0.0", (engine.address,))  # noqa: S104 - behind NAT
    if engine.provider.get("type") == "LocalProvider":
        return Reach(_LOOPBACK, (_LOOPBACK,))
    return Reach("0.0.0.0", (*own_addresses(), _LOOPBACK))  # noqa: S104 - workers come from other nodes, with keys


def own_addresses() -> tuple[str, ...]:
    """This machine's IPv4 addresses but loopback. Nobody outside is asked."""
    import socket

    import psutil

    found = {a.address for each in psutil.net_if_addrs().values() for a in each if a.family == socket.AF_INET}
    return tuple(sorted(address for address in found if not address.startswith("127.")))


class _Checker:
    def __init__(self, where: Where) -> None:
        self._where = where

    def check(self, module: str, tree: object, key: KeyPath) -> tuple[Any, dict[str, Any]]:
        """What ``type`` names in ``module``, and its arguments."""
        if not isinstance(tree, Mapping) or not isinstance(tree.get("type"), str):
            raise self._error(key, f"expected keys below it, first of all type: one of {', '.join(_names(module))}")
        name = tree["type"]
        if name not in _names(module):
            raise self._error((*key, "type"), f"{module} has no {name}", _close(name, _names(module)))
        kind = getattr(parsl_module(module), name)
        arguments = {str(k): _walltime(str(k), v) for k, v in tree.items() if k != "type"}
        self._check_names(kind, arguments, key)
        self._check_types(kind, arguments, key)
        if isinstance(arguments.get("launcher"), Mapping):
            self.check("parsl.launchers", arguments["launcher"], (*key, "launcher"))
        return kind, arguments

    def _check_names(self, kind: Any, arguments: Mapping[str, Any], key: KeyPath) -> None:
        parameters = inspect.signature(kind).parameters
        for name in arguments:
            if name not in parameters:
                raise self._error((*key, name), f"{kind.__name__} takes no {name}", _close(name, list(parameters)))
        missing = [p.name for p in parameters.values() if p.default is p.empty and p.kind is not p.VAR_KEYWORD and p.name not in arguments]
        if missing:
            raise self._error(key, f"{kind.__name__} needs {', '.join(missing)}")

    def _check_types(self, kind: Any, arguments: Mapping[str, Any], key: KeyPath) -> None:
        typeguard = importlib.import_module("typeguard")  # Parsl brings it along
        hints = typing.get_type_hints(getattr(kind, "__init__") if isinstance(kind, type) else kind)  # noqa: B009 - mypy's advice
        for name, value in arguments.items():
            if name not in hints or name == "launcher":
                continue
            try:
                typeguard.check_type(value, hints[name])
            except typeguard.TypeCheckError as exc:
                raise self._error((*key, name), f"{kind.__name__}: {exc}") from exc

    def _error(self, key: KeyPath, said: str, hint: str | None = None) -> ConfigError:
        where = self._where(key)
        return ConfigError(f"{where + ': ' if where else ''}{'.'.join(key)}: {said}", hint=hint)


def _names(module: str) -> list[str]:
    found = parsl_module(module)
    names = getattr(found, "__all__", None) or [n for n in dir(found) if n.startswith("address_by_")]
    return sorted(set(names))


def _close(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {close[0]}?" if close else f"known: {', '.join(known)}"


def _walltime(name: str, value: Any) -> Any:
    """YAML reads 10:00:00 as a number of seconds."""
    if name == "walltime" and isinstance(value, int) and not isinstance(value, bool):
        return f"{value // 3600:02d}:{value // 60 % 60:02d}:{value % 60:02d}"
    return value
