"""A forge of the repositories on GitHub, or on a server with its REST API (https://docs.github.com/en/rest, version 2022-11-28)."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Annotated, Any, Final, TypeVar
from urllib.parse import quote

import httpx
from pydantic import BaseModel, Field, TypeAdapter

from heddle import Settings
from heddle.egress import check_egress
from heddle.errors import SettingsError
from workflows.forge import DIFF_BYTES, Change, FileChange, ForgeError, UnknownRef, UnknownRepository
from workflows.github_api import JSON, VERSION, Answer, GitHubApi

MARKER: Final = "<!-- heddle: note -->"
TIMEOUT: Final = 20.0

_PER_PAGE: Final = 100  # the most that GitHub gives
_SHA: Final = "application/vnd.github.sha"
_REPOSITORY: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*/(?!\.{1,2}$)[A-Za-z0-9._-]+")
_COMMIT_ID: Final = r"^(?:[0-9a-f]{40}|[0-9a-f]{64})$"
_EMPTY_FILE: Final = "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"  # git's id of a file without content

T = TypeVar("T")


class _Parent(BaseModel):
    sha: Annotated[str, Field(pattern=_COMMIT_ID)]


class _Author(BaseModel):
    name: str = ""
    date: datetime = datetime.fromtimestamp(0, UTC)


class _Message(BaseModel):
    message: str
    author: _Author | None = None


class _File(BaseModel):
    filename: str
    status: str
    sha: str | None = None
    additions: int = 0
    deletions: int = 0
    previous_filename: str | None = None
    patch: str | None = None


class _Commit(BaseModel):
    sha: Annotated[str, Field(pattern=_COMMIT_ID)]
    commit: _Message
    parents: list[_Parent]
    files: list[_File] | None = None


class _Comparison(BaseModel):
    commits: list[_Commit]


class _Comment(BaseModel):
    id: int
    body: str


_COMMIT: Final = TypeAdapter(_Commit)
_COMMITS: Final = TypeAdapter(list[_Commit])
_COMPARISON: Final = TypeAdapter(_Comparison)
_COMMENTS: Final = TypeAdapter(list[_Comment])


@asynccontextmanager
async def github(settings: Settings, *, now: Callable[[], float] = time.time, timeout: float = TIMEOUT) -> AsyncIterator[GitHub]:
    """The forge at `forge.url`, with `forge.token`; its connections are closed at the end.

    Args:
        settings: those in force.
        now: seconds since the epoch.
        timeout: seconds until the whole answer to one call must be there.

    Raises:
        SettingsError: `egress: none` forbids that server, or the token cannot be sent there.
    """
    url = str(settings.forge.url).rstrip("/")
    private = await check_egress(settings, url, "HEDDLE_FORGE__URL")
    token = settings.forge.token.get_secret_value() if settings.forge.token else ""
    if token and not re.fullmatch(r"[!-~]+", token):
        raise SettingsError("HEDDLE_FORGE__TOKEN has a space, a line break or another character that no token has")
    if token and not private and settings.forge.url.scheme != "https":
        raise SettingsError(f"{url} (HEDDLE_FORGE__URL) is not https: everybody on the way could read HEDDLE_FORGE__TOKEN")
    headers = {"User-Agent": "heddle", "X-GitHub-Api-Version": VERSION} | ({"Authorization": f"Bearer {token}"} if token else {})
    async with httpx.AsyncClient(
        headers=headers,
        timeout=None,  # noqa: S113  # `GitHubApi` has one for the whole answer
        follow_redirects=False,
        transport=httpx.AsyncHTTPTransport() if private else None,  # with one given, the environment's proxies are left alone
    ) as client:
        yield GitHub(GitHubApi(client, url, now=now, timeout=timeout))


class GitHub:
    """The repositories on GitHub, by `owner/name`; made by `github`.

    Notes are commit comments. A hidden first line marks them as heddle's, whoever wrote them.
    """

    def __init__(self, api: GitHubApi) -> None:
        self._api = api

    async def latest(self, repository: str, count: int, *, diffs: bool = False) -> list[Change]:
        """The latest changes along the first parents of the default branch, newest first; none if there is no commit yet.

        Endpoints: "List commits", and with `diffs` "Get a commit" for each. Without them no files are told and every change is
        `partial`.
        """
        home = self._home(repository)
        changes = [_change(commit) for commit in await self._first_parents(home, count)]
        return await _together(self._with_diff(home, change) for change in changes) if diffs else changes

    async def between(self, repository: str, since: str | None, until: str, *, limit: int) -> list[Change]:
        """The commits that `until` has and `since` has not, newest first, merges left out; no files are told, so every one is `partial`.

        Endpoints: "Get a commit" to find out what a ref names; "Compare two commits", or "List commits" for all of history.

        Raises:
            UnknownRef: `since` or `until` does not exist.
            ForgeError: they have no common ancestor: GitHub does not compare such.
        """
        home = self._home(repository)
        last = await self._commit(home, until)
        if since is None:
            first = await self._api.get(f"{home}/commits", {"sha": last, "per_page": _PER_PAGE})
            return await self._api.walk(first, "next", lambda page: _unmerged(page.read(_COMMITS)), limit)
        base = await self._commit(home, since)
        strangers = ForgeError(f"{since!r} and {until!r} have no common ancestor in {repository!r}: GitHub does not compare them")
        first = await self._api.get(f"{home}/compare/{base}...{last}", {"per_page": _PER_PAGE}, refusals={404: strangers})
        newest = await self._api.follow(first, "last") if "last" in first.links else first  # the oldest come first
        if newest is first and "next" in first.links:
            raise ForgeError(f"{first.call}: the answer says that there is more and not where it ends")
        return await self._api.walk(newest, "prev", lambda page: _unmerged(page.read(_COMPARISON).commits[::-1]), limit)

    async def annotate(self, repository: str, notes: Mapping[str, str]) -> None:
        """Write each note as a commit comment of heddle's, in place of an earlier one; what is already there is not written again.

        Every change is looked up before anything is written, so an unknown one leaves all as it was. Comments are written one
        by one: a failure on the way, such as a limit, leaves those before it, and the same call again writes the rest. Two
        writers at the same moment may leave two comments; the first is then kept up to date.

        Endpoints: "Get a commit", "List commit comments", "Create a commit comment", "Update a commit comment".

        Raises:
            UnknownRef: there is no such change.
        """
        home = self._home(repository)
        for change in notes:
            if re.fullmatch(_COMMIT_ID, change) is None:
                raise _unknown_ref(home, change)
        standing = await _together(self._standing(home, change) for change in notes)
        for (change, text), comment in zip(notes.items(), standing, strict=True):
            body = _comment_body(text)
            if comment is None:
                await self._write("POST", f"{home}/commits/{change}/comments", body)
            elif comment.body.replace("\r\n", "\n").strip() != body:
                await self._write("PATCH", f"{home}/comments/{comment.id}", body)

    def _home(self, repository: str) -> str:
        """The URL of a repository."""
        if not _REPOSITORY.fullmatch(repository):
            raise UnknownRepository(f"no repository {repository!r} on GitHub: name one as owner/name, such as acme/checkout")
        return f"{self._api.url}/repos/{repository}"

    async def _first_parents(self, home: str, count: int) -> list[_Commit]:
        """The newest commits along the first parents.

        A list has the commits of merged branches too. When it ends on the way, the next begins at the first parent that is
        wanted, so what was merged later is not in it.
        """
        chain: list[_Commit] = []
        wanted = ""
        refusals = {404: _unknown_repository(home), 409: UnknownRef(f"{home}: there is no commit yet")}
        while len(chain) < count:
            try:
                answer = await self._api.get(
                    f"{home}/commits", {"per_page": _PER_PAGE} | ({"sha": wanted} if wanted else {}), refusals=refusals
                )
            except UnknownRef:
                return []
            listed = {commit.sha: commit for commit in answer.read(_COMMITS)}
            wanted = wanted or next(iter(listed), "")
            if wanted not in listed:
                raise ForgeError(f"{answer.call}: the list does not begin with the commit that was asked for")
            while wanted in listed and len(chain) < count:
                chain.append(listed[wanted])
                if not chain[-1].parents:
                    return chain
                wanted = chain[-1].parents[0].sha
        return chain

    async def _with_diff(self, home: str, change: Change) -> Change:
        """The change with its files and the beginning of its diff; of a merge that against its first parent."""
        answer = await self._api.get(f"{home}/commits/{change.id}", refusals={404: _unknown_repository(home)})
        files = answer.read(_COMMIT).files or []
        diff = "".join(map(_diff, files)).encode()
        unseen = any(file.patch is None and file.additions + file.deletions for file in files)
        return change.model_copy(
            update={
                "files": tuple(map(_file_change, files)),
                "diff": diff[:DIFF_BYTES].decode("utf-8", "ignore"),
                "partial": len(diff) > DIFF_BYTES or unseen or "next" in answer.links,
            }
        )

    async def _commit(self, home: str, ref: str) -> str:
        """The id of the commit that a ref names."""
        unknown = _unknown_ref(home, ref)
        parts = ref.split("/")
        if not ref.isprintable() or ".." in ref or any(not part or part.startswith(".") for part in parts):
            raise unknown
        refusals: dict[int, ForgeError] = {404: _unknown_repository(home), 409: unknown, 422: unknown}
        answer = await self._api.get(f"{home}/commits/{quote(ref)}", accept=_SHA, refusals=refusals)
        found = answer.body.decode("ascii", "replace").strip()
        if not re.fullmatch(_COMMIT_ID, found):
            raise ForgeError(f"{answer.call} gives {found[:80]!r}, which is no commit's id; is HEDDLE_FORGE__URL right?")
        return found

    async def _standing(self, home: str, change: str) -> _Comment | None:
        """The comment of heddle's that a change carries."""
        await self._commit(home, change)
        first = await self._api.get(f"{home}/commits/{change}/comments", {"per_page": _PER_PAGE})
        comments = await self._api.walk(first, "next", lambda page: page.read(_COMMENTS))
        return next((comment for comment in comments if comment.body.startswith(MARKER)), None)

    async def _write(self, method: str, url: str, body: str) -> Answer:
        return await self._api.call(method, httpx.URL(url), json={"body": body}, accept=JSON)


async def _together(calls: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """What several calls give; the first that fails ends the others."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(call) for call in calls]
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from None
    return [task.result() for task in tasks]


def _unknown_repository(home: str) -> UnknownRepository:
    return UnknownRepository(f"no repository {home}: there is none, or the token in HEDDLE_FORGE__TOKEN may not see it")


def _unknown_ref(home: str, ref: str) -> UnknownRef:
    return UnknownRef(
        f"no commit {ref!r} in {home}: name a tag, branch or commit of that repository; a note needs the whole id of a commit"
    )


def _unmerged(commits: list[_Commit]) -> list[Change]:
    return [_change(commit) for commit in commits if len(commit.parents) < 2]


def _change(commit: _Commit) -> Change:
    """A commit as it stands in a list, where no files are told."""
    title, _, body = re.sub(r"\r\n?", "\n", commit.commit.message).strip().partition("\n\n")
    author = commit.commit.author or _Author()
    return Change(id=commit.sha, title=" ".join(title.split("\n")), body=body.strip(), author=author.name, date=author.date, partial=True)


def _file_change(file: _File) -> FileChange:
    """GitHub does not say which files are binary: of those it shows neither lines nor a patch, though the content has changed."""
    shows_nothing = file.patch is None and file.additions + file.deletions == 0
    return FileChange(
        path=file.filename,
        old_path=file.previous_filename,
        added=file.additions,
        removed=file.deletions,
        binary=shows_nothing and file.status in {"added", "modified", "removed"} and file.sha != _EMPTY_FILE,
    )


def _diff(file: _File) -> str:
    """The patch of one file as git writes it, without context."""
    old = file.previous_filename or file.filename
    lines = [f"diff --git a/{old} b/{file.filename}"]
    if file.patch is not None:
        lines.append("--- /dev/null" if file.status == "added" else f"--- a/{old}")
        lines.append("+++ /dev/null" if file.status == "removed" else f"+++ b/{file.filename}")
        lines += [line for line in file.patch.split("\n") if line[:1] in {"@", "+", "-", "\\"}]
    return "\n".join(lines) + "\n"


def _comment_body(text: str) -> str:
    """A note as a comment: in a block of code, where nothing is markup and `@name` calls nobody."""
    fence = max(("`" * (len(run) + 1) for run in re.findall(r"`+", text)), key=len, default="")
    fence = fence if len(fence) > 3 else "```"
    return f"{MARKER}\n{fence}text\n{text.strip()}\n{fence}"
