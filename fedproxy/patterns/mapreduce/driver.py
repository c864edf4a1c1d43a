"""Runs a job: splits, samples, maps, merges, reduces, and leaves nothing behind.

Strategy: every block has a key that says which attempt of which map wrote it, so that everything a job may ever have written can be named and
removed, whatever happened. What all tasks need travels as one proxy. A reducer that cannot read a segment says which map it is of; that map
alone is run again, as a new attempt, and the reducers that had not ended get a new manifest.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from typing import Any

from attrs import define, evolve, field

from fedproxy import Client, get_client
from fedproxy.errors import ConfigError, FedproxyError, JobError
from fedproxy.patterns.mapreduce.carry import CARRIED, Offered, evict_offered, offer, out_of_reach, take
from fedproxy.patterns.mapreduce.cleaning import CLEAN_UP_S, block_keys, remove_blocks, remove_handed, remove_unfinished
from fedproxy.patterns.mapreduce.inputs import InputFile, Split, bundles, find_inputs, plan_splits
from fedproxy.patterns.mapreduce.jobs import Job
from fedproxy.patterns.mapreduce.options import Options
from fedproxy.patterns.mapreduce.outputs import prepare
from fedproxy.patterns.mapreduce.phases import phases
from fedproxy.patterns.mapreduce.places import Place, find_places, pays_to_compress
from fedproxy.patterns.mapreduce.plan import Made, Plan, Reduced, Spent, resolved
from fedproxy.patterns.mapreduce.progress import Progress
from fedproxy.patterns.mapreduce.result import Moved, Result
from fedproxy.patterns.mapreduce.shape import Group, groups, merge_pays, most_split_bytes, wanted_maps
from fedproxy.patterns.mapreduce.stage import Outcome, Rules, Stage
from fedproxy.patterns.mapreduce.tasks import run_map, run_merge, run_reduce, sample_keys
from fedproxy.patterns.shuffle.boundaries import boundaries
from fedproxy.patterns.shuffle.collector import Budget
from fedproxy.patterns.shuffle.manifest import OBJECTS, Manifest, Source
from fedproxy.patterns.shuffle.partition import ByHash
from fedproxy.patterns.shuffle.writer import Target
from fedproxy.store import Ref, proxy_from_ref

Inputs = str | Sequence[str] | Mapping[str, Sequence[str]]
_SAMPLED_SPLITS = 64
_SAMPLES_PER_REDUCE = 40
_ROUNDS = 6


def run(
    job: Job, inputs: Inputs, *, endpoints: str | Sequence[str] = ("local",), output: str | None = None, store: str | Sequence[str] | None = None,
    options: Options = Options(), client: Client | None = None,  # noqa: B008 - frozen
) -> Result:
    """Run ``job`` and wait for its end. All that was written on the way is gone afterwards, also after a failure or Ctrl-C.

    Args:
        inputs: URLs (anything fsspec reaches; paths are those of the endpoints' machines), or for each endpoint the URLs of the data that lives
            there: its maps then run there.
        endpoints: where maps run, in turn, unless ``inputs`` says so. The first one reduces.
        output: the folder (URL) for one file per reducer; None: `Result.items` gives what they made.
        store: for intermediate data: a kind that the endpoints have (``shm``, ``file``, ``redis``, ``s3``), a store's URL, or several, of which the
            first that takes a block has it. Files of the endpoint are the last resort.

    Raises:
        ConfigError: no input, an output folder that is in use, or an endpoint without a store of that kind.
        JobError: tasks or stores failed too often.
        JobTimeoutError: it took longer than ``options.timeout_s``.
        Exception: whatever a function of the job raised.
    """
    if not inputs:
        raise ConfigError("a job needs an input")
    wanted = inputs if isinstance(inputs, Mapping) else [inputs] if isinstance(inputs, str) else list(inputs)
    client = client or get_client()
    named = [endpoints] if isinstance(endpoints, str) else list(endpoints)
    names = _with_home(named, wanted) if isinstance(wanted, Mapping) else named
    places = find_places(client, names, store)
    with ExitStack() as stack:
        for place in places:
            stack.callback(place.executor.shutdown, wait=False)
        progress = stack.enter_context(Progress(options.progress))
        driver = _Driver(job, places, output, options, client, progress)
        stack.callback(driver.clean_up)
        return driver.run(wanted)


def _with_home(endpoints: list[str], listed: Mapping[str, Sequence[str]]) -> list[str]:
    """The endpoints that have data, after the one that reduces; the default ``local`` only if it has data."""
    return [*(name for name in endpoints if endpoints != ["local"] or name in listed), *listed]


@define
class _Work:
    """One map: what it reads, and the endpoint it runs at."""

    splits: tuple[Split, ...]
    place: Place


@define
class _Driver:
    job: Job
    places: list[Place]
    output: str | None
    options: Options
    client: Client
    progress: Progress
    shuffle: str = field(factory=lambda: f"mr{secrets.token_hex(6)}")
    work: list[_Work] = field(factory=list)
    sources: dict[int, Source] = field(factory=dict)
    merged: dict[int, Source] = field(factory=dict)
    offered: dict[int, Offered] = field(factory=dict)
    carried: dict[int, Source] = field(factory=dict)
    outputs: dict[int, Reduced] = field(factory=dict)
    spent: list[Spent] = field(factory=list)
    groups: list[Group] = field(factory=list)
    bad: set[str] = field(factory=set)
    """Stores that failed as a whole: nothing more is written there."""
    _plan: Plan | None = None
    _handed: dict[tuple[str, str], Any] = field(factory=dict)
    _refs: list[Ref] = field(factory=list)
    _stages: dict[str, Stage] = field(factory=dict)
    _reduces: int = 0
    _input_bytes: dict[str, int] = field(factory=dict)
    _deadline: float | None = None
    _attempts: int = 0

    # ------------------------------------------------------------ the story

    def run(self, inputs: Sequence[str] | Mapping[str, Sequence[str]]) -> Result:
        began = time.monotonic()
        if self.options.timeout_s is not None:
            self._deadline = began + self.options.timeout_s
        self._find(inputs)
        self._make_plan()
        self._map(range(len(self.work)))
        self._merge()
        self._carry(self._to_carry())
        self._reduce()
        return self._result(time.monotonic() - began)

    def _find(self, inputs: Sequence[str] | Mapping[str, Sequence[str]]) -> None:
        """Look at the inputs where they are, and cut them into splits."""
        if self.output is not None:
            self.output = self.places[0].executor.submit(prepare, self.output, overwrite=self.options.overwrite).result(self._left_s())
        workers = sum(place.workers for place in self.places)
        most = most_split_bytes(self._budget)
        if isinstance(inputs, Mapping):
            asked = {place: place.executor.submit(find_inputs, list(inputs[place.name])) for place in self.places if place.name in inputs}
            found = {place: future.result(self._left_s()) for place, future in asked.items()}
            total = sum(file.size for files in found.values() for file in files)
            maps = wanted_maps(self.options.maps, workers, total)
            for place, files in found.items():
                size = self._note(place, files)
                share = max(1, round(maps * size / max(1, total)))
                self.work += [_Work(bundle, place) for bundle in bundles(plan_splits(files, share, most_bytes=most), files, share, most_bytes=most)]
            return
        files = self.places[0].executor.submit(find_inputs, list(inputs)).result(self._left_s())
        maps = wanted_maps(self.options.maps, workers, self._note(self.places[0], files))
        everywhere = [place for place in self.places for _ in range(place.workers)]
        parts = bundles(plan_splits(files, maps, most_bytes=most), files, maps, most_bytes=most)
        self.work = [_Work(bundle, everywhere[index % len(everywhere)]) for index, bundle in enumerate(parts)]

    def _note(self, place: Place, files: Sequence[InputFile]) -> int:
        size = sum(file.size for file in files)
        self._input_bytes[place.site] = self._input_bytes.get(place.site, 0) + size
        return size

    def _make_plan(self) -> None:
        reduces = self.options.reduces or sum(place.workers for place in self.places[:1])
        sites = {place.site for place in self.places}
        compress = self.options.compress
        if compress is None:
            compress = pays_to_compress(self.places[0].stores, across_sites=len(sites) > 1)
        self._plan = Plan(self.shuffle, self.job, ByHash(reduces), self._targets(), self._budget, compress, self.output)
        limits = self._sample(reduces) if self.job.ordered else None
        self._plan = evolve(self._plan, partitioner=self.job.partition(reduces, limits))
        self._handed.clear()
        self._reduces = self._plan.partitioner.reduces

    def _sample(self, reduces: int) -> list[Any]:
        """Where the ranges of the reducers end."""
        step = max(1, len(self.work) // _SAMPLED_SPLITS)
        chosen = self.work[::step]
        each = max(1, -(-_SAMPLES_PER_REDUCE * reduces // max(1, len(chosen))))
        parts = [(place, [work.splits[0] for work in chosen if work.place is place][worker :: place.workers]) for place in self.places
                 for worker in range(place.workers)]
        futures = [(place.executor.submit(sample_keys, self._hand_out(place, "plan"), part, each, number), part)
                   for number, (place, part) in enumerate(parts) if part]
        samples: list[list[Any]] = []
        weights: list[float] = []
        for future, part in futures:
            samples += future.result(self._left_s())
            weights += [float(split.length or 1) for split in part]
        return boundaries(samples, weights, reduces)

    def _map(self, indexes: Sequence[int]) -> None:
        def start(index: int, attempt: int) -> Any:
            work = self.work[index]
            return work.place.executor.submit(run_map, self._hand_out(work.place, "plan"), work.place.name, work.splits, index, attempt)

        outcome = self._run_stage("map", start, indexes, self._keep_source)
        assert not outcome.lost

    def _merge(self) -> None:
        """Make fewer and larger blocks, where that pays."""
        sizes = [int.from_bytes(self.sources[index].offsets[-8:], "little") for index in range(len(self.work))]
        wanted = self.options.merge
        if wanted is None:
            wanted = merge_pays([size // self._reduces for size in sizes], self.places[0].stores[0])
        if not wanted or self.options.layout == OBJECTS or len(self.work) < 2:
            return
        found = groups(sizes, [work.place.name for work in self.work], self._reduces, self._budget)
        if len(found) < len(self.work):
            self.groups = found
            self._merge_groups(range(len(found)))

    def _merge_groups(self, indexes: Sequence[int]) -> None:
        by_name = {place.name: place for place in self.places}

        def start(index: int, attempt: int) -> Any:
            group = self.groups[index]
            place = by_name[group.endpoint]
            return place.executor.submit(
                run_merge, self._hand_out(place, "plan"), place.name, self._hand_out(place, "maps"), (group.first, group.last), index, attempt)

        self._until_whole("merge", start, indexes, self._keep_merged, self._map)

    def _reduce(self) -> None:
        home = self.places[0]

        def start(index: int, attempt: int) -> Any:
            return home.executor.submit(run_reduce, self._hand_out(home, "plan"), home.name, self._hand_out(home, "blocks"), index, attempt)

        self._until_whole("reduce", start, range(self._reduces), self._keep_output, self._remake)

    def _remake(self, indexes: Sequence[int]) -> None:
        """Blocks that reducers could not read: brought once more, or made once more."""
        self._carry([index for index in indexes if index in self.carried])
        own = [index for index in indexes if index not in self.carried]
        if own:
            (self._merge_groups if self.groups else self._map)(own)

    def _carry(self, indexes: Sequence[int]) -> None:
        """Bring blocks to the reducers' site that cannot be read from there."""
        if not indexes:
            return
        at, base, home = self._by_site(), self._base, self.places[0]

        def start_offer(index: int, attempt: int) -> Any:
            place = at[base[index].site]
            return place.executor.submit(offer, self._hand_out(place, "plan"), base[index], self.options.ttl_s)

        def start_take(index: int, attempt: int) -> Any:
            offered = self.offered[index]
            return home.executor.submit(
                take, self._hand_out(home, "plan"), home.name, proxy_from_ref(offered.ref), offered.offsets, offered.ref.site, index, attempt)

        self._until_whole("offer", start_offer, indexes, self._keep_offered, self._merge_groups if self.groups else self._map)
        self._run_stage("take", start_take, indexes, self._keep_carried)
        self._forget_offered()

    def _to_carry(self) -> list[int]:
        """Blocks at other sites, in stores that cannot be read where the reducers are."""
        home = self.places[0]
        far = sorted({(source.store, source.site) for source in self._base.values() if source.site != home.site})
        if not far or self.options.layout == OBJECTS:
            return []
        hidden = set(home.executor.submit(out_of_reach, far).result(self._left_s()))
        return [index for index, source in sorted(self._base.items()) if (source.store, source.site) in hidden]

    @property
    def _base(self) -> dict[int, Source]:
        """Blocks as they are at the sites of the maps."""
        return self.merged if self.groups else self.sources

    def _by_site(self) -> dict[str, Place]:
        return {place.site: place for place in reversed(self.places)}

    def _until_whole(self, name: str, start: Any, indexes: Sequence[int], keep: Any, remake: Any) -> None:
        """Run a stage; as often as it finds that input is gone, make that anew and go on with what is left."""
        left = list(indexes)
        for _ in range(_ROUNDS):
            outcome = self._run_stage(name, start, left, keep)
            if not outcome.lost:
                return
            if outcome.bad_store is not None:
                self.bad.add(outcome.bad_store)
            self._handed.clear()
            remake(sorted(outcome.lost))
            self._handed.clear()
            left = [index for index in left if index not in outcome.done]
        raise JobError(f"intermediate data was lost {_ROUNDS} times", hint="are its stores being restarted, or too small (maxmemory with eviction)?")

    def _run_stage(self, name: str, start: Any, indexes: Sequence[int], keep: Any) -> Outcome:
        self.progress.expect(name, len(indexes))
        stage = self._stages.get(name)
        if stage is None:
            workers = sum(place.workers for place in self.places)
            options = self.options
            rules = Rules(options.retries, options.retries_on_loss, self._deadline, options.speculate, workers)
            stage = self._stages[name] = Stage(name, self.client, rules, start, keep)
        return stage.run(indexes)

    # ------------------------------------------------------------ what comes back

    def _keep_source(self, made: Made) -> None:
        self.sources[made.source.index] = made.source
        self._keep("map", made.spent)

    def _keep_merged(self, made: Made) -> None:
        self.merged[made.source.index] = made.source
        self._keep("merge", made.spent)

    def _keep_offered(self, offered: Offered) -> None:
        self.offered[offered.index] = offered
        self.progress.advance("offer")

    def _keep_carried(self, made: Made) -> None:
        self.carried[made.source.index] = made.source
        self._keep("take", made.spent)

    def _keep_output(self, reduced: Reduced) -> None:
        self.outputs[reduced.index] = resolved(reduced)
        self._keep("reduce", reduced.spent)

    def _keep(self, stage: str, spent: Spent) -> None:
        self.spent.append(spent)
        self.progress.advance(stage)

    def _result(self, seconds: float) -> Result:
        outputs = tuple(self.outputs[index] for index in sorted(self.outputs))
        final = self._base | self.carried
        home = self.places[0].site
        moved = Moved(
            input=sum(self._input_bytes.values()), intermediate=Manifest(self.shuffle, list(final.values())).nbytes,
            across_sites=sum(size for spent in self.spent for site, size in spent.from_site.items() if site != home),
            input_elsewhere=sum(size for site, size in self._input_bytes.items() if site != home),
            spilled=sum(spent.spilled_bytes for spent in self.spent), output=sum(output.nbytes for output in outputs))
        return Result(
            outputs, tuple(phases(self.spent)), moved, seconds, len(self.work), self._reduces,
            sum(sum(stage.attempts.values()) for stage in self._stages.values()), bool(self.groups),
            max((spent.peak_rss_bytes for spent in self.spent), default=0), tuple(sorted({source.store for source in final.values()})), self.job.records)

    # ------------------------------------------------------------ what goes out

    @property
    def _budget(self) -> Budget:
        return Budget(self.options.memory_bytes)

    def _targets(self) -> dict[str, Target]:
        found = {}
        for place in self.places:
            stores = tuple(url for url in place.stores if url not in self.bad) or place.stores
            found[place.name] = Target(stores, place.site, self.options.ttl_s, self.options.layout)
        return found

    def _hand_out(self, place: Place, what: str) -> Any:
        """The plan or a manifest for tasks at ``place``: put once, however many tasks get it."""
        found = self._handed.get((place.name, what))
        if found is None:
            found, ref = place.hand_out(self._document(what), self.options.ttl_s)
            self._handed[place.name, what] = found
            if ref is not None:
                self._refs.append(ref)
        return found

    def _document(self, what: str) -> Plan | Manifest:
        assert self._plan is not None
        if what == "plan":
            return evolve(self._plan, targets=self._targets())
        sources = self._base | self.carried if what == "blocks" else self.sources
        return Manifest(self.shuffle, [sources[index] for index in sorted(sources)])

    def _left_s(self) -> float | None:
        return None if self._deadline is None else max(0.1, self._deadline - time.monotonic())

    # ------------------------------------------------------------ the end

    def clean_up(self) -> None:
        """Remove what all attempts may have written. Every task has ended."""
        remove_handed(self._refs)
        letters = {"map": "m", "merge": "g", "take": CARRIED}
        attempts = {letters[name]: stage.attempts for name, stage in self._stages.items() if name in letters}
        remove_blocks(self.places, block_keys(self.shuffle, attempts, self.options.layout, self._reduces))
        self._forget_offered()
        if self.output is not None and len(self.outputs) < self._reduces:
            remove_unfinished(self.places[0], self.output, self.shuffle)

    def _forget_offered(self) -> None:
        for place in self.places:
            refs = [offered.ref for offered in self.offered.values() if offered.ref.site == place.site]
            if refs:
                with suppress(FedproxyError, TimeoutError):
                    place.executor.submit(evict_offered, refs).result(CLEAN_UP_S)
        self.offered.clear()
