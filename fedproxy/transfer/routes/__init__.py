"""Ways between two sites, one module each."""
