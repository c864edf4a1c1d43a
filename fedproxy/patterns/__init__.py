"""Ways of working that are built on the public API alone: map and reduce with a shuffle between."""
