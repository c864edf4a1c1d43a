from __future__ import annotations

import gc
import threading
from queue import SimpleQueue

from fedproxy.store.connectors.keeper import Keeper


class Kept:
    def __init__(self) -> None:
        self.done: SimpleQueue[None] = SimpleQueue()

    def work(self) -> None:
        self.done.put(None)


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "keeper under test"]


def test_it_works_now_and_then_until_it_is_stopped() -> None:
    kept = Kept()
    keeper = Keeper(kept.work, 0.01, name="keeper under test")
    for _ in range(3):
        kept.done.get(timeout=20)
    (thread,) = threads()
    keeper.stop()
    thread.join(20)
    assert not threads()


def test_it_ends_with_the_object_it_works_for() -> None:
    kept = Kept()
    Keeper(kept.work, 3600.0, name="keeper under test")
    (thread,) = threads()
    del kept
    gc.collect()
    thread.join(20)
    assert not threads()
