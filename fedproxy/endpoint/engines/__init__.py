"""Engines: what runs tasks inside an endpoint."""
