"""The example macros, the tools they call, and their fixtures."""
