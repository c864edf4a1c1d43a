"""Globus Transfer by the real globus-sdk against the stand-in: who one is, how one waits, what goes wrong."""

from __future__ import annotations

import json
import os
import threading
import time
import traceback
import uuid
from pathlib import Path

import pytest
from globus_sdk.token_storage import JSONTokenStorage, TokenStorageData

from fedproxy.errors import (
    ConfigError,
    GlobusConsentError,
    GlobusLoginError,
    GlobusPausedError,
    GlobusTaskError,
    RouteUnavailableError,
    StagingFullError,
    TransferCancelledError,
    TransferStalledError,
)
from fedproxy.store.connectors.globus_client import Globus, Item, Pace, Progress
from fedproxy.store.connectors.globus_login import Login, find_login
from fedproxy.testing.globus import GlobusStandIn
from fedproxy.testing.globus_replies import TRANSFER_SCOPE, TRANSFER_SERVER

QUICK = Pace(first_s=0.02, longest_s=0.1, stall_s=20.0)


@pytest.fixture
def pair(globus_service: GlobusStandIn, tmp_path: Path) -> tuple[str, str]:
    """Two collections, the first with files ``a`` and ``b``."""
    ends = globus_service.collection(tmp_path / "one"), globus_service.collection(tmp_path / "two")
    for name in "ab":
        (tmp_path / "one" / name).write_bytes(os.urandom(50_000))
    return ends


def of(globus_service: GlobusStandIn, pace: Pace = QUICK) -> Globus:
    return Globus(Login(*globus_service.confidential_client()), pace=pace)


def test_many_files_go_in_one_task(globus_service: GlobusStandIn, pair: tuple[str, str], tmp_path: Path) -> None:
    globus = of(globus_service)
    seen: list[Progress] = []
    task = globus.submit(*pair, [Item("/a", "/x/a"), Item("/b", "/x/b"), Item("/none", "/x/none")])
    assert globus.wait(task, told=seen.append).files == 2
    assert globus.lost(task) == {"/none": "FILE_NOT_FOUND"}
    assert (tmp_path / "two" / "x" / "b").read_bytes() == (tmp_path / "one" / "b").read_bytes()
    assert seen[-1].bytes == 100_000
    assert len(globus_service.transfers()) == 1


def test_the_same_submission_makes_one_task(globus_service: GlobusStandIn, pair: tuple[str, str]) -> None:
    client = of(globus_service)._client()
    document = {"DATA_TYPE": "transfer", "submission_id": str(uuid.uuid4()), "source_endpoint": pair[0], "destination_endpoint": pair[1], "DATA": []}
    first, second = client.submit_transfer(dict(document)), client.submit_transfer(dict(document))
    assert (first["task_id"], second["code"]) == (second["task_id"], "Duplicate")


def test_a_damaged_file_is_sent_again(globus_service: GlobusStandIn, pair: tuple[str, str], tmp_path: Path) -> None:
    globus_service.faults.corrupt["a"] = 2
    globus = of(globus_service)
    task = globus.submit(*pair, [Item("/a", "/a")])
    globus.wait(task)
    assert globus_service.tasks[task].faults == 2
    assert (tmp_path / "two" / "a").read_bytes() == (tmp_path / "one" / "a").read_bytes()


def test_a_file_that_is_always_damaged_fails_the_task(globus_service: GlobusStandIn, pair: tuple[str, str]) -> None:
    globus_service.faults.corrupt["a"] = 1_000
    globus = of(globus_service)
    with pytest.raises(GlobusTaskError, match="checksum verification failed: a") as caught:
        globus.wait(globus.submit(*pair, [Item("/a", "/a")]))
    assert caught.value.code == "VERIFY_CHECKSUM"


def test_what_is_there_already_is_not_sent_again(globus_service: GlobusStandIn, pair: tuple[str, str]) -> None:
    globus = of(globus_service)
    for moved in (50_000, 0):
        task = globus.submit(*pair, [Item("/a", "/a")])
        assert globus.wait(task).bytes == moved


def test_a_folder_goes_with_what_is_in_it(globus_service: GlobusStandIn, pair: tuple[str, str], tmp_path: Path) -> None:
    (tmp_path / "one" / "d" / "e").mkdir(parents=True)
    (tmp_path / "one" / "d" / "e" / "f").write_text("deep")
    (tmp_path / "one" / "d" / "link").symlink_to("/etc/passwd")
    globus = of(globus_service)
    globus.wait(globus.submit(*pair, [Item("/d", "/copy", recursive=True)]))
    assert [str(path.relative_to(tmp_path / "two")) for path in sorted((tmp_path / "two").rglob("*"))] == ["copy", "copy/e", "copy/e/f"]


def test_a_task_that_failed_says_why(globus_service: GlobusStandIn, pair: tuple[str, str]) -> None:
    globus_service.faults.fail = ("PERMISSION_DENIED", "no")
    globus = of(globus_service)
    with pytest.raises(GlobusTaskError, match="failed: PERMISSION_DENIED: no"):
        globus.wait(globus.submit(*pair, [Item("/a", "/a")]))
    globus_service.faults.fail = ("QUOTA_EXCEEDED", "full")
    with pytest.raises(StagingFullError, match="QUOTA_EXCEEDED"):
        globus.wait(globus.submit(*pair, [Item("/a", "/a")]))


def test_a_paused_task_is_given_up_after_a_while(globus_service: GlobusStandIn, pair: tuple[str, str]) -> None:
    globus_service.faults.pause = "ConsentRequired"
    globus = of(globus_service, Pace(0.02, 0.1, stall_s=0.3))
    task = globus.submit(*pair, [Item("/a", "/a")])
    with pytest.raises(GlobusPausedError, match="is paused: ConsentRequired") as caught:
        globus.wait(task)
    assert caught.value.task_id == task
    assert globus_service.tasks[task].cancelled.is_set()


def test_a_pause_that_ends_is_waited_for(globus_service: GlobusStandIn, pair: tuple[str, str]) -> None:
    globus_service.faults.pause = "PAUSED_BY_ADMIN"

    def told(progress: Progress) -> None:
        if progress.status == "INACTIVE":
            globus_service.faults.pause = ""

    globus = of(globus_service)
    assert globus.wait(globus.submit(*pair, [Item("/a", "/a")]), told=told).files == 1


def test_a_task_that_stands_still_has_stalled(globus_service: GlobusStandIn, pair: tuple[str, str]) -> None:
    globus_service.faults.stall = True
    globus = of(globus_service, Pace(0.02, 0.1, stall_s=0.3))
    with pytest.raises(TransferStalledError, match="has moved nothing"):
        globus.wait(globus.submit(*pair, [Item("/a", "/a")]))


def test_what_nobody_wants_any_more_is_cancelled_there_too(globus_service: GlobusStandIn, pair: tuple[str, str]) -> None:
    globus_service.faults.slow_s = 60.0
    globus = of(globus_service)
    task = globus.submit(*pair, [Item("/a", "/a")])
    wanted = threading.Event()
    with pytest.raises(TransferCancelledError):
        globus.wait(task, told=lambda _: wanted.set(), wanted=lambda: not wanted.is_set())
    assert globus_service.tasks[task].cancelled.is_set()


def test_globus_is_asked_ever_more_seldom() -> None:
    pace = Pace()
    assert [pace.interval_s(elapsed) for elapsed in (0, 5, 60, 3600)] == [1.0, 1.0, 6.0, 30.0]


def test_an_expired_token_of_a_client_is_renewed(globus_service: GlobusStandIn, pair: tuple[str, str]) -> None:
    globus = of(globus_service)
    assert globus.find(pair[0], "/a") is not None
    globus_service.expire_tokens()
    assert globus.find(pair[0], "/a") is not None
    assert globus_service.calls["POST /v2/oauth2/token"] == 2


def test_an_expired_token_of_a_user_is_renewed_and_kept_for_the_next_process(globus_service: GlobusStandIn, pair: tuple[str, str], tmp_path: Path) -> None:
    login = Login(logged_in(globus_service, tmp_path, globus_service.access_token(life_s=0.0)))
    assert Globus(login).find(pair[0], "/a") is not None
    tokens = tmp_path / "home" / "globus-tokens.json"
    assert tokens.stat().st_mode & 0o077 == 0
    asked = globus_service.calls["POST /v2/oauth2/token"]
    assert Globus(login).find(pair[0], "/b") is not None
    assert globus_service.calls["POST /v2/oauth2/token"] == asked


def logged_in(globus_service: GlobusStandIn, folder: Path, access: str) -> str:
    """As `fedproxy globus login` leaves it; the client's id."""
    client = str(uuid.uuid4())
    globus_service.clients[client] = ""
    (folder / "home").mkdir(mode=0o700)
    storage = JSONTokenStorage(folder / "home" / "globus-tokens.json")
    storage.store_token_data_by_resource_server({TRANSFER_SERVER: TokenStorageData(
        TRANSFER_SERVER, str(uuid.uuid4()), TRANSFER_SCOPE, access, globus_service.refresh_token(), int(time.time()) - 5, "Bearer")})
    return client


def test_a_user_whose_refresh_token_was_revoked_must_log_in_again(globus_service: GlobusStandIn, pair: tuple[str, str], tmp_path: Path) -> None:
    login = Login(logged_in(globus_service, tmp_path, globus_service.access_token(life_s=0.0)))
    globus_service.refresh_tokens.clear()
    with pytest.raises(GlobusLoginError, match="log in again"):
        Globus(login).find(pair[0], "/a")


def test_a_client_gives_itself_the_consent_that_a_collection_wants(globus_service: GlobusStandIn, pair: tuple[str, str], tmp_path: Path) -> None:
    wanting = globus_service.collection(tmp_path / "three", consent=True)
    globus = of(globus_service)
    globus.wait(globus.submit(pair[0], wanting, [Item("/a", "/a")]))
    assert (tmp_path / "three" / "a").exists()


def test_a_token_without_the_consent_is_told_which_one_is_wanted(globus_service: GlobusStandIn, pair: tuple[str, str], tmp_path: Path) -> None:
    wanting = globus_service.collection(tmp_path / "three", consent=True)
    with pytest.raises(GlobusConsentError, match="fedproxy globus login --consent") as caught:
        Globus(Login(transfer_token=globus_service.access_token())).submit(pair[0], wanting, [Item("/a", "/a")])
    assert wanting in caught.value.scopes[0]


def test_a_wrong_secret_no_login_and_an_expired_token_are_login_errors(globus_service: GlobusStandIn, pair: tuple[str, str]) -> None:
    client, _ = globus_service.confidential_client()
    expired = globus_service.access_token(life_s=-1)
    for login in (Login(client, "wrong"), Login(str(uuid.uuid4())), Login(transfer_token=expired), None):
        with pytest.raises(GlobusLoginError):
            Globus(login).find(pair[0], "/a")


def test_no_error_leads_to_a_secret(globus_service: GlobusStandIn, pair: tuple[str, str]) -> None:
    token = globus_service.access_token(life_s=-1)
    globus = Globus(Login(transfer_token=token))
    with pytest.raises(GlobusLoginError) as caught:
        globus.find(pair[0], "/a")
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    frames = traceback.TracebackException.from_exception(caught.value, capture_locals=True).stack
    told = [str(frame.locals) for frame in frames if "/fedproxy/" in frame.filename]
    assert told
    assert token not in "".join(told)


def test_an_unknown_collection_and_a_dead_service_are_unavailable_routes(globus_service: GlobusStandIn, pair: tuple[str, str]) -> None:
    with pytest.raises(RouteUnavailableError, match="EndpointNotFound"):
        of(globus_service).find(str(uuid.uuid4()), "/a")


def test_the_login_comes_from_the_environment_else_from_a_private_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDPROXY_HOME", str(tmp_path))
    assert not find_login({})
    path = tmp_path / "globus.json"
    path.write_text(json.dumps({"client_id": "c", "client_secret": "s"}))
    path.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        find_login({})
    path.chmod(0o600)
    assert find_login({}) == Login("c", "s")
    assert find_login({"FEDPROXY_GLOBUS_TRANSFER_TOKEN": "t"}) == Login(transfer_token="t")
    assert "t" not in repr(Login("", "", "t")).replace("transfer_token", "").replace("client_secret", "").replace("client_id", "").replace("Login", "")
