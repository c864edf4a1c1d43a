from __future__ import annotations

import pytest

from fedproxy.config import files
from fedproxy.config.endpoint import EndpointConfig, LocalEngine
from fedproxy.errors import ConfigError


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("FEDPROXY_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("FEDPROXY_SITE", "here")
    return tmp_path / "home"


def load(name="lab"):
    return files.load_endpoint(name, env={}).value


def test_what_is_written_is_read_back_as_the_defaults():
    files.write_endpoint("lab")
    assert load() == EndpointConfig("lab", display_name="lab")


def test_what_is_asked_for_is_written():
    stores = ("shm://abc/x", "file:///data/it's here")
    files.write_endpoint("lab", site="hpc: 1", workers=3, stores=stores, display_name="my 'lab'")
    assert load() == EndpointConfig("lab", "my 'lab'", "hpc: 1", LocalEngine(max_workers=3), stores)


def test_the_template_comments_name_only_keys_that_exist(home):
    path = files.write_endpoint("lab")
    proposed = [line.removeprefix("# ") for line in path.read_text().splitlines()[1:]]
    path.write_text("\n".join(line for line in proposed if not line.startswith("stores")))
    files.load_endpoint("lab", env={})


def test_the_file_is_private(home):
    path = files.write_endpoint("lab")
    assert path.stat().st_mode & 0o777 == 0o600
    for folder in (path.parent, path.parent.parent, home):
        assert folder.stat().st_mode & 0o777 == 0o700


def test_a_configuration_is_not_replaced_unless_asked():
    files.write_endpoint("lab", workers=1)
    with pytest.raises(ConfigError, match="configured already"):
        files.write_endpoint("lab", workers=2)
    files.write_endpoint("lab", workers=2, replace=True)
    assert load().engine.max_workers == 2


@pytest.mark.parametrize("name", ["", "../up", "a/b", ".hidden", "a b", "x" * 64, "-flag", "a\n"])
def test_a_name_that_could_leave_the_folder_is_refused(name):
    with pytest.raises(ConfigError, match="cannot name an endpoint"):
        files.write_endpoint(name)
    with pytest.raises(ConfigError, match="cannot name an endpoint"):
        files.load_endpoint(name)


def test_keys_that_globus_compute_users_write_are_understood(home):
    path = files.write_endpoint("lab")
    path.write_text("heartbeat_period: 12\nheartbeat_threshold: 4\nengine:\n  max_workers_per_node: 7\n")
    config = load()
    assert (config.heartbeat.period_s, config.heartbeat.grace, config.engine.max_workers) == (12.0, 4, 7)


@pytest.mark.parametrize(("text", "said"), [
    ("engine:\n  type: nonsense\n", r"config\.yaml:2: engine\.type: unknown engine 'nonsense'"),
    ("engine:\n  max_workers: 0\n", r"config\.yaml:2: engine\.max_workers: at least 1"),
])
def test_values_that_cannot_work_are_refused(text, said):
    path = files.write_endpoint("lab")
    path.write_text(text)
    with pytest.raises(ConfigError, match=said):
        load()


def test_an_endpoint_that_is_not_configured_says_how_to():
    with pytest.raises(ConfigError, match="fedproxy endpoint configure lab"):
        load()
    assert files.endpoint_names() == []


def test_the_service_needs_no_file_and_obeys_one(home):
    assert files.load_service(env={}).value.port == 0
    (home / "service").mkdir(parents=True)
    (home / "service" / "config.yaml").write_text("port: 8123\n")
    assert files.load_service(env={}).value.port == 8123
    assert files.load_service(env={"FEDPROXY_SERVICE_PORT": "1"}).value.port == 1
    assert files.load_service(env={}, flags={("port",): 2}).value.port == 2
    with pytest.raises(ConfigError, match="FEDPROXY_SERVICE_PORT: port: expected 0 to 65535"):
        files.load_service(env={"FEDPROXY_SERVICE_PORT": "99999"})


def test_an_unwritable_home_says_what_to_set(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FEDPROXY_HOME", str(tmp_path / "file"))
    with pytest.raises(ConfigError, match="set FEDPROXY_HOME"):
        files.write_endpoint("lab")
