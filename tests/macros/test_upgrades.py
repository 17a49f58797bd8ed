"""Inputs of older versions become those of newer ones, step by step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, create_model

from heddle import macro, upgrade
from heddle.errors import Code, DefinitionError, MacroFailure
from heddle.macros.loading import Registry, collect
from heddle.macros.upgrades import AnyUpgrade


class V1(BaseModel):
    path: str
    count: int = 1


class V2(BaseModel):
    repository: str
    count: int = Field(default=1, le=9)


class V3(BaseModel):
    repositories: list[str]


@macro(name="triage", version=1)
async def triage_v1(request: V1) -> str:
    return request.path


@macro(name="triage", version=2)
async def triage_v2(request: V2) -> str:
    return request.repository


@macro(name="triage", version=3)
async def triage(request: V3) -> str:
    return request.repositories[0]


@upgrade(triage, to=2)
def to_2(old: V1) -> V2:
    if old.path == "gone":
        raise LookupError("no such place")
    return V2(repository=old.path, count=old.count)


@upgrade("triage", to=3)
def to_3(old: V2) -> V3:
    return V3(repositories=[old.repository] * old.count)


def registry(*items: Any) -> Registry:
    return collect(iter(items))


def refusal(*items: Any) -> str:
    with pytest.raises(DefinitionError) as caught:
        registry(*items)
    return str(caught.value)


def read(found: Registry, version: int | None, payload: bytes) -> BaseModel:
    route = found.route("triage", version)
    assert route is not None
    return route.read(payload)


def failure(version: int | None, payload: bytes, *items: Any) -> str:
    with pytest.raises(MacroFailure) as caught:
        read(registry(*(items or (triage, to_2, to_3))), version, payload)
    assert caught.value.code is Code.INVALID_PAYLOAD
    return str(caught.value)


# --- what an upgrade is


def test_an_upgrade_stays_a_function() -> None:
    assert to_2(V1(path="a")) == V2(repository="a")


def test_an_upgrade_is_of_a_macro_in_any_version_or_of_a_name() -> None:
    assert (to_2.macro, to_2.to, to_3.macro, to_3.to) == ("triage", 2, "triage", 3)


def test_defining_an_upgrade_registers_nothing() -> None:
    assert registry(triage).upgrades == {}


def test_upgrades_are_collected_by_the_version_that_they_begin_with() -> None:
    assert registry(triage, to_3, to_2, to_3).upgrades == {"triage": {1: to_2, 2: to_3}}


def no_model(old: str) -> V2: ...  # type: ignore[empty-body]
def no_result(old: V1): ...  # type: ignore[no-untyped-def]
def no_parameter() -> V2: ...  # type: ignore[empty-body]
def two_parameters(old: V1, other: V1) -> V2: ...  # type: ignore[empty-body]
def keyword_only(*, old: V1) -> V2: ...  # type: ignore[empty-body]
def no_model_back(old: V1) -> dict[str, int]: ...  # type: ignore[empty-body]


@pytest.mark.parametrize("function", [no_model, no_result, no_parameter, two_parameters, keyword_only, no_model_back])
def test_a_function_that_does_not_map_a_model_to_a_model_is_refused_with_its_line(function: Callable[..., Any]) -> None:
    with pytest.raises(DefinitionError, match=rf"test_upgrades\.py:{function.__code__.co_firstlineno}: .*one input model"):
        upgrade("triage", to=2)(function)


def test_a_coroutine_function_is_no_upgrade() -> None:
    async def up(old: V1) -> V2:
        return V2(repository=old.path)

    with pytest.raises(DefinitionError, match=r"test_upgrades\.py:\d+: .*ordinary `def`"):
        upgrade("triage", to=2)(up)  # type: ignore[type-var]


@pytest.mark.parametrize("to", [1, 0, -1])
def test_an_upgrade_to_the_first_version_is_refused(to: int) -> None:
    with pytest.raises(DefinitionError, match=rf"test_upgrades\.py:\d+: .*to version {to} .*versions begin at 1"):
        upgrade("triage", to=to)(to_2.function)


def test_an_upgrade_of_a_plain_function_is_refused() -> None:
    with pytest.raises(DefinitionError, match=r"test_upgrades\.py:\d+: @upgrade takes a macro or its name first"):
        upgrade(no_model, to=2)(to_2.function)  # type: ignore[arg-type]


# --- what fits together


def test_two_upgrades_of_one_step_are_refused_with_both_lines() -> None:
    other = upgrade("triage", to=2)(v1_to_2_otherwise)
    assert refusal(triage, to_3, to_2, other) == f"two upgrades of triage make version 2 of 1: {to_2.where} and {other.where}"


def v1_to_2_otherwise(old: V1) -> V2:
    return V2(repository=old.path)


def test_an_upgrade_of_a_macro_that_does_not_exist_is_refused() -> None:
    assert refusal(to_2) == f"{to_2.where}: an upgrade of 'triage', and no macro is called that"


def test_an_upgrade_beyond_the_newest_version_is_refused() -> None:
    assert refusal(triage_v2, to_2, to_3).startswith(f"{to_3.where}: an upgrade of triage makes version 3, and the newest is version 2")


def test_a_gap_before_the_next_handler_is_refused_with_what_to_add() -> None:
    assert refusal(triage, to_2) == (
        f"{to_2.where}: an upgrade of triage makes version 2, which has no handler and no upgrade: "
        "add `@upgrade(triage, to=3)`, or a handler of version 2"
    )


def test_steps_that_end_at_an_archived_handler_leave_no_gap() -> None:
    found = registry(triage, triage_v2, to_2)
    route = found.route("triage", 1)
    assert route is not None
    assert found.readable("triage") == [1, 2, 3]
    assert (route.macro, route.steps) == (triage_v2, (to_2,))


def test_an_upgrade_that_makes_another_input_than_its_versions_handler_takes_is_refused() -> None:
    wrong = upgrade("triage", to=2)(v1_to_3)
    assert refusal(triage_v2, wrong) == f"{wrong.where}: the upgrade of triage makes a V3 as version 2, which is a V2: {triage_v2.where}"


def v1_to_3(old: V1) -> V3:
    return V3(repositories=[old.path])


def test_an_upgrade_that_does_not_take_what_the_one_before_makes_is_refused() -> None:
    wrong = upgrade("triage", to=3)(v1_to_3)
    assert refusal(triage, to_2, wrong) == f"{wrong.where}: the upgrade of triage takes a V1 as version 2, which is a V2: {to_2.where}"


def test_an_upgrade_that_does_not_take_what_its_versions_archived_handler_takes_is_refused() -> None:
    wrong = upgrade("triage", to=3)(v1_to_3)
    assert f"takes a V1 as version 2, which is a V2: {triage_v2.where}" in refusal(triage, triage_v2, wrong)


# --- which versions are read, and how


def test_versions_with_a_handler_and_those_that_can_be_upgraded_to_one_are_readable_newest_last() -> None:
    assert registry(triage, to_3, to_2).readable("triage") == [1, 2, 3]
    assert registry(triage, to_3).readable("triage") == [2, 3]
    assert registry(triage, triage_v1).readable("triage") == [1, 3]
    assert registry(triage).readable("unheard") == []


@pytest.mark.parametrize("version", [0, 1, 4])
def test_a_version_that_is_not_readable_has_no_route(version: int) -> None:
    assert registry(triage, to_3).route("triage", version) is None


@pytest.mark.parametrize("version", [None, 1])
def test_a_macro_that_does_not_exist_has_no_route(version: int | None) -> None:
    assert registry(triage).route("unheard", version) is None


def test_a_task_without_a_version_runs_the_newest_handler() -> None:
    found = registry(triage, triage_v1, triage_v2, to_2, to_3)
    route = found.route("triage", None)
    assert route is not None
    assert (route.macro, route.steps) == (triage, ())


@pytest.mark.parametrize(("version", "handler"), [(1, triage_v1), (2, triage_v2), (3, triage)])
def test_a_version_with_a_handler_of_its_own_runs_it_although_it_could_be_upgraded(version: int, handler: Any) -> None:
    route = registry(triage, triage_v1, triage_v2, to_2, to_3).route("triage", version)
    assert route is not None
    assert (route.macro, route.steps) == (handler, ())


def test_a_version_without_a_handler_is_upgraded_to_the_next_that_has_one() -> None:
    assert read(registry(triage, to_2, to_3), 1, b'{"path":"a","count":2}') == V3(repositories=["a", "a"])
    assert read(registry(triage, triage_v2, to_2, to_3), 1, b'{"path":"a"}') == V2(repository="a")


def test_the_newest_version_is_read_as_it_is() -> None:
    assert read(registry(triage, to_2, to_3), None, b'{"repositories":["a"]}') == V3(repositories=["a"])


# --- what cannot be read


@pytest.mark.parametrize(
    ("payload", "told"),
    [
        (b'{"repositories":["a"]}', "as version 1: path: Field required; repositories: Extra inputs are not permitted"),
        (b'{"path":5}', "as version 1: path: Input should be a valid string"),
        (b'{"path":"a","count":"1"}', "as version 1: count: Input should be a valid integer"),
        (b"{", "as version 1: the value: Invalid JSON"),
    ],
)
def test_a_payload_that_is_not_of_the_old_version_names_the_fields(payload: bytes, told: str) -> None:
    assert failure(1, payload).startswith(told)


def test_an_upgrade_that_raises_is_named_with_its_error() -> None:
    assert failure(1, b'{"path":"gone"}') == "the upgrade from version 1 to 2: LookupError: no such place"


def test_an_upgrade_that_makes_an_invalid_input_names_the_fields_in_one_line() -> None:
    assert failure(1, b'{"path":"a","count":10}') == ("the upgrade from version 1 to 2: count: Input should be less than or equal to 9")


def test_an_upgrade_that_returns_something_else_than_it_promises_is_named() -> None:
    def forgets(old: V1) -> V2:
        return None  # type: ignore[return-value]

    assert failure(1, b'{"path":"a"}', triage_v2, upgrade("triage", to=2)(forgets)) == (
        "the upgrade from version 1 to 2 made a NoneType, not a V2"
    )


# --- for every chain

Affine = tuple[int, int]
"""What a step does to its number: times, plus."""


def chain(steps: Sequence[Affine]) -> tuple[list[type[BaseModel]], list[AnyUpgrade]]:
    """Models of the versions from 1, and the upgrades between them."""
    models = [_model(version) for version in range(1, len(steps) + 2)]
    return models, [_step(models, version, step) for version, step in enumerate(steps, 1)]


@cache
def _model(version: int) -> type[BaseModel]:
    fields: dict[str, Any] = {f"n{version}": (int, ...)}
    made: type[BaseModel] = create_model(f"N{version}", **fields)
    return made


def _step(models: Sequence[type[BaseModel]], version: int, step: Affine) -> AnyUpgrade:
    def up(old: Any) -> Any:
        return models[version](**{f"n{version + 1}": getattr(old, f"n{version}") * step[0] + step[1]})

    up.__annotations__ = {"old": models[version - 1], "return": models[version]}
    return upgrade("count", to=version + 1)(up)


@cache
def _handler(version: int) -> Any:
    async def count(request: Any) -> Any:
        return 0

    count.__annotations__ = {"request": _model(version), "return": int}
    return macro(version=version)(count)


@given(
    steps=st.lists(st.tuples(st.integers(-3, 3), st.integers(-9, 9)), min_size=1, max_size=5),
    handled=st.sets(st.integers(1, 6)),
    value=st.integers(-99, 99),
    order=st.randoms(use_true_random=False),
)
def test_upgrading_step_by_step_equals_composing_the_functions(steps: list[Affine], handled: set[int], value: int, order: Any) -> None:
    models, upgrades = chain(steps)
    newest = len(models)
    handlers = {version: _handler(version) for version in {*handled, newest} if version <= newest}
    items = [*upgrades, *handlers.values()]
    order.shuffle(items)
    found = registry(*items)
    assert found.readable("count") == list(range(1, newest + 1))
    for version in found.readable("count"):
        reached = min(handler for handler in handlers if handler >= version)
        expected: BaseModel = models[version - 1](**{f"n{version}": value})
        for step in upgrades[version - 1 : reached - 1]:
            expected = step.function(expected)
        route = found.route("count", version)
        assert route is not None
        assert (route.macro, route.read(b'{"n%d":%d}' % (version, value))) == (handlers[reached], expected)
