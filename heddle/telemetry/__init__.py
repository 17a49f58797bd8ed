"""Events to logs and metrics."""
