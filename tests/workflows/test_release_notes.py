from __future__ import annotations

from pathlib import Path

import pytest

from tests.workflows.git_repository import GitRepository
from workflows import release_notes as module
from workflows.forge import UnknownRef
from workflows.local_git import LocalGit
from workflows.release_notes import NotesRequest, ReleaseNotes, release_notes


@pytest.fixture
def repository(tmp_path: Path) -> GitRepository:
    made = GitRepository(tmp_path / "checkout")
    made.commit("Begin")
    made.git("tag", "v1")
    return made


async def draft(repository: GitRepository, since: str = "v1", until: str = "HEAD") -> ReleaseNotes:
    request = NotesRequest(repository="checkout", since=since, until=until)
    return await release_notes(request, forge=LocalGit(repository.folder.parent))


@pytest.mark.parametrize(
    ("title", "section", "text"),
    [
        ("feat: pay by invoice", "Features", "pay by invoice"),
        ("fix(till): round", "Fixes", "till: round"),
        ("perf: cache", "Performance", "cache"),
        ("docs: how to pay", "Documentation", "how to pay"),
        ('Revert "feat: x"', "Reverted", "feat: x"),
        ("build(deps): bump idna", "Dependencies", "deps: bump idna"),
        ("ci: faster", "Maintenance", "faster"),
        ("refactor!: drop v1", "Breaking changes", "drop v1"),
        ("Adds invoices", "Features", "Adds invoices"),
        ("Fixed the till", "Fixes", "Fixed the till"),
        ("Optimise totals", "Performance", "Optimise totals"),
        ("Removed v1", "Removed", "Removed v1"),
        ("Upgrade idna", "Dependencies", "Upgrade idna"),
        ("Address review", "Other changes", "Address review"),
    ],
)
async def test_the_title_decides_the_section(repository: GitRepository, title: str, section: str, text: str) -> None:
    commit = repository.commit(title, {"till.py": title})
    (found,) = (await draft(repository)).sections
    assert (found.title, [(entry.change, entry.text) for entry in found.entries]) == (section, [(commit[:12], text)])


@pytest.mark.parametrize(
    ("files", "section"),
    [
        (["docs/a.md"], "Documentation"),
        (["tests/test_a.py", "Makefile"], "Maintenance"),
        (["uv.lock"], "Dependencies"),
        (["docs/a.md", "uv.lock"], "Other changes"),
        ([], "Other changes"),
    ],
)
async def test_without_a_telling_title_the_files_decide(repository: GitRepository, files: list[str], section: str) -> None:
    repository.commit("Work", dict.fromkeys(files, "x\n"))
    assert [found.title for found in (await draft(repository)).sections] == [section]


async def test_a_breaking_footer_counts_without_a_prefix(repository: GitRepository) -> None:
    repository.commit("Drop v1\n\nBREAKING CHANGE: it is gone")
    (section,) = (await draft(repository)).sections
    assert (section.title, section.entries[0].breaking) == ("Breaking changes", True)


async def test_sections_come_in_the_order_of_their_weight(repository: GitRepository) -> None:
    for title in ("docs: a", "feat: b", "fix: c", "feat!: d"):
        repository.commit(title)
    assert [section.title for section in (await draft(repository)).sections] == ["Breaking changes", "Features", "Fixes", "Documentation"]


async def test_the_draft_is_markdown(repository: GitRepository) -> None:
    commit = repository.commit("feat: `pay` <b>now</b> & here")
    assert (await draft(repository)).markdown == (
        f"# Changes from v1 to HEAD\n\n## Features\n\n- `pay` &lt;b>now&lt;/b> &amp; here ({commit[:12]})\n"
    )


async def test_nothing_new_is_said_so(repository: GitRepository) -> None:
    notes = await draft(repository)
    assert (notes.commits, notes.sections, notes.markdown) == (0, [], "# Changes from v1 to HEAD\n\nNo changes.\n")


async def test_since_the_beginning_is_all_of_history(repository: GitRepository) -> None:
    assert (await draft(repository, since="beginning")).commits == 1


async def test_more_commits_than_are_listed_is_said_so(repository: GitRepository, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_COMMITS", 2)
    for number in range(3):
        repository.commit(f"feat: {number}")
    notes = await draft(repository)
    assert (notes.commits, notes.complete) == (2, False)
    assert notes.markdown.endswith("Only the newest 2 commits are listed.\n")


@pytest.mark.parametrize(("since", "until"), [("v9", "HEAD"), ("v1", "v9"), ("--all", "HEAD"), ("v1", "--output=x")])
async def test_an_unknown_ref_is_refused(repository: GitRepository, since: str, until: str) -> None:
    with pytest.raises(UnknownRef):
        await draft(repository, since, until)
