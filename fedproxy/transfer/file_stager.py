"""Brings files to a site and sends them from it: in the agent for its workers, in the client for itself.

Strategy: what many wait for is fetched once. URLs are fetched by a few threads; of one Globus collection, all files that are wanted while a transfer
is under way go together in the next. A file without a digest may change where it is, so a copy of it is used only by tasks that wait or run while it is
here; one with a digest stays until room is needed.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import cache, partial
from pathlib import Path
from urllib.parse import unquote, urlsplit

import xxhash
from attrs import define, field

from fedproxy.config.endpoint import Transfer
from fedproxy.config.files import load_transfer
from fedproxy.config.home import home, private_dir
from fedproxy.errors import (
    DigestMismatchError,
    FedproxyError,
    RouteUnavailableError,
    SourceLostError,
    StagingFullError,
    TransferCancelledError,
    TransferError,
    TransferStalledError,
)
from fedproxy.store.connectors.globus_client import Globus, Pace
from fedproxy.store.ref import Ref
from fedproxy.transfer import file_globus, file_urls
from fedproxy.transfer.guard import Guard
from fedproxy.transfer.remote_file import FileSpec, place_of, refuse_links, shown
from fedproxy.transfer.sites import GlobusOffer

_THREADS = 4
_AGAIN = 3
_WORTH_ANOTHER_TRY = (SourceLostError, TransferStalledError, RouteUnavailableError)
_ANY_HOST = ("0.0.0.0/0", "::/0")


@define(eq=False)
class _Job:
    spec: FileSpec
    done: Future[None] = field(factory=Future)
    followers: list[Future[None]] = field(factory=list)

    def wanted(self) -> bool:
        """Whether anybody still waits for it."""
        return not self.followers or not all(each.cancelled() for each in list(self.followers))


class FileStager:
    """One site's, or one client's. Thread-safe."""

    def __init__(self, folder: Path, config: Transfer, *, guard: Guard | None = None, globus: Globus | None = None) -> None:
        self.folder, self._config = private_dir(folder), config
        self._guard = guard or Guard(config.allowed_hosts)
        self._globus = globus or Globus(pace=Pace.of(config.stall_s))
        self._offer = GlobusOffer(config.globus_collection, config.globus_base_path, config.globus_folder)
        self._pool = ThreadPoolExecutor(_THREADS, "fedproxy-files")
        self._lock = threading.Lock()
        self._coming: dict[str, _Job] = {}
        self._pinned: Counter[str] = Counter()
        self._fresh: set[str] = set()
        """Copies without a digest that are used now."""
        self._globus_jobs: dict[str, list[_Job]] = {}
        self._busy: set[str] = set()
        """Collections that a thread is at work with."""

    # ------------------------------------------------------------ for those who ask

    def stage(self, refs: Sequence[Ref]) -> list[Future[None]]:
        """Have files here, or sent from here. Each future ends when that is so."""
        started = [self._start(ref) for ref in refs]
        self._start_collections()
        return [self._follow(each) for each in started]

    def bring(self, spec: FileSpec) -> Path:
        """Have one here, and wait for it."""
        self.stage([spec.to_ref()])[0].result()
        return place_of(self.folder, spec)

    def pin(self, name: str) -> None:
        """Somebody waits for this one (by its ref's object id), or works with it."""
        with self._lock:
            self._pinned[name] += 1

    def unpin(self, name: str) -> None:
        """See `pin`. What nobody needs, and may be old, goes."""
        with self._lock:
            self._pinned[name] -= 1
            if self._pinned[name] > 0:
                return
            del self._pinned[name]
            if name not in self._fresh:
                return
            self._fresh.discard(name)
        _remove(self.folder / name)

    def close(self) -> None:
        """Stop; idempotent."""
        self._globus.close()
        self._pool.shutdown(wait=True, cancel_futures=True)

    @staticmethod
    def _follow(job: _Job) -> Future[None]:
        """A future of one's own: to cancel it takes nothing from the others."""
        own: Future[None] = Future()
        job.followers.append(own)

        def over(done: Future[None]) -> None:
            if own.set_running_or_notify_cancel():
                error = TransferError("the stager was stopped") if done.cancelled() else done.exception()
                own.set_exception(error) if error is not None else own.set_result(None)

        job.done.add_done_callback(over)
        return own

    def _start(self, ref: Ref) -> _Job:
        try:
            spec = FileSpec.from_ref(ref)
        except FedproxyError as exc:
            job = _Job(FileSpec(""))
            job.done.set_exception(exc)
            return job
        name, job = ref.object_id, _Job(spec)
        with self._lock:
            if name in self._coming:
                return self._coming[name]
            if self._is_here(spec, name):
                job.done.set_result(None)
                return job
            self._coming[name] = job
        job.done.add_done_callback(lambda _: self._coming.pop(name, None))
        if urlsplit(spec.url).scheme == "globus":
            self._with_others(job)
        else:
            self._pool.submit(self._work, [job], self._by_url)
        return job

    def _is_here(self, spec: FileSpec, name: str) -> bool:
        return not spec.output and bool(spec.digest or name in self._fresh) and place_of(self.folder, spec).exists()

    # ------------------------------------------------------------ work

    def _with_others(self, job: _Job) -> None:
        """What is wanted of a collection while a transfer with it is under way goes in the next one."""
        with self._lock:
            self._globus_jobs.setdefault(urlsplit(job.spec.url).netloc, []).append(job)

    def _start_collections(self) -> None:
        with self._lock:
            idle = self._globus_jobs.keys() - self._busy
            self._busy |= idle
        for collection in idle:
            self._pool.submit(self._collection, collection)

    def _collection(self, collection: str) -> None:
        while True:
            with self._lock:
                jobs = self._globus_jobs.pop(collection, [])
                if not jobs:
                    self._busy.discard(collection)
                    return
            for sending in (False, True):
                chosen = [job for job in jobs if bool(job.spec.output) is sending]
                if chosen:
                    self._work(chosen, partial(self._by_globus, collection))

    def _work(self, jobs: Sequence[_Job], move: Callable[[Sequence[_Job]], None]) -> None:
        problem: Exception | None = None
        for attempt in range(_AGAIN):
            try:
                if not any(job.wanted() for job in jobs):
                    raise TransferCancelledError("nobody wants it any more")
                move(jobs)
                problem = None
                break
            except _WORTH_ANOTHER_TRY as exc:
                problem = exc
                time.sleep(0.2 * 2**attempt)
            except Exception as exc:  # noqa: BLE001 - the boundary of a job: whatever went wrong is its result
                problem = exc if isinstance(exc, FedproxyError) else TransferError(f"{type(exc).__name__}: {exc}")
                break
        for job in jobs:
            if not job.done.done():
                job.done.set_exception(problem) if problem is not None else job.done.set_result(None)

    def _by_url(self, jobs: Sequence[_Job]) -> None:
        (job,) = jobs
        if job.spec.output:
            refuse_links(Path(job.spec.output))
            file_urls.send(Path(job.spec.output), job.spec.url, self._guard, stall_s=self._config.stall_s)
            return
        arriving = self._arriving(job.spec)
        file_urls.fetch(job.spec.url, arriving, job.spec.directory, self._guard, stall_s=self._config.stall_s, room=partial(self._room, job))
        self._arrived(job.spec, arriving)

    def _by_globus(self, collection: str, jobs: Sequence[_Job]) -> None:
        paths = {job: unquote(urlsplit(job.spec.url).path) for job in jobs}
        if jobs[0].spec.output:
            for job in jobs:
                refuse_links(Path(job.spec.output))
            file_globus.send(self._globus, self._offer, collection, [(Path(job.spec.output), path) for job, path in paths.items()])
            return
        arriving = {job: self._arriving(job.spec) for job in jobs}
        wanted = [(path, arriving[job], job.spec.directory) for job, path in paths.items()]
        lost = file_globus.fetch(self._globus, self._offer, collection, wanted, lambda: any(job.wanted() for job in jobs))
        for job in jobs:
            try:
                if paths[job] in lost:
                    raise SourceLostError(f"Globus could not read {shown(job.spec.url)}: {lost[paths[job]]}")
                self._arrived(job.spec, arriving[job])
            except FedproxyError as exc:
                job.done.set_exception(exc)

    # ------------------------------------------------------------ copies

    def _arriving(self, spec: FileSpec) -> Path:
        folder = private_dir(self.folder / spec.to_ref().object_id)
        path = folder / f".{spec.name}.part"
        _remove(path)
        return path

    def _arrived(self, spec: FileSpec, arrived: Path) -> None:
        """Check it, and let it be seen.

        Raises:
            FilePathError: there are symbolic links in it.
            DigestMismatchError: it is something else.
        """
        try:
            refuse_links(arrived)
            found = f"{spec.digest.partition(':')[0]}:{_digest(arrived, spec.digest)}" if spec.digest else ""
            if found != spec.digest:
                raise DigestMismatchError(f"{shown(spec.url)} has the digest {found}, not {spec.digest}")
        except FedproxyError:
            _remove(arrived)
            raise
        _read_only(arrived)
        place, name = place_of(self.folder, spec), spec.to_ref().object_id
        _remove(place)
        os.rename(arrived, place)
        with self._lock:
            if not spec.digest:
                self._fresh.add(name)
            pinned = bool(self._pinned[name])
        if not pinned and not spec.digest:
            self._fresh.discard(name)  # whoever asked uses it; the next one has it fetched anew

    def _room(self, job: _Job, size: int) -> None:
        """Asked before each piece. Raises TransferCancelledError, StagingFullError."""
        if not job.wanted():
            raise TransferCancelledError("nobody wants it any more")
        if size:
            self._make_room(size)

    def _make_room(self, size: int) -> None:
        """Room for so many bytes: copies that nobody uses go, the longest unused first.

        Raises:
            StagingFullError: there is none.
        """
        entries = sorted((entry for entry in os.scandir(self.folder) if entry.name != "outgoing"), key=lambda entry: entry.stat().st_atime)
        sizes = {entry.name: _size(Path(entry.path)) for entry in entries}
        used = sum(sizes.values())
        for entry in entries:
            if used + size <= self._config.space_bytes:
                break
            if entry.name not in self._pinned and entry.name not in self._coming:
                _remove(Path(entry.path))
                used -= sizes[entry.name]
        if used + size > self._config.space_bytes or size > shutil.disk_usage(self.folder).free:
            raise StagingFullError(f"no room for {size:,} bytes: {used:,} of {self._config.space_bytes:,} are in use", hint="raise transfer.space_bytes")


@cache
def own_stager() -> FileStager:
    """This process's, where no agent has one for it. What its user opens may lie anywhere."""
    return FileStager(home() / "client" / "files", load_transfer(), guard=Guard(_ANY_HOST))


def _digest(path: Path, wanted: str) -> str:
    kind = wanted.partition(":")[0]
    with path.open("rb") as file:
        return hashlib.file_digest(file, xxhash.xxh3_64 if kind == "xxh3_64" else kind).hexdigest()


def _size(path: Path) -> int:
    return sum(each.lstat().st_size for each in path.rglob("*") if each.is_file())


def _read_only(path: Path) -> None:
    for each in (path, *path.rglob("*")):
        each.chmod(0o500 if each.is_dir() else 0o400)
    if path.is_dir():
        path.chmod(0o700)  # it is to be renamed


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        for each in (path, *path.rglob("*")):
            if each.is_dir() and not each.is_symlink():
                with suppress(OSError):
                    each.chmod(0o700)
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
