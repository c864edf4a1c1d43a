"""What an engine's configuration must satisfy beyond its types. Every error names the file and line, the variable or the flag."""

from __future__ import annotations

from fedproxy.config.endpoint import EndpointConfig, ExecutorEngine, LocalEngine, ParslEngine
from fedproxy.config.settle import Settled
from fedproxy.errors import ConfigError


def check_engine(settled: Settled[EndpointConfig]) -> None:
    """Refuse an engine that cannot work.

    Raises:
        ConfigError: names the key and where it was set.
    """
    engine = settled.value.engine
    for key, holds, said in _rules(engine):
        if not holds:
            raise ConfigError(f"{settled.where(('engine', *key))}: engine.{'.'.join(key)}: {said}")


def _rules(engine: LocalEngine | ParslEngine | ExecutorEngine) -> list[tuple[tuple[str, ...], bool, str]]:
    if isinstance(engine, ExecutorEngine):
        return [
            (("max_workers",), engine.max_workers >= 1, "at least 1 is needed"),
            (("factory",), "." in engine.factory, "the import path of an executor is needed, such as class: loky.get_reusable_executor")]
    scaling = engine.scaling
    rules = [
        (("scaling", "idle_s"), scaling.idle_s >= 0, "a time in seconds is needed"),
        (("scaling", "parallelism"), 0 < scaling.parallelism <= 1, "more than 0 and at most 1 is needed"),
        (("scaling", "period_s"), scaling.period_s > 0, "a time in seconds is needed")]
    if isinstance(engine, ParslEngine):
        return [
            *rules,
            (("max_workers",), engine.max_workers >= 0, "a number of workers is needed; 0 means one for each core"),
            (("heartbeat_period",), engine.heartbeat_period >= 1, "at least 1 s is needed"),
            (("heartbeat_threshold",), engine.heartbeat_threshold > engine.heartbeat_period, "more than heartbeat_period is needed"),
            (("provider",), isinstance(engine.provider.get("type"), str), "type is needed, such as type: SlurmProvider")]
    return [
        *rules,
        (("max_workers",), engine.max_workers >= 1, "at least 1 is needed"),
        (("tasks_per_worker",), engine.tasks_per_worker >= 0, "a number of tasks is needed; 0 means without end"),
        (("min_workers",), 0 <= engine.min_workers <= engine.max_workers, f"0 to max_workers ({engine.max_workers}) is needed")]
