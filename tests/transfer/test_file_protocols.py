"""FTP and SFTP against real servers: as what a site publishes, and as files of tasks."""

from __future__ import annotations

import getpass
import os
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from attrs import frozen
from paramiko import Transport

from fedproxy.errors import FedproxyError, ForbiddenAddressError, SourceLostError, TransferError, TransferStalledError
from fedproxy.store import Store, ref_of
from fedproxy.store.credentials import Credentials, listed_credentials, publish, withdraw
from fedproxy.transfer.file_urls import fetch, send
from fedproxy.transfer.guard import Guard
from fedproxy.transfer.objects import Replica, Wanted
from fedproxy.transfer.partial import LEAF_BYTES, Partial
from fedproxy.transfer.routes.base import Move, Trip
from fedproxy.transfer.routes.url import UrlRoute, open_url, receive
from fedproxy.transfer.sites import Site
from tests.programs import wait_for
from tests.transfer.file_servers import PASSWORD, USER, ftp_server, sftp_server
from tests.transfer.gated_proxy import GatedProxy

HERE = Guard(("127.0.0.1",))


@frozen
class Served:
    """A folder, and where a real server has it."""

    folder: Path
    base: str
    options: str

    def url(self, name: str = "") -> str:
        return f"{self.base}/{name}{self.options}"


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Served]]:
    folder, keys = tmp_path_factory.mktemp("files"), tmp_path_factory.mktemp("keys")
    with pytest.MonkeyPatch.context() as patch, ftp_server(folder) as ftp, sftp_server(keys) as sftp:
        patch.setenv("FEDPROXY_HOME", str(tmp_path_factory.mktemp("home")))
        publish({ftp.partition("://")[2]: Credentials(USER, PASSWORD), sftp.partition("://")[2]: Credentials(getpass.getuser(), None)})
        yield {"ftp": Served(folder, ftp, ""), "sftp": Served(folder, f"{sftp}{folder}", f"?key_filename={keys / 'user'}")}
        wait_for(lambda: not [thread for thread in threading.enumerate() if isinstance(thread, Transport)], "the end of every SSH connection")


@pytest.fixture(params=["ftp", "sftp"])
def served(request: pytest.FixtureRequest, servers: dict[str, Served]) -> Served:
    return servers[request.param]


def test_only_what_is_missing_of_a_file_is_read(served: Served, tmp_path: Path) -> None:
    data = os.urandom(2 * LEAF_BYTES + 12_345)
    (served.folder / "large").write_bytes(data)
    read: list[int] = []
    with closing(Partial(tmp_path, "x", len(data))) as partial, closing(open_url(served.url("large"), HERE, stall_s=5)) as source:
        assert source.size == len(data)
        digest = partial.pour(LEAF_BYTES, 2 * LEAF_BYTES, lambda view: view.__setitem__(slice(None), data[LEAF_BYTES:][:len(view)]))
        partial.settle(LEAF_BYTES, 2 * LEAF_BYTES, digest.hex())
        receive(source.read, partial, read.append)
        got = os.pread(partial.descriptor, len(data), 0)
    assert read == [LEAF_BYTES, 12_345]
    assert (got[:LEAF_BYTES], got[2 * LEAF_BYTES:]) == (data[:LEAF_BYTES], data[2 * LEAF_BYTES:])


def test_a_folder_goes_there_and_comes_back(served: Served, tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    (source / "below").mkdir(parents=True)
    (source / "one").write_bytes(b"1" * 100_000)
    (source / "below" / "with a space").write_bytes(b"2")
    (source / "empty").write_bytes(b"")
    place = served.url(f"made-{served.base[:4].strip(':')}/deep")
    send(source, place, HERE, stall_s=5)
    fetch(place, target, True, HERE, stall_s=5, room=lambda _count: None)
    assert {path.relative_to(target).as_posix(): path.read_bytes() for path in target.rglob("*") if path.is_file()} == {
        "one": b"1" * 100_000, "below/with a space": b"2", "empty": b""}


def test_a_file_that_is_not_there_is_lost_and_one_that_may_not_be_written_is_refused(served: Served, tmp_path: Path) -> None:
    with pytest.raises(SourceLostError, match="no such file"):
        open_url(served.url("nowhere"), HERE, stall_s=5)
    (tmp_path / "file").write_bytes(b"x")
    (served.folder / "taken").write_bytes(b"")
    with pytest.raises(TransferError):
        send(tmp_path / "file", served.url("taken/file"), HERE, stall_s=5)


def test_this_machine_is_not_reached_unless_it_is_allowed(served: Served) -> None:
    with pytest.raises(ForbiddenAddressError):
        open_url(served.url("large"), Guard(), stall_s=5)


def test_a_wrong_password_is_an_error_that_does_not_show_it(servers: dict[str, Served]) -> None:
    server = servers["ftp"].base.partition("://")[2]
    publish({server: Credentials(USER, "not this one")})
    try:
        with pytest.raises(FedproxyError) as caught:
            open_url(servers["ftp"].url("large"), HERE, stall_s=5)
        assert "not this one" not in str(caught.value)
    finally:
        publish({server: Credentials(USER, PASSWORD)})


def test_a_server_that_says_nothing_more_has_stalled(served: Served) -> None:
    (served.folder / "quiet").write_bytes(b"x" * 1_000)
    scheme, _, rest = served.base.partition("://")
    server, slash, path = rest.partition("/")
    proxy = GatedProxy()
    proxy.lead_to(f"http://{server}")
    gate = proxy.url.removeprefix("http://")
    publish({gate: listed_credentials(server)})
    try:
        with closing(open_url(f"{scheme}://{gate}{slash}{path}/quiet{served.options}", HERE, stall_s=1)) as source:
            proxy.allow(proxy.passed)
            with pytest.raises(TransferStalledError):
                source.read(0, 1_000)
    finally:
        withdraw([gate])
        proxy.close()


class Told:
    """What a route tells of its batch."""

    def __init__(self) -> None:
        self.whole: list[Move] = []
        self.errors: dict[Move, FedproxyError] = {}

    def advanced(self, move: Move, count: int) -> None:
        pass

    def arrived(self, move: Move) -> None:
        self.whole.append(move)

    def failed(self, move: Move, error: FedproxyError) -> None:
        self.errors[move] = error

    def cancelled(self, move: Move) -> bool:
        return False


def test_objects_of_a_store_that_is_published_come_by_the_url_route(served: Served, tmp_path: Path) -> None:
    store = Store.from_url(f"file://{served.folder}/store-{served.base[:4].strip(':')}")
    refs = [ref for size in (10, 100_000, LEAF_BYTES + 1) if (ref := ref_of(store.proxy(os.urandom(size)))) is not None]
    gone = Replica("lab", store.url, "gone")
    moves = [Move(Wanted.of(ref), Replica("lab", store.url, ref.key), Partial(tmp_path, ref.object_id, ref.size)) for ref in refs]
    moves.append(Move(Wanted("0" * 32, gone, 10, b""), gone, Partial(tmp_path, "gone", 10)))
    told = Told()
    site = Site("lab", published={store.url: f"{served.base}/store-{served.base[:4].strip(':')}{served.options}"})
    UrlRoute(HERE).fetch(moves, Trip(site, Site("here")), told)
    assert told.whole == moves[:3], told.errors
    for move, ref in zip(moves, refs, strict=False):
        assert os.pread(move.partial.descriptor, ref.size, 0) == bytes(store.connector.get(ref.key) or b"")
    assert isinstance(told.errors[moves[3]], SourceLostError)
    for move in moves:
        move.partial.close()
