"""Macros of every sort that a planner meets, for the tests of reviews; their handlers do nothing."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from heddle import macro, person_only
from heddle.macros.loading import Registry, collect
from heddle.macros.marks import free_text, given, words
from heddle.macros.quantities import Bytes, Days, Percent, When


class Done(BaseModel):
    """An output."""

    done: bool = True


class Triage(BaseModel):
    """The input of `repo_triage`."""

    repository: str = Field(min_length=1, description="owner/name, a path, or . for this one; on GitHub too")
    count: int = Field(5, ge=1, le=200)
    strategy: Annotated[
        Literal["semantic", "conventional", "by_path"],
        words(conventional=["conventional commits", "commit prefixes"], semantic=["what the diffs contain"]),
    ] = "semantic"
    write: Annotated[bool, person_only] = False


@macro(
    examples=[("Check the last 3 PRs in acme/checkout", {"repository": "acme/checkout", "count": 3})],
    phrases=["label [the] latest PRs in {repository}"],
)
async def repo_triage(request: Triage) -> Done:
    """Label the latest changes (commits, pull requests) of a git repository."""
    return Done()


class Profile(BaseModel):
    """The input of `csv_profile`."""

    path: str
    columns: list[str] = []
    sample: Percent = 100.0


@macro(effects="none")
async def csv_profile(request: Profile) -> Done:
    """Profile a CSV file, here or in an S3 bucket."""
    return Done()


class Message(BaseModel):
    """The input of `send_message`."""

    to: str
    text: Annotated[str, free_text]
    urgent: Annotated[bool, words(true=["at once", "right away"])] = False


@macro(effects="irreversible")
async def send_message(request: Message) -> Done:
    """Send a message to a person or a channel."""
    return Done()


class Deployment(BaseModel):
    """The input of `deploy`."""

    service: Annotated[str, given("service")]
    environment: Literal["staging", "production"] = "staging"
    dry_run: bool = True
    replicas: int = Field(1, ge=1, le=50)
    force: Annotated[bool, person_only] = False


@macro(effects="irreversible")
async def deploy(request: Deployment) -> Done:
    """Deploy a service."""
    return Done()


class Cleanup(BaseModel):
    """The input of `clean_up`."""

    folder: str
    older_than: Days
    larger_than: Bytes = 0
    until: When | None = None


@macro
async def clean_up(request: Cleanup) -> Done:
    """Delete old files."""
    return Done()


class Filter(BaseModel):
    """A part of `Search`."""

    author: str | None = None
    labels: list[str] = []
    state: Literal["open", "closed"] = "open"


class ByMail(BaseModel):
    """A way to be told."""

    kind: Literal["mail"]
    address: str


class ByHook(BaseModel):
    """A way to be told."""

    kind: Literal["hook"]
    url: str


class Search(BaseModel):
    """The input of `search_issues`."""

    query: str
    limit: int = 20
    include_drafts: bool = False
    filter: Filter = Filter()
    options: dict[str, str] = {}
    notify: ByMail | ByHook | None = None


@macro(effects="none")
async def search_issues(request: Search) -> Done:
    """Search the issues of a tracker."""
    return Done()


REGISTRY: Registry = collect(iter([repo_triage, csv_profile, send_message, deploy, clean_up, search_issues]))
