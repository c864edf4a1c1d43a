"""An engine from its configuration. What is not used is not imported."""

from __future__ import annotations

from pathlib import Path

from fedproxy.config.containers import Containers
from fedproxy.config.endpoint import EngineConfig, ExecutorEngine, LocalEngine, ParslEngine
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

        return BundledEngine(ExecutorCarrier(config), catalog, callbacks, config.address, (config.address,), containers)
    if isinstance(config, ParslEngine):
        return _parsl(config, directory, catalog, callbacks, containers)
    raise ConfigError(f"engine.type: {config.type!r} is not available")


def _parsl(config: ParslEngine, directory: Path, catalog: Catalog, callbacks: Callbacks, containers: Containers) -> Engine:
    from fedproxy.endpoint.engines.parsl_provider import check_engine_arguments, reach

    check_engine_arguments(config)
    where = reach(config)
    from fedproxy.endpoint.engines.bundled import BundledEngine
    from fedproxy.endpoint.engines.parsl import ParslCarrier

    return BundledEngine(ParslCarrier(config, where, directory), catalog, callbacks, where.bind, where.hosts, containers)
