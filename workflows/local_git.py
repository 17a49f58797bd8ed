"""A forge of the git repositories in a folder, read and written with the `git` command (2.31 or newer)."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from workflows.forge import DIFF_BYTES, Change, FileChange, ForgeBusy, ForgeError, UnknownRef, UnknownRepository
from workflows.rooted import inside

NOTES_REF: Final = "refs/notes/heddle"
OUTPUT_BYTES: Final = 64 * 1024 * 1024

# A repository's own configuration may name programs to run and change what is printed: neither is wanted here.
_GIT: Final = (
    "git",
    "--no-pager",
    *("-c", "core.quotepath=off"),
    *("-c", f"core.hooksPath={os.devnull}"),
    *("-c", "log.showRoot=true"),
)
_ENVIRONMENT: Final = {
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_ALLOW_PROTOCOL": "none",  # a partial clone must not fetch what it lacks
    "LC_ALL": "C",
}
_DIFF: Final = ("--no-ext-diff", "--no-textconv", "--no-color", "--no-show-signature", "--diff-merges=first-parent", "--find-renames")
_FORMAT: Final = "--format=%H%x00%aN%x00%aI%x00%s%x00%b"
_BUSY: Final = ("File exists", "Not updating", "but expected", "reference already exists")  # a lock, or a ref that moved meanwhile
_COMMIT_ID: Final = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


class LocalGit:
    """The forge of the git repositories in a folder, the root.

    A repository is named by its path below the root: `.` is the root itself, `acme/checkout` a folder in a folder. The path
    must be the top of a work tree or a bare repository; a folder somewhere inside a work tree is refused and the error names
    the top, so that nobody labels a whole repository who meant a part of it. Symlinks may not lead out of the root. Linked
    work trees and submodules are read wherever git keeps their objects. A repository that git finds to belong to another
    user is refused with git's own remedy (`safe.directory`).
    """

    def __init__(self, root: Path) -> None:
        self._root = root.resolve()

    async def latest(self, repository: str, count: int, *, diffs: bool = False) -> list[Change]:
        """The latest changes along the first parents of HEAD, newest first; none if there is no commit yet."""
        folder = await self._open(repository)
        head = await _commit(folder, "HEAD")
        if head is None:
            return []
        changes = await _log(folder, "--first-parent", f"--max-count={count}", head)
        return [await _with_diff(folder, change) for change in changes] if diffs else changes

    async def between(self, repository: str, since: str | None, until: str, *, limit: int) -> list[Change]:
        """The commits that `until` has and `since` has not, newest first, merges left out."""
        folder = await self._open(repository)
        last = await self._known_commit(folder, repository, until)
        excluded = [] if since is None else [f"^{await self._known_commit(folder, repository, since)}"]
        return await _log(folder, "--no-merges", f"--max-count={limit}", last, *excluded)

    async def annotate(self, repository: str, notes: Mapping[str, str]) -> None:
        """Write git notes under refs/notes/heddle, in one commit; what is already there is not written again.

        `git fast-import` moves the ref only from where this commit began, so a writer beside us loses nothing: we are refused.
        """
        folder = await self._open(repository)
        for change in notes:
            if _COMMIT_ID.fullmatch(change) is None or await _commit(folder, change) != change:
                raise UnknownRef(f"no commit {change!r} in {repository!r}: a note needs the whole id of a commit")
        base = await _commit(folder, NOTES_REF)
        standing = await _read_notes(folder, notes) if base else {}
        missing = {change: text for change, text in notes.items() if standing.get(change) != text.rstrip("\n")}
        if missing:
            written = await _run(folder, "fast-import", "--quiet", "--date-format=now", given=_notes_commit(base, missing))
            if written.code:
                raise _failure("write the notes", written)

    async def _open(self, repository: str) -> Path:
        folder = inside(self._root, repository)
        if folder is None or inside(self._root, str(folder / ".git")) is None:
            raise self._unknown(repository, "it is no path inside that folder")
        if not folder.is_dir():
            raise self._unknown(repository, "there is no such folder")
        asked = await _run(folder, "rev-parse", "--show-prefix")
        if asked.code:
            raise self._unknown(repository, f"git says: {asked.error}")
        if prefix := asked.output.decode("utf-8", "replace").removesuffix("\n"):
            top = folder.parents[prefix.count("/") - 1]
            name = top.relative_to(self._root) if top.is_relative_to(self._root) else top
            raise self._unknown(repository, f"it is a folder inside the repository '{name}': use that")
        return folder

    def _unknown(self, repository: str, why: str) -> UnknownRepository:
        return UnknownRepository(
            f"no repository {repository!r} under {self._root}: {why}. "
            "Name a repository by its path there, such as '.' or 'acme/checkout', or set HEDDLE_FORGE__ROOT to the folder that holds yours."
        )

    async def _known_commit(self, folder: Path, repository: str, ref: str) -> str:
        commit = await _commit(folder, ref)
        if commit is None:
            hint = "; the clone is shallow: `git fetch --unshallow --tags` brings the rest" if await _shallow_ends(folder) else ""
            raise UnknownRef(f"no commit {ref!r} in {repository!r}: name a tag, branch or commit of that repository{hint}")
        return commit


@dataclass(frozen=True, slots=True)
class _Ran:
    """What a git process said; `cut` if it was stopped because it said too much."""

    code: int
    output: bytes
    error: str
    cut: bool


async def _run(folder: Path, *arguments: str, given: bytes | None = None, at_most: int = OUTPUT_BYTES) -> _Ran:
    """Run git in a folder, without a shell, and end it however this call ends."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        process = await asyncio.create_subprocess_exec(
            *_GIT,
            *arguments,
            cwd=folder,
            env=inherited | _ENVIRONMENT,
            stdin=asyncio.subprocess.DEVNULL if given is None else asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
    except OSError as error:
        raise ForgeError(f"cannot run git in {folder}: {error}; git must be installed and on the worker's PATH") from None
    try:
        (output, cut), said, _ = await asyncio.gather(_head(process, at_most), _errors(process), _give(process, given))
        code = await process.wait()
    finally:
        if process.returncode is None:
            _kill(process)
            await process.communicate()
    return _Ran(0 if cut else code, output, said, cut)


async def _head(process: asyncio.subprocess.Process, at_most: int) -> tuple[bytes, bool]:
    """The first bytes of what the process says, and whether it was killed for saying more."""
    output = bytearray()
    while process.stdout and (chunk := await process.stdout.read(65_536)):
        if len(output) <= at_most:
            output += chunk
            if len(output) > at_most:
                _kill(process)
    return bytes(output[:at_most]), len(output) > at_most


async def _errors(process: asyncio.subprocess.Process) -> str:
    said = await process.stderr.read() if process.stderr else b""
    return " ".join(said.decode("utf-8", "replace").split())[:500]


async def _give(process: asyncio.subprocess.Process, given: bytes | None) -> None:
    if process.stdin and given is not None:
        with suppress(BrokenPipeError, ConnectionResetError):  # it ended early: its exit code says why
            process.stdin.write(given)
            await process.stdin.drain()
        process.stdin.close()


def _kill(process: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError):
        process.kill()


def _failure(what: str, ran: _Ran) -> ForgeError:
    """The error of a git process that ended badly."""
    kind = ForgeBusy if any(sign in ran.error for sign in _BUSY) else ForgeError
    return kind(f"git could not {what}: {ran.error}")


async def _commit(folder: Path, ref: str) -> str | None:
    """The id of the commit that a ref names, None if it names none. Nothing but such an id is handed to any other git command."""
    if ref.startswith("-") or not ref.isprintable():
        return None
    ran = await _run(folder, "rev-parse", "--verify", "--quiet", f"{ref}^{{commit}}")
    found = ran.output.decode("utf-8", "replace").strip()
    return found if ran.code == 0 and _COMMIT_ID.fullmatch(found) else None


async def _log(folder: Path, *selection: str) -> list[Change]:
    ran = await _run(folder, "log", "-z", "--numstat", "--encoding=UTF-8", _FORMAT, *_DIFF, *selection, "--")
    if ran.code:
        raise _failure("read the history", ran)
    if ran.cut:
        raise ForgeError(f"the history asked for is longer than {OUTPUT_BYTES >> 20} MiB: ask for fewer changes")
    ends = await _shallow_ends(folder)
    return [_without_files(change) if change.id in ends else change for change in _parse(ran.output)]


def _parse(output: bytes) -> Iterator[Change]:
    """The changes in what `git log -z --numstat` prints: five fields each, then the counts of its files."""
    tokens = iter(output.decode("utf-8", "replace").split("\0"))
    token = next(tokens)
    while token:
        author, date, title, body = (next(tokens) for _ in range(4))
        files: list[FileChange] = []
        commit, token = token, next(tokens, "")
        while "\t" in token:  # a commit's id has none
            added, removed, path = token.lstrip("\n").split("\t", 2)
            old_path = None if path else next(tokens)  # of a rename both paths follow
            files.append(
                FileChange(
                    path=path or next(tokens),
                    old_path=old_path,
                    added=int(added) if added.isdigit() else 0,
                    removed=int(removed) if removed.isdigit() else 0,
                    binary=added == "-",
                )
            )
            token = next(tokens, "")
        yield Change(id=commit, author=author, date=_date(date), title=title, body=body.strip(), files=tuple(files))


def _date(text: str) -> datetime:
    """A commit may claim a year that no calendar has; then it is the epoch."""
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return datetime.fromtimestamp(0, UTC)


async def _with_diff(folder: Path, change: Change) -> Change:
    """The change with the beginning of its diff; reading stops where the limit is."""
    if change.partial:
        return change
    ran = await _run(folder, "show", "--format=", "--patch", "--unified=0", *_DIFF, change.id, "--", at_most=DIFF_BYTES)
    if ran.code:
        raise _failure(f"read the diff of {change.short_id}", ran)
    return change.model_copy(update={"diff": ran.output.decode("utf-8", "replace"), "partial": ran.cut})


async def _shallow_ends(folder: Path) -> frozenset[str]:
    """Where a shallow clone ends: git shows these commits as if they had added every file."""
    ran = await _run(folder, "rev-parse", "--git-path", "shallow")
    ends = folder / os.fsdecode(ran.output.removesuffix(b"\n"))
    return frozenset(ends.read_text().split()) if ran.code == 0 and ends.is_file() else frozenset()


def _without_files(change: Change) -> Change:
    return change.model_copy(update={"files": (), "partial": True})


async def _read_notes(folder: Path, changes: Mapping[str, str]) -> dict[str, str]:
    """The notes that these changes carry, without the newlines at their ends."""
    ran = await _run(folder, "log", "-z", "--no-walk=unsorted", f"--notes={NOTES_REF}", "--format=%H%x00%N", *changes, "--")
    if ran.code:
        raise _failure("read the notes", ran)
    tokens = ran.output.decode("utf-8", "replace").split("\0")
    return {commit: note.rstrip("\n") for commit, note in zip(tokens[::2], tokens[1::2], strict=False)}


def _notes_commit(base: str | None, notes: Mapping[str, str]) -> bytes:
    """The notes as one commit, in the language of `git fast-import`."""
    message = b"Notes added by heddle"
    script = [f"commit {NOTES_REF}\ncommitter heddle <heddle@localhost> now\ndata {len(message)}\n".encode() + message]
    if base:
        script.append(f"from {base}".encode())
    for change, text in notes.items():
        data = text.encode()
        script.append(f"N inline {change}\ndata {len(data)}\n".encode() + data)
    return b"\n".join(script) + b"\n"
