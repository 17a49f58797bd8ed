"""A model that converses and calls tools, on any server that speaks the OpenAI API."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, Field

from heddle.errors import ModelError, SettingsError
from heddle.llm.model import SEED
from heddle.llm.openai_api import OpenAIApi, openai_api
from heddle.llm.turns import Message, Reply, ToolCall
from heddle.settings import Settings


class _Function(BaseModel):
    name: str
    arguments: str = ""


class _Call(BaseModel):
    id: str
    function: _Function


class _Message(BaseModel):
    content: str | None = None
    refusal: str | None = None
    tool_calls: list[_Call] | None = None


class _Choice(BaseModel):
    message: _Message
    finish_reason: str | None = None


class _Usage(BaseModel):
    prompt_tokens: int = Field(0, ge=0)  # limits are counted by them
    completion_tokens: int = Field(0, ge=0)


class _Completion(BaseModel):
    choices: list[_Choice] = Field(min_length=1)
    usage: _Usage | None = None


@dataclass(frozen=True, slots=True)
class OpenAIChat:
    """One model with tools; made by `openai_chat`."""

    api: OpenAIApi

    @property
    def name(self) -> str:
        """The model's name on its server."""
        return self.api.settings.model

    async def reply(self, messages: Sequence[Message], tools: Sequence[dict[str, Any]]) -> Reply:
        """One chat completion.

        Raises:
            ModelUnavailable: the server cannot be reached, is overloaded, does not let heddle in, or lacks the model.
            ModelError: the conversation did not fit, or the answer was cut off, came too late, or is not one.
        """
        body: dict[str, Any] = {"model": self.name, "messages": list(messages), "seed": SEED}
        if tools:
            body["tools"] = list(tools)
        async with self.api.asked():
            response = await self.api.client.post(f"{self.api.url}/chat/completions", json=body)
            self.api.check(response)
            completion = _Completion.model_validate_json(response.content)
        choice, usage = completion.choices[0], completion.usage or _Usage()
        message = choice.message
        if message.refusal:
            raise ModelError(f"{self.name} declines to answer: {self.api.quoted(message.refusal)}", message.refusal)
        if choice.finish_reason == "length":
            raise ModelError(f"the answer of {self.name} at {self.api.url} was cut off by its server", message.content)
        calls = tuple(ToolCall(call.id, call.function.name, call.function.arguments) for call in message.tool_calls or ())
        if not calls and not message.content:
            raise ModelError(f"{self.name} at {self.api.url} answered with neither a text nor a call")
        prices = self.api.settings
        cost = (usage.prompt_tokens * prices.input_price + usage.completion_tokens * prices.output_price) / 1e6
        return Reply(message.content or "", calls, usage.prompt_tokens, usage.completion_tokens, cost)


@asynccontextmanager
async def openai_chat(settings: Settings, provider: str | None, named: str) -> AsyncIterator[OpenAIChat]:
    """The model with tools of a provider.

    Args:
        settings: those in force.
        provider: its name under `providers`.
        named: the setting that names it, for the message.

    Raises:
        SettingsError: there is none of that name, it cannot be used as it is set, or `egress: none` forbids its server.
    """
    if provider not in settings.providers:
        known = ", ".join(sorted(settings.providers)) or "none"
        raise SettingsError(f"{named} is {provider!r}, and there is no provider of that name under `providers`; there is {known}")
    async with openai_api(settings, provider) as api:
        yield OpenAIChat(api)
