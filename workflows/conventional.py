"""Conventional commit messages, as https://www.conventionalcommits.org/en/v1.0.0/ has them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from workflows.forge import Change

TYPES: Final = ("feat", "fix", "docs", "chore", "refactor", "perf", "test", "build", "ci", "style", "revert")

_TITLE: Final = re.compile(r"(?:(?:fixup|squash|amend)! )*(?P<type>[A-Za-z]+)(?:\((?P<scope>[^()]+)\))?(?P<bang>!)?: *(?P<text>\S.*)")
_BREAKING: Final = re.compile(r"^BREAKING[ -]CHANGE: ", re.MULTILINE)
_REVERT: Final = re.compile(r'Revert "(?P<text>.+)"$')  # what `git revert` writes


@dataclass(frozen=True, slots=True)
class Conventional:
    """What a conventional title says; `prefix` is its beginning as it was written."""

    type: str
    scope: str | None
    breaking: bool
    text: str
    prefix: str


def read_conventional(change: Change) -> Conventional | None:
    """What the change's title says, None if it is not conventional or of a type that nobody agreed on."""
    breaking = is_breaking(change)
    if revert := _REVERT.match(change.headline):
        return Conventional("revert", None, breaking, revert["text"], "Revert")
    title = _TITLE.match(change.headline)
    if title is None or title["type"].lower() not in TYPES:
        return None
    scope = title["scope"].strip() if title["scope"] else None
    prefix = change.headline[: title.start("text")].strip()
    return Conventional(title["type"].lower(), scope or None, breaking or title["bang"] is not None, title["text"], prefix)


def is_breaking(change: Change) -> bool:
    """Whether the message has a BREAKING CHANGE footer."""
    return _BREAKING.search(change.body) is not None
