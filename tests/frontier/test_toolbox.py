"""Tools of macros as functions that a model can call."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import pytest
from pydantic import BaseModel
from pydantic_core import to_json

from heddle.errors import DefinitionError
from heddle.frontier.toolbox import MOST_SHOWN, ToolFunction, toolbox_of, use
from workflows.files import Files, LocalFiles
from workflows.forge import Forge


class Note(BaseModel):
    text: str


class Notes(Protocol):
    """Keeps notes."""

    async def add(self, note: Note, *, times: int = 1) -> list[Note]:
        """Keep a note so many times."""
        ...

    def count(self) -> int:
        """How many there are."""
        ...

    async def broken(self) -> str:
        """Never works."""
        ...

    async def healthy(self) -> None: ...


class Kept:
    async def add(self, note: Note, *, times: int = 1) -> list[Note]:
        return [note] * times

    def count(self) -> int:
        return 7

    async def broken(self) -> str:
        raise ConnectionError("nobody there")

    async def healthy(self) -> None: ...


class HalfLetters(Kept):
    async def add(self, note: Note, *, times: int = 1) -> list[Note]:
        return [note, Note(text="caf\udce9")] * times  # as Python has the name of a file that is not UTF-8

    async def broken(self) -> str:
        raise ConnectionError("caf\udce9")


class Lies(Kept):
    def count(self) -> int:
        return "many"  # type: ignore[return-value]


def box(*allowed: str, instance: Any = None) -> dict[str, ToolFunction]:
    return toolbox_of({Notes: instance or Kept()}, allowed or ("notes",))


def test_every_method_of_an_allowed_tool_is_a_function_and_its_health_is_not() -> None:
    assert sorted(box()) == ["notes_add", "notes_broken", "notes_count"]


def test_one_method_may_be_allowed_alone_whatever_the_case() -> None:
    assert sorted(box("Notes.Count")) == ["notes_count"]


def test_what_is_not_allowed_is_not_there() -> None:
    assert toolbox_of({Notes: Kept(), Files: LocalFiles(Path())}, ("files",)).keys() == {"files_locate"}


def test_an_allowed_tool_that_nobody_provides_is_told_with_those_there_are() -> None:
    with pytest.raises(DefinitionError, match=r"there is no tool mail; there are: notes"):
        box("mail")


def test_a_function_says_what_it_takes_and_does() -> None:
    function = box()["notes_add"].as_openai()["function"]
    assert function["description"] == "Keep a note so many times."
    assert function["parameters"]["required"] == ["note"]
    assert function["parameters"]["additionalProperties"] is False
    assert function["parameters"]["properties"]["times"] == {"default": 1, "title": "Times", "type": "integer"}


def test_the_forge_of_the_examples_can_be_described() -> None:
    assert toolbox_of({Forge: object.__new__(type("F", (), {"latest": 1, "between": 1, "annotate": 1}))}, ("forge",)).keys() == {
        "forge_annotate",
        "forge_between",
        "forge_latest",
    }


async def test_a_call_gives_its_arguments_and_its_answer_as_json_values() -> None:
    told, result = await use(box()["notes_add"], '{"note": {"text": "a"}, "times": 2}')
    assert (told, result.value, result.error) == ({"note": {"text": "a"}, "times": 2}, [{"text": "a"}, {"text": "a"}], None)


async def test_an_ordinary_method_is_called_too() -> None:
    assert (await use(box()["notes_count"], ""))[1].value == 7


@pytest.mark.parametrize(
    "given",
    ["{", '{"note": 5}', '{"note": {"text": "a"}, "more": 1}', "[]", "null", '{"note":' + "[" * 100_000, '{"note": "\\ud800"}', "\ud800"],
)
async def test_arguments_that_do_not_fit_are_the_model_s_to_read_and_call_nothing(given: str) -> None:
    told, result = await use(box()["notes_add"], given)
    assert result.error is not None
    assert result.error.startswith("Misfit: ")
    assert to_json(told)


async def test_an_error_of_a_tool_is_the_model_s_to_read() -> None:
    assert (await use(box()["notes_broken"], "{}"))[1].error == "ConnectionError: nobody there"


async def test_an_answer_that_is_not_what_the_tool_promises_is_an_error() -> None:
    _, result = await use(box(instance=Lies())["notes_count"], "{}")
    assert result.error is not None


@pytest.mark.parametrize(("name", "given"), [("notes_add", '{"note": {"text": "a"}}'), ("notes_broken", "{}")])
async def test_an_answer_with_half_a_letter_is_an_error_that_can_be_sent(name: str, given: str) -> None:
    _, result = await use(box(instance=HalfLetters())[name], given)
    assert result.raised is not None
    assert result.shown.encode()


async def test_a_long_result_is_cut_for_the_model_and_says_so() -> None:
    _, result = await use(box()["notes_add"], '{"note": {"text": "%s"}}' % ("x" * 2 * MOST_SHOWN))
    assert len(result.shown) < MOST_SHOWN + 100
    assert "ask for less" in result.shown
