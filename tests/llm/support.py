"""What the tests of the model adapters say and ask."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Any, Literal, Protocol

import pytest

from heddle.errors import Code, ModelError
from heddle.llm.model import Model
from heddle.llm.ollama import OllamaModel
from heddle.llm.openai import OpenAIModel
from heddle.planning.prompt import Prompt
from heddle.settings import PlannerSettings

SCHEMA = {"type": "object", "properties": {"zulu": {"const": "z"}, "alpha": {"$ref": "#/$defs/A"}}, "$defs": {"A": {"type": "null"}}}
PROMPT = Prompt("the rules", 'Goal: "say grüezi"', SCHEMA)
ANSWER = '{"tasks": [{"macro": "echo", "arguments": {"word": "grüezi"}}]}'


class MakesModel(Protocol):
    def __call__(self, url: str, egress: Literal["any", "none"] = "none", **planner: Any) -> AbstractAsyncContextManager[OllamaModel]: ...


class MakesOpenAIModel(Protocol):
    def __call__(
        self, url: str, egress: Literal["any", "none"] = "none", planner: PlannerSettings | None = None, **provider: Any
    ) -> AbstractAsyncContextManager[OpenAIModel]: ...


async def failure_of(model: Model) -> ModelError:
    """What a call of the model fails with."""
    with pytest.raises(ModelError) as caught:
        await model.complete(PROMPT)
    assert caught.value.code is Code.NO_PLAN
    return caught.value
