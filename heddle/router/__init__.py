"""Rules, decisions, and the process that carries them out."""
