"""A fixture is replayed twice, and a macro one of whose fixtures does not hold is not served."""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path

import pytest
from pydantic import BaseModel

from heddle import Calls, macro, reject, retry
from heddle.errors import DefinitionError
from heddle.macros.fixtures import Fixture, read_fixture
from heddle.macros.loading import Registry, load
from heddle.worker.vetting import replay, replay_all, vet


class Request(BaseModel):
    word: str = "x"


class Report(BaseModel):
    words: list[str]


class Failed(Exception):
    pass


class Gone(Failed):
    pass


class Busy(Exception):
    pass


class Bug(Exception):
    pass


class Forge:
    async def words(self) -> list[str]:
        return []


def fixture(folder: Path, end: str) -> Fixture:
    path = folder / "case.yaml"
    path.write_text(f"input: {{word: a}}\n{end}\n")
    return read_fixture(path)


@macro(fails={Failed: reject, Busy: retry()}, timeout=0.05)
async def say(request: Request, *, forge: Forge) -> Report:
    match await forge.words():
        case ["gone"]:
            raise Gone("it is gone")
        case ["busy"]:
            raise Busy("soon")
        case ["bug"]:
            raise Bug("oh")
        case ["late"]:
            await asyncio.Event().wait()
    return Report(words=[request.word, "b"])


def scripted(word: str) -> str:
    return f"tools: {{Forge: {{words: [{word}]}}}}"


@pytest.mark.parametrize(
    ("word", "end"),
    [
        ("well", "output: {words: [a, b]}"),
        ("gone", "fails: {error: Gone}"),
        ("gone", "fails: {error: Failed}"),
        ("gone", "fails: {error: Failed, code: handler_failed}"),
        ("busy", "fails: {error: Busy}"),
        ("late", "fails: {code: timed_out}"),
    ],
)
async def test_a_fixture_holds_if_what_comes_out_is_what_it_says(tmp_path: Path, word: str, end: str) -> None:
    assert await replay(say, fixture(tmp_path, f"{scripted(word)}\n{end}")) is None


async def test_a_fixture_may_show_what_input_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "case.yaml"
    path.write_text("input: {word: 5}\nfails: {code: invalid_payload}\n")
    assert await replay(say, read_fixture(path)) is None


@pytest.mark.parametrize(
    ("word", "end", "told"),
    [
        ("well", "output: {words: [a, c]}", ':3: output.words[1] differs\n  expected: "c"\n  found:    "b"'),
        ("gone", "output: {words: []}", ":3: an output is expected, and say fails: handler_failed: Gone: it is gone"),
        ("well", "fails: {error: Gone}", ':3: Gone is expected, and say gives {"words": ["a", "b"]}'),
        ("busy", "fails: {error: Gone}", ":3: Gone is expected, and say fails otherwise: Busy: soon"),
        ("gone", "fails: {code: timed_out}", ":3: code timed_out is expected, and say fails otherwise: handler_failed: Gone: it is gone"),
        ("busy", "fails: {code: handler_failed}", ":3: code handler_failed is expected, and say fails otherwise: Busy: soon"),
        ("bug", "fails: {error: Bug}", ":3: say fails as expected, but does not declare Bug under `fails=`: that makes it a bug"),
        ("bug", "fails: {error: Exception}", ":3: Exception is expected, and say fails otherwise: handler_failed: Bug: oh"),
    ],
)
async def test_what_comes_out_otherwise_is_told_with_its_line(tmp_path: Path, word: str, end: str, told: str) -> None:
    assert await replay(say, fixture(tmp_path, f"{scripted(word)}\n{end}")) == f"{tmp_path / 'case.yaml'}{told}"


async def test_a_wrong_call_counts_more_than_what_the_macro_makes_of_it(tmp_path: Path) -> None:
    @macro
    async def careless(request: Request, *, forge: Forge) -> Report:
        try:
            return Report(words=await forge.words())
        except Exception:  # noqa: BLE001  # a macro may do so
            return Report(words=[])

    told = await replay(careless, fixture(tmp_path, "output: {words: []}"))
    assert told is not None
    assert "careless calls Forge.words, which is not scripted" in told


async def test_two_runs_that_differ_are_told(tmp_path: Path) -> None:
    numbers = itertools.count(1)

    @macro
    async def count(request: Request) -> Report:
        return Report(words=["x", str(next(numbers))])

    assert await replay(count, fixture(tmp_path, "output: {words: [x, '1']}")) == (
        f'{tmp_path / "case.yaml"}:1: count is not deterministic: output.words[1] differs\n  first run:  "1"\n  second run: "2"'
    )


async def test_two_runs_that_end_otherwise_are_told(tmp_path: Path) -> None:
    turns = itertools.count()

    @macro(fails={Busy: retry()})
    async def moody(request: Request) -> Report:
        if next(turns):
            raise Busy("now")
        return Report(words=[])

    told = await replay(moody, fixture(tmp_path, "output: {words: []}"))
    assert told is not None
    assert told.splitlines()[1:] == ["  first run:  an output", "  second run: Busy: now"]


async def test_a_fixture_that_does_not_fit_the_macro_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DefinitionError, match="say has no tool Store"):
        await replay(say, fixture(tmp_path, "tools: {Store: {}}\noutput: 1"))


# --- the macros of a folder


IMPORTS = """\
from pydantic import BaseModel
from heddle import macro

class Word(BaseModel):
    word: str
"""
MACRO = """
@macro(name="{name}", version={version})
async def {name}_{version}(request: Word) -> Word:
    return Word(word=request.word{change})
"""


def project(folder: Path, fixtures: dict[str, str], **changes: str) -> Registry:
    """A folder of macros, each with a file of its own and what it does to a word, and some fixtures: `{"name/case": text}`."""
    for name, change in changes.items():
        (folder / f"{name}.py").write_text(IMPORTS + MACRO.format(name=name, version=1, change=change))
    write_fixtures(folder, fixtures)
    return load([str(folder / f"{name}.py") for name in changes])


def write_fixtures(folder: Path, fixtures: dict[str, str]) -> None:
    for name, text in fixtures.items():
        path = folder / "fixtures" / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


GOOD = "input: {word: a}\noutput: {word: a}\n"


async def test_a_macro_whose_fixture_does_not_hold_is_withheld_and_the_rest_served(tmp_path: Path) -> None:
    registry = project(tmp_path, {"one/a": GOOD, "two/a": GOOD, "two/b": GOOD}, one="", two=" + '!'", three="")
    served, problems = await vet(registry, ["three", "two", "one"])
    assert served == ["three", "one"]
    (problem,) = problems
    assert problem.splitlines() == [
        f"two is not served, because a fixture does not hold: {tmp_path}/fixtures/two/a.yaml:2: output.word differs",
        '  expected: "a"',
        '  found:    "a!"',
        "see all: heddle macros check",
    ]


async def test_a_fixture_that_cannot_be_read_withholds_its_macro(tmp_path: Path) -> None:
    registry = project(tmp_path, {"one/a": "input: ["}, one="")
    served, (problem,) = await vet(registry, ["one"])
    assert (served, "not YAML" in problem) == ([], True)


async def test_a_fixture_of_a_version_that_nobody_reads_is_told(tmp_path: Path) -> None:
    (replayed,) = await replay_all(project(tmp_path, {"one/a": f"version: 2\n{GOOD}"}, one=""), "one")
    assert replayed.wrong == f"{tmp_path}/fixtures/one/a.yaml:1: one cannot read version 2; it reads 1"


async def test_an_older_version_is_replayed_by_its_own_handler(tmp_path: Path) -> None:
    versions = (MACRO.format(name="one", version=version, change=change) for version, change in ((1, " + '!'"), (2, "")))
    (tmp_path / "one.py").write_text(IMPORTS + "".join(versions))
    write_fixtures(tmp_path, {"one/new": GOOD, "one/old": "version: 1\ninput: {word: a}\noutput: {word: a!}\n"})
    assert [replayed.wrong for replayed in await replay_all(load([str(tmp_path / "one.py")]), "one")] == [None, None]


# --- macros that call others


@macro(calls=[say], fails={Gone: reject})
async def tell(request: Request, *, calls: Calls) -> int:
    return len((await calls(say, request)).words)


@pytest.mark.parametrize(("word", "end"), [("well", "output: 2"), ("gone", "fails: {error: Gone}")])
async def test_a_called_macro_runs_for_real_and_its_tools_are_scripted_with_the_caller_s(tmp_path: Path, word: str, end: str) -> None:
    assert await replay(tell, fixture(tmp_path, f"{scripted(word)}\n{end}")) is None


async def test_an_error_that_only_the_called_macro_declares_is_known_by_its_name_and_the_caller_s_bug(tmp_path: Path) -> None:
    script = "tools: {Forge: {words: {raises: Busy}}}\nfails: {code: handler_failed}"
    assert await replay(tell, fixture(tmp_path, script)) is None


UPGRADED = """
from heddle import upgrade

class Old(BaseModel):
    text: str

@upgrade("one", to=2)
def up(old: Old) -> Word:
    return Word(word=old.text)
"""


async def test_an_older_version_without_a_handler_is_replayed_through_its_upgrade(tmp_path: Path) -> None:
    (tmp_path / "one.py").write_text(IMPORTS + MACRO.format(name="one", version=2, change="") + UPGRADED)
    write_fixtures(tmp_path, {"one/new": GOOD, "one/old": "version: 1\ninput: {text: a}\noutput: {word: a}\n"})
    assert [replayed.wrong for replayed in await replay_all(load([str(tmp_path / "one.py")]), "one")] == [None, None]


async def test_a_macro_is_withheld_if_the_fixture_of_an_upgraded_version_does_not_hold(tmp_path: Path) -> None:
    (tmp_path / "one.py").write_text(IMPORTS + MACRO.format(name="one", version=2, change="") + UPGRADED)
    write_fixtures(tmp_path, {"one/old": "version: 1\ninput: {text: a}\noutput: {word: b}\n"})
    served, (problem,) = await vet(load([str(tmp_path / "one.py")]), ["one"])
    assert (served, f"{tmp_path}/fixtures/one/old.yaml:3: output.word differs" in problem) == ([], True)


async def test_a_fixture_may_show_what_input_of_an_upgraded_version_is_refused(tmp_path: Path) -> None:
    (tmp_path / "one.py").write_text(IMPORTS + MACRO.format(name="one", version=2, change="") + UPGRADED)
    write_fixtures(tmp_path, {"one/old": "version: 1\ninput: {word: a}\nfails: {code: invalid_payload}\n"})
    assert [replayed.wrong for replayed in await replay_all(load([str(tmp_path / "one.py")]), "one")] == [None]


async def test_a_fixture_of_a_version_that_nobody_reads_names_the_upgraded_ones_too(tmp_path: Path) -> None:
    (tmp_path / "one.py").write_text(IMPORTS + MACRO.format(name="one", version=2, change="") + UPGRADED)
    write_fixtures(tmp_path, {"one/newer": f"version: 3\n{GOOD}"})
    (replayed,) = await replay_all(load([str(tmp_path / "one.py")]), "one")
    assert replayed.wrong == f"{tmp_path}/fixtures/one/newer.yaml:1: one cannot read version 3; it reads 1, 2"
