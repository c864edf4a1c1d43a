from __future__ import annotations

import json


def test_settings_say_where_they_came_from(cli, home):
    cli("endpoint", "configure", "lab", "--workers", "3", "--store", "redis://:hunter2@host:1/0")
    env = {"FEDPROXY_ENDPOINT_SITE": "there"}
    told = json.loads(cli("config", "show", "lab", "--origin", "--json", env=env).stdout)
    path = home / "endpoints" / "lab" / "config.yaml"
    assert told["engine.max_workers"] == {"value": 3, "origin": f"{path}:6"}
    assert told["site"] == {"value": "there", "origin": "FEDPROXY_ENDPOINT_SITE"}
    assert told["heartbeat.grace"] == {"value": 3, "origin": "default"}
    assert told["stores"]["value"] == ["redis://:***@host:1/0"]


def test_the_service_is_shown_where_no_endpoint_is_named(cli):
    assert json.loads(cli("config", "show", "--json").stdout)["host"] == "127.0.0.1"
    assert "payload_limit_bytes" in cli("config", "show").stdout
