"""An endpoint: an agent process that takes tasks from the service and runs them on an engine."""
