from __future__ import annotations

import gc
from collections.abc import Mapping

import pytest

from fedproxy.config.endpoint import ParslEngine
from fedproxy.errors import ConfigError

pytest.importorskip("parsl")

from fedproxy.endpoint.engines.parsl_provider import build_provider, check_engine_arguments, own_addresses, reach


def line_7(key: tuple[str, ...]) -> str:
    return "config.yaml:7" if len(key) > 2 else "config.yaml:3"


@pytest.mark.parametrize(("provider", "where", "said"), [
    ({"type": "SlurmProvder"}, "config.yaml:7: engine.provider.type", "did you mean SlurmProvider?"),
    ({"type": "SlurmProvider", "partitoin": "x"}, "config.yaml:7: engine.provider.partitoin", "SlurmProvider takes no partitoin (did you mean partition?"),
    ({"type": "SlurmProvider", "max_blocks": "many"}, "config.yaml:7: engine.provider.max_blocks", "str is not an instance of int"),
    ({"type": "KubernetesProvider"}, "config.yaml:3: engine.provider", "KubernetesProvider needs image"),
    ({"type": "SlurmProvider", "launcher": {"type": "SrunLauncer"}}, "config.yaml:7: engine.provider.launcher.type", "did you mean SrunLauncher?"),
    ({"type": "SlurmProvider", "launcher": {"type": "SrunLauncher", "mem": 1}}, "config.yaml:7: engine.provider.launcher.mem", "takes no mem"),
    ({"type": "SlurmProvider", "launcher": {"debug": True}}, "config.yaml:7: engine.provider.launcher", "first of all type"),
])
def test_what_parsl_would_not_take_is_named_with_its_line(provider: Mapping[str, object], where: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_engine_arguments(ParslEngine(provider=provider), line_7)
    assert str(caught.value).startswith(where)
    assert said in str(caught.value)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # Parsl leaves a socket open
def test_an_address_is_checked_like_a_provider() -> None:
    with pytest.raises(ConfigError, match=r"engine\.address\.interface: address_by_interface takes no interface"):
        check_engine_arguments(ParslEngine(address={"type": "address_by_interface", "interface": "eth0"}), line_7)
    with pytest.raises(ConfigError, match="addresses of this machine"):
        reach(ParslEngine(address={"type": "address_by_interface", "ifname": "nosuch0"}))
    gc.collect()


def test_a_provider_and_its_launcher_are_built() -> None:
    provider = build_provider({"type": "LocalProvider", "max_blocks": 3, "launcher": {"type": "SimpleLauncher", "debug": False}})
    assert type(provider).__name__ == "LocalProvider"
    assert provider.max_blocks == 3
    assert type(provider.launcher).__name__ == "SimpleLauncher"


def test_a_walltime_that_yaml_read_as_a_number_is_a_walltime_again() -> None:
    check_engine_arguments(ParslEngine(provider={"type": "PBSProProvider", "walltime": 36000}))


def test_workers_on_this_machine_are_told_loopback_others_every_address() -> None:
    assert reach(ParslEngine()).bind == "127.0.0.1"
    far = reach(ParslEngine(provider={"type": "SlurmProvider"}))
    assert (far.bind, far.hosts) == ("0.0.0.0", (*own_addresses(), "127.0.0.1"))
    assert reach(ParslEngine(address="192.0.2.99")).hosts == ("192.0.2.99",)
