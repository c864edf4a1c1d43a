"""``fedproxy transfer`` and ``fedproxy site`` against a real service."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from attrs import asdict

from fedproxy.cli.main import run
from fedproxy.cli.report import rows
from fedproxy.dispatch.client import Client
from fedproxy.protocol.report import Report
from tests.programs import Programs

REPORT = {
    "id": "abcdef123456", "object": "0" * 32, "destination": "B", "source": "A", "route": "direct", "size": 2_000_000, "done": 1_000_000, "state": "moving",
    "explain": "direct from A: 0.07 s", "tasks": 3, "started": 1_700_000_000.0,
}


@pytest.fixture
def here(running: Programs, client: Client, monkeypatch: pytest.MonkeyPatch) -> Client:
    monkeypatch.setenv("FEDPROXY_HOME", str(running.home))
    client.rest.json("POST", "/v1/transfers", [REPORT])
    return client


def test_transfers_are_listed_shown_and_cancelled(here: Client, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["transfer", "list", "--active", "--json"]) == 0
    (shown,) = json.loads(capsys.readouterr().out)
    assert (shown["source"], shown["destination"], shown["done"]) == ("A", "B", 1_000_000)
    assert run(["transfer", "list"]) == 0
    assert "2.0 MB" in capsys.readouterr().out
    assert run(["transfer", "show", "abcdef"]) == 0
    assert "direct from A" in capsys.readouterr().out
    assert run(["transfer", "cancel", "abcdef"]) == 0
    assert "is being ended" in capsys.readouterr().out
    assert here.rest.json("POST", "/v1/transfers", [REPORT])["cancel"] == ["abcdef123456"]
    here.rest.json("POST", "/v1/transfers", [REPORT | {"state": "cancelled"}])
    assert run(["transfer", "cancel", "abcdef"]) == 0
    assert "has ended already: cancelled" in capsys.readouterr().out


def test_a_transfer_that_is_not_there_is_said_so(here: Client, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["transfer", "show", "nothing"]) == 1
    assert "no transfers 'nothing'" in capsys.readouterr().err


def test_who_moved_what_to_whom_is_drawn(here: Client, tmp_path: Path) -> None:
    here.rest.json("POST", "/v1/transfers", [REPORT | {"id": f"done{number}", "state": "done", "ended": 1_700_000_001.0} for number in range(3)])
    assert run(["transfer", "list", "--picture", str(tmp_path / "flows.png")]) == 0
    assert (tmp_path / "flows.png").read_bytes()[:4] == b"\x89PNG"


def test_sites_say_what_they_offer_and_nothing_secret(here: Client, running: Programs, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["site", "show"]) == 0
    shown = capsys.readouterr().out
    assert "data server" in shown
    assert "the service has a relay" in shown
    assert run(["site", "show", "nowhere"]) == 1
    assert "no site 'nowhere'" in capsys.readouterr().err
    assert run(["site", "show", "--json"]) == 0
    text = capsys.readouterr().out
    assert json.loads(text)["endpoints"][0]["profile"]["data_url"].startswith("http://127.0.0.1:")
    token = json.loads(next(running.home.glob("endpoints/*/data/stager.json")).read_bytes())["token"]
    assert token not in text
    assert (running.home / "service" / "token").read_text() not in text
    assert next(running.home.glob("endpoints/*/data/stager.json")).stat().st_mode & 0o077 == 0


def test_the_status_of_an_endpoint_says_what_is_on_its_way_what_has_come_and_what_was_sent() -> None:
    told = Report(staged_bytes=5_000_000, engine={"transfers": 2, "moving_bytes": 1_000_000, "moving_of_bytes": 9_000_000, "served_bytes": 7_000})
    shown = dict(rows(asdict(told)))
    assert shown["on the way here"] == "1.0 MB of 9.0 MB, 2 objects"
    assert (shown["staged"], shown["sent to others"]) == ("5.0 MB", "7.0 kB")
