"""Objects over connectors."""
