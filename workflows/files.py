"""What the example macros ask of a store of files, and the store that is a folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

from workflows.rooted import inside


class UnknownFile(Exception):
    """There is no such file, or it cannot be read."""


class Files(Protocol):
    """Finds files by the paths that people give them."""

    async def locate(self, path: str) -> Path:
        """Where the file is on this machine, ready to be opened.

        Raises:
            UnknownFile: there is no such file.
        """
        ...


class LocalFiles:
    """The files in a folder, the root; a path, with its symlinks followed, may not lead out of it."""

    def __init__(self, root: Path) -> None:
        self._root = root.resolve()

    async def locate(self, path: str) -> Path:
        """The file at that path below the root."""
        found = inside(self._root, path)
        if found is None:
            raise self._unknown(path, "it is no path inside that folder")
        if not found.is_file():
            raise self._unknown(path, "that is no file" if found.exists() else "there is no such file")
        if not os.access(found, os.R_OK):
            raise self._unknown(path, "the worker may not read it")
        return found

    def _unknown(self, path: str, why: str) -> UnknownFile:
        return UnknownFile(
            f"no file {path!r} under {self._root}: {why}. "
            "Name a file by its path there, such as 'data/orders.csv', or set HEDDLE_FORGE__ROOT to the folder that holds yours."
        )
