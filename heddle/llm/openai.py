"""Any model server that speaks the OpenAI API: vLLM, llama.cpp's, LM Studio, and the frontier.

The two endpoints used, `/chat/completions` and `/models`, are spoken over httpx: the `openai` package takes a second to import and 30 MB
with its own HTTP stack, it tries again by itself, and its types are OpenAI's, while every other server differs in what it leaves out.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import httpx
from pydantic import BaseModel, Field, ValidationError

from heddle.errors import ModelError, ModelUnavailable, SettingsError
from heddle.llm.connection import OVERLOADED, client_options, overflows
from heddle.llm.facts import bits_of, is_instruct
from heddle.llm.model import SEED, TOP_LOGPROBS, Answer, Facts
from heddle.macros.decoders import decoder_findings
from heddle.planning.confidence import Token
from heddle.planning.prompt import Prompt
from heddle.settings import ProviderSettings, Settings

_SAID: Final = 300
"""Characters that are quoted of what a server says."""
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
    """One model on a server that speaks the OpenAI API; made by `openai_model`.

    Attributes:
        provider: its name under `providers`.
        url: the API's address, without a slash at its end.
    """

    client: httpx.AsyncClient
    provider: str
    url: str
    settings: ProviderSettings
    timeout: float
    num_predict: int
    _refused: set[str] = field(default_factory=set, init=False)
    _strict: tuple[dict[str, Any], bool] | None = field(default=None, init=False)

    @property
    def name(self) -> str:
        """The model's name on its server."""
        return self.settings.model

    async def complete(self, prompt: Prompt) -> Answer:
        """One chat completion with the answer's schema as its response format.

        Raises:
            ModelUnavailable: the server cannot be reached, is overloaded, does not let heddle in, or lacks the model.
            ModelError: the prompt did not fit, or the answer was cut off, came too late, or is not one.
        """
        async with self._asked():
            response = await self._chat(prompt)
            self._check(response)
            completion = _Completion.model_validate_json(response.content)
        if not completion.choices:
            raise ModelError(f"{self.url} answered without a choice: {self._said(response)}")
        return self._answer(completion.choices[0], completion.usage or _Usage())

    def _answer(self, choice: _Choice, usage: _Usage) -> Answer:
        text = choice.message.content
        if choice.message.refusal:
            raise ModelError(f"{self.name} declines to answer: {self._quoted(choice.message.refusal)}", choice.message.refusal)
        if choice.finish_reason == "length":
            raise ModelError(
                f"the answer was cut off after {usage.completion_tokens or self.num_predict} tokens (planner.num_predict)", text
            )
        if text is None:
            raise ModelError(f"{self.name} at {self.url} answered without a text (finish_reason {choice.finish_reason})")
        thought = choice.message.reasoning or choice.message.reasoning_content  # its tokens are not told apart from the answer's
        return Answer(text, usage.prompt_tokens, usage.completion_tokens, None if thought else _tokens(choice.logprobs))

    async def _chat(self, prompt: Prompt) -> httpx.Response:
        """One completion; a parameter that the server refuses by name is left out from then on."""
        while True:
            response = await self.client.post(f"{self.url}/chat/completions", json=self._body(prompt))
            refused = _refused_parameter(response)
            if refused is None or refused in self._refused:
                return response
            self._refused.add(refused)

    def _body(self, prompt: Prompt) -> dict[str, Any]:
        limit = "max_tokens" if "max_tokens" not in self._refused else "max_completion_tokens"
        optional: dict[str, Any] = {"temperature": 0, "seed": SEED, limit: self.num_predict}
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
        told = self.settings
        async with self._asked():
            response = await self.client.get(f"{self.url}/models")
            if response.status_code == httpx.codes.NOT_FOUND:
                meta = _Meta()  # a server need not have a list
            else:
                self._check(response)
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
        raise ModelUnavailable(f"{self.url} has no model {self.name}; it has {known}", f"correct {self._setting('model')}")

    @asynccontextmanager
    async def _asked(self) -> AsyncIterator[None]:
        """The errors of the client as ours."""
        try:
            async with asyncio.timeout(self.timeout):
                yield
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            told = str(error) or "no connection in time"
            remedy = "have SSL_CERT_FILE name its authority" if "CERTIFICATE" in told else f"start it, or correct {self._setting('url')}"
            raise ModelUnavailable(f"no model server answers at {self.url} ({told})", remedy) from None
        except TimeoutError:
            raise ModelError(f"{self.name} at {self.url} did not answer within {self.timeout:g} s (planner.timeout)") from None
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(map(str, first["loc"]))
            raise ModelError(f"the answer of {self.url} cannot be read: {where + ': ' if where else ''}{first['msg']}") from None
        except httpx.HTTPError as error:
            raise ModelError(f"the answer of {self.url} cannot be read: {str(error) or type(error).__name__}") from None

    def _check(self, response: httpx.Response) -> None:
        """Raise what a refusal means."""
        status = response.status_code
        if status < httpx.codes.MULTIPLE_CHOICES:
            return
        if status < httpx.codes.BAD_REQUEST:
            raise ModelError(f"{self.url} redirects elsewhere ({status}); name the model server itself in {self._setting('url')}")
        if status in {httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN}:  # its words are not told: they may quote the key
            how = "set" if self.settings.key is None else "correct"
            raise ModelUnavailable(f"{self.url} does not let heddle in ({status})", f"{how} {self._setting('key')}")
        said = self._said(response)
        if status == httpx.codes.NOT_FOUND:
            remedy = f"correct {self._setting('model')}, or {self._setting('url')}, which for most servers ends in /v1"
            raise ModelUnavailable(f"{self.url} has no model {self.name}, or no such path (404: {said})", remedy)
        if status in OVERLOADED:
            wait = response.headers.get("retry-after", "")
            remedy = f"wait {wait} s, as it says, or give it less to do" if wait.isdecimal() else "wait, or give it less to do"
            raise ModelUnavailable(f"{self.url} is overloaded ({status}: {said})", remedy)
        if overflows(response.text):
            raise ModelError(f"prompt and answer do not fit the context of {self.name} at {self.url} ({status}: {said})")
        raise ModelError(f"{self.url} refused ({status}: {said})")

    def _setting(self, field_name: str) -> str:
        return f"providers.{self.provider}.{field_name} (HEDDLE_PROVIDERS__{self.provider.upper()}__{field_name.upper()})"

    def _said(self, response: httpx.Response) -> str:
        """The server's own words, as far as they go."""
        try:
            told = response.json()
        except ValueError:
            return self._quoted(response.text)
        match told:
            case {"error": {"message": str(message)}} | {"error": str(message)} | {"message": str(message)}:
                return self._quoted(message)
            case _:
                return self._quoted(response.text)

    def _quoted(self, text: str) -> str:
        key = self.settings.key.get_secret_value() if self.settings.key else ""
        shown = " ".join((text.replace(key, "…") if key else text).split())
        return shown if len(shown) <= _SAID else f"{shown[:_SAID]}…"


def _refused_parameter(response: httpx.Response) -> str | None:
    """The parameter that a server does not take: OpenAI's reasoning models take no logprobs, max_tokens, temperature or seed."""
    if response.status_code not in {400, 403, 422} or overflows(response.text):
        return None
    return next((name for name in _PARAMETERS if re.search(rf"\b{name}\b", response.text)), None)


def _tokens(logprobs: Any) -> tuple[Token, ...] | None:
    """The answer's tokens; None if the server gives none, or none that can be read."""
    try:
        told = _Logprobs.model_validate(logprobs).content
    except ValidationError:
        return None
    return tuple(Token(one.token, one.logprob, tuple((other.token, other.logprob) for other in one.top_logprobs)) for one in told) or None


@asynccontextmanager
async def openai_model(settings: Settings, provider: str) -> AsyncIterator[OpenAIModel]:
    """The model that the settings describe under `providers`.

    Args:
        settings: those in force.
        provider: its name there.

    Raises:
        SettingsError: its URL or key cannot be used, or `egress: none` forbids that server.
    """
    chosen = settings.providers[provider]
    named = f"providers.{provider}.url"
    if chosen.url.username or chosen.url.password or chosen.url.query or chosen.url.fragment:
        raise SettingsError(
            f"{named} is an address up to /v1, without a user, a password or a query; a key goes into providers.{provider}.key"
        )
    url = str(chosen.url).rstrip("/")
    options = await client_options(settings, url, named)
    async with httpx.AsyncClient(headers=_authorization(chosen, provider), **options) as client:
        yield OpenAIModel(client, provider, url, chosen, settings.planner.timeout, settings.planner.num_predict)


def _authorization(chosen: ProviderSettings, provider: str) -> dict[str, str]:
    key = chosen.key.get_secret_value() if chosen.key else ""
    if not key:
        return {}
    if not key.isascii() or not key.isprintable() or " " in key:  # httpx would quote it in its error
        raise SettingsError(f"providers.{provider}.key holds a space, a line break or a letter that a header cannot carry")
    return {"Authorization": f"Bearer {key}"}
