"""Fixtures: read, scripted, compared."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from heddle import macro, reject
from heddle.errors import DefinitionError
from heddle.macros.fixtures import Fixture, difference, read_fixture, read_fixtures, scripted_tools


class Busy(Exception):
    pass


class Request(BaseModel):
    repository: str


class Change(BaseModel):
    number: int


class Forge:
    async def latest(self, repository: str, count: int) -> list[Change]:
        raise NotImplementedError

    async def clone(self) -> Path:
        raise NotImplementedError


@macro(fails={Busy: reject})
async def repo_triage(request: Request, *, forge: Forge) -> Change:
    return (await forge.latest(request.repository, 1))[0]


def fixture(folder: Path, text: str | bytes) -> Fixture:
    path = folder / "case.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_fixture(path)


def refusal(folder: Path, text: str | bytes) -> str:
    with pytest.raises(DefinitionError) as caught:
        scripted_tools(repo_triage, fixture(folder, text))
    assert str(caught.value).startswith(f"{folder / 'case.yaml'}: ")
    return str(caught.value)


def forge(folder: Path, tools: str) -> Any:
    return scripted_tools(repo_triage, fixture(folder, f"input: {{}}\ntools: {tools}\noutput: 1"))[Forge]


# --- reading


def test_a_fixture_has_an_input_and_an_output(tmp_path: Path) -> None:
    read = fixture(tmp_path, "input: {repository: acme/checkout}\noutput: {number: 2}")
    assert (read.input, read.output, read.fails, read.tools) == ({"repository": "acme/checkout"}, {"number": 2}, None, {})


def test_a_fixture_may_end_in_an_error_instead(tmp_path: Path) -> None:
    read = fixture(tmp_path, "input: {}\nfails: {error: Busy}")
    assert (read.output, read.fails) == (None, "Busy")


def test_an_output_may_be_null(tmp_path: Path) -> None:
    assert fixture(tmp_path, "input: {}\noutput: null").fails is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "output: 1",
        "input: []\noutput: 1",
        "input: {}",
        "input: {}\noutput: 1\nfails: {error: Busy}",
        "input: {}\nfails: Busy",
        "input: {}\nfails: {error: 5}",
        "input: {}\noutput: 1\nmore: 2",
        "input: [",
        "[" * 600,
        b"input: {repository: \xff}\noutput: 1",
        "input: {since: 2027-99-99}\noutput: 1",
    ],
    ids=lambda text: repr(text[:20]),
)
def test_what_is_no_fixture_is_refused_with_its_path(tmp_path: Path, text: str | bytes) -> None:
    assert refusal(tmp_path, text)


@pytest.mark.parametrize(
    "tools",
    ["3", "[Forge]", "{Forge: 3}", "{Forge: [latest]}", "{Forge: null}", "{1: {latest: []}}", "{Forge: {1: []}}", "{Forge: latest}"],
)
def test_tools_of_another_shape_are_refused_with_the_path(tmp_path: Path, tools: str) -> None:
    assert refusal(tmp_path, f"input: {{}}\ntools: {tools}\noutput: 1")


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(DefinitionError, match=r"nowhere\.yaml: cannot be read"):
        read_fixture(tmp_path / "nowhere.yaml")


def test_the_fixtures_of_a_macro_are_read_by_file_name(tmp_path: Path) -> None:
    (tmp_path / "repo_triage").mkdir()
    for name in ("b", "a"):
        (tmp_path / "repo_triage" / f"{name}.yaml").write_text("input: {}\noutput: 1")
    assert [read.path.stem for read in read_fixtures(tmp_path, "repo_triage")] == ["a", "b"]


def test_a_macro_without_fixtures_has_none(tmp_path: Path) -> None:
    assert read_fixtures(tmp_path, "repo_triage") == []


# --- tools


async def test_a_tool_answers_what_is_scripted_as_the_type_that_it_promises(tmp_path: Path) -> None:
    assert await forge(tmp_path, "{Forge: {latest: [{number: 7}]}}").latest("x", 1) == [Change(number=7)]


async def test_a_tool_answers_the_same_each_time(tmp_path: Path) -> None:
    tool = forge(tmp_path, "{Forge: {latest: []}}")
    assert [await tool.latest("x", 1), await tool.latest("y", 2)] == [[], []]


async def test_a_relative_path_is_beside_the_fixture(tmp_path: Path) -> None:
    assert await forge(tmp_path, "{Forge: {clone: repo}}").clone() == tmp_path / "repo"


async def test_an_absolute_path_stays(tmp_path: Path) -> None:
    assert await forge(tmp_path, "{Forge: {clone: /srv/repo}}").clone() == Path("/srv/repo")


@pytest.mark.parametrize(("name", "error"), [("Busy", Busy), ("KeyError", KeyError), ("TimeoutError", TimeoutError)])
async def test_a_tool_raises_the_error_that_is_scripted(tmp_path: Path, name: str, error: type[Exception]) -> None:
    with pytest.raises(error, match="as the fixture says"):
        await forge(tmp_path, f"{{Forge: {{latest: {{raises: {name}}}}}}}").latest("x", 1)


async def test_an_error_that_nobody_knows_is_told(tmp_path: Path) -> None:
    with pytest.raises(DefinitionError, match="no error is called 'Lazy' in repo_triage or its tools"):
        await forge(tmp_path, "{Forge: {latest: {raises: Lazy}}}").latest("x", 1)


async def test_an_answer_of_another_type_is_told(tmp_path: Path) -> None:
    with pytest.raises(DefinitionError, match=r"Forge\.latest answers something else than it promises"):
        await forge(tmp_path, "{Forge: {latest: soon}}").latest("x", 1)


def test_a_call_that_is_not_scripted_is_told(tmp_path: Path) -> None:
    with pytest.raises(DefinitionError, match=r"repo_triage called Forge\.clone, which is not scripted"):
        _ = forge(tmp_path, "{Forge: {latest: []}}").clone


def test_a_method_that_the_tool_lacks_is_told(tmp_path: Path) -> None:
    assert refusal(tmp_path, "input: {}\ntools: {Forge: {newest: []}}\noutput: 1").endswith("Forge has no method 'newest'")


def test_a_tool_that_the_macro_lacks_is_told_with_those_it_has(tmp_path: Path) -> None:
    told = refusal(tmp_path, "input: {}\ntools: {Forgery: {latest: []}}\noutput: 1")
    assert told.endswith("repo_triage has no tool Forgery; it has Forge")


# --- comparing


@pytest.mark.parametrize("value", [None, True, 0, 1.5, "x", [], [1, [2]], {}, {"a": {"b": [None]}}])
def test_equal_outputs_have_no_difference(value: object) -> None:
    assert difference(value, value) is None


def test_the_order_of_keys_is_no_difference() -> None:
    assert difference({"a": 1, "b": 2}, {"b": 2, "a": 1}) is None


@pytest.mark.parametrize(
    ("expected", "found", "told"),
    [
        (1, 2, "output is 2, not 1"),
        (1, 1.0, "output is 1.0, not 1"),
        (1, True, "output is True, not 1"),
        (0, False, "output is False, not 0"),
        ("1", 1, "output is 1, not '1'"),
        (None, {}, "output is {}, not None"),
        ({}, [], "output is [], not {}"),
        ({"a": 1}, {}, "output.a is missing"),
        ({}, {"a": 1}, "output.a is unexpected: 1"),
        ({"a": 1}, {"b": 1}, "output.a is missing"),
        ({"a": None}, {}, "output.a is missing"),
        ({"a": {"b": 1}}, {"a": {"b": 2}}, "output.a.b is 2, not 1"),
        ([1, 2], [1], "output has 1 items, not 2"),
        ({"a": [1, {"b": 2}]}, {"a": [1, {"b": 3}]}, "output.a[1].b is 3, not 2"),
        ([1, 2, 3], [1, 5, 6], "output[1] is 5, not 2"),
        (1.0, math.inf, "output is inf, not 1.0"),
    ],
)
def test_the_first_difference_is_told_with_its_path(expected: object, found: object, told: str) -> None:
    assert difference(expected, found) == told
