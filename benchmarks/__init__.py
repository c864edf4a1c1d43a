"""Benchmarks of fedproxy beside its peers and the machine's own limits: ``python -m benchmarks --help``.

Strategy: every system runs in a driver process of its own (``driver``), so that no system's imports, threads or heap
weigh on another's figures. The parent (``harness``) asks the drivers in turn, repetition by repetition, and prints
medians. A benchmark module says which cases there are and how one is measured; ``peers`` adapts the systems.
"""
