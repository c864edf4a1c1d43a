"""Find the best polymer for a solar cell by simulations that a learning surrogate steers: ``python -m examples.colmena_like``."""
