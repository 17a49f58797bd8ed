"""What a model server has to do for the planner: answer a prompt; and what is told of a model before it is trusted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

from heddle.planning.confidence import Token
from heddle.planning.prompt import Prompt

SEED: Final = 7
TOP_LOGPROBS: Final = 20
"""Likeliest tokens asked for at each place; the most that Ollama, vLLM and OpenAI give."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model answered, and what it cost.

    Attributes:
        text: the answer.
        prompt_tokens: tokens of the prompt, cached ones included.
        answer_tokens: tokens of the answer.
        tokens: the answer's tokens with their log-probabilities; None if the server gives none.
    """

    text: str
    prompt_tokens: int | None = None
    answer_tokens: int | None = None
    tokens: tuple[Token, ...] | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """What a server tells of a model; None where it does not say.

    Attributes:
        digest: what tells this model's weights from any other's, such as Ollama's digest.
        parameters: how many.
        bits: per weight, such as 4 for q4_K_M.
        instruct: whether it is tuned to follow instructions.
    """

    digest: str | None = None
    parameters: int | None = None
    bits: float | None = None
    instruct: bool | None = None


class Model(Protocol):
    """A model on some server."""

    @property
    def name(self) -> str:
        """The model's name, as the goal's record tells it."""
        ...

    async def complete(self, prompt: Prompt) -> Answer:
        """One call.

        Raises:
            ModelUnavailable: the server cannot be reached or lacks the model.
            ModelError: it answered something that cannot be used, or not in time.
        """
        ...

    async def warm(self, prompt: Prompt) -> None:
        """Have the server read a prompt, so that the next one that begins like it is read faster; one token is answered.

        Raises:
            ModelUnavailable: the server cannot be reached or lacks the model.
            ModelError: it answered something that cannot be used, or not in time.
        """
        ...

    async def facts(self) -> Facts:
        """What the server tells of the model.

        Raises:
            ModelUnavailable: the server cannot be reached or lacks the model.
            ModelError: it answered something that cannot be used, or not in time.
        """
        ...
