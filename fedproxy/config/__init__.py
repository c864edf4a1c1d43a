"""Where things are and what they are told: folders, service and endpoint configuration. Plain data only."""
