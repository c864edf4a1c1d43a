"""One module per store technology. ``registry`` makes them from URLs."""
