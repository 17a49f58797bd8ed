"""The macro `repo_triage`: labels for what landed last in a repository."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Annotated, Final, Literal

from pydantic import BaseModel, Field

from heddle import macro, person_only, reject, retry
from heddle.fields import words
from workflows import labels
from workflows.forge import Change, Forge, ForgeBusy, ForgeError, UnknownRepository
from workflows.labels import Verdict

LabelStrategy = Literal["semantic", "conventional", "manual"]

STRATEGIES: Final[Mapping[LabelStrategy, Callable[[Change], Verdict]]] = MappingProxyType(
    {"semantic": labels.semantic, "conventional": labels.conventional, "manual": labels.manual}
)

_CHECK: Final = "(check|triage|label|tag|review)"
_CHANGES: Final = "changes|commits|PRs|pull requests"
_USING: Final = "[and (label|tag|triage) them] [using [the] {label_strategy} [(commits|labels|strategy)]]"


class TriageRequest(BaseModel, frozen=True, extra="forbid"):
    """Which changes to label, and how."""

    repository: str = Field(min_length=1, description="The repository as the goal names it: owner/name, a path, or . for this one.")
    count: int = Field(5, ge=1, le=200, description="How many of the latest changes, pull requests or commits to label.")
    label_strategy: Annotated[
        LabelStrategy,
        words(
            semantic=["by content", "by what the diff contains", "by what their diffs contain"],
            conventional=["conventional commits", "by prefix", "by their prefixes"],
            manual=["propose labels", "only propose", "by hand"],
        ),
        Field(
            description="semantic: by what the diff contains; conventional: by the message's prefix (feat, fix); manual: only propose labels."
        ),
    ] = "semantic"
    write: Annotated[
        bool, person_only, Field(description="Keep the labels as git notes, under refs/notes/heddle; on GitHub as commit comments.")
    ] = False


class LabelledChange(BaseModel, frozen=True, extra="forbid"):
    """One change and its labels."""

    change: str = Field(description="The beginning of the commit's id.")
    title: str
    author: str
    date: datetime
    labels: list[str]
    reason: str = Field(description="Why it has these labels, or none.")
    written: bool = Field(description="Whether the labels stand in the repository's notes now.")


class TriageReport(BaseModel, frozen=True, extra="forbid"):
    """What was labelled, newest first."""

    processed: int
    results: list[LabelledChange]


@macro(
    version=1,
    tier="local",
    timeout=60,
    effects="reversible",
    fails={UnknownRepository: reject, ForgeError: reject, ForgeBusy: retry(times=3, backoff=2.0)},
    examples=[
        (
            "Check the last 3 PRs in acme/checkout and tag them using conventional commits",
            {"repository": "acme/checkout", "count": 3, "label_strategy": "conventional"},
        ),
        ("label the latest changes in .", {"repository": "."}),
        ("Triage the newest 10 commits of acme/billing by what their diffs contain", {"repository": "acme/billing", "count": 10}),
        (
            "Review the last 20 pull requests of acme/web and only propose labels, I will apply them myself",
            {"repository": "acme/web", "count": 20, "label_strategy": "manual"},
        ),
        ("Please tag what landed last in acme/data-tools", {"repository": "acme/data-tools"}),
        (
            "Go through the most recent twelve commits in ./services/api and label them by their prefixes",
            {"repository": "./services/api", "count": 12, "label_strategy": "conventional"},
        ),
        ("acme/mobile had a busy week: sort its 40 newest pull requests by content", {"repository": "acme/mobile", "count": 40}),
    ],
    phrases=[
        f"{_CHECK} [the] [(last|latest|newest)] {{count}} (change|commit|PR|pull request|{_CHANGES}) (in|of|from) {{repository}} {_USING}",
        f"{_CHECK} [the] (last|latest|newest) ({_CHANGES}) (in|of|from) {{repository}} {_USING}",
        f"triage [the] (repo|repository) {{repository}} {_USING}",
    ],
)
async def repo_triage(request: TriageRequest, *, forge: Forge) -> TriageReport:
    """Label the latest changes (commits, pull requests) of a git repository.

    Nothing is written unless a person asks for it, and never with the manual strategy; what is written are notes, which can be
    removed. Writing is idempotent: a retry finds the notes that are already there.
    """
    changes = await forge.latest(request.repository, request.count, diffs=request.label_strategy != "conventional")
    verdicts = [(change, STRATEGIES[request.label_strategy](change)) for change in changes]
    notes: dict[str, str] = {}
    if request.write and request.label_strategy != "manual":
        notes = {change.id: _note(verdict) for change, verdict in verdicts if verdict.labels}
        await forge.annotate(request.repository, notes)
    return TriageReport(
        processed=len(changes),
        results=[
            LabelledChange(
                change=change.short_id,
                title=change.headline,
                author=change.author,
                date=change.date,
                labels=verdict.labels,
                reason=verdict.reason,
                written=change.id in notes,
            )
            for change, verdict in verdicts
        ],
    )


def _note(verdict: Verdict) -> str:
    return f"labels: {', '.join(verdict.labels)}\nreason: {verdict.reason}\n"
