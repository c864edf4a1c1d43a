"""Whole programs built on fedproxy. Run them from the repository's root: ``python -m examples.mapreduce wordcount``."""
