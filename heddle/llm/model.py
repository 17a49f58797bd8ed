"""What a model server has to do for the planner: one method, one error tree."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from heddle.planning.prompt import Prompt


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model answered, and what it cost in tokens."""

    text: str
    prompt_tokens: int | None = None
    answer_tokens: int | None = None


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
