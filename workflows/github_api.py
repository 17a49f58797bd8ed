"""Calls of GitHub's REST API (https://docs.github.com/en/rest, version 2022-11-28): one call, a list over its pages, and what a refusal means.

`retry_after` and `refusal` only think; `GitHubApi` sends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from types import MappingProxyType
from typing import Any, Final, TypeVar

import httpx
from pydantic import BaseModel, TypeAdapter, ValidationError

from workflows.forge import ForgeBusy, ForgeError

JSON: Final = "application/vnd.github+json"
VERSION: Final = "2022-11-28"
ANSWER_BYTES: Final = 16 * 1024 * 1024
MOST_PAGES: Final = 100
MOST_REDIRECTS: Final = 5
AT_ONCE: Final = 8  # GitHub asks for few calls at a time, and refuses more than a hundred
A_MINUTE: Final = 60.0  # how long to wait when a limit is reached and no header says how long
A_DAY: Final = 86_400.0

_REDIRECTS: Final = frozenset({301, 302, 307, 308})
_NONE: Final[Mapping[int, ForgeError]] = MappingProxyType({})

T = TypeVar("T")


class _Refusal(BaseModel):
    message: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer of status 2xx.

    Attributes:
        call: what was asked, for messages: `GET https://…`.
        links: the URLs of the Link header, by relation.
        body: at most `ANSWER_BYTES`.
    """

    call: str
    links: Mapping[str, str]
    body: bytes

    def read(self, shape: TypeAdapter[T]) -> T:
        """What the body says.

        Raises:
            ForgeError: it is not JSON, or not of this shape.
        """
        try:
            return shape.validate_json(self.body)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(map(str, first["loc"])) or "the whole"
            raise ForgeError(
                f"{self.call} gives an answer that is not GitHub's: {where}: {first['msg']}; is HEDDLE_FORGE__URL right?"
            ) from None


class GitHubApi:
    """The REST API at a URL. No call leaves that host, wherever an answer points, so neither does the token."""

    def __init__(self, client: httpx.AsyncClient, url: str, *, now: Callable[[], float], timeout: float) -> None:
        """Take a client that brings the headers and follows no redirects.

        Args:
            client: sends; closed by whoever made it.
            url: of the API, without a slash at its end.
            now: seconds since the epoch.
            timeout: seconds until the whole answer to one call must be there.
        """
        self.url = url
        self._client = client
        self._now = now
        self._timeout = timeout
        self._places = asyncio.Semaphore(AT_ONCE)

    async def get(
        self, url: str, params: Mapping[str, str | int] | None = None, *, accept: str = JSON, refusals: Mapping[int, ForgeError] = _NONE
    ) -> Answer:
        """Ask for something; `refusals` says what a status means here.

        Raises:
            ForgeBusy: a limit is reached, GitHub is down, or it cannot be reached in time.
            ForgeError: any other refusal, an answer that is too long, redirects without an end or to another host.
        """
        return await self.call("GET", httpx.URL(url, params=params) if params else httpx.URL(url), accept=accept, refusals=refusals)

    async def call(
        self, method: str, url: httpx.URL, *, json: Any = None, accept: str = JSON, refusals: Mapping[int, ForgeError] = _NONE
    ) -> Answer:
        """Send a request, and send it again where a redirect says, as GitHub does for renamed repositories; raises as `get`."""
        asked = f"{method} {_shown(url)}"
        for _ in range(MOST_REDIRECTS + 1):
            response, body = await self._sent(method, url, json, accept)
            if response.is_success:
                links = {link["rel"]: link["url"] for link in response.links.values() if "rel" in link}
                return Answer(asked, links, body)
            if response.status_code not in _REDIRECTS or "location" not in response.headers:
                raise refusals.get(response.status_code) or refusal(asked, response.status_code, response.headers, body, self._now())
            url = self._on_this_host(asked, url, response.headers["location"])
        raise ForgeError(f"{asked} is redirected more than {MOST_REDIRECTS} times, the last time to {_shown(url)}")

    async def walk(self, first: Answer, rel: str, read: Callable[[Answer], list[T]], enough: int | None = None) -> list[T]:
        """The items of a list from its page `first` on, by one relation of the Link header, until there are enough.

        Raises:
            ForgeBusy: as `get`.
            ForgeError: as `get`, or the list has more than `MOST_PAGES` pages.
        """
        page, found = first, read(first)
        for _ in range(MOST_PAGES - 1):
            if rel not in page.links or (enough is not None and len(found) >= enough):
                return found[:enough]
            page = await self.follow(page, rel)
            found += read(page)
        raise ForgeError(f"{first.call}: the list has more than {MOST_PAGES} pages")

    async def follow(self, page: Answer, rel: str) -> Answer:
        """The page that a page's Link header names; raises as `get`."""
        return await self.call("GET", self._on_this_host(page.call, httpx.URL(self.url), page.links[rel]))

    async def _sent(self, method: str, url: httpx.URL, json: Any, accept: str) -> tuple[httpx.Response, bytes]:
        asked = f"{method} {_shown(url)}"
        try:
            async with (
                self._places,
                asyncio.timeout(self._timeout),  # of the whole answer: httpx's begins anew with every byte
                self._client.stream(method, url, json=json, headers={"Accept": accept}) as response,
            ):
                body = bytearray()
                async for chunk in response.aiter_bytes():
                    body += chunk
                    if len(body) > ANSWER_BYTES:
                        raise ForgeError(f"{asked} gives more than {ANSWER_BYTES >> 20} MiB: ask for fewer changes")
                return response, bytes(body)
        except TimeoutError:
            raise ForgeBusy(f"{asked} gave no whole answer within {self._timeout:g} s") from None
        except httpx.TransportError as error:
            raise ForgeBusy(f"{asked} failed: {str(error) or type(error).__name__}") from None
        except httpx.HTTPError as error:  # a body that cannot be unpacked
            raise ForgeError(f"{asked} gives an answer that cannot be read: {str(error) or type(error).__name__}") from None

    def _on_this_host(self, asked: str, base: httpx.URL, target: str) -> httpx.URL:
        """The URL that an answer points at."""
        try:
            url, home = base.join(target), httpx.URL(self.url)
        except httpx.InvalidURL:
            raise ForgeError(f"{asked} points at {target!r}, which is no URL") from None
        if (url.scheme, url.host, url.port) != (home.scheme, home.host, home.port):
            raise ForgeError(
                f"{asked} points at another host, {_shown(url)}: nothing is sent there; name the API itself in HEDDLE_FORGE__URL"
            )
        return url


def _shown(url: httpx.URL) -> str:
    """A URL without the user name and password that may stand in it."""
    return str(url.copy_with(userinfo=b""))


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """The seconds that an answer asks its caller to stay away, a day at most; None if it does not say.

    The header Retry-After decides, as seconds or as a date; else x-ratelimit-reset, if x-ratelimit-remaining is 0.

    Args:
        headers: of the answer, by lower-case name.
        now: seconds since the epoch.
    """
    wait = _seconds(headers.get("retry-after", ""), now)
    if wait is None and headers.get("x-ratelimit-remaining", "").strip() == "0":
        reset = _number(headers.get("x-ratelimit-reset", ""))
        wait = None if reset is None else reset - now
    return None if wait is None else min(max(wait, 0.0), A_DAY)


def _seconds(text: str, now: float) -> float | None:
    """What Retry-After says: seconds from now, or when."""
    if (number := _number(text)) is not None:
        return number
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - now


def _number(text: str) -> float | None:
    return float(text) if text.strip().isascii() and text.strip().isdigit() else None


def refusal(asked: str, status: int, headers: Mapping[str, str], body: bytes, now: float) -> ForgeError:
    """What a status other than 2xx means, if nobody knows better.

    Args:
        asked: the call, for the message.
        status: of the answer.
        headers: of the answer, by lower-case name.
        body: of the answer.
        now: seconds since the epoch.
    """
    said = _message(body)
    told = f"{asked}: {status} {said}".rstrip()
    wait = retry_after(headers, now)
    if status == 429 or (status == 403 and (wait is not None or "rate limit" in said.lower())):
        wait = A_MINUTE if wait is None else wait
        return ForgeBusy(f"{told}; the limit of GitHub's API is reached, to be tried again in {wait:.0f} s", retry_after=wait)
    if status >= 500:
        return ForgeBusy(told, retry_after=wait)
    if status == 401:
        return ForgeError(f"{told}; set HEDDLE_FORGE__TOKEN to a token that is in force")
    if status in {403, 404}:
        needed = headers.get("x-accepted-github-permissions", "")
        return ForgeError(f"{told}; the token in HEDDLE_FORGE__TOKEN may not do that" + (f": it needs {needed}" if needed else ""))
    return ForgeError(told)


def _message(body: bytes) -> str:
    """GitHub's own words for a refusal; nothing if it has none."""
    try:
        return " ".join(_Refusal.model_validate_json(body).message.split())[:300]
    except ValidationError:
        return ""
