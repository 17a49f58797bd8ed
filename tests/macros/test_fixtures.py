"""Fixtures: read and written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from heddle import macro
from heddle.errors import Code, DefinitionError
from heddle.macros.fixtures import Answer, Failing, Fixture, Script, fixture_folder, fixture_text, read_fixture, read_fixtures


class Request(BaseModel):
    repository: str


class Change(BaseModel):
    number: int


@macro
async def repo_triage(request: Request) -> Change:
    return Change(number=1)


def fixture(folder: Path, text: str | bytes) -> Fixture:
    path = folder / "case.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_fixture(path)


def refusal(folder: Path, text: str | bytes) -> str:
    with pytest.raises(DefinitionError) as caught:
        fixture(folder, text)
    assert str(caught.value).startswith(f"{folder / 'case.yaml'}:")
    return str(caught.value)


# --- reading


def test_a_fixture_has_an_input_and_an_output(tmp_path: Path) -> None:
    read = fixture(tmp_path, "input: {repository: acme/checkout}\noutput: {number: 2}")
    assert (read.input, read.output, read.fails, read.tools, read.version) == (
        {"repository": "acme/checkout"},
        {"number": 2},
        None,
        {},
        None,
    )


def test_a_fixture_may_name_the_version_of_its_macro(tmp_path: Path) -> None:
    assert fixture(tmp_path, "version: 2\ninput: {}\noutput: 1").version == 2


@pytest.mark.parametrize(
    ("fails", "meant"),
    [
        ("{error: Busy}", Failing(error="Busy")),
        ("{code: timed_out}", Failing(code=Code.TIMED_OUT)),
        ("{error: Busy, code: handler_failed}", Failing(error="Busy", code=Code.HANDLER_FAILED)),
    ],
)
def test_a_fixture_may_end_in_an_error_or_a_code_instead(tmp_path: Path, fails: str, meant: Failing) -> None:
    read = fixture(tmp_path, f"input: {{}}\nfails: {fails}")
    assert (read.output, read.fails) == (None, meant)


def test_an_output_may_be_null(tmp_path: Path) -> None:
    assert fixture(tmp_path, "input: {}\noutput: null").fails is None


def test_a_date_is_the_text_that_it_is_in_json(tmp_path: Path) -> None:
    assert fixture(tmp_path, "input: {since: 2027-03-01}\noutput: 2027-99-99").input == {"since": "2027-03-01"}


def test_a_key_is_the_text_that_it_is_in_json(tmp_path: Path) -> None:
    assert fixture(tmp_path, "input: {}\noutput: {7: x}").output == {"7": "x"}


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
        "input: {}\nfails: {}",
        "input: {}\nfails: {error: 5}",
        "input: {}\nfails: {code: bored}",
        "input: {}\noutput: 1\nmore: 2",
        "version: 0\ninput: {}\noutput: 1",
        "version: '1'\ninput: {}\noutput: 1",
        "input: [",
        "[" * 600,
        "input: &a {b: *a}\noutput: 1",
        b"input: {repository: \xff}\noutput: 1",
    ],
    ids=lambda text: repr(text[:20]),
)
def test_what_is_no_fixture_is_refused_with_its_path(tmp_path: Path, text: str | bytes) -> None:
    assert refusal(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("input: {}\noutput: 1\nfails:\n  eror: Busy", 4),
        ("input: {}\noutput: 1\nfails: {error: Busy}", 3),
        ("input: {}\ntools:\n  Forge:\n    latest:\n      calls: [{anwser: 1}]\noutput: 1", 4),
        ("input: {}\ntools: [\noutput: 1", 3),
        ("input: {a: 1}\noutput: 1\ninput: {a: 2}", 3),
    ],
)
def test_what_is_wrong_is_named_with_its_line(tmp_path: Path, text: str, line: int) -> None:
    assert refusal(tmp_path, text).startswith(f"{tmp_path / 'case.yaml'}:{line}: ")


@pytest.mark.parametrize("tools", ["3", "[Forge]", "{Forge: 3}", "{Forge: [latest]}", "{Forge: null}", "{Forge: latest}"])
def test_tools_of_another_shape_are_refused(tmp_path: Path, tools: str) -> None:
    assert "tools" in refusal(tmp_path, f"input: {{}}\ntools: {tools}\noutput: 1")


@pytest.mark.parametrize(
    ("answer", "script"),
    [
        ("[1]", Script((Answer(answer=[1]),))),
        ("null", Script((Answer(),))),
        ("{raises: Busy}", Script((Answer(raises="Busy"),))),
        ("{raises: Busy, message: soon}", Script((Answer(raises="Busy", message="soon"),))),
        ("{raises: Busy, more: 1}", Script((Answer(answer={"raises": "Busy", "more": 1}),))),
        ("{calls: 3}", Script((Answer(answer={"calls": 3}),))),
        ("{calls: []}", Script((), each=True)),
        (
            "{calls: [{given: {count: 1}, answer: 2}, {raises: Busy}]}",
            Script((Answer(given={"count": 1}, answer=2), Answer(raises="Busy")), each=True),
        ),
    ],
)
def test_a_method_has_one_answer_or_one_for_each_call(tmp_path: Path, answer: str, script: Script) -> None:
    assert fixture(tmp_path, f"input: {{}}\ntools: {{Forge: {{latest: {answer}}}}}\noutput: 1").tools == {"Forge": {"latest": script}}


@pytest.mark.parametrize(
    "call", ["{}", "{given: {count: 1}}", "{answer: 1, raises: Busy}", "{given: [1], answer: 1}", "{raises: 5}", "{reply: 1}"]
)
def test_a_call_without_one_answer_is_refused(tmp_path: Path, call: str) -> None:
    assert "calls[1]" in refusal(tmp_path, f"input: {{}}\ntools: {{Forge: {{latest: {{calls: [{{answer: 1}}, {call}]}}}}}}\noutput: 1")


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(DefinitionError, match=r"nowhere\.yaml: cannot be read"):
        read_fixture(tmp_path / "nowhere.yaml")


def test_the_fixtures_of_a_folder_are_read_by_file_name(tmp_path: Path) -> None:
    for name in ("b", "a"):
        (tmp_path / f"{name}.yaml").write_text("input: {}\noutput: 1")
    assert [read.path.stem for read in read_fixtures(tmp_path)] == ["a", "b"]


def test_a_folder_that_is_not_there_has_none(tmp_path: Path) -> None:
    assert read_fixtures(tmp_path / "nowhere") == []


def test_a_macros_fixtures_are_beside_the_file_that_defines_it() -> None:
    assert fixture_folder(repo_triage) == Path(__file__).parent / "fixtures" / "repo_triage"


def test_every_part_of_a_fixture_has_its_line(tmp_path: Path) -> None:
    read = fixture(tmp_path, "input: {}\noutput:\n  results:\n    - a: 1\n    - a: 2\n      b: 3\n")
    ways: list[tuple[str | int, ...]] = [("input",), ("output",), ("output", "results", 1, "b"), ("output", "results", 7), ("nothing",)]
    assert [read.place(*way).line for way in ways] == [1, 2, 6, 3, 1]


# --- writing

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=2),
    max_leaves=5,
)


@settings(max_examples=50, deadline=None)  # YAML is slow to read
@example(given_={}, answer="\x85", arguments={"a": "\u2028"}, output={"b\r\n": " \n"})  # YAML has line ends of its own
@given(
    given_=st.dictionaries(TEXTS, VALUES, max_size=3), answer=VALUES, arguments=st.dictionaries(TEXTS, VALUES, max_size=3), output=VALUES
)
def test_what_is_written_is_read_again(
    tmp_path_factory: pytest.TempPathFactory, given_: dict[str, Any], answer: Any, arguments: dict[str, Any], output: Any
) -> None:
    path = tmp_path_factory.getbasetemp() / "written.yaml"
    calls = [Answer(given=arguments, answer=answer), Answer(given=arguments, raises="Busy", message="soon")]
    path.write_bytes(fixture_text(3, given_, {"Forge": {"latest": calls}}, output=output).encode())
    assert read_fixture(path) == Fixture(path, given_, {"Forge": {"latest": Script(tuple(calls), each=True)}}, output, None, 3)


def test_a_failure_is_written_as_such(tmp_path: Path) -> None:
    assert fixture(tmp_path, fixture_text(1, {}, {}, fails=Failing(error="Busy"))).fails == Failing(error="Busy")


def test_a_text_of_several_lines_is_written_line_by_line() -> None:
    assert "output: |\n  one\n  two\n" in fixture_text(1, {}, {}, output="one\ntwo\n")
