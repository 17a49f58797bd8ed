"""The API that OpenAI's server and many others speak: a request to one provider, and what its refusals mean.

It is spoken over httpx: the `openai` package takes a second to import and 30 MB with its own HTTP stack, it tries again by itself, and
its types are those of OpenAI's server, while every other differs in what it leaves out.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx
from pydantic import ValidationError

from heddle.errors import ModelError, ModelUnavailable, SettingsError
from heddle.llm.connection import OVERLOADED, client_options, overflows, quoted
from heddle.settings import ProviderSettings, Settings


@dataclass(frozen=True, slots=True)
class OpenAIApi:
    """The API of one provider; made by `openai_api`.

    Attributes:
        client: for paths under `url`; it sends the key.
        provider: its name under `providers`.
        url: the API's address, without a slash at its end.
    """

    client: httpx.AsyncClient
    provider: str
    url: str
    settings: ProviderSettings
    timeout: float

    @asynccontextmanager
    async def asked(self) -> AsyncIterator[None]:
        """One question, with `planner.timeout` for all of it.

        Raises:
            ModelUnavailable: the server cannot be reached.
            ModelError: the answer came too late, or cannot be read.
        """
        try:
            async with asyncio.timeout(self.timeout):
                yield
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            told = str(error) or "no connection in time"
            remedy = "have SSL_CERT_FILE name its authority" if "CERTIFICATE" in told else f"start it, or correct {self.setting('url')}"
            raise ModelUnavailable(f"no model server answers at {self.url} ({told})", remedy) from None
        except TimeoutError:
            raise ModelError(f"{self.settings.model} at {self.url} did not answer within {self.timeout:g} s (planner.timeout)") from None
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(map(str, first["loc"]))
            raise ModelError(f"the answer of {self.url} cannot be read: {where + ': ' if where else ''}{first['msg']}") from None
        except httpx.HTTPError as error:
            raise ModelError(f"the answer of {self.url} cannot be read: {str(error) or type(error).__name__}") from None

    def check(self, response: httpx.Response) -> None:
        """See whether a response is an answer.

        Raises:
            ModelUnavailable: it says that the server is overloaded, does not let heddle in, or lacks the model.
            ModelError: it says that the prompt does not fit, or refuses for another reason.
        """
        status = response.status_code
        if status < httpx.codes.MULTIPLE_CHOICES:
            return
        if status < httpx.codes.BAD_REQUEST:
            raise ModelError(f"{self.url} redirects elsewhere ({status}); name the model server itself in {self.setting('url')}")
        if status in {httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN}:  # its words are not told: they may quote the key
            how = "set" if self.settings.key is None else "correct"
            raise ModelUnavailable(f"{self.url} does not let heddle in ({status})", f"{how} {self.setting('key')}")
        said = self.said(response)
        if status == httpx.codes.NOT_FOUND:
            remedy = f"correct {self.setting('model')}, or {self.setting('url')}, which for most servers ends in /v1"
            raise ModelUnavailable(f"{self.url} has no model {self.settings.model}, or no such path (404: {said})", remedy)
        if status in OVERLOADED:
            wait = response.headers.get("retry-after", "")
            remedy = f"wait {wait} s, as it says, or give it less to do" if wait.isdecimal() else "wait, or give it less to do"
            raise ModelUnavailable(f"{self.url} is overloaded ({status}: {said})", remedy)
        if overflows(words_of(response)):
            raise ModelError(f"prompt and answer do not fit the context of {self.settings.model} at {self.url} ({status}: {said})")
        raise ModelError(f"{self.url} refused ({status}: {said})")

    def setting(self, field_name: str) -> str:
        """A setting of the provider, and the variable that sets it."""
        return f"providers.{self.provider}.{field_name} (HEDDLE_PROVIDERS__{self.provider.upper()}__{field_name.upper()})"

    def said(self, response: httpx.Response) -> str:
        """The server's own words, as far as they go."""
        try:
            told = response.json()
        except (ValueError, RecursionError):  # no JSON, or nested without an end
            return self.quoted(words_of(response))
        match told:
            case {"error": {"message": str(message)}} | {"error": str(message)} | {"message": str(message)}:
                return self.quoted(message)
            case _:
                return self.quoted(words_of(response))

    def quoted(self, text: str) -> str:
        """A text of the server for a message: short, in one line, without the key."""
        key = self.settings.key.get_secret_value() if self.settings.key else ""
        return quoted(text.replace(key, "…") if key else text)


def words_of(response: httpx.Response) -> str:
    """A response as UTF-8, which JSON is; what it says of its charset may be wrong, or none of letters."""
    return response.content.decode(errors="replace")


@asynccontextmanager
async def openai_api(settings: Settings, provider: str) -> AsyncIterator[OpenAIApi]:
    """The API of a provider.

    Args:
        settings: those in force.
        provider: its name under `providers`.

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
        yield OpenAIApi(client, provider, url, chosen, settings.planner.timeout)


def _authorization(chosen: ProviderSettings, provider: str) -> dict[str, str]:
    key = chosen.key.get_secret_value() if chosen.key else ""
    if not key:
        return {}
    if not key.isascii() or not key.isprintable() or " " in key:  # httpx would quote it in its error
        raise SettingsError(f"providers.{provider}.key holds a space, a line break or a letter that a header cannot carry")
    return {"Authorization": f"Bearer {key}"}
