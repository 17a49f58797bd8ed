"""The three ways of labelling a change. All are rules: the same change always gets the same labels."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from workflows.contents import Kind, kind_of, public_names
from workflows.conventional import is_breaking, read_conventional
from workflows.forge import Change

_FIX_WORDS: Final = re.compile(r"\b(?:fix(?:e[sd])?|bugs?|bugfix|hotfix|crash(?:es)?|regressions?|repairs?|corrects?)\b", re.IGNORECASE)
_NAMES_SHOWN: Final = 3


class Verdict(NamedTuple):
    """The labels of a change, and why it has them or has none."""

    labels: list[str]
    reason: str


def conventional(change: Change) -> Verdict:
    """Labels from the prefix of the title: its type, `scope:…` and `breaking`."""
    read = read_conventional(change)
    if read is None:
        return (
            Verdict(["breaking"], "has a BREAKING CHANGE footer")
            if is_breaking(change)
            else Verdict([], "the title has no conventional prefix")
        )
    labels = [read.type, *([f"scope:{read.scope}"] if read.scope else []), *(["breaking"] if read.breaking else [])]
    footer = " and there is a BREAKING CHANGE footer" if is_breaking(change) else ""
    return Verdict(labels, f"the title begins with {read.prefix!r}{footer}")


def semantic(change: Change) -> Verdict:
    """Labels from what the diff contains."""
    found = dict(_contents(change))
    reason = "; ".join(found.values()) or "no rule knows what it touches"
    return Verdict(list(found), f"{reason} (seen in part only)" if change.partial else reason)


def manual(change: Change) -> Verdict:
    """What the other two find, for a person to choose from."""
    by_title, by_content = conventional(change), semantic(change)
    labels = list(dict.fromkeys(by_title.labels + by_content.labels))
    return Verdict(labels, f"to choose from: {by_title.reason}; {by_content.reason}")


def _contents(change: Change) -> Iterator[tuple[str, str]]:
    """Each label that the contents earn, with the reason."""
    if not change.files:
        if not change.partial:
            yield "empty", "changes no file"
        return
    by_kind: dict[Kind, list[str]] = {}
    for file in change.files:
        by_kind.setdefault(kind_of(file.path), []).append(file.path)
    if Kind.CODE in by_kind:
        yield from _code(change)
    for kind in (Kind.TESTS, Kind.DOCS, Kind.DEPENDENCIES, Kind.BUILD, Kind.CI):
        if kind in by_kind:
            yield kind.value, f"touches {_some(by_kind[kind])}"


def _code(change: Change) -> Iterator[tuple[str, str]]:
    """What happened to the code: new names make a feature, lost ones a removal; failing both, the title or the shape decides."""
    code = [file for file in change.files if kind_of(file.path) is Kind.CODE]
    gained, lost = public_names(change.diff)
    fixes = _FIX_WORDS.search(change.headline)
    if fixes:
        yield "fix", f"the title says {fixes[0]!r}"
    if gained:
        yield "feature", f"adds the public {_some(gained)}"
    if lost:
        yield "removal", f"takes away the public {_some(lost)}"
    if not (fixes or gained or lost):
        if all(file.old_path and file.added + file.removed == 0 for file in code):
            yield "refactor", f"only moves {_some([file.path for file in code])}"
        elif change.diff and not change.partial:
            yield "refactor", f"changes {_some([file.path for file in code])} and no public name"
        else:
            yield "code", f"touches {_some([file.path for file in code])}"


def _some(names: list[str]) -> str:
    more = len(names) - _NAMES_SHOWN
    return ", ".join(names[:_NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")
