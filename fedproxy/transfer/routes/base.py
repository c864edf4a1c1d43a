"""What every way between two sites must do: a batch of objects in, progress and a verdict for each out.

The stager decides what goes by which route (see `fedproxy.transfer.plan`), gives it in batches from one site, and does the rest: it opens the
partial files, checks digests, moves what has arrived into the site's store, tries again and tries other routes. A route only moves bytes. It runs
in a thread of the stager and may block.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from attrs import define, frozen

from fedproxy.errors import FedproxyError
from fedproxy.transfer.objects import Replica, Wanted
from fedproxy.transfer.partial import Partial
from fedproxy.transfer.sites import Site


@define(eq=False)
class Move:
    """One object on its way here: where from, and the file that it goes into."""

    wanted: Wanted
    source: Replica
    """Where it is to be read; the object's origin or a copy of it."""
    partial: Partial
    """What an earlier attempt left is in it: fetch `Partial.missing` only, or `forget` first where the route cannot resume."""

    @property
    def id(self) -> str:
        """The object's name at every site."""
        return self.wanted.id


class Watch(Protocol):
    """Where a route tells how it goes. Safe to call from many threads."""

    def advanced(self, move: Move, count: int) -> None:
        """So many more bytes of this one are in its file.

        Raises:
            TransferCancelledError: nobody wants it any more; go on with the others.
        """

    def arrived(self, move: Move) -> None:
        """All of it is in its file (``move.partial.complete``). Its end is checked and told at once: call it as early as possible."""

    def failed(self, move: Move, error: FedproxyError) -> None:
        """This one cannot be had by this route now; others of the batch may."""

    def cancelled(self, move: Move) -> bool:
        """Whether nobody wants it any more. Ask before starting on it, and now and then while waiting."""


@frozen
class Trip:
    """Between which sites a batch goes."""

    source: Site
    here: Site


@runtime_checkable
class Route(Protocol):
    """One way. Made once by the stager, used from several of its threads."""

    name: str
    """As in configuration and reports: ``bucket``, ``globus``, ``direct``, ``url``, ``relay``."""

    def fetch(self, batch: Sequence[Move], trip: Trip, watch: Watch) -> None:
        """Fetch all of the batch. Returns when each of its objects has arrived, failed or been cancelled.

        Raises:
            RouteUnavailableError: the route cannot be used between these sites now. What has neither arrived nor failed is tried by another.
            TransferError: likewise, for whatever else went wrong with the batch as a whole.
        """

    def close(self) -> None:
        """Let go of connections; idempotent."""


@frozen
class Outgoing:
    """An object of this site that is to be made available to others."""

    wanted: Wanted
    replica: Replica
    """Where it lies here."""


@runtime_checkable
class SupportsExport(Protocol):
    """A route whose source has something to do first: upload to a bucket or to the relay, lay a file into a Globus collection."""

    def export(self, objects: Sequence[Outgoing], here: Site) -> list[Replica]:
        """Runs at the source. Make the objects available to others; gives the copies that `fetch` will be given as ``source``, in order.

        Raises:
            TransferError: it cannot be done.
        """
