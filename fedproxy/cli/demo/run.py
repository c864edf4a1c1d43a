"""The demo's story, from the text to the picture."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from attrs import frozen

from fedproxy.cli.demo.account import CLIENT, SERVICE, Move, summed
from fedproxy.cli.demo.array_job import make_array, summarise
from fedproxy.cli.demo.cluster import running_cluster
from fedproxy.cli.demo.corpus import Corpus, pieces, read_corpus
from fedproxy.cli.demo.flows import BY_VALUE, SMALL, STORES, Flow
from fedproxy.cli.demo.picture import Story, draw
from fedproxy.cli.demo.report import Progress, Told
from fedproxy.cli.demo.stages import Counted, Sent, count_at_sites, send_array
from fedproxy.cli.demo.words import plain_count
from fedproxy.cli.output import human_bytes

SITES = ("siteA", "siteB")
ROOM_BYTES = 16 * 1024 * 1024
"""What a payload may be larger than the array in it."""


@frozen
class Options:
    """What the demo was asked for. ``text`` None: the text of this Python installation."""

    text: Path | None
    array_bytes: int
    picture: Path


@frozen
class Done:
    """What happened at the sites."""

    counted: Counted
    by_value: Sent
    by_proxy: Sent


def run_demo(options: Options, progress: Progress) -> Told:
    """Do the work at two sites, do it again plainly here, compare, and draw."""
    began = time.perf_counter()
    with progress.step("reading text"):
        corpus = read_corpus(options.text)
    with progress.step("making the array"):
        array = make_array(options.array_bytes)
    done = _at_sites(corpus, array, progress)
    with progress.step("counting again, plainly, in one process"):
        plain_began = time.perf_counter()
        plain = plain_count(corpus.texts)
        plain_s = time.perf_counter() - plain_began
    with progress.step("drawing"):
        draw(_story(done, corpus, array.nbytes), options.picture)
    return Told(
        text_title=corpus.title, text_bytes=corpus.size_bytes, words=plain.total(), distinct_words=len(plain),
        count_is_right=done.counted.counts == plain, array_bytes=array.nbytes,
        array_is_right=done.by_value.summary == done.by_proxy.summary == summarise(array), plain_count_s=plain_s,
        stages=(done.counted.stage, done.by_value.stage, done.by_proxy.stage), picture=options.picture,
        demo_s=time.perf_counter() - began,
    )


def _at_sites(corpus: Corpus, array: Any, progress: Progress) -> Done:
    from fedproxy import Client

    with ExitStack() as stack:
        with progress.step("starting a service and two endpoints"):
            stack.enter_context(running_cluster(SITES, payload_limit_bytes=array.nbytes + ROOM_BYTES))
            client = stack.enter_context(Client())
        counted = count_at_sites(client, SITES, list(pieces(corpus.texts)), progress)
        by_value = send_array(client, SITES[0], array, "by value", progress)
        by_proxy = send_array(client, SITES[0], array, "by proxy", progress)
        return Done(counted, by_value, by_proxy)


def _story(done: Done, corpus: Corpus, array_bytes: int) -> Story:
    stage = done.counted.stage
    ways = [("by value", done.by_value.trace), ("by proxy", done.by_proxy.trace)]
    return Story(
        title="fedproxy demo: two sites, one thin service",
        count_traces=done.counted.traces,
        count_caption=f"Counting the words of {human_bytes(corpus.size_bytes)} of text: {stage.tasks} tasks, "
        f"{stage.seconds:.1f} s",
        array_traces=ways,
        array_caption=f"The same job on the same {human_bytes(array_bytes)} array, sent in two ways",
        flows=_flows(done),
    )


def _flows(done: Done) -> list[Flow]:
    """What stores carried, what the service carried, and what it carries when the array is sent by value."""
    stored = summed((*done.counted.stage.moves, *done.by_proxy.stage.moves))
    small = done.counted.stage.service_bytes + done.by_proxy.stage.service_bytes
    heavy = done.by_value.stage.service_bytes
    through = [Move(CLIENT, SERVICE, heavy), Move(SERVICE, SITES[0], heavy)]
    return [
        *(Flow(move.source, move.target, move.size_bytes, STORES) for move in stored),
        *(Flow(move.source, move.target, move.size_bytes, BY_VALUE) for move in through),
        Flow(CLIENT, SERVICE, small, SMALL), *(Flow(SERVICE, site, 0, SMALL) for site in SITES),
    ]
