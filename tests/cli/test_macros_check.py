"""`heddle macros check` and `heddle macros record`, as their user runs them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.cli import command

MACRO = '''\
from collections.abc import AsyncIterator
from itertools import count
from typing import Annotated, Protocol

from pydantic import BaseModel, Field

from heddle import macro, provides, reject, retry
from heddle.fields import When, given


class Busy(Exception):
    pass


class Unknown(Exception):
    pass


class Dictionary(Protocol):
    async def meaning(self, word: str) -> str: ...
    async def socket(self) -> object: ...


class Book:
    async def meaning(self, word: str) -> str:
        if word == "xyzzy":
            raise Unknown("no such word")
        if word == "bug":
            raise ZeroDivisionError("oh")
        return f"the meaning of {word}"

    async def socket(self) -> object:
        return object()


@provides
async def book() -> AsyncIterator[Dictionary]:
    yield Book()


class Word(BaseModel):
    word: str = Field(pattern="[a-z]+")
    share: float = Field(1.0, le=1)
    since: When | None = None
    language: Annotated[str, given("language")] = "en"


class Meaning(BaseModel):
    text: str


numbers = count()


@macro(fails={Busy: retry(), Unknown: reject}, EXAMPLES)
async def look_up(request: Word, *, dictionary: Dictionary) -> Meaning:
    """Look a word up."""
    if request.word == "socket":
        await dictionary.socket()
    number = next(numbers) if request.word == "random" else ""
    return Meaning(text=await dictionary.meaning(request.word) + str(number))
'''


def heddle(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return command.heddle("macros", *arguments, cwd=folder, COLUMNS="80")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with one macro and no fixture."""
    write(tmp_path)
    return tmp_path


def write(folder: Path, examples: str = 'examples=[("look up tea", {"word": "tea"})], phrases=["look up {word}"]') -> None:
    (folder / "workflows").mkdir(exist_ok=True)
    (folder / "workflows" / "look_up.py").write_text(MACRO.replace("EXAMPLES", examples))


def add(folder: Path, name: str, text: str) -> None:
    path = folder / "workflows" / "fixtures" / "look_up" / f"{name}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


TEA = "input: {word: tea}\ntools: {Dictionary: {meaning: a drink}}\noutput: {text: a drink}\n"
SHOWN = "input: {word: tea}\ntools: {Dictionary: {meaning: {raises: NAME}}}\nfails: {error: NAME}\n"


# --- list, show


def test_a_macro_is_shown_with_its_effects_and_with_what_fills_its_fields(project: Path) -> None:
    write(project, 'effects="none"')
    listed, told = heddle(project, "list"), heddle(project, "show", "look_up")
    card = json.loads(heddle(project, "show", "look_up", "-o", "json").stdout)
    assert ("none" in listed.stdout, "effects none" in told.stdout) == (True, True)
    assert "language: filled from the goal's context, by language" in told.stdout
    assert (card["effects"], card["given"], card["hidden"]) == ("none", {"language": "language"}, [])


# --- check


def test_an_example_that_states_a_quantity_in_words_fits(project: Path) -> None:
    write(project, 'examples=[("look up tea since yesterday", {"word": "tea", "since": "yesterday"})]')
    add(project, "tea", TEA)
    assert heddle(project, "check").returncode == 0


def test_a_macro_without_a_fixture_fails_and_is_told_how_to_get_one(project: Path) -> None:
    done = heddle(project, "check")
    assert (done.returncode, "Traceback" in done.stderr) == (1, False)
    assert "error: workflows/look_up.py:" in done.stdout
    assert "it has no fixture in workflows/fixtures/look_up" in done.stdout
    assert """heddle macros record look_up --payload '{"word": "tea"}'""" in done.stdout
    assert "not good: 1 macro, 0 fixtures held; 1 error, 0 warnings" in done.stdout


def test_a_failure_that_no_fixture_shows_is_a_warning_that_strict_does_not_let_pass(project: Path) -> None:
    add(project, "tea", TEA)
    add(project, "unknown", SHOWN.replace("NAME", "Unknown"))
    loose, strict = heddle(project, "check"), heddle(project, "check", "--strict")
    assert (loose.returncode, strict.returncode) == (0, 1)
    assert "warning: workflows/look_up.py:" in loose.stdout
    assert "look_up: no fixture shows Busy; write one in workflows/fixtures/look_up, with `fails: {error: Busy}`" in loose.stdout
    assert "Unknown;" not in loose.stdout
    assert "2 fixtures held; 0 errors, 1 warning" in loose.stdout
    assert "which --strict does not let pass" in strict.stdout


def test_macros_whose_failures_are_all_shown_pass_the_strict_check(project: Path) -> None:
    add(project, "tea", TEA)
    for name in ("Unknown", "Busy"):
        add(project, name, SHOWN.replace("NAME", name))
    done = heddle(project, "check", "--strict")
    assert (done.returncode, "good: 1 macro, 3 fixtures held; 0 errors, 0 warnings" in done.stdout) == (0, True)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            TEA.replace("text: a drink", "text: a leaf"),
            'tea.yaml:3: look_up: output.text differs\n  expected: "a leaf"\n  found:    "a drink"',
        ),
        ("input: [", "tea.yaml:1: look_up: not YAML"),
        (f"version: 4\n{TEA}", "tea.yaml:1: look_up: look_up cannot read version 4; it reads 1"),
        (TEA.replace("tea", "random"), "tea.yaml:1: look_up: look_up is not deterministic: output.text differs"),
        (TEA.replace("meaning", "sense"), "tea.yaml:2: look_up: Dictionary has no method 'sense'"),
    ],
)
def test_a_fixture_that_does_not_hold_fails_with_its_file_and_line(project: Path, text: str, told: str) -> None:
    add(project, "tea", text)
    done = heddle(project, "check")
    assert (done.returncode, f"error: workflows/fixtures/look_up/{told}" in done.stdout) == (1, True)


@pytest.mark.parametrize(
    ("examples", "told"),
    [
        (
            'examples=[("look up tea", {"wrd": "tea"})]',
            "its example 'look up tea' has arguments that do not fit its input: ",
        ),
        (
            'examples=[("look up tea", {"word": "tea", "since": "someday"})]',
            "its example 'look up tea' has arguments that do not fit its input: since: 'someday' is no time",
        ),
        (
            'examples=[("look up tea", {"word": "tea", "language": "en"})]',
            "its example 'look up tea' sets language, which is filled from the goal's context",
        ),
        ('phrases=["look up {word}", "look {up"]', "phrase 'look {up': it does not parse"),
        ('phrases=["look up {wrod}"]', "phrase 'look up {wrod}'"),
    ],
)
def test_examples_and_phrases_that_do_not_fit_fail_with_the_macros_line(project: Path, examples: str, told: str) -> None:
    write(project, examples)
    add(project, "tea", TEA)
    done = heddle(project, "check")
    assert (done.returncode, f"look_up: {told}" in done.stdout) == (1, True)


def test_macros_that_cannot_be_loaded_are_an_error_without_a_traceback(project: Path) -> None:
    write(project, 'version="two"')
    done = heddle(project, "check", "-o", "json")
    assert (done.returncode, "Traceback" in done.stderr, json.loads(done.stdout)["exit_code"]) == (1, False, 1)


def test_a_folder_without_macros_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "workflows").mkdir()
    done = heddle(tmp_path, "check")
    assert (done.returncode, "heddle init" in done.stderr) == (1, True)


def test_what_the_decoders_of_model_servers_do_not_take_is_told(project: Path) -> None:
    add(project, "tea", TEA)
    rows = [" ".join(row.split()) for row in heddle(project, "check").stdout.splitlines()]
    assert "ollama look_up word pattern rejects the schema: no plan" in rows
    assert "llama.cpp look_up share maximum ignores it; the answer is checked afterwards" in rows


def test_the_check_can_be_read_by_a_program(project: Path) -> None:
    add(project, "tea", TEA)
    told: dict[str, Any] = json.loads(heddle(project, "check", "-o", "json").stdout)
    assert told["ok"] is True
    assert told["macros"] == [
        {"name": "look_up", "versions": [1], "fixtures": [{"file": "workflows/fixtures/look_up/tea.yaml", "ok": True, "problem": None}]}
    ]
    assert [(one["level"], one["macro"]) for one in told["problems"]] == [("warning", "look_up")] * 2
    assert {"macro": "look_up", "server": "ollama", "keyword": "pattern", "path": "word", "effect": "rejected"} in told["decoders"]


def test_the_example_macros_pass_the_strict_check() -> None:
    done = heddle(command.ROOT, "check", "--strict")
    assert (done.returncode, "0 errors, 0 warnings" in done.stdout) == (0, True), done.stdout


# --- record


def recorded(folder: Path, word: str, *more: str) -> subprocess.CompletedProcess[str]:
    return heddle(folder, "record", "look_up", "--payload", json.dumps({"word": word}), *more)


def file(folder: Path, name: str = "recorded") -> Path:
    return folder / "workflows" / "fixtures" / "look_up" / f"{name}.yaml"


def test_a_run_on_the_real_tools_becomes_a_fixture_that_holds(project: Path) -> None:
    done = recorded(project, "tea")
    assert (done.returncode, done.stderr) == (0, "")
    assert "wrote workflows/fixtures/look_up/recorded.yaml: it gives an output, 1 call of tools" in done.stdout
    assert "next: heddle macros check" in done.stdout
    assert file(project).read_text() == (
        "version: 1\ninput:\n  word: tea\ntools:\n  Dictionary:\n    meaning:\n      calls:\n"
        "      - given:\n          word: tea\n        answer: the meaning of tea\noutput:\n  text: the meaning of tea\n"
    )
    assert heddle(project, "check").returncode == 0


def test_a_declared_failure_is_recorded_too(project: Path) -> None:
    done = recorded(project, "xyzzy", "--name", "unknown", "-o", "json")
    assert json.loads(done.stdout) == {
        "file": "workflows/fixtures/look_up/unknown.yaml",
        "ended": "it fails with Unknown",
        "calls": 1,
        "holds": True,
        "problem": None,
    }
    assert "raises: Unknown\n        message: no such word\nfails:\n  error: Unknown\n" in file(project, "unknown").read_text()


def test_a_fixture_is_not_written_over_unless_asked(project: Path) -> None:
    assert recorded(project, "tea").returncode == 0
    again, forced = recorded(project, "milk"), recorded(project, "milk", "--force")
    assert (again.returncode, "is there already; give another --name, or --force" in again.stderr) == (1, True)
    assert (forced.returncode, "word: milk" in file(project).read_text()) == (0, True)


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("TEA", "invalid_payload: word: String should match pattern"),
        ("bug", "look_up fails with what it does not declare under `fails=`, which is a bug: handler_failed: ZeroDivisionError: oh"),
        ("socket", "look_up cannot be recorded: what Dictionary.socket answered cannot be written as JSON"),
    ],
)
def test_what_cannot_be_kept_is_told_and_nothing_written(project: Path, word: str, told: str) -> None:
    done = recorded(project, word)
    assert (done.returncode, told in done.stderr, "Nothing was written" in done.stderr) == (1, True, True), done.stderr
    assert (file(project).exists(), "Traceback" in done.stderr) == (False, False)


def test_a_fixture_that_does_not_hold_at_once_is_told(project: Path) -> None:
    done = recorded(project, "random")
    assert (done.returncode, "the fixture does not hold when it is replayed" in done.stderr, file(project).exists()) == (1, True, True)
    assert "is not deterministic" in done.stderr


def test_an_unknown_macro_is_told_with_those_there_are(project: Path) -> None:
    done = heddle(project, "record", "look_down")
    assert (done.returncode, "no macro 'look_down'; there are look_up" in done.stderr) == (1, True)


def test_a_name_that_leads_elsewhere_is_a_usage_error(project: Path) -> None:
    assert recorded(project, "tea", "--name", "../tea").returncode == 2


COMPOSED = '''
"""A macro that calls another, with a tool of its own for each run."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from heddle import Calls, macro, provides
from workflows.look_up import Meaning, Word, look_up


class Folder:
    def __init__(self) -> None:
        self.open = True

    async def put(self, text: str) -> int:
        assert self.open
        return len(text)


@provides(per="task")
async def folder() -> AsyncIterator[Folder]:
    made = Folder()
    yield made
    made.open = False


@macro(calls=[look_up])
async def keep(request: Word, *, calls: Calls, folder: Folder) -> int:
    """Look a word up and keep what it means."""
    found = await calls(look_up, request)
    return await folder.put(found.text)
'''


def test_a_run_that_calls_another_macro_is_recorded_with_the_tools_of_both_and_holds(project: Path) -> None:
    (project / "workflows" / "keep.py").write_text(COMPOSED)
    done = heddle(project, "record", "keep", "--payload", '{"word": "tea"}')
    assert (done.returncode, done.stderr) == (0, "")
    text = (project / "workflows" / "fixtures" / "keep" / "recorded.yaml").read_text()
    assert text.endswith(
        "tools:\n  Dictionary:\n    meaning:\n      calls:\n      - given:\n          word: tea\n        answer: the meaning of tea\n"
        "  Folder:\n    put:\n      calls:\n      - given:\n          text: the meaning of tea\n        answer: 18\noutput: 18\n"
    )
