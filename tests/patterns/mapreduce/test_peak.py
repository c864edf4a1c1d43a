"""The peak of a task: its own memory, not a store's."""

from __future__ import annotations

import mmap
import os
import sys

import pytest

from fedproxy.patterns.mapreduce.peak import Peak, idle_bytes

pytestmark = pytest.mark.skipif(sys.platform != "linux" or not os.access("/proc/self/clear_refs", os.W_OK), reason="the kernel does not tell")
MB = 1_000_000


def touched(memory: mmap.mmap) -> mmap.mmap:
    for at in range(0, len(memory), mmap.PAGESIZE):
        memory[at] = 1
    return memory


def test_memory_that_was_freed_again_counts() -> None:
    peak = Peak()
    before = peak.nbytes()
    touched(mmap.mmap(-1, 50 * MB, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)).close()
    assert 48 * MB < peak.nbytes() - before < 55 * MB  # the kernel counts pages per processor, and adds them up now and then
    assert Peak().nbytes() - before < 5 * MB


def test_shared_memory_that_was_mapped_before_does_not() -> None:
    before = idle_bytes()
    with touched(mmap.mmap(-1, 50 * MB)):
        assert idle_bytes() - before < 5 * MB
