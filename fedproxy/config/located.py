"""YAML that remembers its lines, so that an error can say ``config.yaml:7: engine.max_workers``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import yaml
from attrs import frozen

from fedproxy.errors import ConfigError

KeyPath = tuple[str, ...]


@frozen
class Located:
    """What a YAML file says (nested mappings, as leaves by key path) and on which line."""

    path: Path
    leaves: Mapping[KeyPath, object]
    lines: Mapping[KeyPath, int]

    def where(self, key: KeyPath) -> str:
        """``path:line`` of a key, or of the nearest one above it."""
        while key and key not in self.lines:
            key = key[:-1]
        return f"{self.path}:{self.lines.get(key, 1)}"


def read_located(path: Path) -> Located:
    """Read a YAML file whose top level is a mapping. An empty file is an empty mapping.

    Raises:
        ConfigError: unreadable, not YAML, a key twice, or not a mapping; with the line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(f"cannot read {path}: {getattr(exc, 'strerror', None) or exc}") from exc
    loader = yaml.SafeLoader(text)
    try:
        root = loader.get_single_node()
        if root is None:
            return Located(path, {}, {})
        if not isinstance(root, yaml.MappingNode):
            raise ConfigError(f"{path}:1: expected keys with values, such as `display_name: my laptop`")
        leaves: dict[KeyPath, object] = {}
        lines: dict[KeyPath, int] = {}
        for key, node, line in _walk(root, (), path):
            lines[key] = line
            if not isinstance(node, yaml.MappingNode):
                leaves[key] = loader.construct_object(node, deep=True)
        return Located(path, leaves, lines)
    except yaml.MarkedYAMLError as exc:
        line = exc.problem_mark.line + 1 if exc.problem_mark else 1
        raise ConfigError(f"{path}:{line}: not valid YAML: {exc.problem}", hint=_yaml_hint(text, line)) from exc
    except yaml.YAMLError as exc:
        raise ConfigError(f"{path}: not valid YAML: {exc}") from exc
    finally:
        loader.dispose()


def _walk(node: yaml.MappingNode, above: KeyPath, path: Path) -> Iterator[tuple[KeyPath, yaml.Node, int]]:
    seen: dict[str, int] = {}
    for key_node, value in node.value:
        line = key_node.start_mark.line + 1
        name = str(getattr(key_node, "value", ""))
        if name in seen:
            raise ConfigError(f"{path}:{line}: {'.'.join((*above, name))} is already set on line {seen[name]}")
        seen[name] = line
        yield (*above, name), value, line
        if isinstance(value, yaml.MappingNode):
            yield from _walk(value, (*above, name), path)


def _yaml_hint(text: str, line: int) -> str | None:
    lines = text.splitlines()
    if any("\t" in each[: len(each) - len(each.lstrip())] for each in lines[max(0, line - 2) : line]):
        return "indent with spaces, not tabs"
    return None
