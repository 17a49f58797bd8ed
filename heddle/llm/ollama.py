"""The Ollama model server, through its own client."""

from __future__ import annotations

import asyncio
import ipaddress
import os
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import httpx
import ollama

from heddle.errors import ModelError, ModelUnavailable, SettingsError
from heddle.llm.connection import OVERLOADED, client_options, overflows, quoted
from heddle.llm.facts import bits_of, is_instruct
from heddle.llm.model import SEED, TOP_LOGPROBS, Answer, Facts
from heddle.messages import sendable
from heddle.planning.confidence import Token
from heddle.planning.prompt import Prompt
from heddle.settings import Settings

_PORTS: Final = {"": 11434, "http": 80, "https": 443}
_THIS_MACHINE: Final = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # read, not bound
_CLOUD: Final = (":cloud", "-cloud")
_LOOK: Final = 10.0
_PULL_SILENCE: Final = 300.0
"""Seconds without a word after which a pull has failed; a server that checks a large file's digest says nothing for a while."""


class Progress(NamedTuple):
    """How far a pull has come; `completed` and `total` are bytes, over all the parts that the server has named so far."""

    status: str
    completed: int
    total: int


class _Shown(ollama.ShowResponse):
    """What the client's own class leaves out: where a model runs that is not on this server."""

    remote_host: str | None = None


@dataclass(slots=True)
class OllamaModel:
    """One model on an Ollama server; made by `ollama_model`.

    Attributes:
        stays: with `egress: none`; a model that its server would ask another for is then refused.
    """

    client: ollama.AsyncClient
    name: str
    host: str
    timeout: float
    num_ctx: int
    num_predict: int
    keep_alive: str
    stays: bool
    _known_to_stay: bool = field(default=False, init=False)

    async def complete(self, prompt: Prompt) -> Answer:
        """One chat call with the answer's schema as its format.

        Raises:
            ModelUnavailable: the server cannot be reached, is overloaded, or lacks the model.
            ModelError: the prompt did not fit, or the answer was cut off, came too late, or is not one.
            SettingsError: `egress: none`, and the model is another server's.
        """
        async with self._asked(self.timeout):
            response = await self._chat(prompt, self.num_predict)
        text = sendable(response.message.content or "")
        if response.done_reason == "length":
            raise ModelError(f"the answer was cut off after {self.num_predict} tokens (planner.num_predict)", text)
        # A server that is full drops what came first, and goes on. Since 0.12.6 it says so of the prompt, for `truncate` is false; of the
        # answer it never does. Older ones cut the prompt to num_ctx. Some count no cached tokens (0.30.0), or nothing at all (0.1).
        if (response.prompt_eval_count or 0) + (response.eval_count or 0) >= self.num_ctx:
            raise self._too_long(text)
        return Answer(text, response.prompt_eval_count, response.eval_count, _tokens(response))

    async def warm(self, prompt: Prompt) -> None:
        """The same call, for one token.

        Raises:
            ModelUnavailable: the server cannot be reached, is overloaded, or lacks the model.
            ModelError: it answered something that cannot be used, or not in time.
            SettingsError: `egress: none`, and the model is another server's.
        """
        async with self._asked(self.timeout):
            await self._chat(prompt, 1)

    async def _chat(self, prompt: Prompt, num_predict: int) -> ollama.ChatResponse:
        if self.stays and not self._known_to_stay:
            await self._shown()
            self._known_to_stay = True
        return await self.client._request(  # noqa: SLF001  # `chat` of the client cannot say `truncate`
            ollama.ChatResponse,
            "POST",
            "/api/chat",
            json={
                "model": self.name,
                "messages": [{"role": "system", "content": prompt.system}, {"role": "user", "content": prompt.user}],
                "stream": False,
                "format": prompt.schema,
                "options": {"temperature": 0, "seed": SEED, "num_ctx": self.num_ctx, "num_predict": num_predict},
                "keep_alive": _duration(self.keep_alive),
                "truncate": False,
                "think": False,  # a model that can think does, unless it is told not to
                "logprobs": True,
                "top_logprobs": TOP_LOGPROBS,
            },
        )

    async def is_there(self) -> bool:
        """Has the server the model?

        Raises:
            ModelUnavailable: the server cannot be reached.
            ModelError: it answered something that cannot be used, or not within ten seconds.
            SettingsError: `egress: none`, and the model is another server's.
        """
        async with self._asked(min(self.timeout, _LOOK)):
            try:
                await self._shown()
            except ollama.ResponseError as error:
                if error.status_code != httpx.codes.NOT_FOUND:
                    raise
                return False
        return True

    async def facts(self) -> Facts:
        """What the server tells of the model.

        Raises:
            ModelUnavailable: the server cannot be reached, or lacks the model.
            ModelError: it answered something that cannot be used, or not in time.
            SettingsError: `egress: none`, and the model is another server's.
        """
        async with self._asked(self.timeout):
            shown = await self._shown()
            listed = (await self.client.list()).models
        known = shown.modelinfo or {}
        parameters = known.get("general.parameter_count")
        finetune = known.get("general.finetune")
        return Facts(
            digest=next((one.digest for one in listed if one.model in {self.name, f"{self.name}:latest"}), None),
            parameters=parameters if isinstance(parameters, int) else None,
            bits=bits_of(shown.details.quantization_level if shown.details else None),
            instruct=is_instruct(
                self.name,
                finetune=finetune if isinstance(finetune, str) else None,
                template=shown.template,
                capabilities=shown.capabilities or (),
            ),
        )

    async def pull(self) -> AsyncGenerator[Progress]:
        """Have the server download the model, telling how far it is; what it has got is kept if this is ended early.

        Raises:
            ModelUnavailable: the server cannot be reached.
            ModelError: it could not download the model, or has said nothing for five minutes.
            SettingsError: `egress: none`, which heddle takes to mean that it makes no other server go out either.
        """
        if self.stays:
            raise SettingsError(f"egress is none, so heddle has no server download a model; to get it: {self.remedy}")
        parts: dict[str, tuple[int, int]] = {}
        status = ""
        async with self._asked(None), aclosing(await self.client.pull(self.name, stream=True)) as steps:  # type: ignore[type-var]  # a generator
            while status != "success":
                try:
                    async with asyncio.timeout(_PULL_SILENCE):
                        step = await anext(steps)
                except StopAsyncIteration:
                    raise ModelError(f"{self.host} stopped in the middle of pulling {self.name}; pull it again") from None
                except TimeoutError:
                    raise ModelError(f"{self.host} has said nothing for {_PULL_SILENCE:g} s while pulling {self.name}") from None
                status = step.status or ""
                if step.digest:
                    parts[step.digest] = (step.completed or 0, step.total or 0)
                yield Progress(status, sum(done for done, _ in parts.values()), sum(total for _, total in parts.values()))

    @property
    def remedy(self) -> str:
        """The line to type to get the model."""
        return f"ollama pull {self.name}"

    async def _shown(self) -> _Shown:
        shown = await self.client._request(_Shown, "POST", "/api/show", json={"model": self.name})  # noqa: SLF001  # as `_Shown` says
        if self.stays and shown.remote_host:
            raise _goes_out(self.name, shown.remote_host)
        return shown

    @asynccontextmanager
    async def _asked(self, timeout: float | None) -> AsyncIterator[None]:
        """The errors of the client as ours; `timeout` is in seconds."""
        try:
            async with asyncio.timeout(timeout):
                yield
        except (ConnectionError, httpx.ConnectError, httpx.ConnectTimeout):
            raise ModelUnavailable(f"no model server answers at {self.host}", f"ollama serve & {self.remedy}") from None
        except ollama.ResponseError as error:
            raise self._refused(error) from None
        except TimeoutError:
            raise ModelError(f"{self.name} at {self.host} did not answer within {self.timeout:g} s (planner.timeout)") from None
        except (httpx.HTTPError, ValueError, TypeError, AttributeError, RecursionError, AssertionError) as error:
            # The client trips over JSON that is no object or is nested without an end, and over a charset that is none of letters.
            raise ModelError(f"the answer of {self.host} cannot be read: {quoted(str(error)) or type(error).__name__}") from None

    def _refused(self, error: ollama.ResponseError) -> ModelError:
        said = quoted(str(error.error))
        if error.status_code == httpx.codes.NOT_FOUND:
            return ModelUnavailable(f"{self.host} has no model {self.name}", self.remedy)
        if error.status_code in OVERLOADED:
            return ModelUnavailable(f"{self.host} is overloaded ({error.status_code}: {said})", "wait, or give it less to do")
        if httpx.codes.is_redirect(error.status_code):
            return ModelError(f"{self.host} redirects elsewhere ({error.status_code}); name the model server itself in OLLAMA_HOST")
        if overflows(str(error.error)):
            return self._too_long(None)
        told = f"{error.status_code}: {said}" if error.status_code > 0 else said
        return ModelError(f"{self.host} refused ({told})")

    def _too_long(self, answer: str | None) -> ModelError:
        return ModelError(f"prompt and answer do not fit the context of {self.num_ctx} tokens (planner.num_ctx)", answer)


def _tokens(response: ollama.ChatResponse) -> tuple[Token, ...] | None:
    """The answer's tokens; None before 0.12.11, and where they are mixed with those of a train of thought."""
    told: Sequence[ollama._types.Logprob] | None = response.logprobs
    if not told or response.message.thinking:
        return None
    return tuple(Token(one.token, one.logprob, tuple((other.token, other.logprob) for other in one.top_logprobs or ())) for one in told)


def _goes_out(name: str, host: str) -> SettingsError:
    return SettingsError(f"egress is none, and {name} does not run on the Ollama server but at {host} (planner.model)")


def _duration(text: str) -> str | float:
    """`keep_alive` as the server reads it: text with a unit, or a number of seconds, where -1 is for ever."""
    try:
        return float(text)
    except ValueError:
        return text


@asynccontextmanager
async def ollama_model(settings: Settings) -> AsyncIterator[OllamaModel]:
    """The planner's model on the server that OLLAMA_HOST names.

    Raises:
        SettingsError: OLLAMA_HOST is not an address, or `egress: none` forbids that server or model.
    """
    host = _url(os.environ.get("OLLAMA_HOST", ""))
    options: dict[str, Any] = await client_options(settings, host, "OLLAMA_HOST")
    planner = settings.planner
    if settings.egress == "none" and planner.model.endswith(_CLOUD):
        raise _goes_out(planner.model, "ollama.com")
    client = ollama.AsyncClient(host=host, **options)
    try:
        yield OllamaModel(
            client,
            planner.model,
            host,
            planner.timeout,
            planner.num_ctx,
            planner.num_predict,
            planner.keep_alive,
            stays=settings.egress == "none",
        )
    finally:
        await client._client.aclose()  # noqa: SLF001  # ollama 0.6.1 has no public way to close its connections


def _url(host: str) -> str:
    """OLLAMA_HOST as a URL, read as Ollama reads it: scheme, host and port may be missing, and 0.0.0.0 means this machine.

    Raises:
        SettingsError: it is not an address.
    """
    given = host.strip().strip("\"'")
    scheme, rest = given.split("://", 1) if "://" in given else ("", given)
    try:
        parts = urlsplit(f"{scheme or 'http'}://{_bracketed(rest)}")
        port = parts.port or _PORTS[scheme.lower()]
        name = parts.hostname or ""
        return str(httpx.URL(f"{parts.scheme}://{_bracketed(_THIS_MACHINE.get(name, name))}:{port}{parts.path.rstrip('/')}"))
    except (ValueError, KeyError, httpx.InvalidURL):
        raise SettingsError(f"OLLAMA_HOST is {host!r}, not HOST, HOST:PORT, http://HOST[:PORT] or https://HOST[:PORT]") from None


def _bracketed(name: str) -> str:
    try:
        return f"[{ipaddress.IPv6Address(name)}]"
    except ValueError:
        return name
