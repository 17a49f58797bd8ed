"""`heddle macros compile` and `diff`, and what runs from a catalogue, as their user runs them."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from heddle import children
from heddle.macros.catalogue import read_catalogue
from tests.cli.command import heddle
from tests.cli.test_commands import HEDDLE
from tests.support import RULES, on_ground

ECHO = """
from typing import Annotated
from pydantic import BaseModel, Field
from heddle import macro

class Word(BaseModel):
    word: Annotated[str, Field(min_length=1)]

class Echoed(BaseModel):
    word: str

@macro(tier="local", phrases=["echo {word}"])
async def echo(request: Word) -> Echoed:
    \"\"\"Say a word again.\"\"\"
    return Echoed(word=request.word)
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with one macro and its catalogue."""
    (tmp_path / "workflows").mkdir()
    (tmp_path / "workflows" / "echo.py").write_text(ECHO)
    done = heddle("macros", "compile", "-O", "macros.json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    return tmp_path


def change(project: Path, old: str, new: str) -> None:
    file = project / "workflows" / "echo.py"
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new))


def test_compile_writes_the_catalogue_and_shows_the_digests(project: Path) -> None:
    catalogue = read_catalogue((project / "macros.json").read_text(), "macros.json")
    (contract,) = catalogue.newest()
    done = heddle("macros", "compile", "-O", "again.json", "-o", "json", cwd=project)
    assert json.loads(done.stdout) == {"file": "again.json", "macros": [{"macro": "echo", "version": 1, "digest": contract.digest}]}
    assert (project / "again.json").read_text() == (project / "macros.json").read_text()


def test_compile_without_a_file_prints_the_catalogue(project: Path) -> None:
    assert heddle("macros", "compile", cwd=project).stdout == (project / "macros.json").read_text()


def test_compile_of_no_macros_or_to_no_folder_exits_1(project: Path) -> None:
    (project / "none").mkdir()
    for arguments in (["--macros", "none"], ["-O", "nowhere/macros.json"], ["--macros", "nothing.py"]):
        done = heddle("macros", "compile", *arguments, cwd=project)
        assert (done.returncode, "error:" in done.stderr, "Traceback" in done.stderr) == (1, True, False)


def test_diff_of_nothing_says_so(project: Path) -> None:
    done = heddle("macros", "diff", "macros.json", cwd=project)
    assert (done.returncode, done.stdout) == (0, "no changes\n")


def test_diff_of_a_breaking_change_exits_1_and_names_the_field(project: Path) -> None:
    change(project, "min_length=1", "min_length=2")
    done = heddle("macros", "diff", "macros.json", cwd=project)
    assert (done.returncode, "give the new shape a new version" in done.stderr) == (1, True)
    assert "input.word" in done.stdout
    assert "minLength: 1 → 2" in done.stdout


def test_diff_of_the_same_shape_as_a_new_version_exits_0(project: Path) -> None:
    archived = ECHO.split("@macro")[1].replace("async def echo", "async def echo_2").replace("(tier", '(name="echo", version=2, tier')
    with (project / "workflows" / "echo.py").open("a") as file:
        file.write(f"@macro{archived}")
    done = heddle("macros", "diff", "macros.json", "-o", "json", cwd=project)
    assert (done.returncode, json.loads(done.stdout)) == (
        0,
        {"ok": True, "changes": [{"macro": "echo", "version": 2, "kind": "compatible", "path": "", "what": "added"}]},
    )


def test_diff_compares_two_files_too(project: Path) -> None:
    change(project, "min_length=1", "min_length=0")
    heddle("macros", "compile", "-O", "new.json", cwd=project)
    forth = heddle("macros", "diff", "macros.json", "new.json", "-o", "json", cwd=project)
    back = heddle("macros", "diff", "new.json", "macros.json", "-o", "json", cwd=project)
    assert (forth.returncode, back.returncode) == (0, 1)
    assert [change["kind"] for change in json.loads(forth.stdout)["changes"]] == ["compatible"]


@pytest.mark.parametrize("file", ["workflows/echo.py", "nowhere.json"])
def test_diff_with_what_is_no_catalogue_exits_1_and_says_how_to_write_one(project: Path, file: str) -> None:
    done = heddle("macros", "diff", file, cwd=project)
    assert (done.returncode, "heddle macros compile -O" in done.stderr, "Traceback" in done.stderr) == (1, True, False)


def test_diff_takes_a_second_file_or_macros_and_not_both(project: Path) -> None:
    assert heddle("macros", "diff", "macros.json", "macros.json", "--macros", "workflows", cwd=project).returncode == 2


@pytest.fixture
def without_code(project: Path) -> Path:
    """The catalogue alone: the macro's code is somewhere else."""
    (project / "workflows").rename(project / "elsewhere")
    return project


def test_plan_works_from_a_catalogue_without_the_code(without_code: Path) -> None:
    done = heddle("plan", "echo hello", "--macros", "macros.json", "--phrases", "first", "-o", "json", cwd=without_code)
    assert json.loads(done.stdout)["tasks"] == [{"macro": "echo", "tier": "local", "arguments": {"word": "hello"}}]


def test_a_damaged_catalogue_or_one_with_something_beside_it_plans_nothing(without_code: Path) -> None:
    text = (without_code / "macros.json").read_text()
    (without_code / "damaged.json").write_text(text.replace('"echo"', '"ecco"', 1))
    for macros, said in (("damaged.json", "is damaged"), ("macros.json,elsewhere", "name nothing beside it")):
        done = heddle("plan", "echo hello", "--macros", macros, cwd=without_code)
        assert (done.returncode, said in done.stderr) == (1, True)


def test_a_worker_does_not_run_from_a_catalogue(without_code: Path, nats_url: str) -> None:
    done = heddle("run", "worker", "--child", "--macros", "macros.json", cwd=without_code, url=nats_url)
    assert (done.returncode, "which has no code" in done.stderr) == (1, True)


@pytest.fixture
def roles(without_code: Path, nats_url: str) -> Iterator[None]:
    """All roles as processes; only the worker has the macro's code."""
    (without_code / "rules.yaml").write_text(RULES)
    env = {**os.environ, "NATS_URL": nats_url, "HEDDLE_PLANNER__PHRASES": "first"}
    commands = (
        ["run", "router", "--rules", "rules.yaml"],
        ["run", "orchestrator", "--macros", "macros.json"],
        ["run", "worker", "--macros", "elsewhere"],
    )
    with (without_code / "log").open("wb") as log:
        started = [children.start([*HEDDLE, *command], env=env, cwd=without_code, stderr=log) for command in commands]
        yield
        for child in started:
            children.stop(child)


@pytest.mark.usefixtures("roles")
async def test_a_goal_completes_with_an_orchestrator_that_has_only_the_catalogue(without_code: Path, nats_url: str) -> None:
    async with on_ground(nats_url):
        done = await asyncio.to_thread(heddle, "goal", "echo hello", "-o", "json", cwd=without_code, url=nats_url)
    record = json.loads(done.stdout)
    assert (done.returncode, record["status"]) == (0, "completed"), (without_code / "log").read_text()
