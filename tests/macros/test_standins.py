"""Stand-ins for tools: those that play a fixture, and those that record the real ones."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Awaitable, Iterator
from datetime import date
from pathlib import Path
from typing import Any, Generic, TypeVar

import pytest
from pydantic import BaseModel

from heddle import Settings, macro, reject
from heddle.errors import DefinitionError
from heddle.macros.fixtures import Answer, fixture_text, read_fixture
from heddle.macros.standins import Played, Recording, method_of

T = TypeVar("T")


class Busy(Exception):
    pass


class Fussy(Exception):
    def __init__(self, code: int, detail: str) -> None:
        super().__init__(detail)
        self.code = code


class Request(BaseModel):
    repository: str


class Change(BaseModel):
    number: int
    on: date = date(2027, 1, 2)


class Socket:
    pass


class Forge:
    url = "http://localhost"

    async def latest(self, repository: str, count: int = 5) -> list[Change]:
        return [Change(number=count)] if repository else []

    def name_of(self, number: int) -> str:
        return f"change {number}"

    async def clone(self) -> Path:
        return Path("/srv/checkout/repo")

    async def annotate(self, notes: Any) -> None:
        raise Busy(f"somebody writes {len(notes)} notes")

    def later(self) -> Awaitable[int]:
        async def wait() -> int:
            return 7

        return wait()

    @staticmethod
    def limit() -> int:
        return 3

    async def stream(self) -> AsyncIterator[Change]:
        yield Change(number=1)

    def walk(self) -> Iterator[Change]:
        yield Change(number=1)

    async def connect(self) -> Socket:
        return Socket()

    async def untold(self):  # type: ignore[no-untyped-def]  # the test is about a method without an annotation
        return 1

    async def lies(self) -> int:
        return "text"  # type: ignore[return-value]

    async def refuses(self) -> int:
        raise DefinitionError("not so")

    async def breaks(self) -> int:
        raise dataclasses.FrozenInstanceError("frozen")


@macro(fails={Busy: reject})
async def repo_triage(request: Request, *, forge: Forge, settings: Settings) -> Change:
    return (await forge.latest(request.repository, 1))[0]


def played(folder: Path, tools: str) -> Played:
    path = folder / "case.yaml"
    path.write_text(f"input: {{}}\ntools: {tools}\noutput: 1")
    return Played(repo_triage, read_fixture(path))


def refusal(folder: Path, tools: str) -> str:
    with pytest.raises(DefinitionError) as caught:
        played(folder, tools)
    assert str(caught.value).startswith(f"{folder / 'case.yaml'}:2: ")
    return str(caught.value)


# --- playing a fixture


async def test_a_tool_answers_what_is_scripted_as_the_type_that_it_promises(tmp_path: Path) -> None:
    forge = played(tmp_path, "{Forge: {latest: [{number: 7}]}}").tools[Forge]
    assert await forge.latest("x", 1) == [Change(number=7)]


async def test_a_tool_answers_the_same_each_time_and_need_not_be_asked(tmp_path: Path) -> None:
    play = played(tmp_path, "{Forge: {latest: [], clone: x}}")
    assert [await play.tools[Forge].latest("x", 1), await play.tools[Forge].latest("y")] == [[], []]
    assert play.wrong() is None


async def test_methods_are_called_and_awaited_as_the_real_ones(tmp_path: Path) -> None:
    forge = played(tmp_path, "{Forge: {name_of: a, limit: 4, later: 8}}").tools[Forge]
    assert (forge.name_of(3), forge.limit(), await forge.later()) == ("a", 4, 8)


async def test_a_call_that_the_real_method_would_refuse_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="missing a required argument: 'repository'"):
        await played(tmp_path, "{Forge: {latest: []}}").tools[Forge].latest()


@pytest.mark.parametrize(("path", "meant"), [("repo", "{folder}/repo"), ("/srv/repo", "/srv/repo")])
async def test_a_relative_path_is_beside_the_fixture_and_an_absolute_one_stays(tmp_path: Path, path: str, meant: str) -> None:
    answer = await played(tmp_path, f"{{Forge: {{clone: {path}}}}}").tools[Forge].clone()
    assert answer == Path(meant.format(folder=tmp_path))


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("Busy", Busy),
        ("KeyError", KeyError),
        ("TimeoutError", TimeoutError),
        ("dataclasses.FrozenInstanceError", dataclasses.FrozenInstanceError),
    ],
)
async def test_a_tool_raises_the_error_that_is_scripted(tmp_path: Path, name: str, error: type[Exception]) -> None:
    with pytest.raises(error, match="as the fixture says"):
        await played(tmp_path, f"{{Forge: {{latest: {{raises: {name}}}}}}}").tools[Forge].latest("x", 1)


async def test_an_error_has_the_words_that_are_scripted(tmp_path: Path) -> None:
    with pytest.raises(Busy, match="soon"):
        await played(tmp_path, "{Forge: {latest: {raises: Busy, message: soon}}}").tools[Forge].latest("x", 1)


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ("{raises: Lazy}", "no error is called 'Lazy' in repo_triage or its tools"),
        ("{raises: Forge}", "no error is called 'Forge'"),
        ("{raises: Fussy}", "Fussy cannot be made of a message alone"),
        ("soon", r"Forge\.latest answers something else than it promises"),
    ],
)
async def test_an_answer_that_cannot_be_given_is_told_even_if_the_macro_catches_it(tmp_path: Path, answer: str, told: str) -> None:
    play = played(tmp_path, f"{{Forge: {{latest: {answer}}}}}")
    with pytest.raises(DefinitionError, match=told) as caught:
        await play.tools[Forge].latest("x", 1)
    assert play.wrong() == str(caught.value)


def test_a_call_that_is_not_scripted_is_told_even_if_the_macro_catches_it(tmp_path: Path) -> None:
    play = played(tmp_path, "{Forge: {latest: []}}")
    with pytest.raises(DefinitionError, match=r"case\.yaml:2: repo_triage calls Forge\.clone, which is not scripted"):
        _ = play.tools[Forge].clone
    assert "Forge.clone" in str(play.wrong())


def test_a_method_that_the_tool_lacks_is_told_with_those_it_has(tmp_path: Path) -> None:
    assert "Forge has no method 'newest'; it has annotate, breaks, clone" in refusal(tmp_path, "{Forge: {newest: []}}")


def test_a_tool_that_the_macro_lacks_is_told_with_those_it_has(tmp_path: Path) -> None:
    assert refusal(tmp_path, "{Forgery: {latest: []}}").endswith("repo_triage has no tool Forgery; it has Forge")


def test_the_settings_are_real(tmp_path: Path) -> None:
    assert list(played(tmp_path, "{}").tools) == [Forge]


CALLS = "{Forge: {latest: {calls: [{given: {count: 1}, answer: [{number: 1}]}, {given: {count: 2}, answer: [{number: 2}]}]}}}"


async def test_each_call_has_its_own_answer(tmp_path: Path) -> None:
    play = played(tmp_path, CALLS)
    assert [(await play.tools[Forge].latest("x", count))[0].number for count in (1, 2)] == [1, 2]
    assert play.wrong() is None


async def test_calls_made_at_once_may_come_in_any_order(tmp_path: Path) -> None:
    forge = played(tmp_path, CALLS).tools[Forge]
    assert [changes[0].number for changes in await asyncio.gather(forge.latest("x", 2), forge.latest("x", 1))] == [2, 1]


async def test_a_default_counts_as_given(tmp_path: Path) -> None:
    forge = played(tmp_path, "{Forge: {latest: {calls: [{given: {count: 5}, answer: []}]}}}").tools[Forge]
    assert await forge.latest("x") == []


async def test_a_call_with_other_arguments_is_told_with_the_line(tmp_path: Path) -> None:
    play = played(tmp_path, CALLS)
    with pytest.raises(DefinitionError) as caught:
        await play.tools[Forge].latest("x", 3)
    assert str(caught.value).splitlines() == [
        f"{tmp_path / 'case.yaml'}:2: repo_triage calls Forge.latest otherwise: given.count differs",
        "  scripted: 1",
        "  called:   3",
    ]


async def test_one_call_too_many_is_told(tmp_path: Path) -> None:
    play = played(tmp_path, "{Forge: {latest: {calls: []}}}")
    with pytest.raises(DefinitionError, match=r"calls Forge\.latest more often than is scripted"):
        await play.tools[Forge].latest("x")


async def test_a_call_that_was_not_made_is_told(tmp_path: Path) -> None:
    play = played(tmp_path, CALLS)
    await play.tools[Forge].latest("x", 1)
    assert play.wrong() == f"{tmp_path / 'case.yaml'}:2: repo_triage did not make call 2 of Forge.latest"


# --- recording


def recording(folder: Path = Path("/srv/fixtures")) -> tuple[Recording, Any]:
    kept = Recording(repo_triage, {Forge: Forge(), Settings: Settings()}, folder)
    return kept, kept.tools[Forge]


async def test_every_call_is_passed_on_and_kept_with_what_it_was_given(tmp_path: Path) -> None:
    kept, forge = recording()
    assert (await forge.latest("x", 2), forge.name_of(4), forge.limit(), await forge.later()) == ([Change(number=2)], "change 4", 3, 7)
    assert kept.answers() == {
        "Forge": {
            "latest": [Answer(given={"repository": "x", "count": 2}, answer=[{"number": 2, "on": "2027-01-02"}])],
            "name_of": [Answer(given={"number": 4}, answer="change 4")],
            "limit": [Answer(answer=3)],
            "later": [Answer(answer=7)],
        }
    }


async def test_what_was_recorded_plays_again(tmp_path: Path) -> None:
    kept, forge = recording()
    said = [await forge.latest("x"), await forge.latest("y", 2), forge.name_of(4)]
    path = tmp_path / "case.yaml"
    path.write_text(fixture_text(1, {}, kept.answers(), output=1))
    play = Played(repo_triage, read_fixture(path))
    again = play.tools[Forge]
    assert [await again.latest("x"), await again.latest("y", 2), again.name_of(4)] == said
    assert play.wrong() is None


async def test_calls_are_kept_in_the_order_in_which_they_were_made() -> None:
    class Slow(Forge):
        async def latest(self, repository: str, count: int = 5) -> list[Change]:
            for _ in range(count):
                await asyncio.sleep(0)
            return await super().latest(repository, count)

    kept = Recording(repo_triage, {Forge: Slow()}, Path("/srv"))
    await asyncio.gather(kept.tools[Forge].latest("x", 9), kept.tools[Forge].latest("x", 1))
    assert [answer.given["count"] for answer in kept.answers()["Forge"]["latest"]] == [9, 1]


async def test_an_error_is_raised_and_kept_by_its_name_and_words() -> None:
    kept, forge = recording()
    with pytest.raises(Busy):
        await forge.annotate({"a": 1})
    with pytest.raises(dataclasses.FrozenInstanceError):
        await forge.breaks()
    assert kept.answers()["Forge"] == {
        "annotate": [Answer(given={"notes": {"a": 1}}, raises="Busy", message="somebody writes 1 notes")],
        "breaks": [Answer(raises="dataclasses.FrozenInstanceError", message="frozen")],
    }


async def test_an_error_of_ours_is_an_error_like_any_other() -> None:
    kept, forge = recording()
    with pytest.raises(DefinitionError, match="not so"):
        await forge.refuses()
    assert (kept.answers()["Forge"]["refuses"][0].raises, kept.trouble) == ("DefinitionError", [])


async def test_a_generic_tool_is_known_by_its_type() -> None:
    class Store(Generic[T]):
        async def size(self, name: str) -> int:
            return len(name)

    assert method_of(Store[int], "size").arguments(("x",), {}) == {"name": "x"}


async def test_an_argument_without_a_json_form_is_left_out_and_a_set_has_an_order() -> None:
    kept, forge = recording()
    for notes in ([Socket()], {"b", "a"}):
        with pytest.raises(Busy):
            await forge.annotate(notes)
    assert [answer.given for answer in kept.answers()["Forge"]["annotate"]] == [{}, {"notes": ["a", "b"]}]


async def test_a_path_is_kept_as_it_is_seen_from_the_fixture() -> None:
    kept, forge = recording()
    assert await forge.clone() == Path("/srv/checkout/repo")
    assert kept.answers()["Forge"]["clone"][0].answer == "../checkout/repo"


@pytest.mark.parametrize(
    ("method", "told"),
    [
        ("stream", r"Forge\.stream returns an iterator, which no fixture can hold"),
        ("walk", r"Forge\.walk returns an iterator"),
        ("connect", r"Forge\.connect returns .*Socket.*, which has no JSON form"),
        ("untold", r"Forge\.untold does not say what it returns"),
        ("url", r"Forge has no method 'url'"),
    ],
)
def test_a_method_whose_answers_no_fixture_can_hold_is_told(method: str, told: str) -> None:
    kept, forge = recording()
    with pytest.raises(DefinitionError, match=told):
        getattr(forge, method)
    assert len(kept.trouble) == 1


async def test_an_answer_that_is_not_what_was_promised_is_passed_on_and_told() -> None:
    kept, forge = recording()
    assert await forge.lies() == "text"
    assert kept.trouble[0].startswith("what Forge.lies answered cannot be written as JSON")
