"""What the example macros ask of a forge, the place that holds repositories and their changes.

ForgeError               the forge did not do what was asked
├── UnknownRepository    there is no such repository
├── UnknownRef           there is no such tag, branch or commit
└── ForgeBusy            somebody else is writing, or the forge cannot be reached; the same call may succeed later
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Final, Protocol

from pydantic import BaseModel

DIFF_BYTES: Final = 64 * 1024  # how much of its diff a change carries

_MERGE_TITLE: Final = re.compile(r"Merge (?:pull request|branch|remote-tracking branch|tag)\b")


class ForgeError(Exception):
    """The forge did not do what was asked."""


class UnknownRepository(ForgeError):
    """There is no such repository."""


class UnknownRef(ForgeError):
    """There is no such tag, branch or commit."""


class ForgeBusy(ForgeError):
    """Somebody else is writing, or the forge cannot be reached or answers nobody; the same call may succeed later.

    Attributes:
        retry_after: the seconds that the forge asks to be left alone, if it says so.
    """

    def __init__(self, *args: object, retry_after: float | None = None) -> None:
        super().__init__(*args)
        self.retry_after = retry_after


class FileChange(BaseModel, frozen=True, extra="forbid"):
    """What a change did to one file; of a binary file no lines are counted."""

    path: str
    old_path: str | None = None
    added: int = 0
    removed: int = 0
    binary: bool = False


class Change(BaseModel, frozen=True, extra="forbid"):
    """A commit.

    Attributes:
        diff: the patch without context, if it was asked for.
        partial: `files` or `diff` are not the whole of it: the diff is too long, the clone is shallow and ends here, or the forge
            does not tell the files of a change in a list.
    """

    id: str
    title: str
    body: str = ""
    author: str
    date: datetime
    files: tuple[FileChange, ...] = ()
    diff: str = ""
    partial: bool = False

    @property
    def short_id(self) -> str:
        """Enough of the id to find the commit by."""
        return self.id[:12]

    @property
    def headline(self) -> str:
        """The title that its author gave it: a forge titles a merge "Merge pull request #7 …" and puts the request's title below."""
        first = self.body.strip().split("\n", 1)[0].strip()
        return first if _MERGE_TITLE.match(self.title) and first and first[0] not in "*#" else self.title


class Forge(Protocol):
    """Reads changes and keeps notes on them. Every method may raise UnknownRepository, ForgeBusy or ForgeError."""

    async def latest(self, repository: str, count: int, *, diffs: bool = False) -> list[Change]:
        """The latest changes that landed on the current branch, newest first; a merged pull request is one change.

        Args:
            repository: its name.
            count: how many at most; a young repository has fewer.
            diffs: whether each comes with the beginning of its diff.
        """
        ...

    async def between(self, repository: str, since: str | None, until: str, *, limit: int) -> list[Change]:
        """The commits that `until` has and `since` has not, newest first, merges left out.

        Args:
            repository: its name.
            since: a tag, branch or commit; None for all of history.
            until: a tag, branch or commit.
            limit: how many at most.

        Raises:
            UnknownRef: `since` or `until` does not exist.
        """
        ...

    async def annotate(self, repository: str, notes: Mapping[str, str]) -> None:
        """Let each change, by its whole id, carry this note of heddle's, in place of an earlier one; all of them or none.

        Raises:
            ForgeBusy: somebody else is writing notes.
            UnknownRef: there is no such change.
        """
        ...
