"""Commands to one Redis server or to a cluster: routed by key, redirected, retried on a kept link that had died.

Every command names one key, so that CROSSSLOT cannot happen; many go as one pipeline per server, the servers in
parallel.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from functools import partial
from threading import Thread
from typing import TypeVar

from attrs import frozen

from fedproxy.errors import StoreUnavailableError
from fedproxy.store.connectors.base import Parts
from fedproxy.store.connectors.redis_config import RedisConfig
from fedproxy.store.connectors.redis_link import Pool, translated
from fedproxy.store.connectors.redis_slots import SlotMap, parse_slots, redirect_target
from fedproxy.store.connectors.redis_wire import Reply, ReplyError, Wire

T = TypeVar("T")

REDIRECTS = 5
_REDIRECTS = ("MOVED", "ASK")


@frozen
class Value:
    """A command with a large argument that is sent from where it lies."""

    head: bytes
    parts: Parts
    nbytes: int
    tail: bytes


Command = bytes | Value


def send(wire: Wire, command: Command) -> None:
    """Put ``command`` on the wire."""
    if isinstance(command, bytes):
        wire.send(command)
    else:
        wire.send_value(command.head, command.parts, command.nbytes, command.tail)


class RedisClient:
    """One server, or the masters of a cluster."""

    def __init__(self, config: RedisConfig) -> None:
        self.config = config
        self._pools: dict[str, Pool] = {}
        self._map: SlotMap | None = None
        self._masters: tuple[str, ...] = ()
        self._only = None if config.cluster else self.pool(config.servers[0])

    def close(self) -> None:
        """Hang up everything idle."""
        for pool in list(self._pools.values()):
            pool.close()

    # where

    def pool(self, server: str) -> Pool:
        """The links to ``server``."""
        found = self._pools.get(server)
        return found if found is not None else self._pools.setdefault(server, Pool(self.config, server))

    def pool_for(self, key: bytes) -> Pool:
        """The links to the server that holds ``key``."""
        if self._only is not None:
            return self._only
        server = self._slots().server(key)
        if server is None:
            raise StoreUnavailableError(
                "no node of the Redis Cluster serves this key", store=self.config.url, hint="check CLUSTER INFO"
            )
        return self.pool(server)

    def masters(self) -> list[Pool]:
        """Every server that holds keys."""
        return [self._only] if self._only else [self.pool(server) for server in self._slots().masters]

    def by_pool(self, keys: Iterable[bytes]) -> list[tuple[Pool, list[int]]]:
        """Positions in ``keys``, by the server that holds them."""
        groups: dict[str, list[int]] = {}
        for index, key in enumerate(keys):
            groups.setdefault(self.pool_for(key).server, []).append(index)
        return [(self.pool(server), indexes) for server, indexes in groups.items()]

    def _slots(self) -> SlotMap:
        return self._map or self.refresh()

    def refresh(self) -> SlotMap:
        """Ask the cluster anew who holds what: the nodes known to be masters first, then those in the URL.

        Raises:
            StoreUnavailableError: no node answers.
        """
        failure: StoreUnavailableError | None = None
        for server in dict.fromkeys((*self._masters, *self.config.servers)):
            try:
                reply = self.pool(server).run(lambda wire: wire.call(b"CLUSTER", b"SLOTS"))
            except ReplyError as exc:
                raise self._no_cluster(server, exc) from exc
            except StoreUnavailableError as exc:
                failure = exc
                continue
            self._map = found = parse_slots(reply, server)
            self._masters = found.masters
            return found
        raise failure or StoreUnavailableError("no node of the Redis Cluster answers", store=self.config.url)

    def _no_cluster(self, server: str, exc: ReplyError) -> Exception:
        if "cluster support disabled" in exc.text:
            return StoreUnavailableError(
                f"Redis server {server} is not in cluster mode", store=self.config.url, hint="use redis://HOST:PORT"
            )
        return translated(exc, self.config, server)

    # what

    def ask(self, key: bytes, command: Command) -> Reply:
        """One command about ``key``.

        Raises:
            StoreUnavailableError: cannot be reached or refuses us.
            StoreFullError: ``maxmemory``.
        """
        pool = self.pool_for(key)
        link = pool.take()
        while True:
            try:
                send(link.wire, command)
                reply = link.wire.read()
                break
            except BaseException as exc:  # noqa: BLE001 - replace() raises all but a dead kept link
                self._map = None
                link = pool.replace(link, exc)
        pool.give(link)
        if type(reply) is ReplyError:
            return self.accepted(self._followed(command, reply, pool.server), pool.server)
        return reply

    def ask_all(self, key: bytes, commands: Sequence[Command]) -> list[Reply]:
        """A pipeline about ``key``; error replies stand in the list, redirections are followed."""
        pool = self.pool_for(key)

        def exchange(wire: Wire) -> list[Reply]:
            for command in commands:
                send(wire, command)
            return wire.read_many(len(commands))

        replies = self.run(pool, exchange)
        return [self.settled(*pair, pool.server) for pair in zip(commands, replies, strict=True)]

    def run(self, pool: Pool, work: Callable[[Wire], T]) -> T:
        """``work`` on a link of ``pool``; a failure makes the next call ask anew who holds what."""
        try:
            return pool.run(work)
        except StoreUnavailableError:
            self._map = None
            raise

    def settled(self, command: Command, reply: Reply, asked: str) -> Reply:
        """``reply`` to ``command``, or what the server says that ``reply`` redirects to."""
        return self._followed(command, reply, asked) if type(reply) is ReplyError else reply

    def accepted(self, reply: Reply, server: str = "") -> Reply:
        """``reply``, where it is not an error.

        Raises:
            StoreError: it is one, in our words.
        """
        if isinstance(reply, ReplyError):
            raise translated(reply, self.config, server or self.config.servers[0]) from reply
        return reply

    def _followed(self, command: Command, reply: ReplyError, asked: str) -> Reply:
        answer: Reply = reply
        for _ in range(REDIRECTS if self.config.cluster else 0):
            if not isinstance(answer, ReplyError) or answer.code not in _REDIRECTS:
                break
            self._map = None
            asking = answer.code == "ASK"
            asked = redirect_target(answer.text, asked)
            answer = self.pool(asked).run(partial(_redirected, command=command, asking=asking))
        return answer


def _redirected(wire: Wire, *, command: Command, asking: bool) -> Reply:
    if asking:
        wire.call(b"ASKING")
    send(wire, command)
    return wire.read()


def in_parallel(jobs: Sequence[Callable[[], T]]) -> list[T]:
    """The results of ``jobs`` in order, each in a thread of its own where there are several.

    Raises:
        BaseException: the first failure, after all have ended.
    """
    if len(jobs) == 1:
        return [jobs[0]()]
    futures: list[Future[T]] = [Future() for _ in jobs]
    threads = [Thread(target=_run, args=pair, daemon=True) for pair in zip(jobs, futures, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [future.result() for future in futures]


def _run(job: Callable[[], T], future: Future[T]) -> None:
    try:
        future.set_result(job())
    except BaseException as exc:  # noqa: BLE001 - handed to the caller's thread
        future.set_exception(exc)
