"""One turn of a conversation with a model that may call tools."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

Message = dict[str, Any]
"""A message as the OpenAI API has it: {"role": …, "content": …}, and `tool_calls` or `tool_call_id`."""


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call that the model asks for; `arguments` is its JSON as it came."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer of the model: calls to make, or a text that ends the conversation; `cost` is in dollars."""

    text: str
    calls: tuple[ToolCall, ...] = ()
    prompt_tokens: int = 0
    answer_tokens: int = 0
    cost: float = 0.0


class Chat(Protocol):
    """A model that converses and calls tools."""

    @property
    def name(self) -> str:
        """The model's name."""
        ...

    async def reply(self, messages: Sequence[Message], tools: Sequence[dict[str, Any]]) -> Reply:
        """Its next answer.

        Args:
            messages: what was said so far.
            tools: what it may call, as the OpenAI API has it under `tools`.

        Raises:
            ModelUnavailable: the server cannot be reached, is overloaded, or lacks the model.
            ModelError: it answered something that cannot be used, or not in time.
        """
        ...
