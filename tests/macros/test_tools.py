"""What provides a tool, how long it lives, and which tools are models."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any, Protocol

import pytest
from ollama import AsyncClient

from heddle import Settings, provides
from heddle.errors import DefinitionError
from heddle.llm.model import Model
from heddle.llm.ollama import OllamaModel
from heddle.macros.tools import Provider, check_lifetimes, is_model, needed


class Forge:
    pass


class Store:
    pass


class Folder:
    pass


class Mine(Model):
    pass


class Writer(Protocol):
    pass


@provides
async def forge(settings: Settings) -> AsyncIterator[Forge]:
    yield Forge()


@provides(per="task")
async def folder(forge: Forge) -> AsyncIterator[Folder]:
    yield Folder()


def providers(*given: Provider) -> dict[Any, Provider]:
    return {one.tool: one for one in given}


def test_a_tool_lives_as_long_as_its_worker_unless_it_says_otherwise() -> None:
    assert (forge.per, folder.per) == ("worker", "task")


def test_a_provider_stays_a_function() -> None:
    assert hasattr(folder(Forge()), "__anext__")


def test_a_lifetime_that_there_is_not_is_refused_with_its_place() -> None:
    async def store() -> AsyncIterator[Store]:
        yield Store()

    with pytest.raises(DefinitionError, match=r"test_tools\.py:\d+: store: per='goal' is no lifetime: .* per='worker' or per='task'"):
        provides(per="goal")(store)  # type: ignore[call-overload]


def test_a_tool_of_a_task_may_need_one_of_a_worker_or_of_a_task() -> None:
    @provides(per="task")
    async def store(folder: Folder, forge: Forge) -> AsyncIterator[Store]:
        yield Store()

    check_lifetimes(providers(forge, folder, store))


def test_a_tool_of_a_worker_may_not_need_one_of_a_task() -> None:
    @provides
    async def store(folder: Folder) -> AsyncIterator[Store]:
        yield Store()

    with pytest.raises(DefinitionError, match="Store lives as long as its worker and needs Folder"):
        check_lifetimes(providers(forge, folder, store))


def test_what_a_tool_needs_is_found_through_all_its_providers() -> None:
    assert list(needed(iter([Folder]), providers(forge, folder))) == [Folder, Forge, Settings]


@pytest.mark.parametrize("kind", [Model, OllamaModel, Mine, AsyncClient, list[OllamaModel], Model | None])
def test_a_type_from_the_package_that_calls_models_is_a_model_and_so_is_what_inherits_from_it_or_holds_it(kind: Any) -> None:
    assert is_model(kind)


@pytest.mark.parametrize("kind", [Forge, Writer, Settings, list[Forge], Callable[[], Forge], 5])
def test_other_types_are_no_models(kind: Any) -> None:
    assert not is_model(kind)
