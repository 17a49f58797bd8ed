"""A little Ollama on loopback that speaks its protocol for `/api/chat` and answers as a test tells it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any


@dataclass(frozen=True, slots=True)
class Says:
    """A whole answer, as the server gives it without streaming."""

    text: str
    done_reason: str = "stop"
    prompt_tokens: int | None = 212  # absent when the server has the whole prompt in its cache
    answer_tokens: int | None = 31


@dataclass(frozen=True, slots=True)
class Sends:
    """Any other response."""

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


Reply = Says | Sends | Stays | Drops


def error(status: int, text: str) -> Sends:
    """An error in the server's own form."""
    return Sends(status, json.dumps({"error": text}).encode())


OVERLOADED = error(503, "server busy, please try again.  maximum pending requests exceeded")


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


@dataclass
class OllamaServer:
    """The server, once it listens.

    Attributes:
        models: those that were pulled.
        replies: the next answers; the last is repeated.
        requests: every request it got.
        connections: how many it has accepted.
        heard: set when a request has come.
        closed: set while no connection is open.
    """

    models: set[str]
    replies: list[Reply]
    requests: list[Request] = field(default_factory=list)
    connections: int = 0
    heard: asyncio.Event = field(default_factory=asyncio.Event)
    closed: asyncio.Event = field(default_factory=asyncio.Event)
    port: int = 0
    _open: set[asyncio.Task[Any]] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def chats(self) -> list[dict[str, Any]]:
        """The bodies of the requests."""
        return [request.body for request in self.requests]

    def then(self, *replies: Reply) -> None:
        """Answer so from now on."""
        self.replies = list(replies)

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
                    await self._answer(request, reader, writer)
        finally:
            writer.close()
            self._open.discard(task)
            if not self._open:
                self.closed.set()

    async def hang_up(self) -> None:
        """Close every connection that is still open."""
        tasks = list(self._open)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _answer(self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        refusal = self._refusal(request)
        reply = refusal or (self.replies.pop(0) if len(self.replies) > 1 else self.replies[0])
        match reply:
            case Says():
                writer.write(response(HTTPStatus.OK, chat_response(request.body["model"], reply)))
            case Sends(status, body, headers):
                writer.write(response(status, body, headers))
            case Stays(drip=drip):
                writer.write(head(HTTPStatus.OK, (("Transfer-Encoding", "chunked"),)) if drip else b"")
                await until_closed(reader, (lambda: writer.write(b"1\r\n \r\n")) if drip else None)
                raise ConnectionResetError
            case Drops(middle=middle):
                whole = response(HTTPStatus.OK, chat_response(request.body["model"], Says("never to be read")))
                writer.write(whole[:-20] if middle else b"")
                raise ConnectionResetError
        await writer.drain()

    def _refusal(self, request: Request) -> Sends | None:
        """What the real server refuses before any model runs."""
        if request.target != "/api/chat":
            return Sends(404, b"404 page not found", (("Content-Type", "text/plain"),))
        if request.method != "POST":
            return Sends(405, b"405 method not allowed", (("Content-Type", "text/plain"),))
        if not isinstance(request.body, dict):
            return error(400, "missing request body")
        if not isinstance(request.body.get("format", "json"), dict | str):
            return error(400, 'invalid format; expected "json" or a valid JSON Schema object')
        if request.body.get("stream", True):
            return error(400, "this little server does not stream")
        if request.body.get("model") not in self.models:
            return error(404, f"model '{request.body.get('model')}' not found")
        return None


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


def chat_response(model: str, said: Says) -> bytes:
    """The body of a finished chat, with the fields and the order of the real server's."""
    told: dict[str, Any] = {
        "model": model,
        "created_at": "2026-01-05T09:30:00.123456789Z",
        "message": {"role": "assistant", "content": said.text},
        "done": True,
        "done_reason": said.done_reason,
        "total_duration": 2_174_000_000,
        "load_duration": 61_000_000,
        "prompt_eval_count": said.prompt_tokens,
        "prompt_eval_duration": 402_000_000,
        "eval_count": said.answer_tokens,
        "eval_duration": 1_690_000_000,
    }
    return json.dumps({key: value for key, value in told.items() if value is not None}).encode()


def head(status: int, headers: Iterable[tuple[str, str]]) -> bytes:
    """A status line and headers."""
    told = {"Content-Type": "application/json; charset=utf-8", **dict(headers)}
    lines = [f"HTTP/1.1 {int(status)} {HTTPStatus(status).phrase}", *(f"{name}: {value}" for name, value in told.items())]
    return "\r\n".join([*lines, "", ""]).encode()


def response(status: int, body: bytes, headers: Iterable[tuple[str, str]] = ()) -> bytes:
    """A response with its length."""
    return head(status, (*headers, ("Content-Length", str(len(body))))) + body


@asynccontextmanager
async def ollama_server(*replies: Reply, models: Iterable[str] = ("test-model",), host: str = "127.0.0.1") -> AsyncIterator[OllamaServer]:
    """A server on a free port of this machine; leaves with every connection closed."""
    ollama = OllamaServer(set(models), list(replies) or [Says('{"tasks": [{"macro": "unsupported"}]}')])
    server = await asyncio.start_server(ollama.serve, host, 0)
    ollama.port = server.sockets[0].getsockname()[1]
    try:
        yield ollama
    finally:
        server.close()
        await ollama.hang_up()
        await server.wait_closed()
