"""Containers: command lines (`runtimes`), what a worker needs inside (`plan`), whether an image is there (`images`), and processes (`launch`)."""
