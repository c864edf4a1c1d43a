"""Files as arguments and results: by HTTP, object storage and Globus, to and from real endpoints."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

import fedproxy
from fedproxy.dispatch.executor import Executor
from fedproxy.errors import DigestMismatchError, FilePathError, ForbiddenAddressError, GlobusTaskError, SourceLostError
from fedproxy.store.ref import Ref
from fedproxy.testing.globus import GlobusStandIn
from fedproxy.transfer.file_stager import own_stager
from fedproxy.transfer.remote_file import SCHEME, FileSpec, refuse_links
from tests.programs import wait_for
from tests.transfer.sites import Sites, at_site
from tests.transfer.web import Ranged, web_server

pytestmark = pytest.mark.slow


class Files(Ranged):
    """Ranges and PUT, as a web server with WebDAV has them. Counts what is read."""

    reads: Counter[str] = Counter()

    def was_read(self, nbytes: int) -> None:
        self.reads[self.path] += nbytes > 1

    def do_PUT(self) -> None:
        Path(self.translate_path(self.path)).write_bytes(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(201)
        self.send_header("Content-Length", "0")
        self.end_headers()


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    folder = tmp_path_factory.mktemp("web")
    with web_server(folder, handler=Files) as url:
        yield folder, url


@pytest.fixture(scope="module")
def archive(globus: GlobusStandIn, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A collection that belongs to no site."""
    folder = tmp_path_factory.mktemp("archive")
    return globus.collection(folder), folder


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory, globus: GlobusStandIn, s3: str) -> Iterator[Sites]:
    """``lab`` may read from this machine and has a collection; ``strict`` may not, and has none; ``lazy`` fetches when it must."""
    made = Sites(tmp_path_factory.mktemp("sites"))
    with at_site("laptop", made.folder):
        own_stager.cache_clear()
        try:
            with made:
                shown = made.folder / "lab-collection"
                made.start("lab", workers=2, allowed_hosts=("127.0.0.1",), globus_collection=globus.collection(shown), globus_folder=str(shown))
                made.start("strict")
                made.start("lazy", prefetch=False, allowed_hosts=("127.0.0.1",))
                yield made
        finally:
            own_stager().close()
            own_stager.cache_clear()


@pytest.fixture(scope="module")
def lab(sites: Sites) -> Iterator[Executor]:
    with sites.client() as client, Executor("lab", client=client) as made:
        yield made


def size(*files: fedproxy.RemoteFile) -> int:
    return sum(os.path.getsize(file) for file in files)


def about(file: fedproxy.RemoteFile) -> tuple[str, bytes, bool]:
    with open(file, "rb") as opened:
        return file.path.name, opened.read(), bool(file.path.stat().st_mode & 0o222)


def tree(folder: fedproxy.RemoteFile) -> dict[str, str]:
    return {str(path.relative_to(folder.path)): path.read_text() for path in folder.path.rglob("*") if path.is_file()}


def made(text: str, **options: object) -> object:
    import fedproxy as there

    name = "made.txt"
    Path(name).write_text(text)
    kind = there.GlobusFile if "collection" in options else there.RemoteFile
    file = kind(**options, output=name)  # type: ignore[arg-type]
    Path(name).unlink()
    return [file]


def test_a_file_is_there_before_the_call_under_its_own_name_and_read_only(lab: Executor, web: tuple[Path, str]) -> None:
    folder, url = web
    (folder / "a b.bin").write_bytes(data := os.urandom(5_000_000))
    assert lab.submit(about, fedproxy.RemoteFile(f"{url}/a%20b.bin")).result(60) == ("a b.bin", data, False)


def test_what_changed_at_its_place_is_fetched_anew(lab: Executor, web: tuple[Path, str]) -> None:
    folder, url = web
    for text in ("one", "two!"):
        (folder / "changes").write_text(text)
        assert lab.submit(size, fedproxy.RemoteFile(f"{url}/changes")).result(60) == len(text)


def test_one_with_a_digest_is_checked_and_fetched_once(lab: Executor, web: tuple[Path, str]) -> None:
    folder, url = web
    (folder / "fixed").write_bytes(data := os.urandom(100_000))
    file = fedproxy.RemoteFile(f"{url}/fixed", digest=f"sha256:{hashlib.sha256(data).hexdigest()}")
    assert [future.result(60) for future in [lab.submit(size, file) for _ in range(6)]] == [100_000] * 6
    assert lab.submit(size, file).result(60) == 100_000
    assert Files.reads["/fixed"] == 1
    wrong = fedproxy.RemoteFile(f"{url}/fixed", digest=f"sha256:{'0' * 64}")
    with pytest.raises(DigestMismatchError, match="has the digest sha256:"):
        lab.submit(size, wrong).result(60)


def test_a_file_that_is_not_there_fails_the_task_before_it_starts(lab: Executor, web: tuple[Path, str]) -> None:
    with pytest.raises(SourceLostError, match="404"):
        lab.submit(size, fedproxy.RemoteFile(f"{web[1]}/nothing")).result(60)


def test_a_url_into_the_endpoints_own_network_is_refused(sites: Sites, web: tuple[Path, str]) -> None:
    (web[0] / "inside").write_text("secret")
    with sites.client() as client, Executor("strict", client=client) as strict:
        for url in (f"{web[1]}/inside", "http://169.254.169.254/latest/meta-data", "ftp://127.0.0.1/x"):
            with pytest.raises(ForbiddenAddressError):
                strict.submit(size, fedproxy.RemoteFile(url)).result(60)
        with pytest.raises(ForbiddenAddressError):
            strict.submit(made, "x", url=f"{web[1]}/inside").result(60)
    assert (web[0] / "inside").read_text() == "secret"


def test_without_prefetch_a_file_comes_when_it_is_opened(sites: Sites, web: tuple[Path, str]) -> None:
    file = fedproxy.RemoteFile(f"{web[1]}/late")
    with sites.client() as client, Executor("lazy", client=client) as lazy:
        for text in ("1", "22"):
            (web[0] / "late").write_text(text)
            assert lazy.submit(size, file).result(60) == len(text)
        with pytest.raises(SourceLostError, match="404"):
            lazy.submit(size, fedproxy.RemoteFile(f"{web[1]}/never")).result(60)


def test_a_result_is_sent_to_its_url_and_opened_at_the_client(lab: Executor, web: tuple[Path, str]) -> None:
    (file,) = lab.submit(made, "from far", url=f"{web[1]}/result.txt").result(60)  # type: ignore[misc]
    assert (web[0] / "result.txt").read_text() == "from far"
    with file.open("r") as opened:
        assert opened.read() == "from far"


def test_a_file_of_the_client_is_sent_before_the_call(lab: Executor, web: tuple[Path, str], tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("from here")
    assert lab.submit(about, fedproxy.RemoteFile(f"{web[1]}/given", output=tmp_path / "mine")).result(60)[1] == b"from here"


def test_a_file_that_one_task_made_is_the_argument_of_the_next(lab: Executor, web: tuple[Path, str]) -> None:
    def first(files: list[fedproxy.RemoteFile]) -> int:
        return os.path.getsize(files[0])

    assert lab.submit(first, lab.submit(made, "12345", url=f"{web[1]}/between")).result(60) == 5


def test_a_command_line_has_the_local_path(lab: Executor, web: tuple[Path, str]) -> None:
    (web[0] / "words").write_text("one two three")
    assert lab.submit(fedproxy.ShellFunction("wc -w < {file}"), file=fedproxy.RemoteFile(f"{web[1]}/words")).result(60).stdout.strip() == "3"


def test_folders_come_from_object_storage_and_go_there(lab: Executor, s3: str, tmp_path: Path) -> None:
    url = f"s3://bucket/folder?endpoint_url={s3}"
    (tmp_path / "folder" / "sub").mkdir(parents=True)
    (tmp_path / "folder" / "a").write_text("A")
    (tmp_path / "folder" / "sub" / "b").write_text("B")
    assert lab.submit(tree, fedproxy.RemoteFile(url, output=tmp_path / "folder")).result(60) == {"a": "A", "sub/b": "B"}


def test_a_hundred_globus_files_are_one_transfer(lab: Executor, globus: GlobusStandIn, archive: tuple[str, Path]) -> None:
    collection, folder = archive
    for index in range(100):
        (folder / f"image-{index}").write_bytes(bytes(1_000 + index))
    before = len(globus.transfers())
    globus.faults.corrupt["image-7"] = 1
    assert lab.submit(size, *(fedproxy.GlobusFile(collection, f"/image-{index}") for index in range(100))).result(60) == 100_000 + sum(range(100))
    assert [(len(task.items), task.faults) for task in globus.transfers()[before:]] == [(100, 1)]


def test_globus_folders_come_and_results_go_to_a_collection(lab: Executor, archive: tuple[str, Path], sites: Sites) -> None:
    collection, folder = archive
    (folder / "run" / "deep").mkdir(parents=True)
    (folder / "run" / "deep" / "x").write_text("X")
    (folder / "run" / "link").symlink_to("/etc/passwd")
    assert lab.submit(tree, fedproxy.GlobusFile(collection, "/run/")).result(60) == {"deep/x": "X"}
    lab.submit(made, "by globus", collection=collection, path="/out/result.txt").result(60)
    assert (folder / "out" / "result.txt").read_text() == "by globus"
    left = [path for path in (sites.folder / "lab-collection").rglob("*") if path.is_file()]
    assert left == []


def test_a_globus_file_that_is_gone_and_a_task_that_failed_are_typed_errors(lab: Executor, globus: GlobusStandIn, archive: tuple[str, Path]) -> None:
    with pytest.raises(SourceLostError, match="FILE_NOT_FOUND"):
        lab.submit(size, fedproxy.GlobusFile(archive[0], "/none")).result(60)
    globus.faults.fail = ("PERMISSION_DENIED", "not yours")
    try:
        with pytest.raises(GlobusTaskError, match="not yours"):
            lab.submit(size, fedproxy.GlobusFile(archive[0], "/none")).result(60)
    finally:
        globus.faults.fail = None


def test_a_cancelled_task_ends_its_transfer_at_globus(lab: Executor, globus: GlobusStandIn, archive: tuple[str, Path]) -> None:
    (archive[1] / "slow").write_text("x")
    before = len(globus.transfers())
    globus.faults.slow_s = 60.0
    try:
        future = lab.submit(size, fedproxy.GlobusFile(archive[0], "/slow"))
        wait_for(lambda: len(globus.transfers()) > before, "the transfer")
        assert future.cancel()
        wait_for(globus.transfers()[-1].cancelled.is_set, "its end", 60)
    finally:
        globus.faults.slow_s = 0.0


def test_a_worker_reads_a_store_in_a_collection_through_its_sites_own(lab: Executor, globus: GlobusStandIn, archive: tuple[str, Path],
                                                                       monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDPROXY_TRANSFER_GLOBUS_COLLECTION", archive[0])
    monkeypatch.setenv("FEDPROXY_TRANSFER_GLOBUS_FOLDER", str(archive[1]))
    url = f"globus://{archive[0]}/objects"

    def read(refs: list[Ref]) -> list[int]:
        return list(fedproxy.Store.from_url(url).get_batch(refs))

    with fedproxy.Store.from_url(url) as store:
        refs = list(store.put_batch([1, 2, 3]))
        before = len(globus.transfers())
        assert lab.submit(read, refs).result(60) == [1, 2, 3]
    assert [len(task.items) for task in globus.transfers()[before:]] == [len({ref.key for ref in refs})]


def test_the_signature_in_a_url_is_not_shown() -> None:
    file = fedproxy.RemoteFile("https://host/x?X-Amz-Signature=secret")
    assert "secret" not in repr(file)
    with pytest.raises(FilePathError) as caught:
        fedproxy.RemoteFile("https://host/../x?X-Amz-Signature=secret")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("url", ["https://host/a/../b", "https://host/%2e%2e/b", "s3://bucket/..", "no-url", "ftp://user:secret@host/x"])
def test_a_path_that_leads_elsewhere_is_refused(url: str) -> None:
    with pytest.raises(FilePathError):
        fedproxy.RemoteFile(url)
    with pytest.raises(FilePathError):
        FileSpec.from_ref(Ref(SCHEME + url, json.dumps(["", False, ""]), 0))


def test_symbolic_links_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "link").symlink_to("/etc/passwd")
    for path in (tmp_path / "d", tmp_path / "d" / "link", tmp_path / "none"):
        with pytest.raises(FilePathError):
            refuse_links(path)
        with pytest.raises(FilePathError):
            fedproxy.RemoteFile("https://host/x", output=path)
