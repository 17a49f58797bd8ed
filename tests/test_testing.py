"""The test kit, as somebody's own tests use it."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import pytest
from pydantic import BaseModel

from heddle import macro, reject
from heddle.errors import DefinitionError, MacroFailure
from heddle.macros.loading import AnyMacro, load
from heddle.testing import Fixture, each_fixture, fake, fixtures_of, run_macro


class Request(BaseModel):
    repository: str


class Change(BaseModel):
    number: int


class Busy(Exception):
    pass


class Forge(Protocol):
    async def latest(self, repository: str, count: int) -> list[Change]: ...

    async def annotate(self, notes: dict[str, str]) -> None: ...

    def name(self) -> str: ...


@macro(fails={Busy: reject})
async def triage(request: Request, *, forge: Forge) -> Change:
    """Look at the latest change."""
    return (await forge.latest(request.repository, 1))[0]


@pytest.mark.parametrize("answer", [[{"number": 7}], [Change(number=7)]])
async def test_a_macro_runs_on_fake_tools_that_answer_plain_values_or_real_ones(answer: object) -> None:
    assert await run_macro(triage, {"repository": "x"}, tools={Forge: fake(Forge, latest=answer)}) == {"number": 7}


async def test_a_fake_tool_has_the_type_of_the_real_one() -> None:
    forge: Forge = fake(Forge, latest=[{"number": 7}], annotate=None, name="here")
    assert (await forge.latest("x", 1), forge.name()) == ([Change(number=7)], "here")


async def test_a_fake_tool_raises_an_error_that_it_is_given() -> None:
    with pytest.raises(MacroFailure, match="Busy: soon") as caught:
        await run_macro(triage, {"repository": "x"}, tools={Forge: fake(Forge, latest=Busy("soon"))})
    assert isinstance(caught.value.__cause__, Busy)


def test_a_fake_tool_has_only_methods_of_the_real_one() -> None:
    with pytest.raises(DefinitionError, match="Forge has no method 'newest'; it has annotate, latest, name"):
        fake(Forge, newest=[])
    with pytest.raises(DefinitionError, match="Forge has no method 'newest'"):
        _ = fake(Forge).newest  # type: ignore[attr-defined]  # the test is about just that


def test_a_fake_tool_answers_only_what_the_real_one_promises() -> None:
    with pytest.raises(DefinitionError, match=r"Forge\.latest answers something else than it promises: 0\.number: Input should be"):
        fake(Forge, latest=[{"number": "many"}])


async def test_a_fake_tool_that_is_asked_for_more_says_what_to_write() -> None:
    with pytest.raises(MacroFailure, match=r"Forge\.latest is called, and this fake has no answer: fake\(Forge, latest=…\)"):
        await run_macro(triage, {"repository": "x"}, tools={Forge: fake(Forge)})


def loaded(folder: Path, *versions: str) -> dict[int, AnyMacro]:
    """A project's macro, with what its decorator says for each version."""
    given = "from pydantic import BaseModel\nfrom heddle import macro\nclass Word(BaseModel):\n    word: str\n"
    made = [
        f"@macro(name='say', {said})\nasync def say_{number}(request: Word) -> Word:\n    return request\n"
        for number, said in enumerate(versions)
    ]
    (folder / "say.py").write_text(given + "".join(made))
    return dict(load([str(folder / "say.py")]).macros["say"])


def write(folder: Path, name: str, version: str = "") -> None:
    (folder / "fixtures" / "say").mkdir(parents=True, exist_ok=True)
    (folder / "fixtures" / "say" / f"{name}.yaml").write_text(f"{version}\ninput: {{word: a}}\noutput: {{word: a}}\n")


def names(fixtures: list[Fixture]) -> list[str]:
    return [fixture.path.stem for fixture in fixtures]


def test_fixtures_are_found_beside_the_macro_or_in_the_folder_that_is_named(tmp_path: Path) -> None:
    say = loaded(tmp_path, "version=1")[1]
    write(tmp_path, "a")
    assert names(fixtures_of(say)) == names(fixtures_of(say, tmp_path / "fixtures")) == ["a"]
    assert fixtures_of(say, tmp_path / "elsewhere") == []


def test_a_fixture_belongs_to_its_version_and_one_without_to_the_newest(tmp_path: Path) -> None:
    say = loaded(tmp_path, "version=1, deprecated='until 2027-03'", "version=2")
    write(tmp_path, "any")
    write(tmp_path, "old", "version: 1")
    write(tmp_path, "new", "version: 2")
    assert (names(fixtures_of(say[1])), names(fixtures_of(say[2]))) == (["old"], ["any", "new"])


def test_each_fixture_is_a_parameter_of_the_test(tmp_path: Path) -> None:
    say = loaded(tmp_path, "version=1")[1]
    write(tmp_path, "a")
    write(tmp_path, "b")
    mark = each_fixture(say).mark
    assert (mark.name, mark.args[0], names(mark.args[1]), mark.kwargs["ids"]) == ("parametrize", "fixture", ["a", "b"], ["a", "b"])


def test_a_test_of_no_fixture_is_refused_because_it_would_pass(tmp_path: Path) -> None:
    with pytest.raises(DefinitionError, match=r"say has no fixture in .*fixtures/say: heddle macros record say"):
        each_fixture(loaded(tmp_path, "version=1")[1])
