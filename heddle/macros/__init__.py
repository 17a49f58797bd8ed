"""What a macro promises, without running it."""
