"""The Ollama model server, through its own client."""

from __future__ import annotations

import asyncio
import ipaddress
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

import httpx
import ollama

from heddle.egress import check_egress
from heddle.errors import ModelError, ModelUnavailable, SettingsError
from heddle.llm.model import Answer, Facts
from heddle.planning.prompt import Prompt
from heddle.settings import Settings

_PORTS: Final = {"": 11434, "http": 80, "https": 443}
_THIS_MACHINE: Final = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # read, not bound
_CONNECT_TIMEOUT: Final = 3.0
_SEED: Final = 7


@dataclass(frozen=True, slots=True)
class OllamaModel:
    """One model on an Ollama server; made by `ollama_model`."""

    client: ollama.AsyncClient
    name: str
    host: str
    timeout: float
    num_ctx: int
    num_predict: int

    async def complete(self, prompt: Prompt) -> Answer:
        """One chat call with the answer's schema as its format.

        Raises:
            ModelUnavailable: the server cannot be reached, is overloaded, or lacks the model.
            ModelError: the answer was cut off, came too late, or is not one.
        """
        try:
            async with asyncio.timeout(self.timeout):
                response = await self.client.chat(
                    model=self.name,
                    messages=[{"role": "system", "content": prompt.system}, {"role": "user", "content": prompt.user}],
                    format=prompt.schema,
                    options={"temperature": 0, "seed": _SEED, "num_ctx": self.num_ctx, "num_predict": self.num_predict},
                    keep_alive="30m",
                )
        except (ConnectionError, httpx.ConnectError, httpx.ConnectTimeout):
            raise ModelUnavailable(f"no model server answers at {self.host}", self.remedy) from None
        except ollama.ResponseError as error:
            raise self._refused(error) from None
        except TimeoutError:
            raise ModelError(f"{self.name} at {self.host} did not answer within {self.timeout:g} s (planner.timeout)") from None
        except (httpx.HTTPError, ValueError, TypeError, AttributeError) as error:  # the client trips over JSON that is not an object
            raise ModelError(f"the answer of {self.host} cannot be read: {error or type(error).__name__}") from None  # type: ignore[truthy-bool]  # its text may be empty
        text = response.message.content or ""
        if response.done_reason == "length":
            raise ModelError(f"the answer was cut off after {self.num_predict} tokens (planner.num_predict)", text)
        if response.prompt_eval_count is not None and response.prompt_eval_count >= self.num_ctx:
            raise ModelError(f"the prompt does not fit the context of {self.num_ctx} tokens (planner.num_ctx)", text)
        return Answer(text, response.prompt_eval_count, response.eval_count)

    async def facts(self) -> Facts:
        """What the server tells of the model."""
        return Facts()

    @property
    def remedy(self) -> str:
        """The line to type to get the model."""
        return f"ollama serve & ollama pull {self.name}"

    def _refused(self, error: ollama.ResponseError) -> ModelError:
        if error.status_code == httpx.codes.NOT_FOUND:
            return ModelUnavailable(f"{self.host} has no model {self.name}", f"ollama pull {self.name}")
        if error.status_code in {httpx.codes.SERVICE_UNAVAILABLE, httpx.codes.BAD_GATEWAY, httpx.codes.TOO_MANY_REQUESTS}:
            return ModelUnavailable(f"{self.host} is overloaded ({error.status_code}: {error.error})", "wait, or give it less to do")
        if httpx.codes.is_redirect(error.status_code):
            return ModelError(f"{self.host} redirects elsewhere ({error.status_code}); name the model server itself in OLLAMA_HOST")
        return ModelError(f"{self.host} refused ({error.status_code}: {error.error})")


@asynccontextmanager
async def ollama_model(settings: Settings) -> AsyncIterator[OllamaModel]:
    """The planner's model on the server that OLLAMA_HOST names.

    Raises:
        SettingsError: OLLAMA_HOST is not an address, or `egress: none` forbids that server.
    """
    host = _url(os.environ.get("OLLAMA_HOST", ""))
    private = await check_egress(settings, host, "OLLAMA_HOST")
    client = ollama.AsyncClient(
        host=host,
        timeout=httpx.Timeout(None, connect=_CONNECT_TIMEOUT),  # the whole call's is in `complete`: httpx's begins anew with every byte
        follow_redirects=False,  # what a server answers must not send the goal to another
        transport=httpx.AsyncHTTPTransport() if private else None,  # with one given, the environment's proxies are left alone
    )
    try:
        yield OllamaModel(
            client, settings.planner.model, host, settings.planner.timeout, settings.planner.num_ctx, settings.planner.num_predict
        )
    finally:
        await client._client.aclose()  # noqa: SLF001  # ollama 0.6 has no public way to close its connections


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
