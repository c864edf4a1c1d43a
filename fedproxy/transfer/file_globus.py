"""Files between Globus collections and this site's own: one transfer for many."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from fedproxy.config.home import private_dir
from fedproxy.store.connectors.globus_client import Globus, Item
from fedproxy.transfer.routes.globus import ARRIVING, EXPORTS, Shown, move_file
from fedproxy.transfer.sites import GlobusOffer


def fetch(globus: Globus, here: GlobusOffer, collection: str, wanted: Sequence[tuple[str, Path, bool]],
          still: Callable[[], bool]) -> dict[str, str]:
    """Bring (path in the collection, where to, whether it is a folder), while ``still`` somebody waits. Returns the paths that could not be read, and why.

    Raises:
        TransferError: as `Globus.submit` and `Globus.wait`.
    """
    shown = Shown.of(here)
    landing = private_dir(shown.our_folder(ARRIVING) / secrets.token_hex(8))
    try:
        items = [Item(path, shown.path_of(landing / str(index)) or "", directory) for index, (path, _, directory) in enumerate(wanted)]
        task_id = globus.submit(collection, shown.collection, items, label=f"fedproxy {len(items)} files")
        globus.wait(task_id, wanted=still)
        lost = globus.lost(task_id)
        for index, (path, target, directory) in enumerate(wanted):
            if path in lost:
                continue
            if directory:
                shutil.move(landing / str(index), target)
            else:
                move_file(landing / str(index), target)
        return lost
    finally:
        shutil.rmtree(landing, ignore_errors=True)


def send(globus: Globus, here: GlobusOffer, collection: str, outputs: Sequence[tuple[Path, str]]) -> None:
    """Send (local path, path in the collection). Raises as `fetch`."""
    shown = Shown.of(here)
    leaving = private_dir(shown.our_folder(EXPORTS) / f"files-{secrets.token_hex(8)}")
    try:
        items = []
        for index, (path, target) in enumerate(outputs):
            copy = leaving / str(index)
            if path.is_dir():
                shutil.copytree(path, copy, symlinks=True)
            else:
                _link(path, copy)
            items.append(Item(shown.path_of(copy) or "", target, path.is_dir()))
        globus.wait(globus.submit(shown.collection, collection, items, label=f"fedproxy {len(items)} files"))
    finally:
        shutil.rmtree(leaving, ignore_errors=True)


def _link(path: Path, copy: Path) -> None:
    try:
        os.link(path, copy, follow_symlinks=False)
    except OSError:
        shutil.copyfile(path, copy, follow_symlinks=False)
