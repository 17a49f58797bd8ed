"""Paths that cannot leave their root."""

from __future__ import annotations

from pathlib import Path


def inside(root: Path, path: str) -> Path | None:
    """What `path` names, symlinks followed, if it lies under `root` (itself resolved); None if it leads outside or cannot be a path."""
    try:
        found = (root / path).resolve()
        found.exists()
    except (OSError, RuntimeError, ValueError):  # a name that is too long, a NUL, a loop, a folder that is closed to us
        return None
    return found if found.is_relative_to(root) else None
