from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from heddle.macros.failures import Again, End, judge
from tests.workflows.git_repository import GitRepository
from workflows.forge import ForgeBusy, UnknownRepository
from workflows.local_git import LocalGit
from workflows.repo_triage import TriageReport, TriageRequest, repo_triage


@pytest.fixture
def repository(tmp_path: Path) -> GitRepository:
    made = GitRepository(tmp_path / "checkout")
    made.commit("Begin", {"README.md": "# Checkout\n"})
    made.commit("feat(till): pay by invoice", {"till.py": "def pay():\n    pass\n"})
    made.commit("fix: round totals", {"till.py": "def pay():\n    return 0\n", "tests/test_till.py": "x = 1\n"})
    return made


async def triage(repository: GitRepository, **request: Any) -> TriageReport:
    return await repo_triage(TriageRequest(repository="checkout", **request), forge=LocalGit(repository.folder.parent))


def labels(report: TriageReport) -> list[list[str]]:
    return [result.labels for result in report.results]


async def test_conventional_labels_come_from_the_titles(repository: GitRepository) -> None:
    assert labels(await triage(repository, label_strategy="conventional")) == [["fix"], ["feat", "scope:till"], []]


async def test_semantic_labels_come_from_the_diffs(repository: GitRepository) -> None:
    assert labels(await triage(repository)) == [["fix", "tests"], ["feature"], ["docs"]]


async def test_count_keeps_the_newest(repository: GitRepository) -> None:
    report = await triage(repository, count=2)
    assert (report.processed, [result.title for result in report.results]) == (2, ["fix: round totals", "feat(till): pay by invoice"])


async def test_a_result_says_whose_change_it_is(repository: GitRepository) -> None:
    (result,) = (await triage(repository, count=1)).results
    head = repository.git("rev-parse", "HEAD")
    assert (result.change, result.author, result.date.isoformat()) == (head[:12], "Ada Lovelace", "2026-03-03T12:00:00+01:00")


async def test_an_empty_repository_is_an_empty_report(tmp_path: Path) -> None:
    assert await triage(GitRepository(tmp_path / "checkout")) == TriageReport(processed=0, results=[])


@pytest.mark.parametrize("strategy", ["semantic", "conventional", "manual"])
async def test_nothing_is_written_unasked(repository: GitRepository, strategy: str) -> None:
    report = await triage(repository, label_strategy=strategy)
    assert (any(result.written for result in report.results), repository.has_notes_ref()) == (False, False)


async def test_manual_writes_nothing_even_when_asked(repository: GitRepository) -> None:
    report = await triage(repository, label_strategy="manual", write=True)
    assert (any(result.written for result in report.results), repository.has_notes_ref()) == (False, False)


async def test_a_note_holds_labels_and_reason(repository: GitRepository) -> None:
    await triage(repository, count=1, label_strategy="conventional", write=True)
    assert repository.note("HEAD") == "labels: fix\nreason: the title begins with 'fix:'"


async def test_what_has_no_label_gets_no_note(repository: GitRepository) -> None:
    report = await triage(repository, label_strategy="conventional", write=True)
    assert [result.written for result in report.results] == [True, True, False]
    assert len(repository.notes()) == 2


async def test_a_second_run_reports_the_same_and_writes_nothing(repository: GitRepository) -> None:
    first, second = await triage(repository, write=True), await triage(repository, write=True)
    assert (first, repository.git("rev-list", "--count", "refs/notes/heddle")) == (second, "1")


async def test_another_strategy_replaces_the_labels(repository: GitRepository) -> None:
    await triage(repository, count=1, write=True)
    await triage(repository, count=1, label_strategy="conventional", write=True)
    assert repository.note("HEAD").startswith("labels: fix\n")


async def test_the_history_stays_as_it_was(repository: GitRepository) -> None:
    before = repository.git("rev-parse", "HEAD"), repository.git("status", "--porcelain")
    await triage(repository, write=True)
    assert (repository.git("rev-parse", "HEAD"), repository.git("status", "--porcelain")) == before


async def test_an_unknown_repository_ends_the_task(tmp_path: Path) -> None:
    with pytest.raises(UnknownRepository) as refused:
        await repo_triage(TriageRequest(repository="acme/nowhere"), forge=LocalGit(tmp_path))
    assert isinstance(judge(refused.value, 1, repo_triage.fails), End)


@pytest.mark.parametrize(("attempt", "verdict"), [(1, Again(2.0)), (2, Again(4.0)), (3, Again(8.0))])
def test_a_busy_forge_is_tried_again(attempt: int, verdict: Again) -> None:
    assert judge(ForgeBusy("locked"), attempt, repo_triage.fails) == verdict


@pytest.mark.parametrize("count", [0, 201])
def test_count_has_limits(count: int) -> None:
    with pytest.raises(ValueError, match="count"):
        TriageRequest(repository=".", count=count)


def test_the_planner_does_not_see_write() -> None:
    assert set(repo_triage.planner_schema["properties"]) == {"repository", "count", "label_strategy"}
