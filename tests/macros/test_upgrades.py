"""Old inputs read as new ones, step by step."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from heddle import macro, upgrade
from heddle.errors import Code, DefinitionError, MacroFailure
from heddle.macros.loading import AnyMacro, Registry, collect


class V1(BaseModel):
    """One word."""

    word: str


class V2(BaseModel):
    """Many words."""

    words: list[str] = Field(max_length=3)


class V3(BaseModel):
    """Words and how often."""

    words: list[str]
    times: int


class V4(V3):
    """And how loud."""

    loud: bool


INPUTS: dict[int, type[BaseModel]] = {1: V1, 2: V2, 3: V3, 4: V4}


def say(version: int, kind: type[BaseModel] | None = None) -> AnyMacro:
    async def handler(request: Any) -> Any:
        return request

    handler.__annotations__ = {"request": kind or INPUTS[version], "return": str}
    typed: Callable[..., Any] = handler
    return macro(name="say", version=version)(typed)


@upgrade("say", to=2)
def up_2(old: V1) -> V2:
    """Two of the one."""
    if old.word == "bad":
        raise ValueError("no such word any more")
    return V2(words=[old.word] * len(old.word))


@upgrade("say", to=3)
def up_3(old: V2) -> V3:
    """Once."""
    return V3(words=old.words, times=1)


@upgrade(say(1), to=4)
def up_4(old: V3) -> V4:
    """Quiet."""
    return V4(words=old.words, times=old.times, loud=False)


def registry(*items: Any) -> Registry:
    return collect(iter(items))


def refusal(*items: Any) -> str:
    with pytest.raises(DefinitionError) as caught:
        registry(*items)
    return str(caught.value)


def read(registry: Registry, version: int | None, payload: object) -> tuple[int, BaseModel]:
    route = registry.route("say", version)
    assert route is not None
    return route.macro.version, route.read(json.dumps(payload).encode())


def failure(registry: Registry, version: int, payload: object) -> MacroFailure:
    with pytest.raises(MacroFailure) as caught:
        read(registry, version, payload)
    return caught.value


# --- what is read, and how


def test_an_upgrade_stays_a_function() -> None:
    assert up_2(V1(word="ab")) == V2(words=["ab", "ab"])


def test_a_version_without_a_handler_is_upgraded_to_the_newest() -> None:
    found = registry(say(4), up_2, up_3, up_4)
    assert read(found, 1, {"word": "ab"}) == (4, V4(words=["ab", "ab"], times=1, loud=False))
    assert read(found, 3, {"words": [], "times": 7}) == (4, V4(words=[], times=7, loud=False))


def test_a_version_with_a_handler_of_its_own_runs_that() -> None:
    found = registry(say(1), say(4), up_2, up_3, up_4)
    assert read(found, 1, {"word": "ab"}) == (1, V1(word="ab"))


def test_an_upgrade_ends_at_the_next_version_that_has_a_handler() -> None:
    found = registry(say(3), say(4), up_2, up_3, up_4)
    assert read(found, 1, {"word": "a"}) == (3, V3(words=["a"], times=1))


def test_the_newest_version_is_read_as_it_is_and_so_is_what_names_none() -> None:
    found = registry(say(2), up_2)
    assert read(found, 2, {"words": []}) == read(found, None, {"words": []}) == (2, V2(words=[]))


def test_what_cannot_be_read_has_no_route() -> None:
    found = registry(say(3), up_3)
    assert [found.route("say", version) for version in (0, 1, 4)] == [None] * 3
    assert found.route("other") is None


def test_readable_are_versions_with_a_handler_and_those_that_lead_to_one() -> None:
    assert registry(say(4), say(1), up_3, up_4).readable("say") == [1, 2, 3, 4]
    assert registry(say(4), up_4).readable("say") == [3, 4]
    assert registry(say(4)).readable("say") == [4]
    assert registry().readable("say") == []


@given(st.sets(st.integers(1, 4)), st.integers(1, 4))
def test_every_readable_version_has_a_route_that_climbs_by_ones_to_the_first_handler_at_or_above_it(kept: set[int], first: int) -> None:
    handlers = kept | {4}
    found = registry(*map(say, handlers), *[one for one in (up_2, up_3, up_4) if one.to > first])
    for version in found.readable("say"):
        route = found.route("say", version)
        assert route is not None
        assert route.macro.version == min(one for one in handlers if one >= version)
        assert [step.to for step in route.steps] == list(range(version + 1, route.macro.version + 1))


# --- payloads that cannot be


@pytest.mark.parametrize("payload", [{}, {"word": 5}, {"word": "a", "more": 1}, {"words": []}, []])
def test_a_payload_that_does_not_fit_the_version_that_it_names_is_invalid(payload: object) -> None:
    failed = failure(registry(say(2), up_2), 1, payload)
    assert failed.code is Code.INVALID_PAYLOAD
    assert str(failed).startswith("as version 1: ")


def test_bytes_that_are_no_json_are_invalid() -> None:
    route = registry(say(2), up_2).route("say", 1)
    assert route is not None
    with pytest.raises(MacroFailure) as caught:
        route.read(b"{")
    assert caught.value.code is Code.INVALID_PAYLOAD


def test_an_upgrade_that_raises_makes_the_payload_invalid_and_says_at_which_step() -> None:
    failed = failure(registry(say(3), up_2, up_3), 1, {"word": "bad"})
    assert (failed.code, str(failed)) == (Code.INVALID_PAYLOAD, "the upgrade from version 1 to 2: ValueError: no such word any more")
    assert isinstance(failed.__cause__, ValueError)


def test_an_upgrade_whose_result_breaks_the_next_input_makes_the_payload_invalid() -> None:
    failed = failure(registry(say(2), up_2), 1, {"word": "abcd"})
    assert failed.code is Code.INVALID_PAYLOAD
    assert "words" in str(failed)


def test_an_upgrade_that_makes_something_else_makes_the_payload_invalid() -> None:
    @upgrade("say", to=2)
    def wrong(old: V1) -> V2:
        return old  # type: ignore[return-value]  # that is the point

    failed = failure(registry(say(2), wrong), 1, {"word": "a"})
    assert str(failed) == "the upgrade from version 1 to 2 made a V1, not a V2"


# --- what is refused at load


def test_a_gap_is_refused_naming_both_sides() -> None:
    newest = say(4)
    assert refusal(newest, up_2, up_4) == (
        f"say has no upgrade from version 2 to 3, between {up_2.where} and {up_4.where}: add `@upgrade(say, to=3)`"
    )
    assert refusal(newest, up_2, up_3) == (
        f"say has no upgrade from version 3 to 4, between {up_3.where} and {newest.where}: add `@upgrade(say, to=4)`"
    )


def test_two_upgrades_of_one_step_are_refused_naming_both() -> None:
    @upgrade("say", to=2)
    def other(old: V1) -> V2:
        return V2(words=[])

    assert refusal(say(2), up_2, other) == f"two upgrades of say make version 2 of 1: {up_2.where} and {other.where}"


def test_the_same_upgrade_met_twice_counts_once() -> None:
    assert registry(say(2), up_2, up_2).readable("say") == [1, 2]


def test_an_upgrade_must_take_what_the_step_before_makes() -> None:
    @upgrade("say", to=3)
    def other(old: V1) -> V3:
        return V3(words=[], times=0)

    assert refusal(say(3), up_2, other) == f"{other.where}: the upgrade of say takes a V1 as version 2, which is a V2: {up_2.where}"


def test_an_upgrade_must_take_what_the_archived_handler_takes() -> None:
    archived = say(1, V4)
    assert refusal(say(2), archived, up_2) == f"{up_2.where}: the upgrade of say takes a V1 as version 1, which is a V4: {archived.where}"


def test_an_upgrade_must_make_what_the_handler_takes() -> None:
    newest = say(2, V3)
    assert refusal(newest, up_2) == f"{up_2.where}: the upgrade of say makes a V2 as version 2, which is a V3: {newest.where}"


def test_an_upgrade_beyond_the_newest_version_is_refused() -> None:
    newest = say(2)
    assert refusal(newest, up_2, up_3) == f"{up_3.where}: an upgrade of say makes version 3, and the newest is version 2: {newest.where}"


def test_an_upgrade_of_no_macro_is_refused() -> None:
    assert refusal(up_2) == f"{up_2.where}: an upgrade of 'say', and no macro is called that"


# --- what cannot be an upgrade


def test_there_is_nothing_before_version_1() -> None:
    with pytest.raises(DefinitionError, match="versions begin at 1"):
        upgrade("say", to=1)(lambda old: old)


async def coroutine(old: V1) -> V2:
    return V2(words=[])


def untyped(old: Any) -> V2:
    return V2(words=[])


def nothing() -> V2:
    return V2(words=[])


def two(old: V1, more: V1) -> V2:
    return V2(words=[])


def unsaid(old: V1):  # type: ignore[no-untyped-def]  # that is the point
    return V2(words=[])


def keyword(*, old: V1) -> V2:
    return V2(words=[])


@pytest.mark.parametrize("function", [coroutine, untyped, nothing, two, unsaid, keyword], ids=lambda function: function.__name__)
def test_what_does_not_turn_one_model_into_another_is_refused_with_its_line(function: Any) -> None:
    with pytest.raises(DefinitionError, match="an upgrade ") as caught:
        upgrade("say", to=2)(function)
    assert f"test_upgrades.py:{function.__code__.co_firstlineno}: " in str(caught.value)
