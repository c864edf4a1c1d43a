"""An engine from its configuration. What is not used is not imported."""

from __future__ import annotations

from pathlib import Path

from fedproxy.config.containers import Containers
from fedproxy.config.endpoint import EngineConfig, ExecutorEngine, LocalEngine
from fedproxy.endpoint.engines.base import Callbacks, Catalog, Engine
from fedproxy.errors import ConfigError


def build_engine(
    config: EngineConfig, directory: Path, catalog: Catalog, callbacks: Callbacks, containers: Containers = Containers(),  # noqa: B008 - frozen
) -> Engine:
    """The engine that ``config`` describes; it keeps its files under ``directory``.

    Raises:
        ConfigError: it cannot work as configured here.
    """
    if isinstance(config, LocalEngine):
        from fedproxy.endpoint.engines.local import LocalEngine as Local

        return Local(config, directory, catalog, callbacks, containers)
    if isinstance(config, ExecutorEngine):
        from fedproxy.endpoint.engines.bundled import BundledEngine
        from fedproxy.endpoint.engines.executor import ExecutorCarrier

        return BundledEngine(ExecutorCarrier(config), catalog, callbacks, config.address, (config.address,))
    raise ConfigError(f"engine.type: {config.type!r} is not available")
