"""Through Globus Transfer: all objects of a batch in one task for the pair of collections, checksums verified, nobody polls.

Strategy: what lies as a file inside the source's collection is read where it is; anything else its site lays there first (`export`). It lands in
the partial file itself where that is inside this site's collection, else beside it, and is then moved. A task outlives this process; whoever starts
again takes it up (`submissions`).
"""

from __future__ import annotations

import errno
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from attrs import define, frozen

from fedproxy.config.home import PRIVATE_FILE, private_dir
from fedproxy.config.lifetimes import TASK_DATA_TTL_S
from fedproxy.errors import DataLostError, FedproxyError, RouteUnavailableError, TransferCancelledError, TransferError
from fedproxy.store.connectors.base import Buffer
from fedproxy.store.connectors.globus_client import Globus, Item, Progress
from fedproxy.store.connectors.packs import place_of
from fedproxy.store.connectors.posix import write_all
from fedproxy.store.registry import open_store
from fedproxy.transfer.objects import Replica
from fedproxy.transfer.plan import GLOBUS, GLOBUS_EXPORT
from fedproxy.transfer.routes.base import Move, Outgoing, Trip, Watch
from fedproxy.transfer.routes.relay import exported
from fedproxy.transfer.service_link import ServiceLink
from fedproxy.transfer.sites import GlobusOffer, Site
from fedproxy.transfer.submissions import Pair, Submission, Submissions

EXPORTS, ARRIVING = "fedproxy-exports", "fedproxy-arriving"
"""Folders of ours in a site's collection."""
_STALE_S = 7 * 24 * 3600.0


@frozen
class Shown:
    """A folder of this machine, and where a collection shows it."""

    collection: str
    base: PurePosixPath
    folder: Path

    @classmethod
    def of(cls, offer: GlobusOffer) -> Shown:
        """What a site says of its own collection.

        Raises:
            RouteUnavailableError: it does not say which folder that shows.
        """
        if not (offer.collection and offer.folder):
            raise RouteUnavailableError("transfer.globus_collection and transfer.globus_folder are not both set at this site")
        return cls(offer.collection, PurePosixPath(offer.base_path), Path(os.path.realpath(offer.folder)))

    def path_of(self, path: Path) -> str | None:
        """A path of this machine as the collection's; None where the collection does not show it."""
        return _shown(self.base, self.folder, Path(os.path.realpath(path)))

    def our_folder(self, name: str) -> Path:
        """A folder of ours in it, 0700, without what was left there long ago."""
        folder = private_dir(self.folder / name)
        for entry in os.scandir(folder):
            with suppress(OSError):
                if entry.stat(follow_symlinks=False).st_mtime + _STALE_S < time.time() and not entry.is_dir(follow_symlinks=False):
                    os.unlink(entry.path)
        return folder


def _shown(base: PurePosixPath, folder: Path, path: Path) -> str | None:
    if ".." in path.parts or not path.is_relative_to(folder):
        return None
    return str(base / path.relative_to(folder))


def lies_at(source: Replica, site: Site) -> str | None:
    """The path of an object in the collection of the site where it lies; None where it is no file of its own there."""
    split = urlsplit(source.store)
    if split.scheme == GLOBUS_EXPORT:
        return f"{split.path}/{source.key}" if split.netloc == site.globus.collection else None
    own = {store.partition("?")[0] for store in site.stores}
    if split.scheme != "file" or not site.globus.folder or source.store.partition("?")[0] not in own or place_of(source.key) is not None:
        return None
    return _shown(PurePosixPath(site.globus.base_path), Path(site.globus.folder), Path(split.path) / source.key)


def exports_of(offer: GlobusOffer) -> str:
    """Where a site's exports are, as the store of copies."""
    return f"{GLOBUS_EXPORT}://{offer.collection}{PurePosixPath(offer.base_path) / EXPORTS}"


class GlobusRoute:
    """As whoever this machine is to Globus (see `globus_login`)."""

    name = GLOBUS

    def __init__(self, link: ServiceLink, globus: Globus | None = None, *, give_up_s: float = 600.0, notes: Path | None = None) -> None:
        """``notes``: a file that outlives the process, for tasks that are waited for."""
        self._link, self._globus, self._give_up_s = link, globus or Globus(), give_up_s
        self._submissions = Submissions(notes)

    def fetch(self, batch: Sequence[Move], trip: Trip, watch: Watch) -> None:
        """See `Route.fetch`."""
        shown = Shown.of(trip.here.globus)
        moves = [move for move in batch if not watch.cancelled(move)]
        paths = self._paths(moves, trip.source, watch)
        landing = {move: self._landing(shown, move) for move in paths}
        if not paths:
            return
        wanted = {(path, shown.path_of(landing[move]) or ""): move for move, path in paths.items()}
        problem: FedproxyError | None = None
        for submission, task_id in self._submit(trip.source.globus.collection, shown.collection, list(wanted)):
            moves = [wanted[pair] for pair in submission.pairs if pair in wanted]
            try:
                self._wait(task_id, {move: paths[move] for move in moves}, landing, watch)
            except FedproxyError as exc:
                problem = exc
            finally:
                self._submissions.end(submission)
        if problem is not None:
            raise problem

    def _submit(self, source: str, target: str, wanted: list[Pair]) -> list[tuple[Submission, str]]:
        """Tasks that bring all of it: those that an earlier process began, and one for the rest."""
        tasks = self._submissions.take_up(source, target, wanted)
        begun = {pair for each in tasks for pair in each.pairs}
        rest = tuple(pair for pair in wanted if pair not in begun)
        if rest:
            tasks.append(Submission(self._globus.new_submission(), source, target, rest))
            self._submissions.begin(tasks[-1])
        try:
            return [(each, self._globus.submit(
                source, target, [Item(*pair) for pair in each.pairs], label=f"fedproxy {len(each.pairs)} objects", submission=each.id)) for each in tasks]
        except FedproxyError:
            for each in tasks:
                self._submissions.leave(each)
            raise

    def _wait(self, task_id: str, paths: Mapping[Move, str], landing: Mapping[Move, Path], watch: Watch) -> None:
        spread = _Spread(list(paths), watch)
        self._globus.wait(task_id, told=spread.told, wanted=lambda: not all(map(watch.cancelled, paths)))
        lost = self._globus.lost(task_id)
        for move, path in paths.items():
            self._arrived(move, landing[move], lost.get(path, ""), watch)

    def _paths(self, moves: Sequence[Move], source: Site, watch: Watch) -> dict[Move, str]:
        """Where each lies in the source's collection; what does not lie there yet is laid there first."""
        paths = {move: path for move in moves if (path := lies_at(move.source, source)) is not None}
        others = [move for move in moves if move not in paths]

        def take(move: Move, copy: Replica) -> None:
            paths[move] = lies_at(copy, source) or ""

        if others:
            exported(self._link, GLOBUS, others, [exports_of(source.globus)], watch, take, self._give_up_s)
        return paths

    @staticmethod
    def _landing(shown: Shown, move: Move) -> Path:
        if shown.path_of(move.partial.path) is not None:
            return move.partial.path
        return shown.our_folder(ARRIVING) / move.partial.path.name

    @staticmethod
    def _arrived(move: Move, landing: Path, lost: str, watch: Watch) -> None:
        try:
            if lost:
                raise DataLostError(f"Globus could not read it: {lost}", key=move.source.key, store=move.source.store, site=move.source.site)
            if landing != move.partial.path:
                move_file(landing, move.partial.path)
            move.partial.size = move.wanted.size or landing_size(move.partial.path)
            move.partial.settle_all()
        except FedproxyError as exc:
            watch.failed(move, exc)
        except OSError as exc:
            watch.failed(move, TransferError(f"Globus says that it is here, but it is not: {exc}"))
        else:
            watch.arrived(move)

    def export(self, objects: Sequence[Outgoing], here: Site) -> list[Replica]:
        """See `SupportsExport.export`: copies as files in the site's collection."""
        folder = Shown.of(here.globus).our_folder(EXPORTS)
        self._forget_old(folder, here)
        for each in objects:
            data = open_store(each.replica.store).connector.get(each.replica.key)
            if data is None:
                raise DataLostError("the object is not there any more", key=each.replica.key, store=each.replica.store)
            _lay(folder / each.wanted.id, data)
        return [Replica(here.name, exports_of(here.globus), each.wanted.id) for each in objects]

    def _forget_old(self, folder: Path, here: Site) -> None:
        gone = [entry.name for entry in os.scandir(folder) if entry.stat(follow_symlinks=False).st_mtime + TASK_DATA_TTL_S < time.time()]
        with suppress(FedproxyError):
            self._link.remove_copies((name, exports_of(here.globus)) for name in gone)
        for name in gone:
            (folder / name).unlink(missing_ok=True)

    def close(self) -> None:
        """Tasks that are waited for are cancelled."""
        self._globus.close()


@define
class _Spread:
    """Globus tells bytes of the whole task; they are counted as the first object's, then the second's, and so on."""

    moves: Sequence[Move]
    watch: Watch
    done: int = 0
    at: int = 0
    of_this: int = 0

    def told(self, progress: Progress) -> None:
        """So far."""
        fresh, self.done = progress.bytes - self.done, max(self.done, progress.bytes)
        while fresh > 0 and self.at < len(self.moves):
            move = self.moves[self.at]
            part = min(fresh, max(0, move.wanted.size - self.of_this)) if self.at < len(self.moves) - 1 else fresh
            self.of_this += part
            fresh -= part
            with suppress(TransferCancelledError):  # the others are still wanted
                self.watch.advanced(move, part)
            if self.of_this >= move.wanted.size:
                self.at, self.of_this = self.at + 1, 0


def landing_size(path: Path) -> int:
    """Bytes of what has landed.

    Raises:
        TransferError: it is no plain file.
    """
    if path.is_symlink() or not path.is_file():
        raise TransferError(f"{path.name} is no plain file")
    return path.stat().st_size


def move_file(source: Path, target: Path) -> None:
    """Move a file, also to another file system."""
    landing_size(source)
    try:
        os.replace(source, target)
    except OSError as exc:
        if exc.errno != errno.EXDEV:
            raise
        shutil.copyfile(source, target, follow_symlinks=False)
        source.unlink()


def _lay(path: Path, data: Buffer) -> None:
    """Write a file that is seen whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, PRIVATE_FILE)
    try:
        write_all(descriptor, [data], 0)
    finally:
        os.close(descriptor)
    os.replace(temporary, path)
