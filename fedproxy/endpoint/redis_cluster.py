"""The endpoint's own Redis servers: formed into a cluster, watched, restarted when they die, stopped with the agent.

Strategy: masters without replicas, each with an equal share of the slots. A server that dies is started again at once in the same folder, so that it
comes back with its name, its port and its slots; what it held in memory is gone unless ``persist: always``, and whoever needs it is told so by
`DataLostError`. Ports and password stay the same over restarts of the agent: proxies that were made before must find their objects.
One server alone is no cluster: it is ready at once and spares its clients the redirections.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import select
import shutil
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from fedproxy.config.home import private_dir, read_json, write_private
from fedproxy.config.redis import AttachedRedis
from fedproxy.config.sizes import size_bytes
from fedproxy.endpoint.interfaces import address_of
from fedproxy.endpoint.redis_node import CLUSTER_LINES, Door, RedisNode, free_port, is_free, require_binary, write_config
from fedproxy.errors import EndpointError
from fedproxy.protocol.report import RedisReport
from fedproxy.store.connectors.redis_wire import BrokenReplyError, ReplyError

log = logging.getLogger(__name__)

SLOTS = 16_384
STATE_FILE = "cluster.json"
_FORM_S = 30.0
_LOOK_S = 5.0
_LOOK_SOON_S = 0.2
"""While a server is not up."""
_BACKOFF_S = 0.1
_BACKOFF_MAX_S = 30.0
_STEADY_S = 60.0
"""A server that has run for so long has recovered: its next death is a first one again."""


def backoff_s(deaths: int) -> float:
    """How long to wait before a server that died ``deaths`` times in a row is started again."""
    return float(min(_BACKOFF_MAX_S, _BACKOFF_S * 2 ** max(0, deaths - 1)))


def slots_of(index: int, nodes: int) -> range:
    """The slots of the server ``index`` of ``nodes``: contiguous, equal shares."""
    return range(index * SLOTS // nodes, (index + 1) * SLOTS // nodes)


def join(doors: Sequence[Door], *, timeout_s: float = _FORM_S) -> None:
    """Make one cluster of fresh servers, and wait until every one of them knows that it is whole.

    Raises:
        EndpointError: not within ``timeout_s``, or a server refused.
    """
    try:
        for index, door in enumerate(doors):
            door.ask("CLUSTER", "ADDSLOTS", *slots_of(index, len(doors)))
            door.ask("CLUSTER", "SET-CONFIG-EPOCH", index + 1)  # equal epochs would have to be settled first
        for door in doors[1:]:
            door.ask("CLUSTER", "MEET", doors[0].host, doors[0].port)
    except (OSError, ReplyError) as exc:
        raise EndpointError(f"the Redis servers could not be made a cluster: {exc}", hint="are they fresh, and do their ports reach each other?") from exc
    wait_whole(doors, timeout_s=timeout_s)


def wait_whole(doors: Sequence[Door], *, timeout_s: float = _FORM_S) -> None:
    """Wait until each server of a cluster says that all slots are served.

    Raises:
        EndpointError: not within ``timeout_s``.
    """
    deadline = time.monotonic() + timeout_s
    for door in doors:
        while not _is_whole(door, len(doors)):
            if time.monotonic() > deadline:
                raise EndpointError(f"the Redis cluster was not whole within {timeout_s:.0f} s, says {door.address}",
                                    hint="do the servers reach each other's bus ports (port + 10000)?")
            time.sleep(0.02)


def _is_whole(door: Door, nodes: int) -> bool:
    with suppress(OSError, ReplyError, BrokenReplyError):
        facts = door.facts("CLUSTER", "INFO")
        return facts.get("cluster_state") == "ok" and facts.get("cluster_known_nodes") == str(nodes)
    return False


class RedisCluster:
    """``config.nodes`` servers below ``directory``. `start` and `stop` belong to the agent's main thread."""

    def __init__(self, config: AttachedRedis, directory: Path) -> None:
        self._config, self._directory = config, directory
        self._nodes: list[RedisNode] = []
        self._deaths: dict[int, int] = {}
        self._due: dict[int, float] = {}
        self._seen: list[RedisReport] = []
        self._stopping = threading.Event()
        self._wake = -1
        self._watcher: threading.Thread | None = None

    @property
    def doors(self) -> list[Door]:
        """Where the servers listen."""
        return [node.door for node in self._nodes]

    @property
    def url(self) -> str:
        """The store URL, without the password."""
        scheme = "redis" if len(self._nodes) == 1 else "rediscluster"
        return f"{scheme}://" + ",".join(door.address for door in self.doors)

    def start(self) -> None:
        """Start all servers and wait until they serve.

        Raises:
            ConfigError: no server program, or no such interface.
            EndpointError: they did not start.
        """
        require_binary()
        private_dir(self._directory)
        host = address_of(self._config.interface)
        known = self._known_doors(host)
        doors = known or self._fresh_doors(host)
        self._nodes = [RedisNode(self._folder(index), door) for index, door in enumerate(doors)]
        try:
            self._launch(fresh=known is None)
        except BaseException:
            self.stop()
            raise
        self._watcher = threading.Thread(target=self._watch, name="fedproxy-redis", daemon=True)
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._watcher.start()
        log.info("redis: %d server(s) at %s, %s bytes in all, %s", len(doors), self.url, f"{self._memory_bytes():,}", self._config.policy)

    def _launch(self, *, fresh: bool) -> None:
        for node in self._nodes:
            write_config(private_dir(node.directory), self._lines(node.door), password=node.door.password)
            node.start()
        for node in self._nodes:
            node.wait_ready()
        if len(self._nodes) > 1:
            join(self.doors) if fresh else wait_whole(self.doors)
        first = {"ports": [door.port for door in self.doors], "host": self.doors[0].host, "password": self.doors[0].password}
        write_private(self._directory / STATE_FILE, json.dumps(first).encode())
        self._look()

    def _folder(self, index: int) -> Path:
        return self._directory / f"node-{index}"

    def _known_doors(self, host: str) -> list[Door] | None:
        """Where the servers listened the last time, if they can come back there."""
        state = read_json(self._directory / STATE_FILE)
        ports = state.get("ports") if state else None
        if not state or not isinstance(ports, list):
            return None
        if state.get("host") == host and len(ports) == self._config.nodes and all(is_free(host, int(port)) for port in ports):
            return [Door(host, int(port), str(state["password"])) for port in ports]
        log.warning("redis: the servers cannot come back as they were (other nodes or interface, or a port is taken): what they had saved is dropped")
        return None

    def _fresh_doors(self, host: str) -> list[Door]:
        forget_data(self._directory)
        ports: set[int] = set()
        while len(ports) < self._config.nodes:
            ports.add(free_port(host))
        password = secrets.token_urlsafe(32)
        return [Door(host, port, password) for port in sorted(ports)]

    def _lines(self, door: Door) -> list[str]:
        share = self._memory_bytes() // max(1, self._config.nodes)
        saved = ("appendonly yes", "appendfsync everysec") if self._config.persist == "always" else ()
        cluster = CLUSTER_LINES if self._config.nodes > 1 else ()
        return [f"port {door.port}", f"bind {door.host}", f"maxmemory {share}", f"maxmemory-policy {self._config.policy}", *saved, *cluster]

    def _memory_bytes(self) -> int:
        if self._config.memory:
            return size_bytes(self._config.memory)
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 4

    # ------------------------------------------------------------ watching

    def _watch(self) -> None:
        """Until `stop`: restart what died, and ask the others how they are. Then end all: servers that were started here die with this thread."""
        while not self._stopping.is_set():
            self._wait_for_news()
            try:
                self._round()
            except Exception:  # the watch must go on: the next round tries again
                log.exception("redis: the watch over the servers failed")
        self._end_all()

    def _round(self) -> None:
        for index, node in enumerate(self._nodes):
            if self._stopping.is_set():
                return
            self._look_after(index, node)
        self._look()

    def _wait_for_news(self) -> None:
        """Until a server dies, one is due, or it is time to look again."""
        poller = select.poll()
        poller.register(self._wake, select.POLLIN)
        watched: list[int] = []
        for pid in [node.pid for node in self._nodes]:
            with suppress(ProcessLookupError):
                if pid is not None:
                    watched.append(os.pidfd_open(pid))
                    poller.register(watched[-1], select.POLLIN)
        try:
            now = time.monotonic()
            look_s = _LOOK_S if all(seen.state == "up" for seen in self._seen) else _LOOK_SOON_S
            wait_s = min([look_s, *(due - now for due in self._due.values())])
            poller.poll(max(0.0, wait_s) * 1000)
        finally:
            for descriptor in watched:
                os.close(descriptor)

    def _look_after(self, index: int, node: RedisNode) -> None:
        now = time.monotonic()
        if node.pid is not None:
            if now - node.started > _STEADY_S:
                self._deaths.pop(index, None)
            return
        if index not in self._due:
            self._deaths[index] = self._deaths.get(index, 0) + 1
            self._due[index] = now + backoff_s(self._deaths[index])
            log.warning("redis: the server at %s died; starting it again in %.1f s", node.door.address, self._due[index] - now)
        if now >= self._due[index]:
            del self._due[index]
            node.restarts += 1
            node.start()

    def _look(self) -> None:
        self._seen = [_report(node) for node in self._nodes]

    def report(self) -> tuple[RedisReport, ...]:
        """How each server is, as last seen (never longer ago than a few seconds)."""
        return tuple(self._seen)

    def stop(self) -> None:
        """End all servers, with their data on disk unless ``persist: never``. Idempotent."""
        self._stopping.set()
        if self._watcher is None:
            self._end_all()
            return
        os.eventfd_write(self._wake, 1)
        self._watcher.join()
        os.close(self._wake)
        self._watcher = None

    def _end_all(self) -> None:
        stoppers = [threading.Thread(target=node.stop, kwargs={"save": self._config.persist != "never"}) for node in self._nodes]
        for stopper in stoppers:
            stopper.start()
        for stopper in stoppers:
            stopper.join()
        self._nodes = []
        if self._config.persist == "never":
            forget_data(self._directory)


def _report(node: RedisNode) -> RedisReport:
    state, facts = "down", {}
    if node.pid is not None:
        state = "silent"
        with suppress(OSError, ReplyError, BrokenReplyError):
            facts = node.door.facts("INFO")
            state = "loading" if facts.get("loading") == "1" else "up"
    keys = facts.get("db0", "").partition("keys=")[2].partition(",")[0]
    return RedisReport(
        node.door.address, state, pid=node.pid or 0, restarts=node.restarts, used_bytes=int(facts.get("used_memory", 0)),
        limit_bytes=int(facts.get("maxmemory", 0)), keys=int(keys or 0), evicted=int(facts.get("evicted_keys", 0)),
        version=facts.get("valkey_version") or facts.get("redis_version", ""))


def forget_data(directory: Path) -> None:
    """Remove the servers' folders, with what they saved, and their ports and password."""
    for folder in directory.glob("node-*"):
        shutil.rmtree(folder, ignore_errors=True)
    (directory / STATE_FILE).unlink(missing_ok=True)
