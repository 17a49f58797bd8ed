"""Small real git repositories."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

DAY = "2026-03-{:02}T12:00:00+01:00"


class GitRepository:
    """A repository whose commits always have the same ids: one commit a day in March, all by Ada."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder = folder
        self.day = 0
        folder.mkdir(parents=True, exist_ok=True)
        self.git("init", "--quiet", "--initial-branch=main", *options)

    def git(self, *arguments: str, given: bytes | None = None) -> str:
        who = {"NAME": "Ada Lovelace", "EMAIL": "ada@example.org", "DATE": DAY.format(max(self.day, 1))}
        clean = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
        ours = {f"GIT_{role}_{what}": value for role in ("AUTHOR", "COMMITTER") for what, value in who.items()}
        env = clean | ours | {"GIT_CONFIG_GLOBAL": os.devnull}
        done = subprocess.run(["git", *arguments], cwd=self.folder, env=env, input=given, capture_output=True, check=True)
        return done.stdout.decode().strip()

    def commit(self, message: str | bytes, files: dict[str, str | bytes] | None = None) -> str:
        """Commit these files and answer with the commit's id."""
        self.day += 1
        for path, content in (files or {}).items():
            file = self.folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content.encode() if isinstance(content, str) else content)
        self.git("add", "--all")
        text = message.encode() if isinstance(message, str) else message
        self.git("commit", "--quiet", "--allow-empty", "--allow-empty-message", "--file=-", given=text)
        return self.git("rev-parse", "HEAD")

    def clone(self, folder: Path, *options: str) -> None:
        self.git("clone", "--quiet", *options, self.folder.as_uri(), str(folder))

    def note(self, commit: str) -> str:
        return self.git("notes", "--ref=heddle", "show", commit)

    def notes(self) -> list[str]:
        """The ids of the commits that carry a note of heddle's."""
        return [line.split()[1] for line in self.git("notes", "--ref=heddle", "list").splitlines()]

    def has_notes_ref(self) -> bool:
        return bool(self.git("for-each-ref", "refs/notes/"))
