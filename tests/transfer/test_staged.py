from __future__ import annotations

from fedproxy.transfer.objects import Replica, Wanted
from fedproxy.transfer.staged import BatchLimits, Entry, first_batch


def entry(number: int, site: str = "lab", size: int = 10, due: float = 0.0) -> Entry:
    return Entry(Wanted(f"{number:032x}", Replica(site, "file:///store", str(number)), size), due=due)


def test_a_batch_is_the_first_that_is_due_with_others_of_its_site_within_the_limits() -> None:
    late, first, other, second, third = entry(0, due=9.0), entry(1), entry(2, site="attic"), entry(3), entry(4)
    queue = [late, first, other, second, third]
    assert first_batch(queue, 1.0, BatchLimits(10)) == [first, second, third]
    assert first_batch(queue, 9.0, BatchLimits(10)) == [late, first, second, third]
    assert first_batch(queue, 1.0, BatchLimits(2)) == [first, second]
    assert first_batch(queue, 1.0, BatchLimits(10, 25)) == [first, second]
    assert first_batch([other, *queue], 1.0, BatchLimits(10))[0] is other
    assert first_batch([late], 1.0, BatchLimits(10)) == []


def test_an_object_that_is_larger_than_a_batch_goes_alone() -> None:
    large, small = entry(1, size=1000), entry(2)
    assert first_batch([large, small], 1.0, BatchLimits(10, 100)) == [large]
