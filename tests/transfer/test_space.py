"""Room for copies: the least recently used go, what is needed stays."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from xxhash import xxh3_64_hexdigest

from fedproxy.errors import StagingFullError
from fedproxy.serialize import serialize
from fedproxy.store.ref import Ref
from fedproxy.transfer.objects import Wanted
from fedproxy.transfer.space import Space

SIZE = 1000


def bring(space: Space, name: str, data: bytes = b"x" * SIZE) -> None:
    partial = space.open_partial(name, len(data))
    partial.write(0, data)
    partial.settle(0, len(data), xxh3_64_hexdigest(data))
    space.adopt(partial, name)


def name(number: int) -> str:
    return f"{number:032x}"


def wanted(number: int) -> Wanted:
    return Wanted(name(number), Wanted.of(Ref("file:///x", "k", SIZE)).origin, SIZE)


@pytest.fixture
def space(tmp_path: Path) -> Space:
    return Space(tmp_path, 3 * SIZE)


def age(space: Space, *numbers: int) -> None:
    """The first was used longest ago."""
    for place, number in enumerate(numbers):
        path = Path(space.url.removeprefix("file://").partition("?")[0]) / name(number)
        os.utime(path, (1_000_000 + place, path.stat().st_mtime))


def test_the_least_recently_used_copy_goes_when_room_is_needed(space: Space) -> None:
    for number in (1, 2, 3):
        bring(space, name(number))
    age(space, 2, 3, 1)
    bring(space, name(4))
    assert [space.has(wanted(number)) for number in (1, 2, 3, 4)] == [True, False, True, True]


def test_using_a_copy_keeps_it(space: Space) -> None:
    for number in (1, 2, 3):
        bring(space, name(number))
    age(space, 1, 2, 3)
    assert space.find(wanted(1)) is not None
    bring(space, name(4))
    assert [space.has(wanted(number)) for number in (1, 2)] == [True, False]


def test_what_a_task_needs_stays_and_what_lies_nowhere_else_too(space: Space) -> None:
    bring(space, name(1))
    bring(space, "pushed-here-only")
    space.pin(name(1))
    with pytest.raises(StagingFullError, match=r"2,000 of 3,000 are in use"):
        space.open_partial(name(2), 2 * SIZE)
    space.unpin(name(1))
    space.open_partial(name(2), 2 * SIZE).remove()
    assert space.store.exists("pushed-here-only")


def test_a_copy_of_an_earlier_put_under_the_same_key_is_none(space: Space) -> None:
    old, new = serialize(list(range(100))), serialize(list(range(1, 101)))
    bring(space, name(1), bytes(old))
    one = wanted(1)
    from attrs import evolve

    assert space.has(evolve(one, digest=old.digest))
    assert not space.has(evolve(one, digest=new.digest))


def test_copies_and_their_order_survive_a_restart(space: Space, tmp_path: Path) -> None:
    for number in (1, 2, 3):
        bring(space, name(number))
    age(space, 3, 1, 2)
    again = Space(tmp_path, 3 * SIZE)
    bring(again, name(4))
    assert [again.has(wanted(number)) for number in (1, 2, 3)] == [True, True, False]


def test_files_are_for_their_owner_only(space: Space) -> None:
    partial = space.open_partial(name(1), SIZE)
    assert partial.path.stat().st_mode & 0o077 == 0
    assert space.arriving.stat().st_mode & 0o077 == 0
    partial.remove()
    bring(space, name(2))
    assert (space.arriving.parent / "replicas" / name(2)).stat().st_mode & 0o077 == 0
