"""One value for every key: flag, then environment, then file, then default.

Strategy: a configuration class is a tree of attrs classes; its leaves are settled one by one, each from the first
source that names it, so that every error and every ``--origin`` can say where the value came from.
"""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Generic, TypeVar

import attrs
import cattrs
import yaml

from fedproxy.config.located import KeyPath, Located
from fedproxy.errors import ConfigError

T = TypeVar("T")

DEFAULT = "default"

_OPEN = (Mapping[str, object], str | Mapping[str, object])
"""Leaves whose keys somebody else defines: what the file says below them is taken as it is, with its lines."""


@attrs.frozen
class Sources:
    """Where values may come from, nearest first."""

    flags: Mapping[KeyPath, object] = attrs.field(factory=dict)
    """By key path; a flag that was not given is not there."""
    env: Mapping[str, str] = attrs.field(factory=dict)
    prefix: str = "FEDPROXY_"
    """``engine.max_workers`` is ``{prefix}ENGINE_MAX_WORKERS``."""
    file: Located | None = None
    aliases: Mapping[KeyPath, KeyPath] = attrs.field(factory=dict)
    """Other spellings that the file may use."""

    def variable(self, key: KeyPath) -> str:
        """The environment variable of a key."""
        return self.prefix + "_".join(key).upper()


@attrs.frozen
class Settled(Generic[T]):
    """A configuration, and where each of its values came from."""

    value: T
    origins: Mapping[KeyPath, str]

    def where(self, key: KeyPath) -> str:
        """Where a key, or the nearest one above it, was set."""
        while len(key) > 1 and key not in self.origins:
            key = key[:-1]
        return self.origins.get(key, DEFAULT)


def peek(key: KeyPath, sources: Sources) -> tuple[object, str] | None:
    """One value and its origin before anything else is settled: what decides which keys there are."""
    file = sources.file
    found = {key: (file.leaves[key], file.where(key))} if file is not None and key in file.leaves else {}
    return _find(key, str, sources, found)


def settle(
    kind: type[T], sources: Sources, *, fixed: Mapping[str, object] | None = None, variants: Mapping[KeyPath, type] | None = None
) -> Settled[T]:
    """Build ``kind`` from the sources. ``fixed`` fields are given by the caller and may not be set elsewhere; ``variants`` says which
    class a field is of, where several are possible.

    Raises:
        ConfigError: an unknown key, or a value of the wrong type; names the file and line, the variable or the flag.
    """
    fixed, variants = fixed or {}, variants or {}
    known = {key: leaf for key, leaf in _leaves(kind, variants) if key[0] not in fixed}
    values: dict[KeyPath, object] = {}
    origins: dict[KeyPath, str] = {}
    file = _by_real_name(sources, known, origins)
    for key, leaf in known.items():
        found = _find(key, leaf, sources, file)
        origins[key] = found[1] if found else DEFAULT
        if found:
            values[key] = _structure(key, leaf, *found)
    return Settled(_build(kind, (), values, origins, fixed, variants), origins)


def _find(
    key: KeyPath, leaf: object, sources: Sources, file: Mapping[KeyPath, tuple[object, str]]
) -> tuple[object, str] | None:
    if key in sources.flags:
        return sources.flags[key], f"--{key[-1].replace('_', '-')}"
    text = sources.env.get(sources.variable(key))
    if text is not None:
        return _from_text(text, leaf, sources.variable(key)), sources.variable(key)
    return file.get(key)


def _by_real_name(sources: Sources, known: Mapping[KeyPath, object], origins: dict[KeyPath, str]) -> dict[KeyPath, tuple[object, str]]:
    """The file's leaves under their real names; refuses what nobody would read. ``origins`` learns what stands below an open leaf."""
    found: dict[KeyPath, tuple[object, str]] = {}
    if sources.file is None:
        return found
    groups = {key[:-1] for key in known}
    for written, value in sources.file.leaves.items():
        key = sources.aliases.get(written, written)
        where = sources.file.where(written)
        opened = next((key[:size] for size in range(1, len(key)) if known.get(key[:size]) in _OPEN), None)
        if opened is not None:
            tree, _ = found.setdefault(opened, ({}, sources.file.where(opened)))
            _plant(tree, key[len(opened):], value)
            origins[key] = where
            continue
        if key in groups and value is None:
            continue  # `engine:` with nothing below it
        if key in groups:
            raise ConfigError(f"{where}: {'.'.join(written)}: expected keys below it, got {value!r}")
        if key not in known:
            raise ConfigError(f"{where}: unknown key {'.'.join(written)}", hint=_did_you_mean(written, known, sources))
        if key in found:
            raise ConfigError(f"{where}: {'.'.join(written)} is already set at {found[key][1]}")
        found[key] = (value, where)
    return found


def _plant(tree: Any, key: KeyPath, value: object) -> None:
    *above, last = key
    for name in above:
        tree = tree.setdefault(name, {})
    tree[last] = value


def _did_you_mean(key: KeyPath, known: Mapping[KeyPath, object], sources: Sources) -> str:
    for size in range(1, len(key)):  # the first part of the path that nothing starts with
        groups = {each[:size] for each in known if each[:size - 1] == key[:size - 1]}
        if key[:size] not in groups:
            close = difflib.get_close_matches(key[size - 1], [group[-1] for group in groups], n=1)
            if close:
                return f"did you mean {'.'.join((*key[:size - 1], close[0]))}?"
            break
    names = sorted({".".join(each) for each in (*known, *sources.aliases)})
    elsewhere = [name for name in names if name.endswith(f".{key[-1]}")]
    close = elsewhere or difflib.get_close_matches(".".join(key), names, n=1)
    return f"did you mean {close[0]}?" if close else f"known keys: {', '.join(names)}"


def _leaves(kind: type, variants: Mapping[KeyPath, type], above: KeyPath = ()) -> Iterator[tuple[KeyPath, object]]:
    hints = typing.get_type_hints(kind)
    for field in attrs.fields(kind):
        key = (*above, field.name)
        leaf = variants.get(key, hints[field.name])
        if isinstance(leaf, type) and attrs.has(leaf):
            yield from _leaves(leaf, variants, key)
        else:
            yield key, leaf


def _build(
    kind: type[T], above: KeyPath, values: Mapping[KeyPath, object], origins: Mapping[KeyPath, str],
    fixed: Mapping[str, object], variants: Mapping[KeyPath, type],
) -> T:
    hints = typing.get_type_hints(kind)
    given: dict[str, object] = dict(fixed)
    for field in attrs.fields(kind):  # type: ignore[arg-type]
        key = (*above, field.name)
        leaf = variants.get(key, hints[field.name])
        if field.name in given:
            continue
        if isinstance(leaf, type) and attrs.has(leaf):
            given[field.name] = _build(leaf, key, values, origins, {}, variants)
        elif key in values:
            given[field.name] = values[key]
    try:
        return kind(**given)
    except (ValueError, TypeError) as exc:  # an attrs validator
        said = _refusal(exc, above)
        named = [key for key in origins if key[:len(above)] == above and key[-1] in said and origins[key] != DEFAULT]
        origin = origins[max(named, key=lambda key: len(key[-1]))] + ": " if named else ""
        raise ConfigError(origin + said) from exc


def _refusal(exc: Exception, above: KeyPath) -> str:
    """What a validator says, in our words where it is ``attrs.validators.in_``."""
    match exc.args:
        case [_, attrs.Attribute() as field, options, value]:
            return f"{'.'.join((*above, field.name))}: expected one of {', '.join(options)}, got {value!r}"
    return str(exc.args[0]) if exc.args else str(exc)


def _from_text(text: str, leaf: object, variable: str) -> object:
    if leaf in (str, Path):
        return text
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as exc:
        raise ConfigError(f"{variable}: cannot understand {text!r}") from exc


def _structure(key: KeyPath, leaf: object, value: object, origin: str) -> object:
    try:
        return _CONVERTER.structure(value, leaf)  # type: ignore[arg-type]
    except (TypeError, ValueError, cattrs.BaseValidationError) as exc:
        wanted = "keys below it" if leaf in _OPEN else _WANTED.get(leaf, "a list of texts" if typing.get_origin(leaf) is tuple else str(leaf))
        hint = "put it in quotes" if leaf is str and isinstance(value, int | float) else None
        got = repr(value) if isinstance(value, bool | int | float | str) else f"a {type(value).__name__}"
        raise ConfigError(f"{origin}: {'.'.join(key)}: expected {wanted}, got {got}", hint=hint) from exc


_WANTED: Mapping[object, str] = types.MappingProxyType({
    tuple[int, int]: "two whole numbers", int | tuple[str, ...]: "a whole number or a list of texts",
    int: "a whole number", float: "a number", bool: "true or false", str: "text", Path: "a path",
})


def _exactly(*kinds: type) -> Any:
    def structure(value: object, target: type) -> object:
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            raise TypeError(type(value).__name__)
        return target(value)

    return structure


def _text_list(value: object, _target: object) -> tuple[str, ...]:
    if isinstance(value, list | tuple) and all(isinstance(item, str) for item in value):
        return tuple(value)
    raise TypeError(type(value).__name__)


def _number_or_texts(value: object, target: object) -> int | tuple[str, ...]:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    return _text_list([str(item) if isinstance(item, int) else item for item in value] if isinstance(value, list | tuple) else value, target)


def _tree(value: object, target: object) -> object:
    if isinstance(value, Mapping) or (target != Mapping[str, object] and isinstance(value, str)):
        return value
    raise TypeError(type(value).__name__)


def _two_numbers(value: object, _target: object) -> tuple[int, int]:
    match value:
        case [int() as low, int() as high]:
            return low, high
    raise TypeError(type(value).__name__)


def _converter() -> cattrs.Converter:
    converter = cattrs.Converter()
    for kind, accepted in ((int, (int,)), (float, (int, float)), (bool, (bool,)), (str, (str,)), (Path, (str, Path))):
        converter.register_structure_hook(kind, _exactly(*accepted))
    converter.register_structure_hook_func(lambda target: target == tuple[str, ...], _text_list)
    converter.register_structure_hook_func(lambda target: target == tuple[int, int], _two_numbers)
    converter.register_structure_hook_func(lambda target: target == int | tuple[str, ...], _number_or_texts)
    converter.register_structure_hook_func(lambda target: target in _OPEN, _tree)
    return converter


_CONVERTER = _converter()
