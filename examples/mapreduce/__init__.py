"""Word count, sort and an inverted index, at one endpoint or several: ``python -m examples.mapreduce wordcount|sort|index``."""
