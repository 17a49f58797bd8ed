"""The macro `release_notes`: a draft of what changed between two refs."""

from __future__ import annotations

import re
from typing import Final

from pydantic import BaseModel, Field

from heddle import macro, reject, retry
from workflows.contents import Kind, kind_of
from workflows.conventional import is_breaking, read_conventional
from workflows.forge import Change, Forge, ForgeBusy, ForgeError, UnknownRef, UnknownRepository

MOST_COMMITS: Final = 2000
BEGINNING: Final = "beginning"

BREAKING: Final = "Breaking changes"
FEATURES: Final = "Features"
FIXES: Final = "Fixes"
PERFORMANCE: Final = "Performance"
REMOVED: Final = "Removed"
DOCUMENTATION: Final = "Documentation"
REVERTED: Final = "Reverted"
DEPENDENCIES: Final = "Dependencies"
MAINTENANCE: Final = "Maintenance"
OTHER: Final = "Other changes"
SECTIONS: Final = (BREAKING, FEATURES, FIXES, PERFORMANCE, REMOVED, DOCUMENTATION, REVERTED, DEPENDENCIES, MAINTENANCE, OTHER)

_BY_TYPE: Final = {"feat": FEATURES, "fix": FIXES, "perf": PERFORMANCE, "docs": DOCUMENTATION, "revert": REVERTED}  # others: maintenance
_BY_VERB: Final = (
    (re.compile(r"(?:add|allow|implement|introduce|support)(?:s|ed)?\b", re.IGNORECASE), FEATURES),
    (re.compile(r"(?:fix(?:e[sd])?|correct(?:s|ed)?|prevent(?:s|ed)?|repair(?:s|ed)?)\b", re.IGNORECASE), FIXES),
    (re.compile(r"(?:speed up|optimi[sz]e[sd]?|accelerate[sd]?)\b", re.IGNORECASE), PERFORMANCE),
    (re.compile(r"(?:remove[sd]?|drop(?:s|ped)?|delete[sd]?)\b", re.IGNORECASE), REMOVED),
    (re.compile(r"(?:bump|upgrade|downgrade)(?:s|ed)?\b", re.IGNORECASE), DEPENDENCIES),
    (re.compile(r"(?:document(?:s|ed)?|docs?)\b", re.IGNORECASE), DOCUMENTATION),
)
_BY_KIND: Final = {
    Kind.DOCS: DOCUMENTATION,
    Kind.DEPENDENCIES: DEPENDENCIES,
    Kind.TESTS: MAINTENANCE,
    Kind.BUILD: MAINTENANCE,
    Kind.CI: MAINTENANCE,
}

_DRAFT: Final = "(create|draft|generate|make|prepare|write) [(a|the)] release notes"
_BETWEEN: Final = "(after|between|from|since) [the] {since} [(and|to|till|until|up to) {until}]"


class NotesRequest(BaseModel, frozen=True, extra="forbid"):
    """Which commits the notes are about."""

    repository: str = Field(min_length=1, description="The repository as the goal names it: owner/name, a path, or . for this one.")
    since: str = Field(
        min_length=1, description="Tag, branch or commit after which the notes begin; the word beginning for all of history."
    )
    until: str = Field("HEAD", min_length=1, description="Tag, branch or commit up to which the notes go, included.")


class NotesEntry(BaseModel, frozen=True, extra="forbid"):
    """One commit."""

    change: str = Field(description="The beginning of the commit's id.")
    text: str
    breaking: bool


class NotesSection(BaseModel, frozen=True, extra="forbid"):
    """Entries of one sort, newest first."""

    title: str
    entries: list[NotesEntry]


class ReleaseNotes(BaseModel, frozen=True, extra="forbid"):
    """A draft of release notes; `complete` is false if there were more than 2000 commits and only the newest are in it."""

    repository: str
    since: str
    until: str
    commits: int
    complete: bool
    sections: list[NotesSection]
    markdown: str


@macro(
    version=1,
    tier="local",
    timeout=60,
    effects="none",
    fails={UnknownRepository: reject, UnknownRef: reject, ForgeError: reject, ForgeBusy: retry(times=3, backoff=2.0)},
    examples=[
        (
            "Draft release notes for acme/checkout from v1.4.0 to v1.5.0",
            {"repository": "acme/checkout", "since": "v1.4.0", "until": "v1.5.0"},
        ),
        ("write the release notes of . since v2.0", {"repository": ".", "since": "v2.0"}),
        (
            "What changed in acme/billing between release-7 and main? Write it up as release notes",
            {"repository": "acme/billing", "since": "release-7", "until": "main"},
        ),
        ("prepare release notes for acme/web from the beginning", {"repository": "acme/web", "since": "beginning"}),
        (
            "I need a changelog draft for acme/mobile that covers 2.3.1 to 2.4.0",
            {"repository": "acme/mobile", "since": "2.3.1", "until": "2.4.0"},
        ),
        (
            "Which changes went into ./libs/core after commit 4f2a9c1? As notes for the release",
            {"repository": "./libs/core", "since": "4f2a9c1"},
        ),
    ],
    phrases=[
        f"{_DRAFT} (for|of|in) {{repository}} {_BETWEEN}",
        f"{_DRAFT} {_BETWEEN} (for|of|in) {{repository}}",
    ],
)
async def release_notes(request: NotesRequest, *, forge: Forge) -> ReleaseNotes:
    """Draft release notes of a git repository from the commits between two tags, branches or commits.

    A conventional prefix decides where a commit belongs; without one the verb that the title begins with, then the sort of
    files that it touches. A breaking change is listed once, under its own heading.
    """
    since = None if request.since == BEGINNING else request.since
    found = await forge.between(request.repository, since, request.until, limit=MOST_COMMITS + 1)
    changes = found[:MOST_COMMITS]
    grouped: dict[str, list[NotesEntry]] = {title: [] for title in SECTIONS}
    for change in changes:
        section, entry = _entry(change)
        grouped[section].append(entry)
    sections = [NotesSection(title=title, entries=entries) for title, entries in grouped.items() if entries]
    complete = len(found) == len(changes)
    return ReleaseNotes(
        repository=request.repository,
        since=request.since,
        until=request.until,
        commits=len(changes),
        complete=complete,
        sections=sections,
        markdown=_markdown(request, sections, complete=complete),
    )


def _entry(change: Change) -> tuple[str, NotesEntry]:
    """The section that a change belongs to, and its entry there."""
    read = read_conventional(change)
    if read is None:
        section, text, breaking = _unconventional_section(change), change.headline, is_breaking(change)
    else:
        section = DEPENDENCIES if read.scope in {"deps", "deps-dev"} else _BY_TYPE.get(read.type, MAINTENANCE)
        text, breaking = f"{read.scope}: {read.text}" if read.scope else read.text, read.breaking
    return BREAKING if breaking else section, NotesEntry(change=change.short_id, text=text, breaking=breaking)


def _unconventional_section(change: Change) -> str:
    by_verb = next((section for verb, section in _BY_VERB if verb.match(change.headline)), None)
    by_kind = {_BY_KIND.get(kind_of(file.path), OTHER) for file in change.files}
    return by_verb or (by_kind.pop() if len(by_kind) == 1 else OTHER)


def _markdown(request: NotesRequest, sections: list[NotesSection], *, complete: bool) -> str:
    lines = [f"# Changes from {_plain(request.since)} to {_plain(request.until)}"]
    for section in sections:
        lines += ["", f"## {section.title}", "", *(f"- {_plain(entry.text)} ({entry.change})" for entry in section.entries)]
    if not sections:
        lines += ["", "No changes."]
    if not complete:
        lines += ["", f"Only the newest {MOST_COMMITS} commits are listed."]
    return "\n".join(lines) + "\n"


def _plain(text: str) -> str:
    """Text that cannot be HTML; backticks and emphasis in a title are meant as such."""
    return text.replace("&", "&amp;").replace("<", "&lt;")
