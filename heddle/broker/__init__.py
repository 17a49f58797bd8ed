"""The only files that import nats."""
