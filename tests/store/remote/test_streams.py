"""Streams over Redis Streams, over a cluster and in this process: order, groups, acknowledging, replay, several producers."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator

import numpy as np
import pytest

from fedproxy.errors import ConfigError, DataLostError, FrameError, InvalidKeyError, StoreClosedError
from fedproxy.proxy import Proxy, is_resolved
from fedproxy.store import Store
from fedproxy.store.stream_log import StreamLog
from fedproxy.store.streams import StreamConsumer, StreamProducer, open_log
from fedproxy.testing.servers import Server, cluster_url

TOPIC = "results"


@pytest.fixture(params=["memory", "redis", "cluster"])
def url(request: pytest.FixtureRequest) -> str:
    """A place for streams that this test has for itself."""
    name = secrets.token_hex(4)
    if request.param == "memory":
        return f"memory://{name}"
    if request.param == "redis":
        server: Server = request.getfixturevalue("redis_server")
        return f"{server.url}?prefix=stream-{name}:"
    return f"{cluster_url(request.getfixturevalue('redis_cluster'))}?prefix=stream-{name}:"


@pytest.fixture
def log(url: str) -> Iterator[StreamLog]:
    made = open_log(url)
    yield made
    made.remove(TOPIC)
    made.remove(f"{TOPIC}:ends")
    made.close()


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    made = Store.from_url(url)
    yield made
    made.close(clear=True)


@pytest.fixture
def producer(log: StreamLog, store: Store) -> StreamProducer:
    return StreamProducer(log, store)


def test_objects_come_as_proxies_in_order(log: StreamLog, producer: StreamProducer) -> None:
    arrays = [np.arange(n) for n in (1, 10, 100_000)]
    producer.send_batch(TOPIC, arrays)
    producer.close_topics(TOPIC)
    got = list(StreamConsumer(log, TOPIC))
    assert not is_resolved(got[0])
    assert isinstance(got[0], Proxy)
    assert all(map(np.array_equal, got, arrays))


def test_metadata_is_there_without_the_object(log: StreamLog, producer: StreamProducer) -> None:
    producer.send(TOPIC, "value", metadata={"step": 7})
    ((metadata, proxy),) = [next(StreamConsumer(log, TOPIC).iter_with_metadata())]
    assert metadata == {"step": 7}
    assert not is_resolved(proxy)
    assert proxy == "value"


def test_a_waiting_consumer_is_woken(log: StreamLog, producer: StreamProducer) -> None:
    consumer = StreamConsumer(log, TOPIC, start="new")
    timer = threading.Timer(0.2, lambda: producer.send(TOPIC, "now"))
    timer.start()
    assert consumer.next_object(timeout=20) == "now"
    timer.join(20)


def test_nothing_in_time_is_an_error_and_the_consumer_goes_on(log: StreamLog, producer: StreamProducer) -> None:
    consumer = StreamConsumer(log, TOPIC)
    with pytest.raises(TimeoutError):
        consumer.next(timeout=0.05)
    producer.send(TOPIC, 1)
    assert consumer.next_object(timeout=20) == 1


def test_a_new_consumer_begins_where_it_is_told(log: StreamLog, producer: StreamProducer) -> None:
    ids = [producer.send(TOPIC, n) for n in range(4)]
    new = StreamConsumer(log, TOPIC, start="new")
    producer.send(TOPIC, 4)
    producer.close_topics(TOPIC)
    assert list(new.iter_objects()) == [4]
    assert list(StreamConsumer(log, TOPIC, start="all").iter_objects()) == [0, 1, 2, 3, 4]
    assert list(StreamConsumer(log, TOPIC, start=ids[1]).iter_objects()) == [2, 3, 4]


def test_a_reader_can_replay(log: StreamLog, producer: StreamProducer) -> None:
    producer.send_batch(TOPIC, [1, 2, 3])
    producer.close_topics(TOPIC)
    consumer = StreamConsumer(log, TOPIC)
    items = list(consumer.items())
    consumer.replay()
    assert [item.object() for item in consumer.items()] == [1, 2, 3]
    consumer.replay(after=items[1].id)
    assert list(consumer.iter_objects()) == [3]


def test_a_topic_ends_when_all_its_producers_have_closed_it(log: StreamLog, store: Store) -> None:
    producers = [StreamProducer(log, store) for _ in range(3)]
    consumer = StreamConsumer(log, TOPIC, producers=3)
    for number, producer in enumerate(producers):
        producer.send(TOPIC, number)
        producer.close_topics(TOPIC)
    assert list(consumer.iter_objects()) == [0, 1, 2]


def test_several_producers_at_once_lose_nothing(log: StreamLog, store: Store) -> None:
    def produce(first: int) -> None:
        producer = StreamProducer(log, store)
        for number in range(first, first + 25):
            producer.send(TOPIC, number)
        producer.close_topics(TOPIC)

    threads = [threading.Thread(target=produce, args=(first,)) for first in (0, 25, 50)]
    for thread in threads:
        thread.start()
    got = list(StreamConsumer(log, TOPIC, producers=3).iter_objects())
    for thread in threads:
        thread.join(20)
    assert sorted(got) == list(range(75))
    assert [n for n in got if n < 25] == list(range(25))


def test_a_group_shares_the_work_and_each_object_is_had_once(log: StreamLog, producer: StreamProducer) -> None:
    members = [StreamConsumer(log, TOPIC, group="workers") for _ in range(3)]
    producer.send_batch(TOPIC, list(range(60)))
    producer.close_topics(TOPIC)
    got: list[list[int]] = [[] for _ in members]
    threads = [
        threading.Thread(target=lambda k=k: got[k].extend(members[k].iter_objects())) for k in range(len(members))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not any(thread.is_alive() for thread in threads)
    assert sorted(number for each in got for number in each) == list(range(60))


def test_what_a_dead_member_held_goes_to_another(log: StreamLog, producer: StreamProducer) -> None:
    producer.send_batch(TOPIC, ["first", "second"])
    producer.close_topics(TOPIC)
    dead = StreamConsumer(log, TOPIC, group="workers", ack="manual")
    assert dead.next_object(timeout=20) == "first"
    alive = StreamConsumer(log, TOPIC, group="workers", claim_after=0.3)
    assert sorted(alive.iter_objects()) == ["first", "second"]


def test_what_was_acknowledged_does_not_come_again(log: StreamLog, producer: StreamProducer) -> None:
    producer.send_batch(TOPIC, ["first", "second"])
    producer.close_topics(TOPIC)
    one = StreamConsumer(log, TOPIC, group="workers", ack="manual")
    item = one.next_item(timeout=20)
    assert item is not None
    one.ack(item)
    assert list(StreamConsumer(log, TOPIC, group="workers", claim_after=0.05).iter_objects()) == ["second"]


def test_two_groups_both_see_everything(log: StreamLog, producer: StreamProducer) -> None:
    producer.send_batch(TOPIC, [1, 2])
    producer.close_topics(TOPIC)
    for group in ("left", "right"):
        assert list(StreamConsumer(log, TOPIC, group=group).iter_objects()) == [1, 2]


def test_a_group_can_be_rewound(log: StreamLog, producer: StreamProducer) -> None:
    producer.send_batch(TOPIC, [1, 2])
    producer.close_topics(TOPIC)
    consumer = StreamConsumer(log, TOPIC, group="workers")
    assert list(consumer.iter_objects()) == [1, 2]
    consumer.replay()
    assert list(consumer.iter_objects()) == [1, 2]


def test_an_acknowledged_object_is_removed_where_asked(log: StreamLog, producer: StreamProducer) -> None:
    producer.send(TOPIC, "once", evict=True)
    producer.close_topics(TOPIC)
    (item,) = [item for item in StreamConsumer(log, TOPIC, group="workers").items() if item.object() == "once"]
    with pytest.raises(DataLostError):
        item.object()


def test_bad_topics_and_closed_ends_are_errors(log: StreamLog, store: Store, url: str) -> None:
    producer = StreamProducer(url, store)
    with pytest.raises(InvalidKeyError):
        producer.send("a/b", 1)
    producer.close()
    producer.close()
    with pytest.raises(StoreClosedError):
        producer.send(TOPIC, 1)
    consumer = StreamConsumer(url, TOPIC)
    consumer.close()
    with pytest.raises(StoreClosedError):
        consumer.next()
    with pytest.raises(ConfigError, match="no streams"):
        open_log("file:///tmp")


def test_foreign_events_are_an_error(log: StreamLog) -> None:
    log.append(TOPIC, [b"not ours"])
    with pytest.raises(FrameError):
        StreamConsumer(log, TOPIC).next(timeout=5)
