"""A little HTTP server on loopback that answers as a test tells it; what the model servers of the tests are made of."""

from __future__ import annotations

import asyncio
import json
import os
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Generic, TypeVar

from heddle.llm.connection import SWITCH


@dataclass(frozen=True, slots=True)
class Sends:
    """Any response."""

    status: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Stays:
    """No response; with `drip`, a byte of one now and then, without an end."""

    drip: bool = False


@dataclass(frozen=True, slots=True)
class Drops:
    """The connection is closed: at once, or in the middle of the answer."""

    middle: bool = True


def redirect(to: str, status: int = 307) -> Sends:
    """What a proxy in front of the server may answer."""
    return Sends(status, headers=(("Location", to),))


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it came; `target` is a path, or a whole URL if the client takes this for a proxy."""

    method: str
    target: str
    headers: dict[str, str]
    body: Any


Said = TypeVar("Said")
Anything = Sends | Stays | Drops


@dataclass
class HttpServer(ABC, Generic[Said]):
    """The server, once it listens.

    Attributes:
        replies: the next answers; the last is repeated.
        requests: every request it got.
        connections: how many it has accepted.
        heard: set when a request has come.
        closed: set while no connection is open.
    """

    replies: list[Said | Anything]
    requests: list[Request] = field(default_factory=list)
    connections: int = 0
    heard: asyncio.Event = field(default_factory=asyncio.Event)
    closed: asyncio.Event = field(default_factory=asyncio.Event)
    port: int = 0
    _open: set[asyncio.Task[Any]] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def then(self, *replies: Said | Anything) -> None:
        """Answer so from now on."""
        self.replies = list(replies)

    @abstractmethod
    async def respond(self, request: Request) -> bytes | Anything:
        """A whole response, or what to do in its place."""

    @abstractmethod
    def sample(self) -> bytes:
        """A whole response, of which the connection may be dropped in the middle."""

    def next_reply(self) -> Said | Anything:
        """The next answer."""
        return self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, kept alive for as many requests as the client sends."""
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        self.connections += 1
        self.closed.clear()
        try:
            with suppress(ConnectionError, asyncio.CancelledError):
                while (request := await read_request(reader)) is not None:
                    self.requests.append(request)
                    self.heard.set()
                    await self.write(await self.respond(request), reader, writer)
        finally:
            writer.close()
            self._open.discard(task)
            if not self._open:
                self.closed.set()

    async def write(self, answer: bytes | Anything, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Put a response on the wire."""
        match answer:
            case bytes():
                writer.write(answer)
            case Sends(status, body, headers):
                writer.write(response(status, body, headers))
            case Stays(drip=drip):
                writer.write(head(HTTPStatus.OK, (("Transfer-Encoding", "chunked"),)) if drip else b"")
                await until_closed(reader, (lambda: writer.write(b"1\r\n \r\n")) if drip else None)
                raise ConnectionResetError
            case Drops(middle=middle):
                writer.write(self.sample()[:-20] if middle else b"")
                raise ConnectionResetError
        await writer.drain()

    async def hang_up(self) -> None:
        """Close every connection that is still open."""
        tasks = list(self._open)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


Server = TypeVar("Server", bound=HttpServer[Any])


@asynccontextmanager
async def listening(server: Server, host: str = "127.0.0.1") -> AsyncIterator[Server]:
    """The server on a free port of this machine, which may be called; leaves with every connection closed."""
    listener = await asyncio.start_server(server.serve, host, 0)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        with allowed(f"{host}:{server.port}"):
            yield server
    finally:
        listener.close()
        await server.hang_up()
        await listener.wait_closed()


@contextmanager
def allowed(*addresses: str) -> Iterator[None]:
    """Let model calls out to these addresses, each HOST:PORT: a test's own server, or one that is known to be none."""
    before = os.environ.get(SWITCH, "")
    os.environ[SWITCH] = ",".join([before, *addresses])
    try:
        yield
    finally:
        os.environ[SWITCH] = before


async def read_request(reader: asyncio.StreamReader) -> Request | None:
    """The next request of a connection; None at its end."""
    try:
        first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")[:-2]
    except asyncio.IncompleteReadError:
        return None
    method, target, _ = first.split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Request(method, target, headers, json.loads(body) if body else None)


async def until_closed(reader: asyncio.StreamReader, meanwhile: Callable[[], object] | None = None) -> None:
    """Wait until the client has closed its end, doing something 100 times a second."""
    closing = asyncio.ensure_future(reader.read())
    try:
        while not closing.done():
            if meanwhile:
                meanwhile()
            await asyncio.wait([closing], timeout=0.01 if meanwhile else None)
        await closing
    finally:
        closing.cancel()


def head(status: int, headers: Iterable[tuple[str, str]]) -> bytes:
    """A status line and headers."""
    told = {"Content-Type": "application/json; charset=utf-8", **dict(headers)}
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = ""
    lines = [f"HTTP/1.1 {int(status)} {phrase}", *(f"{name}: {value}" for name, value in told.items())]
    return "\r\n".join([*lines, "", ""]).encode()


def response(status: int, body: bytes, headers: Iterable[tuple[str, str]] = ()) -> bytes:
    """A response with its length."""
    return head(status, (*headers, ("Content-Length", str(len(body))))) + body


def ok(told: Any) -> bytes:
    """A response of JSON."""
    return response(HTTPStatus.OK, json.dumps(told).encode())
