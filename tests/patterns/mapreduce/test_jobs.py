"""Jobs at a real endpoint: right answers for odd inputs, and nothing left behind."""

from __future__ import annotations

import gzip
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from fedproxy.config.home import endpoint_dir
from fedproxy.dispatch.client import Client
from fedproxy.errors import ConfigError, JobTimeoutError
from fedproxy.patterns import mapreduce
from fedproxy.patterns.mapreduce import Options
from fedproxy.store import Store
from tests.programs import Programs


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Empty files, a long line, invalid UTF-8, CRLF, gz, no trailing newline."""
    folder = tmp_path_factory.mktemp("odd")
    rng = random.Random(5)
    words = [b"w%d" % number for number in range(500)] + [b"\xff\xfe\x00", "naïve".encode(), b"\xc3"]
    text = b"".join(b" ".join(rng.choices(words, k=rng.randrange(12))) + rng.choice([b"\n", b"\r\n", b"\n\n"]) for _ in range(8000))
    (folder / "a-empty.txt").touch()
    (folder / "b-mixed.txt").write_bytes(text)
    (folder / "c-long.txt").write_bytes(b"before\n" + b"word " * 600_000 + b"\nafter, without a newline")
    (folder / "d-packed.gz").write_bytes(gzip.compress(text[::-1]))
    (folder / "e-newline.txt").write_bytes(b"\n")
    (folder / "f-bare.txt").write_bytes(b"x")
    return folder


def read_all(folder: Path) -> list[bytes]:
    """Each file's lines."""
    found = []
    for path in sorted(folder.iterdir()):
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        lines = data.split(b"\n")
        found += lines if lines[-1] else lines[:-1]
    return found


def words_of(batch: mapreduce.Batch) -> Counter[bytes]:
    return Counter(batch.data.split())


def stores_of(client: Client) -> list[str]:
    return list(client.get_endpoint_status("local")["profile"]["stores"])


@pytest.fixture
def nothing_left(client: Client) -> Iterator[None]:
    """Every store of the endpoint is as empty as before."""
    yield
    for url in stores_of(client):
        assert list(Store.from_url(url).connector.entries()) == []  # type: ignore[attr-defined]


WAYS = [
    Options(maps=7, reduces=3), Options(maps=1, reduces=1), Options(maps=12, reduces=40, merge=True), Options(maps=5, reduces=4, layout="objects"),
    Options(maps=3, reduces=2, memory_bytes=16 << 20, compress=True),
]


@pytest.mark.usefixtures("nothing_left")
@pytest.mark.parametrize("options", WAYS, ids=["blocks", "one", "merged", "objects", "small-memory"])
def test_words_of_odd_files_are_counted_exactly(client: Client, odd: Path, options: Options) -> None:
    result = mapreduce.run(mapreduce.counts(words_of), str(odd), client=client, options=options)
    assert dict(result.items()) == Counter(word for line in read_all(odd) for word in line.split())
    assert result.merged == bool(options.merge)
    assert all(phase.tasks for phase in result.phases)


@pytest.mark.usefixtures("nothing_left")
@pytest.mark.parametrize("options", WAYS, ids=["blocks", "one", "merged", "objects", "small-memory"])
def test_odd_files_are_sorted_by_their_bytes(client: Client, odd: Path, tmp_path: Path, options: Options) -> None:
    result = mapreduce.run(mapreduce.sorted_lines(), [str(odd)], client=client, store="file", output=str(tmp_path / "out"), options=options)
    written = b"".join(path.read_bytes() for path in sorted((tmp_path / "out").iterdir()))
    assert written == b"".join(line + b"\n" for line in sorted(read_all(odd)))
    assert result.records == len(read_all(odd))
    assert len(result.urls) == result.reduces <= (options.reduces or 0)
    assert result.stores[0].startswith("file:")


@pytest.mark.usefixtures("nothing_left")
def test_pairs_are_grouped_reduced_and_placed_as_the_user_says(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "numbers.txt"
    path.write_bytes(b"".join(b"%d\n" % number for number in range(3000)))
    job = mapreduce.pairs(
        lambda line: [(int(line) % 10, int(line))], reducer=lambda key, values: (min(values), max(values), len(values)),
        partitioner=lambda key, reduces: key % reduces)
    result = mapreduce.run(job, str(path), client=client, options=Options(maps=6, reduces=4))
    assert dict(result.items()) == {digit: (digit, 2990 + digit, 300) for digit in range(10)}
    assert [output.first for output in result.outputs] == [0, 1, 2, 3]
    assert [output.records for output in result.outputs] == [3, 3, 2, 2]


@pytest.mark.usefixtures("nothing_left")
@pytest.mark.parametrize("options", WAYS, ids=["blocks", "one", "merged", "objects", "small-memory"])
def test_an_ordered_job_gives_each_key_once_and_in_order(client: Client, odd: Path, options: Options) -> None:
    job = mapreduce.pairs(batched=words_of, combiner=lambda one, other: one + other, ordered=True)
    result = mapreduce.run(job, str(odd), client=client, options=options)
    assert list(result.items()) == sorted(Counter(word for line in read_all(odd) for word in line.split()).items())


def test_more_reducers_than_keys_and_an_input_without_lines(client: Client, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "same.txt").write_bytes(b"same\n" * 1000)
    for job, want in ((mapreduce.sorted_lines(), [(b"same", None)] * 1000), (mapreduce.counts(words_of), [(b"same", 1000)])):
        result = mapreduce.run(job, str(tmp_path / "in"), client=client, options=Options(maps=3, reduces=10))
        assert list(result.items()) == want
    (tmp_path / "in" / "same.txt").write_bytes(b"")
    for job in (mapreduce.sorted_lines(), mapreduce.counts(words_of)):
        assert list(mapreduce.run(job, str(tmp_path / "in"), client=client).items()) == []


@pytest.mark.usefixtures("nothing_left")
def test_the_users_exception_comes_back_and_nothing_is_left(client: Client, odd: Path, tmp_path: Path) -> None:
    def fail(batch: mapreduce.Batch) -> Counter[bytes]:
        if b"after" in batch.data:
            raise ZeroDivisionError("on purpose")
        return Counter(batch.data.split())

    with pytest.raises(ZeroDivisionError, match="on purpose"):
        mapreduce.run(mapreduce.counts(fail), str(odd), client=client, options=Options(maps=8, reduces=3))

    def refuse(key: bytes, count: object) -> object:
        raise ValueError(f"will not reduce {key!r}")

    job = mapreduce.pairs(lambda line: [(line, 1)], reducer=refuse)
    with pytest.raises(ValueError, match="will not reduce"):
        mapreduce.run(job, str(odd), client=client, output=str(tmp_path / "out"), options=Options(maps=4, reduces=3))
    assert list((tmp_path / "out").iterdir()) == []


def test_an_exception_may_be_retried(client: Client, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_bytes(b"a b a\n")

    def fail_once(batch: mapreduce.Batch) -> Counter[bytes]:
        marker = tmp_path / "failed"
        if not marker.exists():
            marker.touch()
            raise OSError("for the first time")
        return Counter(batch.data.split())

    result = mapreduce.run(mapreduce.counts(fail_once), str(tmp_path / "in.txt"), client=client, options=Options(retries=1, reduces=1))
    assert dict(result.items()) == {b"a": 2, b"b": 1}
    assert result.attempts == 3


@pytest.mark.usefixtures("nothing_left")
def test_a_job_that_takes_too_long_is_ended(client: Client, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_bytes(b"a\n" * 100)

    def wait(batch: mapreduce.Batch) -> Counter[bytes]:
        import threading

        threading.Event().wait(60)
        return Counter()

    with pytest.raises(JobTimeoutError):
        mapreduce.run(mapreduce.counts(wait), str(tmp_path / "in.txt"), client=client, options=Options(timeout_s=1.5))


def test_the_output_folder_of_another_job_is_not_mixed_up(client: Client, odd: Path, tmp_path: Path) -> None:
    (tmp_path / "part-00009").write_bytes(b"old")
    with pytest.raises(ConfigError, match="parts of another job"):
        mapreduce.run(mapreduce.sorted_lines(), str(odd), client=client, output=str(tmp_path))
    mapreduce.run(mapreduce.sorted_lines(), str(odd), client=client, output=str(tmp_path), options=Options(overwrite=True, reduces=2))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["part-00000", "part-00001"]


def test_input_that_is_not_there_is_named(client: Client) -> None:
    with pytest.raises(ConfigError, match="no-such-folder"):
        mapreduce.run(mapreduce.sorted_lines(), "/no-such-folder", client=client)
    with pytest.raises(ConfigError, match="no redis store"):
        mapreduce.run(mapreduce.sorted_lines(), "/tmp", client=client, store="redis")


def test_an_index_of_words_and_files(client: Client, tmp_path: Path, running: Programs) -> None:
    for name, text in (("one", b"red green\n"), ("two", b"green blue\n"), ("three", b"blue\ngreen\n")):
        (tmp_path / name).write_bytes(text)
    job = mapreduce.pairs(
        batched=lambda batch: dict.fromkeys(batch.data.split(), frozenset([batch.url.rpartition("/")[2]])),
        combiner=lambda one, other: one | other, reducer=lambda _, names: sorted(names), ordered=True)
    result = mapreduce.run(job, str(tmp_path), client=client, options=Options(reduces=2))
    assert list(result.items()) == [(b"blue", ["three", "two"]), (b"green", ["one", "three", "two"]), (b"red", ["one"])]
    assert not list(endpoint_dir("local").glob("*.tmp"))
