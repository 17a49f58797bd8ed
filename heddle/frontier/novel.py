"""The macro `novel`: a task that no other macro does goes to a model with tools, within the limits of the settings.

A worker of the frontier tier serves it if `frontier.provider` names a model: `heddle run worker --tiers frontier`.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pydantic import BaseModel, Field
from typing_extensions import TypeAliasType

from heddle import subjects
from heddle.broker.connect import connected
from heddle.errors import DefinitionError, ModelError, ModelUnavailable
from heddle.frontier.conversation import Answered, CallTools, Conversation, Limits, Stopped, next_step, opening
from heddle.frontier.toolbox import ToolFunction, named, toolbox_of, use
from heddle.gate.sessions import Event, SessionLog, encode
from heddle.llm.openai_chat import openai_chat
from heddle.llm.turns import Chat, ToolCall
from heddle.macros.failures import reject, retry
from heddle.macros.macro import Run, macro
from heddle.macros.tools import AllTools, provides
from heddle.messages import task_hash
from heddle.settings import Settings
from heddle.telemetry.observer import Observer

Json = TypeAliasType("Json", "str | int | float | bool | list[Json] | dict[str, Json] | None")


class NovelRequest(BaseModel):
    """A task as the planner or a fallback makes it."""

    instruction: str = Field(description="What is to be done, in words.")
    context: dict[str, Json] = Field({}, description="What was given besides.")
    history: list[dict[str, Json]] = Field([], description="What was tried before, the oldest first.")
    category: str | None = Field(None, description="The kind of goal, as declared under `novel` in the settings; none for a fallback.")

    @property
    def macro(self) -> str | None:
        """The macro that a fallback came from."""
        name = self.context.get("macro")
        return name if self.category is None and isinstance(name, str) else None


class NovelAnswer(BaseModel):
    """What came of it, and what it took."""

    answer: str
    model: str
    turns: int
    tool_calls: int
    prompt_tokens: int
    answer_tokens: int
    cost: float = Field(description="Dollars, by the provider's prices.")
    session: str = Field(description="Under which name its calls are in the session log.")


class LimitReached(Exception):
    """The conversation took more than the settings allow."""


class ModelBusy(Exception):
    """The model cannot be reached just now."""


class ModelFailed(Exception):
    """The model gave an answer that cannot be used."""


class NotAllowed(Exception):
    """The settings allow no tools for such a task, or tools that are not there."""


@dataclass(frozen=True, slots=True)
class Sessions:
    """Where events of sessions are kept; each is stored when `keep` returns."""

    keep: Callable[[Event], Awaitable[None]]


@provides
async def chat(settings: Settings) -> AsyncIterator[Chat]:
    """The model that `frontier.provider` names."""
    async with openai_chat(settings, settings.frontier.provider, "frontier.provider") as model:
        yield model


@provides
async def sessions() -> AsyncIterator[Sessions]:
    """The session log on the server of this worker, over a connection of its own."""
    async with connected(os.environ["NATS_URL"], "sessions", Observer()) as client:

        async def keep(event: Event) -> None:
            await client.jetstream().publish(subjects.session(event.session), encode(event))

        yield Sessions(keep)


@macro(
    tier="frontier",
    timeout=3600,
    fails={ModelBusy: retry(times=3, backoff=5.0), ModelFailed: reject, LimitReached: reject, NotAllowed: reject},
)
async def novel(request: NovelRequest, *, chat: Chat, tools: AllTools, sessions: Sessions, settings: Settings, run: Run) -> NovelAnswer:
    """Do with a model and tools what no macro does."""
    log = SessionLog(
        f"{task_hash(run.task_id)}-{run.attempt}",
        goal=request.instruction,
        goal_id=run.goal_id,
        novel=request.category,
        fallback=request.macro,
    )
    allowed = _allowed(request, settings, tools)
    try:
        async with asyncio.timeout(settings.frontier.timeout) as limit, tools.made(allowed.kinds, run) as made:
            talk = _Talk(chat, toolbox_of(made, allowed.names), _limits(settings), log, sessions, run)
            answer, conversation = await talk.to_its_end(opening(request.instruction, request.context, request.history))
    except TimeoutError:
        if not limit.expired():
            raise
        raise LimitReached(f"the conversation took longer than {settings.frontier.timeout:g} s (frontier.timeout)") from None
    except DefinitionError as error:
        raise NotAllowed(str(error)) from None
    spent = conversation.spent
    return NovelAnswer(
        answer=answer,
        model=chat.name,
        turns=spent.turns,
        tool_calls=spent.tool_calls,
        prompt_tokens=spent.prompt_tokens,
        answer_tokens=spent.answer_tokens,
        cost=spent.cost,
        session=log.session,
    )


@dataclass(frozen=True, slots=True)
class _Allowed:
    """What a task may use: names as the settings have them, and the types that they are methods of."""

    names: tuple[str, ...]
    kinds: tuple[Any, ...]


def _allowed(request: NovelRequest, settings: Settings, tools: AllTools) -> _Allowed:
    """The tools of the task's category; of a fallback those that the settings name, else those of the macro that it came from."""
    if request.category is not None:
        category = settings.novel.get(request.category)
        if category is None:
            known = ", ".join(settings.novel) or "none"
            raise NotAllowed(f"the settings have no category novel.{request.category}; they have {known}")
        names = category.tools
    elif settings.frontier.fallback_tools is not None:
        names = settings.frontier.fallback_tools
    else:
        kinds = tuple(tools.of_macro(request.macro or ""))
        return _Allowed(tuple(named(kind) for kind in kinds), kinds)
    wanted = {name.casefold().partition(".")[0] for name in names}
    return _Allowed(names, tuple(kind for kind in tools.kinds() if named(kind) in wanted))


def _limits(settings: Settings) -> Limits:
    frontier = settings.frontier
    return Limits(frontier.max_turns, frontier.max_tool_calls, frontier.max_tokens, frontier.max_cost)


@dataclass(frozen=True, slots=True)
class _Talk:
    """A conversation while it goes on."""

    chat: Chat
    toolbox: Mapping[str, ToolFunction]
    limits: Limits
    log: SessionLog
    sessions: Sessions
    run: Run

    async def to_its_end(self, conversation: Conversation) -> tuple[str, Conversation]:
        """The model's last answer, and all that was said.

        Raises:
            LimitReached, ModelBusy, ModelFailed: there was none.
        """
        offered = [function.as_openai() for function in self.toolbox.values()]
        while True:
            try:
                reply = await self.chat.reply(conversation.messages, offered)
            except ModelUnavailable as error:
                raise ModelBusy(f"{error}; {error.remedy}") from None
            except ModelError as error:
                raise ModelFailed(str(error)) from None
            conversation = conversation.heard(reply)
            self.run.used(self.chat.name, asdict(conversation.spent))
            await self.sessions.keep(self.log.used(self.chat.name, reply.prompt_tokens, reply.answer_tokens, reply.cost, time.time()))
            match next_step(conversation, reply, self.limits):
                case Answered(text):
                    return text, conversation
                case Stopped(detail=detail):
                    raise LimitReached(detail)
                case CallTools(calls):
                    for call in calls:
                        conversation = conversation.told(call, await self._call(call))

    async def _call(self, call: ToolCall) -> str:
        """Make a call, write it down, and give the model what came of it."""
        function = self.toolbox.get(call.name)
        if function is None:
            return f"there is no tool {call.name!r}; there are {', '.join(self.toolbox) or 'none'}"
        self.run.report(f"calls {function.tool}.{function.method}")
        arguments, result = await use(function, call.arguments)
        now = time.time()
        if result.raised is None:
            event = self.log.called(function.tool, function.method, arguments, result.value, now)
        else:
            event = self.log.failed(function.tool, function.method, arguments, result.raised, now)
        await self.sessions.keep(event)
        return result.shown
