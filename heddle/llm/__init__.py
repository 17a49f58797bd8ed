"""The only files that call a model."""
