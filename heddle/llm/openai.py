"""A model on any server that speaks the OpenAI API: vLLM, llama.cpp's, LM Studio, and the frontier."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import httpx
from pydantic import BaseModel, Field, ValidationError

from heddle.errors import ModelError, ModelUnavailable
from heddle.llm.connection import overflows
from heddle.llm.facts import bits_of, is_instruct
from heddle.llm.model import SEED, TOP_LOGPROBS, Answer, Facts
from heddle.llm.openai_api import OpenAIApi, openai_api, words_of
from heddle.macros.decoders import decoder_findings
from heddle.planning.confidence import Token
from heddle.planning.prompt import Prompt
from heddle.settings import Settings

_PARAMETERS: Final = ("logprobs", "top_logprobs", "max_tokens", "max_completion_tokens", "temperature", "seed")
"""What a server may refuse, and is then asked without."""


class _Message(BaseModel):
    content: str | None = None
    refusal: str | None = None
    reasoning: Any = None
    reasoning_content: Any = None


class _Choice(BaseModel):
    message: _Message
    finish_reason: str | None = None
    logprobs: Any = None


class _Usage(BaseModel):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class _Completion(BaseModel):
    choices: list[_Choice]
    usage: _Usage | None = None


class _TopLogprob(BaseModel):
    token: str
    logprob: float


class _Logprob(_TopLogprob):
    top_logprobs: list[_TopLogprob] = []


class _Logprobs(BaseModel):
    content: list[_Logprob]


class _Meta(BaseModel):
    """What llama.cpp's server adds."""

    n_params: int | None = None
    ftype: str | None = None


class _Listed(BaseModel):
    id: str
    meta: _Meta | None = None


class _List(BaseModel):
    data: list[_Listed] = Field(min_length=1)


@dataclass(slots=True)
class OpenAIModel:
    """One model on a server that speaks the OpenAI API; made by `openai_model`."""

    api: OpenAIApi
    num_predict: int
    _refused: set[str] = field(default_factory=set, init=False)
    _strict: tuple[dict[str, Any], bool] | None = field(default=None, init=False)

    @property
    def name(self) -> str:
        """The model's name on its server."""
        return self.api.settings.model

    async def complete(self, prompt: Prompt) -> Answer:
        """One chat completion with the answer's schema as its response format.

        Raises:
            ModelUnavailable: the server cannot be reached, is overloaded, does not let heddle in, or lacks the model.
            ModelError: the prompt did not fit, or the answer was cut off, came too late, or is not one.
        """
        async with self.api.asked():
            response = await self._chat(prompt, self.num_predict)
            self.api.check(response)
            completion = _Completion.model_validate_json(response.content)
        if not completion.choices:
            raise ModelError(f"{self.api.url} answered without a choice: {self.api.said(response)}")
        return self._answer(completion.choices[0], completion.usage or _Usage())

    async def warm(self, prompt: Prompt) -> None:
        """The same call, for one token.

        Raises:
            ModelUnavailable: the server cannot be reached, is overloaded, does not let heddle in, or lacks the model.
            ModelError: it answered something that cannot be used, or not in time.
        """
        async with self.api.asked():
            self.api.check(await self._chat(prompt, 1))

    def _answer(self, choice: _Choice, usage: _Usage) -> Answer:
        text = choice.message.content
        if choice.message.refusal:
            raise ModelError(f"{self.name} declines to answer: {self.api.quoted(choice.message.refusal)}", choice.message.refusal)
        if choice.finish_reason == "length":
            raise ModelError(
                f"the answer was cut off after {usage.completion_tokens or self.num_predict} tokens (planner.num_predict)", text
            )
        if text is None:
            raise ModelError(f"{self.name} at {self.api.url} answered without a text (finish_reason {choice.finish_reason})")
        thought = choice.message.reasoning or choice.message.reasoning_content  # its tokens are not told apart from the answer's
        return Answer(text, usage.prompt_tokens, usage.completion_tokens, None if thought else _tokens(choice.logprobs))

    async def _chat(self, prompt: Prompt, num_predict: int) -> httpx.Response:
        """One completion; a parameter that the server refuses by name is left out from then on."""
        while True:
            body = self._body(prompt, num_predict)
            response = await self.api.client.post(f"{self.api.url}/chat/completions", json=body)
            refused = _refused_parameter(response, body)
            if refused is None:
                return response
            self._refused.add(refused)

    def _body(self, prompt: Prompt, num_predict: int) -> dict[str, Any]:
        limit = "max_tokens" if "max_tokens" not in self._refused else "max_completion_tokens"
        optional: dict[str, Any] = {"temperature": 0, "seed": SEED, limit: num_predict}
        if not self._refused & {"logprobs", "top_logprobs"}:
            optional |= {"logprobs": True, "top_logprobs": TOP_LOGPROBS}
        return {
            "model": self.name,
            "messages": [{"role": "system", "content": prompt.system}, {"role": "user", "content": prompt.user}],
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "plan", "schema": prompt.schema, "strict": self._is_strict(prompt.schema)},
            },
            **{name: value for name, value in optional.items() if name not in self._refused},
        }

    def _is_strict(self, schema: dict[str, Any]) -> bool:
        """Does the API's strict mode take the schema? Found once for each; what is not strict may be decoded freely, and is checked after."""
        if self._strict is None or self._strict[0] is not schema:
            strict = not any(finding.server == "openai" and finding.effect == "rejected" for finding in decoder_findings(schema))
            self._strict = (schema, strict)
        return self._strict[1]

    async def facts(self) -> Facts:
        """What the server tells of the model, else what the settings say.

        Raises:
            ModelUnavailable: the server cannot be reached, does not let heddle in, or lacks the model.
            ModelError: it answered something that cannot be used, or not in time.
        """
        told = self.api.settings
        async with self.api.asked():
            response = await self.api.client.get(f"{self.api.url}/models")
            if response.status_code == httpx.codes.NOT_FOUND:
                meta = _Meta()  # a server need not have a list
            else:
                self.api.check(response)
                meta = self._listed(_List.model_validate_json(response.content).data)
        instruct = is_instruct(self.name) if told.instruct is None else told.instruct
        parameters = told.parameters if meta.n_params is None else meta.n_params
        return Facts(
            digest=None,
            parameters=None if parameters is None else int(parameters),
            bits=bits_of(meta.ftype) or told.bits,
            instruct=instruct,
        )

    def _listed(self, models: list[_Listed]) -> _Meta:
        for model in models:
            if model.id == self.name or (len(models) == 1 and model.meta is not None):  # llama.cpp's server heeds no name
                return model.meta or _Meta()
        known = ", ".join(model.id for model in models[:5])
        raise ModelUnavailable(f"{self.api.url} has no model {self.name}; it has {known}", f"correct {self.api.setting('model')}")


def _refused_parameter(response: httpx.Response, sent: Collection[str]) -> str | None:
    """The parameter that a server does not take: OpenAI's reasoning models take no logprobs, max_tokens, temperature or seed."""
    if response.status_code not in {400, 403, 422} or overflows(said := words_of(response)):
        return None
    try:
        named = str(response.json()["error"]["param"] or said)  # only OpenAI names it apart
    except (ValueError, TypeError, KeyError, RecursionError):
        named = said
    return next((name for name in _PARAMETERS if name in sent and re.search(rf"\b{name}\b", named)), None)


def _tokens(logprobs: Any) -> tuple[Token, ...] | None:
    """The answer's tokens; None if the server gives none, or none that can be read."""
    try:
        told = _Logprobs.model_validate(logprobs).content
    except ValidationError:
        return None
    return tuple(Token(one.token, one.logprob, tuple((other.token, other.logprob) for other in one.top_logprobs)) for one in told) or None


@asynccontextmanager
async def openai_model(settings: Settings, provider: str) -> AsyncIterator[OpenAIModel]:
    """The model of a provider.

    Args:
        settings: those in force.
        provider: its name under `providers`.

    Raises:
        SettingsError: its URL or key cannot be used, or `egress: none` forbids that server.
    """
    async with openai_api(settings, provider) as api:
        yield OpenAIModel(api, settings.planner.num_predict)
