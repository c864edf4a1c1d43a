"""The threads that resolve proxies in the background: made when first used, at most eight."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

R = TypeVar("R")

MAX_THREADS = 8
_lock = threading.Lock()
_pool: ThreadPoolExecutor | None = None


def submit_in_background(function: Callable[..., R], *args: object) -> Future[R]:
    """Run ``function(*args)`` in a background thread."""
    global _pool
    with _lock:
        if _pool is None:
            _pool = ThreadPoolExecutor(MAX_THREADS, thread_name_prefix="fedproxy-resolve")
        return _pool.submit(function, *args)


def _forget() -> None:
    global _pool, _lock
    _pool, _lock = None, threading.Lock()


os.register_at_fork(after_in_child=_forget)
