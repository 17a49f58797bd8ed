"""The Ollama model server, through its own client."""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

import httpx
import ollama

from heddle.errors import ModelError, ModelUnavailable, SettingsError
from heddle.llm.model import Answer
from heddle.planning.prompt import Prompt
from heddle.settings import Settings

DEFAULT_HOST: Final = "http://127.0.0.1:11434"
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
        except httpx.TimeoutException:
            raise ModelError(f"{self.name} at {self.host} did not answer within {self.timeout:g} s (planner.timeout)") from None
        except (httpx.HTTPError, ValueError) as error:
            raise ModelError(f"the answer of {self.host} cannot be read: {error or type(error).__name__}") from None  # type: ignore[truthy-bool]  # its text may be empty
        text = response.message.content or ""
        if response.done_reason == "length":
            raise ModelError(f"the answer was cut off after {self.num_predict} tokens (planner.num_predict)", text)
        if response.prompt_eval_count is not None and response.prompt_eval_count >= self.num_ctx:
            raise ModelError(f"the prompt does not fit the context of {self.num_ctx} tokens (planner.num_ctx)", text)
        return Answer(text, response.prompt_eval_count, response.eval_count)

    @property
    def remedy(self) -> str:
        """The line to type to get the model."""
        return f"ollama serve & ollama pull {self.name}"

    def _refused(self, error: ollama.ResponseError) -> ModelError:
        if error.status_code == httpx.codes.NOT_FOUND:
            return ModelUnavailable(f"{self.host} has no model {self.name}", f"ollama pull {self.name}")
        if error.status_code in {httpx.codes.SERVICE_UNAVAILABLE, httpx.codes.BAD_GATEWAY, httpx.codes.TOO_MANY_REQUESTS}:
            return ModelUnavailable(f"{self.host} is overloaded ({error.status_code}: {error.error})", "wait, or give it less to do")
        return ModelError(f"{self.host} refused ({error.status_code}: {error.error})")


@asynccontextmanager
async def ollama_model(settings: Settings) -> AsyncIterator[OllamaModel]:
    """The planner's model on the server that OLLAMA_HOST names.

    Raises:
        SettingsError: `egress: none` forbids that server.
    """
    host = _url(os.environ.get("OLLAMA_HOST", ""))
    if settings.egress == "none" and not is_private(host):
        raise SettingsError(f"egress is none, and {host} (OLLAMA_HOST) is neither loopback nor private")
    timeout = httpx.Timeout(settings.planner.timeout, connect=_CONNECT_TIMEOUT)
    client = ollama.AsyncClient(host=host, timeout=timeout)
    try:
        yield OllamaModel(
            client, settings.planner.model, host, settings.planner.timeout, settings.planner.num_ctx, settings.planner.num_predict
        )
    finally:
        await client._client.aclose()  # noqa: SLF001  # ollama 0.6 has no public way to close its connections


def _url(host: str) -> str:
    """OLLAMA_HOST as a URL: it may lack the scheme or the port, and 0.0.0.0 means this machine."""
    if not host.strip():
        return DEFAULT_HOST
    parts = urlsplit(host if "//" in host else f"http://{host}")
    name = "127.0.0.1" if parts.hostname in {None, "0.0.0.0"} else str(parts.hostname)  # noqa: S104  # read, not bound
    name = f"[{name}]" if ":" in name else name
    port = parts.port or (443 if parts.scheme == "https" else 11434)
    return f"{parts.scheme}://{name}:{port}{parts.path}".rstrip("/")


def is_private(url: str) -> bool:
    """Does every address of the URL's host lie on this machine or in a private network?"""
    host = urlsplit(url).hostname or ""
    try:
        found = {info[4][0] for info in socket.getaddrinfo(host, None)}
    except OSError:
        return False
    return all(ipaddress.ip_address(str(address).split("%", 1)[0]).is_private for address in found)
