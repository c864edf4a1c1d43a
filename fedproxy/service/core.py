"""The parts of the service that share one loop and one ledger, tied together."""

from __future__ import annotations

from attrs import define

from fedproxy.config.reserve import Reserve
from fedproxy.config.service import ServiceConfig
from fedproxy.protocol.tickets import Signer
from fedproxy.service.accounts import Accounts
from fedproxy.service.admission import Admission
from fedproxy.service.catalog import Catalog
from fedproxy.service.commit import GroupCommit
from fedproxy.service.ledger import Ledger
from fedproxy.service.queues import Queues
from fedproxy.service.registry import Registry
from fedproxy.service.relay import Relay
from fedproxy.service.replicas import Replicas
from fedproxy.service.signing import open_signer
from fedproxy.service.stats import Stats
from fedproxy.service.streams import Streams
from fedproxy.service.transfers import Transfers


@define
class Core:
    """What routes and forwarder work on."""

    config: ServiceConfig
    ledger: Ledger
    commit: GroupCommit
    accounts: Accounts
    catalog: Catalog
    registry: Registry
    queues: Queues
    streams: Streams
    stats: Stats
    signer: Signer
    replicas: Replicas
    transfers: Transfers
    relay: Relay
    admission: Admission
    seq: int
    """The last used place of a task."""
    done_seq: int
    """The last used place of an ending."""

    @classmethod
    def open(cls, config: ServiceConfig) -> Core:
        """Open the ledger and read back what is not finished. Needs a running loop."""
        ledger = Ledger(config.directory / "service.db")
        commit = GroupCommit(ledger, Reserve(config.directory / "reserve"))
        seq, done_seq = ledger.highest()
        core = cls(config, ledger, commit, Accounts(ledger), Catalog(ledger, commit), Registry(ledger, commit), Queues(), Streams(), Stats(),
                   open_signer(config.directory / "ticket.key"), Replicas(ledger, commit), Transfers(ledger, commit),
                   Relay(config.directory / "relay", config.relay, on=config.relays), Admission(config.limits, ledger.live_by_user()), seq, done_seq)
        core.streams.committed = done_seq
        return core

    async def close(self) -> None:
        """Commit what is left and close the ledger."""
        self.streams.close()
        await self.commit.close()
        self.ledger.close()
