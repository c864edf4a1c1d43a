"""``fedproxy globus``: the real globus-sdk's login against the stand-in."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from fedproxy.cli import exits
from fedproxy.cli.main import run
from fedproxy.store.connectors.globus_client import Globus
from fedproxy.store.connectors.globus_login import find_login
from fedproxy.testing.globus import GlobusStandIn
from fedproxy.testing.globus_replies import TRANSFER_SCOPE, data_access


def test_a_user_logs_in_once_with_consents_and_logs_out(globus_service: GlobusStandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                        capsys: pytest.CaptureFixture[str]) -> None:
    collection, client = globus_service.collection(tmp_path / "c", consent=True), globus_service.native_client()
    (tmp_path / "c" / "file").write_text("x")
    monkeypatch.setattr("sys.stdin", io.StringIO(globus_service.code(f"{TRANSFER_SCOPE} {data_access(collection)}") + "\n"))
    assert run(["globus", "login", "--client-id", client, "--consent", collection]) == exits.OK
    assert collection in capsys.readouterr().out  # the page that is to be visited names the consent
    for name in ("globus.json", "globus-tokens.json"):
        assert (tmp_path / "home" / name).stat().st_mode & 0o077 == 0
    assert json.loads((tmp_path / "home" / "globus.json").read_text()) == {"client_id": client}
    globus_service.expire_tokens()
    assert Globus(find_login()).find(collection, "/file") is not None
    assert run(["globus", "status"]) == exits.OK
    assert run(["globus", "logout"]) == exits.OK
    assert run(["globus", "status"]) != exits.OK
    assert "log in again" in capsys.readouterr().err


def test_a_wrong_code_and_nobody_there_are_told_in_one_line(globus_service: GlobusStandIn, monkeypatch: pytest.MonkeyPatch,
                                                            capsys: pytest.CaptureFixture[str]) -> None:
    for typed in ("wrong\n", ""):
        monkeypatch.setattr("sys.stdin", io.StringIO(typed))
        assert run(["globus", "login", "--client-id", globus_service.native_client()]) != exits.OK
        assert "Traceback" not in capsys.readouterr().err
    assert run(["globus", "status"]) != exits.OK
