from __future__ import annotations

from pathlib import Path

import pytest

from fedproxy.config.endpoint import EngineConfig, ExecutorEngine, LocalEngine, ParslEngine, Scaling
from fedproxy.config.files import load_endpoint
from fedproxy.errors import ConfigError


@pytest.fixture
def configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("FEDPROXY_HOME", str(tmp_path))

    def write(text: str) -> Path:
        path = tmp_path / "endpoints" / "hpc" / "config.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    return write


def engine(**env: str) -> EngineConfig:
    return load_endpoint("hpc", env=env).value.engine


def test_the_type_decides_which_keys_there_are(configured) -> None:
    configured("engine:\n  type: local\n  max_workers: 4\n  min_workers: 0\n  max_idletime: 5\n")
    assert engine() == LocalEngine(max_workers=4, min_workers=0, scaling=Scaling(idle_s=5.0))
    configured("engine:\n  type: executor\n  class: loky.get_reusable_executor\n  args: {max_workers: 3}\n  max_workers: 3\n")
    assert engine() == ExecutorEngine(factory="loky.get_reusable_executor", args={"max_workers": 3}, max_workers=3)
    configured("""\
engine:
  type: parsl
  max_workers_per_node: 8
  address: {type: address_by_interface, ifname: ib0}
  available_accelerators: ["0", "1"]
  worker_port_range: [50000, 50010]
  job_status_kwargs: {max_idletime: 60, strategy_period: 2}
  provider:
    type: SlurmProvider
    partition: debug
    launcher: {type: SrunLauncher, overrides: --mem=4G}
""")
    assert engine() == ParslEngine(
        provider={"type": "SlurmProvider", "partition": "debug", "launcher": {"type": "SrunLauncher", "overrides": "--mem=4G"}},
        max_workers=8, address={"type": "address_by_interface", "ifname": "ib0"}, available_accelerators=("0", "1"),
        worker_port_range=(50000, 50010), scaling=Scaling(idle_s=60.0, period_s=2.0))


def test_the_type_may_come_from_the_environment(configured) -> None:
    configured("display_name: x\n")
    found = engine(FEDPROXY_ENDPOINT_ENGINE_TYPE="parsl", FEDPROXY_ENDPOINT_ENGINE_PROVIDER="{type: LocalProvider, max_blocks: 2}")
    assert found == ParslEngine(provider={"type": "LocalProvider", "max_blocks": 2})


def test_every_key_of_a_provider_says_where_it_was_set(configured) -> None:
    path = configured("engine:\n  type: parsl\n  provider:\n    type: SlurmProvider\n    launcher:\n      type: SrunLauncher\n")
    settled = load_endpoint("hpc", env={})
    assert settled.where(("engine", "provider", "launcher", "type")) == f"{path}:6"
    assert settled.where(("engine", "provider", "walltime")) == f"{path}:3"


@pytest.mark.parametrize(("text", "line", "said"), [
    ("engine:\n  type: cluster\n", 2, "engine.type: unknown engine 'cluster' (known engines: local, parsl, executor)"),
    ("engine:\n  type: local\n  provider: {type: SlurmProvider}\n", 3, "unknown key engine.provider"),
    ("engine:\n  type: parsl\n  providr: {type: SlurmProvider}\n", 3, "did you mean engine.provider?"),
    ("engine:\n  type: parsl\n  provider: SlurmProvider\n", 3, "engine.provider: expected keys below it"),
    ("engine:\n  type: parsl\n  provider: {init_blocks: 1}\n", 3, "type is needed"),
    ("engine:\n  type: parsl\n  worker_port_range: 5\n", 3, "expected two whole numbers"),
    ("engine:\n  type: parsl\n  encrypted: maybe\n", 3, "engine.encrypted: expected true or false"),
    ("engine:\n  type: parsl\n  heartbeat_period: 9\n", 3, "more than heartbeat_period is needed"),
    ("engine:\n  type: local\n  max_workers: 2\n  min_workers: 3\n", 4, "0 to max_workers (2) is needed"),
    ("engine:\n  type: local\n  scaling: {parallelism: 0}\n", 3, "more than 0 and at most 1"),
    ("engine:\n  type: executor\n", 0, "the import path of an executor is needed"),
])
def test_an_engine_that_cannot_work_is_named_with_its_line(configured, text: str, line: int, said: str) -> None:
    configured(text)
    with pytest.raises(ConfigError) as caught:
        load_endpoint("hpc", env={})
    if line and "heartbeat" not in text:
        assert f"config.yaml:{line}:" in str(caught.value)
    assert said in str(caught.value)
