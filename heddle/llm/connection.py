"""How a model server is reached: through no proxy if it is private, at no other address than was checked, and only if tests allow it."""

from __future__ import annotations

import asyncio
import os
import re
from contextlib import suppress
from typing import Any, Final

import httpx

from heddle.egress import addresses_of, check_egress, is_private_address
from heddle.errors import SettingsError
from heddle.messages import sendable
from heddle.settings import Settings

CONNECT_TIMEOUT: Final = 3.0
_QUOTED: Final = 300
"""Characters that are quoted of what a server says."""
OVERLOADED: Final = frozenset({429, 502, 503, 529})
SWITCH: Final = "HEDDLE_MODEL_SERVERS"
"""The variable that names the only model servers that may be called, as HOST:PORT with commas; for tests. Unset: any."""

_PORTS: Final = {"http": 80, "https": 443}


async def client_options(settings: Settings, url: str, named: str) -> dict[str, Any]:
    """What an httpx client for the server at a URL is made with.

    Args:
        settings: those in force.
        url: where the server is.
        named: the variable or setting that names it, for the message.

    Raises:
        SettingsError: `egress: none` forbids that server.
    """
    private = await check_egress(settings, url, named)
    transport: httpx.AsyncBaseTransport | None = None  # with none given, the proxies of the environment are used
    if settings.egress == "none":
        transport = PrivateOnly(named)
    elif private:
        transport = httpx.AsyncHTTPTransport()
    return {
        "timeout": httpx.Timeout(None, connect=CONNECT_TIMEOUT),  # the whole call has its own: httpx's begins anew with every byte
        "follow_redirects": False,  # what a server answers must not send the goal to another
        "transport": transport,
        "event_hooks": {"request": [_heed_switch]},
    }


async def _heed_switch(request: httpx.Request) -> None:
    """Let no request out to a server that the switch does not name.

    Raises:
        SettingsError: it does not.
    """
    named = os.environ.get(SWITCH)
    address = f"{request.url.host}:{request.url.port or _PORTS[request.url.scheme]}"
    if named is not None and address not in named.split(","):
        raise SettingsError(f"the model server at {address} must not be called here: {SWITCH} does not name it; a test scripts its model")


class PrivateOnly(httpx.AsyncBaseTransport):
    """Connects to addresses on this machine and in private networks only, whatever a name resolves to by then.

    The name is resolved here and the connection made to the very address that was looked at, so that a name that resolves to another
    address the next time leads nowhere. Host header and TLS name stay those of the URL.
    """

    def __init__(self, named: str) -> None:
        self._named = named
        self._inner = httpx.AsyncHTTPTransport()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send the request to the first of the host's addresses that takes a connection.

        Raises:
            SettingsError: one of them is neither loopback nor private.
            httpx.ConnectError: the name does not resolve, or no address takes a connection.
        """
        host = request.url.host
        try:
            addresses = await asyncio.to_thread(addresses_of, host)
        except OSError as error:
            raise httpx.ConnectError(str(error), request=request) from None
        if foreign := [address for address in addresses if not is_private_address(address)]:
            raise SettingsError(f"egress is none, and {host} ({self._named}) is now at {foreign[0]}, which is neither loopback nor private")
        for address in addresses[:-1]:
            with suppress(httpx.ConnectError, httpx.ConnectTimeout):
                return await self._inner.handle_async_request(_to_address(request, address))
        return await self._inner.handle_async_request(_to_address(request, addresses[-1]))

    async def aclose(self) -> None:
        """Close every connection."""
        await self._inner.aclose()


def _to_address(request: httpx.Request, address: str) -> httpx.Request:
    return httpx.Request(
        request.method,
        request.url.copy_with(host=address),
        headers=request.headers,
        stream=request.stream,
        extensions={**request.extensions, "sni_hostname": request.url.host},
    )


def overflows(said: str) -> bool:
    """Does a server's refusal say that the prompt does not fit the context?

    Their words: "exceeds the available context size" (llama.cpp, and Ollama since 0.30), "the input length exceeds the context length"
    (Ollama before), "maximum context length is" (vLLM), "context_length_exceeded" (OpenAI), "context the overflows" (LM Studio).
    """
    return re.search(r"context.{0,40}?(length|size|window|overflow)", said, re.IGNORECASE | re.DOTALL) is not None


def quoted(said: str) -> str:
    """A server's words for a message: short, in one line, with a question mark for half a letter, which could be kept nowhere."""
    shown = " ".join(sendable(said).split())
    return shown if len(shown) <= _QUOTED else f"{shown[:_QUOTED]}…"
