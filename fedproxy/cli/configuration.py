"""``fedproxy config``: what every setting is, and where it came from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import attrs
from cyclopts import App, Parameter

from fedproxy.cli import exits, output
from fedproxy.config import files
from fedproxy.config.settle import Settled

app = App(name="config", help="Settings, after flags, environment, files and defaults.")


@app.command
def show(
    name: str = "", *, origin: bool = False, json: Annotated[bool, Parameter(name="--json")] = False
) -> int:
    """The settings of an endpoint, or of the service where no name is given.

    Parameters
    ----------
    name
        An endpoint.
    origin
        Say where each value came from.
    json
        One JSON document.
    """
    settled: Settled[Any] = files.load_endpoint(name) if name else files.load_service()
    rows = [(".".join(key), _value(settled.value, key), where) for key, where in settled.origins.items()]
    if json:
        output.emit_json({key: {"value": value, "origin": where} if origin else value for key, value, where in rows})
        return exits.OK
    shown = [(key, _text(value), *([where] if origin else [])) for key, value, where in rows]
    output.table(f"Endpoint {name}" if name else "Service", ("key", "value", *(["origin"] if origin else [])), shown)
    return exits.OK


def _value(config: object, key: tuple[str, ...]) -> object:
    for name in key:
        config = config.get(name) if isinstance(config, Mapping) else getattr(config, name)
    if isinstance(config, tuple):
        return [output.without_secrets(each) if isinstance(each, str) else each for each in config]
    if attrs.has(type(config)) or isinstance(config, int | float | bool | Mapping):
        return config
    return output.without_secrets(str(config))


def _text(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
