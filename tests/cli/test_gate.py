"""`heddle gate` at the command line: from logs to a macro that is checked, and back to a scan that passes; its examples for CI are run."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from typer.testing import CliRunner

from heddle import subjects
from heddle.cli.main import app
from heddle.gate.sessions import Call, encode
from tests.cli import command
from tests.gate.found import calls, lines
from tests.support import on_ground

ROOT: Final = Path(__file__).resolve().parents[2]
PAGE: Final = ROOT / "docs" / "how-to" / "distil-macros.md"
IDS: Final = ("a1b2c3d4e5f6", "0f1e2d3c4b5a", "77aa88bb99cc", "deadbeef0123")
TOOLS: Final = '''
from collections.abc import AsyncIterator
from typing import Protocol

from pydantic import BaseModel

from heddle import provides


class Busy(Exception):
    """May pass."""


class Ticket(BaseModel):
    """One."""

    key: str
    title: str


class Tickets(Protocol):
    """A tool."""

    async def find(self, query: str, *, limit: int = 5) -> list[Ticket]:
        """Find some."""
        ...

    async def comment(self, key: str, body: str) -> None:
        """Comment on one."""
        ...


@provides
async def tickets() -> AsyncIterator[Tickets]:
    """Not needed here."""
    raise NotImplementedError
    yield
'''


class Busy(Exception):
    """As the tool raises it."""


def session(number: int) -> list[Call]:
    key, query = f"WEB-{100 + number}", ("login", "totals", "banner", "export")[number]
    goal = f"say on the newest ticket about {query} that it is seen"
    comment = ("Tickets.comment", {"key": key, "body": f"{key} is seen"}, None)
    return calls(
        f"s{number}",
        ("Tickets.find", {"query": query, "limit": 1}, [{"key": key, "title": f"About {query}"}]),
        *([(*comment[:2], Busy("try later"))] if number == 0 else []),
        comment,
        goal=goal,
        novel="tickets",
    )


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with macros' tools and four sessions that did the same."""
    (tmp_path / "workflows").mkdir()
    (tmp_path / "workflows" / "tools.py").write_text(TOOLS)
    (tmp_path / "session-logs").mkdir()
    (tmp_path / "session-logs" / "log.jsonl").write_bytes(b"".join(lines(session(number)) for number in range(4)))
    return tmp_path


def heddle(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return command.heddle(*arguments, cwd=folder, **environment)


def answer(done: subprocess.CompletedProcess[str]) -> Any:
    return json.loads(done.stdout)


def test_from_logs_to_a_macro_that_is_checked_and_back_to_a_scan_that_passes(project: Path) -> None:
    first = heddle(project, "gate", "scan", "session-logs", "-o", "json")
    assert (first.returncode, [one["pattern"] for one in answer(first)["sequences"]]) == (1, ["Tickets.find > Tickets.comment"])
    written = heddle(project, "gate", "suggest", "session-logs", "--write", "workflows", "-o", "json")
    assert written.returncode == 0, written.stdout + written.stderr
    (macro,) = answer(written)["macros"]
    assert (macro["file"], macro["fixtures"], macro["problem"]) == ("workflows/find_then_comment.py", 4, None)
    checked = heddle(project, "macros", "check", "--strict")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    second = heddle(project, "gate", "scan", "session-logs", "-o", "json")
    assert second.returncode == 0, second.stdout + second.stderr
    assert answer(second)["sequences"][0]["macro"] == "find_then_comment"
    assert answer(second)["savings"][0]["advice"].startswith("remove the category `novel.tickets`")


def test_a_proposal_imports_the_tools_that_are_there_and_wires_results(project: Path) -> None:
    heddle(project, "gate", "suggest", "session-logs", "--write", "workflows")
    source = (project / "workflows" / "find_then_comment.py").read_text()
    assert "from workflows.tools import Busy, Tickets" in source
    assert "fails={Busy: retry(times=3, backoff=2.0)}" in source
    assert "find = await tickets.find(query=request.query, limit=1)" in source
    assert 'await tickets.comment(key=find[0].key, body=f"{find[0].key} is seen")' in source
    assert "say on the newest ticket about {query} that it is seen" in source


def test_a_proposal_of_tools_that_nobody_provides_makes_their_types(project: Path) -> None:
    done = heddle(project, "gate", "suggest", "session-logs", "--write", "proposed", "--macros", str(empty(project)))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "class Tickets(Protocol):" in (project / "proposed" / "find_then_comment.py").read_text()
    checked = heddle(project, "macros", "check", "--strict", "--macros", "proposed")
    assert checked.returncode == 0, checked.stdout + checked.stderr


def empty(project: Path) -> Path:
    (project / "none.py").write_text('"""No macros."""\n')
    return project / "none.py"


def test_a_second_proposal_of_the_same_name_writes_over_nothing(project: Path) -> None:
    (project / "workflows" / "find_then_comment.py").write_text("# mine\n")
    (project / "workflows" / "fixtures" / "find_then_comment_2").mkdir(parents=True)
    done = heddle(project, "gate", "suggest", "session-logs", "--write", "workflows", "-o", "json")
    assert answer(done)["macros"][0]["file"] == "workflows/find_then_comment_3.py"
    assert (project / "workflows" / "find_then_comment.py").read_text() == "# mine\n"


def test_a_proposal_whose_fixtures_do_not_hold_is_told_and_not_written(project: Path) -> None:
    log = project / "session-logs" / "log.jsonl"
    log.write_text(log.read_text().replace('"title":', '"heading":'))  # the tool promises a title
    done = heddle(project, "gate", "suggest", "session-logs", "--write", "workflows", "-o", "json")
    assert (done.returncode, answer(done)["macros"][0]["problem"].startswith("not written: ")) == (1, True)
    assert [file.name for file in (project / "workflows").rglob("find*")] == []


def test_without_a_folder_the_proposal_is_shown(project: Path) -> None:
    done = heddle(project, "gate", "suggest", "session-logs")
    assert (done.returncode, "async def find_then_comment" in done.stdout, list(project.glob("workflows/fixtures"))) == (0, True, [])


def test_an_allow_list_lets_it_pass_until_it_expires(project: Path) -> None:
    entry = "- pattern: Tickets.find > Tickets.comment\n  reason: moves soon\n  expires: "
    (project / "gate-allow.yaml").write_text(entry + "2999-01-01\n")
    assert heddle(project, "gate", "scan", "session-logs").returncode == 0
    (project / "gate-allow.yaml").write_text(entry + "2001-01-01\n")
    done = heddle(project, "gate", "scan", "session-logs")
    assert (done.returncode, "expired on 2001-01-01" in done.stdout) == (1, True)


def test_unknown_lines_are_counted_and_told_with_their_numbers(project: Path) -> None:
    (project / "session-logs" / "other.jsonl").write_text('nonsense\n{"kind": "call"}\n')
    done = heddle(project, "gate", "scan", "session-logs")
    assert "2 lines could not be read" in done.stderr
    assert "session-logs/other.jsonl:1: not JSON" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("gate", "scan", "nowhere.jsonl"), 1, "cannot read nowhere.jsonl"),
        (("gate", "scan", "workflows"), 1, "no .jsonl or .json files in workflows"),
        (("gate", "scan", "stream", "session-logs"), 2, "stands alone"),
        (("gate", "scan", "session-logs", "--window", "soon"), 2, "is not a duration"),
        (("gate", "scan", "stream"), 4, "no NATS server is named"),
        (("gate", "scan", "session-logs", "--allow", "none.yaml"), 1, "cannot read none.yaml"),
        (("gate", "scan", "session-logs", "--sarif", "none/s.sarif"), 1, "cannot write none/s.sarif"),
    ],
)
def test_a_mistake_is_told(project: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], code: int, told: str) -> None:
    monkeypatch.chdir(project)
    done = CliRunner().invoke(app, [*arguments, "--macros", str(empty(project))])
    assert (done.exit_code, told in " ".join(done.stderr.replace("│", " ").split())) == (code, True), done.stderr


async def test_the_stream_is_scanned_as_files_are(project: Path, nats_url: str) -> None:
    async with on_ground(nats_url) as ground:
        for number in range(4):
            for event in session(number):
                await ground.publish(subjects.session(event.session), encode(event))
        records = await ground.client.jetstream().key_value(subjects.GOAL_RECORDS)
        for number in range(3):
            tasks: list[dict[str, Any]] = [{"worker_type": name, "payload": {}} for name in ("triage", "notes")]
            state = {"goal_id": f"g{number}", "instruction": "both", "planned": 1_770_000_000.0, "tasks": tasks}
            await records.put(f"g{number}.0", json.dumps(state).encode())
    done = heddle(project, "gate", "scan", "stream", "-o", "json", NATS_URL=nats_url)
    report = answer(done)
    assert (done.returncode, report["events"], report["unknown"]) == (1, 9, [])
    assert report["sequences"][0]["first_seen"] == "HEDDLE_SESSIONS:1"
    assert report["planned_together"] == [{"macros": ["notes", "triage"], "goals": ["g0", "g1", "g2"]}]


def example(name: str) -> Any:
    found = re.search(rf"^```yaml {re.escape(name)}\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert found is not None
    return yaml.safe_load(found[1])


def test_the_job_for_github_fails_and_writes_its_sarif(project: Path) -> None:
    steps = example("gate-job")["jobs"]["gate"]["steps"]
    (line,) = [step["run"] for step in steps if step.get("run", "").startswith("heddle ")]
    (upload,) = [step["with"]["sarif_file"] for step in steps if "upload-sarif" in step.get("uses", "")]
    assert heddle(project, *shlex.split(line)[1:]).returncode == 1
    assert json.loads((project / upload).read_text())["runs"][0]["results"][0]["ruleId"] == "unencoded-sequence"


def test_the_hook_for_pre_commit_fails_and_passes_once_there_is_a_macro(project: Path) -> None:
    (hook,) = example("gate-hook")["repos"][0]["hooks"]
    line = shlex.split(hook["entry"])[1:]
    assert heddle(project, *line).returncode == 1
    heddle(project, "gate", "suggest", "session-logs", "--write", "workflows")
    assert heddle(project, *line).returncode == 0
