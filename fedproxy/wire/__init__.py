"""Bytes between machines: one ZeroMQ channel, one REST client."""
