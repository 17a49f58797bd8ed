"""The orchestrator: one model call per goal at its start, and the goal's record at its end."""
