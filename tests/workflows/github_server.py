"""A little GitHub on loopback: it replays the recordings in `github/`, keeps commit comments, and fails as a test tells it.

The recordings were written, in the shape that https://docs.github.com/en/rest documents for version 2022-11-28: the repository does not exist.
`{url}` in them is this server's.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final, Literal, Protocol
from urllib.parse import parse_qs, urlsplit

from heddle.settings import ForgeSettings, Settings
from tests.llm.http_server import Drops, Request, Sends, Stays, head, read_request, response, until_closed
from tests.support import PATIENCE
from workflows.github import GitHub

NOW: Final = datetime(2026, 3, 6, 12, tzinfo=UTC)  # by the forge's clock
TOKEN: Final = "github_pat_only_for_tests"
LIST: Final = "GET /repos/acme/checkout/commits"

JSON: Final = "application/vnd.github+json"
HEAD: Final = "14091a9f2461267ee7e02525b4f1f2923f1c9849"  # merges the next two into ROUND
DOCUMENT: Final = "4f8278c89ad16da05fec4fdfc61fe44798b92720"
INVOICE: Final = "baeba7e7b9ec453e23b5bac313219285d6292358"
ROUND: Final = "f0590a6dd3663be108ff31f58d16b829a1284be6"
BEGIN: Final = "8cbd0a74c6efdb39943b290bb82c9d6b2a6ee5a6"

_RECORDINGS: Final = Path(__file__).parent / "github"
_COMMENTS_OF: Final = re.compile(r"/repos/acme/checkout/commits/([0-9a-f]{40})/comments")
_COMMENT: Final = re.compile(r"/repos/acme/checkout/comments/(\d+)")

Reply = Sends | Stays | Drops


class MakesForge(Protocol):
    """Makes a forge on the server, or at another URL; the fixture `forge_at`."""

    async def __call__(self, *, url: str = "", token: str | None = TOKEN, timeout: float = PATIENCE) -> GitHub: ...


def github_settings(url: str, token: str | None = TOKEN, egress: Literal["any", "none"] = "none") -> Settings:
    return Settings(egress=egress, forge=ForgeSettings.model_validate({"kind": "github", "url": url, "token": token}))


def refused(status: int, message: str, **headers: str) -> Sends:
    """A refusal in GitHub's form; underscores in a header's name are hyphens."""
    body = json.dumps({"message": message, "documentation_url": "https://docs.github.com/rest", "status": str(status)})
    return Sends(status, body.encode(), tuple((name.replace("_", "-"), value) for name, value in headers.items()))


def moved(to: str, status: int = 301) -> Sends:
    return refused(status, "Moved Permanently", Location=to)


@dataclass
class GitHubServer:
    """The server, once it listens.

    Attributes:
        instead: what is answered in place of the recordings, by the beginning of `METHOD TARGET`.
        requests: every request it got.
        comments: those on commits, oldest first: id, commit_id, body.
        comments_per_page: the most that one page of them has.
        connections: how many it has accepted.
    """

    instead: dict[str, Reply] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    comments: list[dict[str, Any]] = field(default_factory=list)
    comments_per_page: int = 100
    connections: int = 0
    port: int = 0
    _open: set[asyncio.Task[Any]] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def asked(self) -> list[str]:
        """Method and target of the requests."""
        return [f"{request.method} {request.target}" for request in self.requests]

    @property
    def writes(self) -> list[str]:
        return [asked for asked in self.asked if not asked.startswith("GET ")]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, kept alive for as many requests as the client sends."""
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        self.connections += 1
        try:
            with suppress(ConnectionError, asyncio.CancelledError):
                while (request := await read_request(reader)) is not None:
                    self.requests.append(request)
                    await self._answer(request, reader, writer)
        finally:
            writer.close()
            self._open.discard(task)

    async def hang_up(self) -> None:
        """Close every connection that is still open."""
        tasks = list(self._open)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _answer(self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        match self._reply(request):
            case Sends(status, body, headers):
                writer.write(response(status, body, headers))
            case Stays(drip=drip):
                writer.write(head(HTTPStatus.OK, (("Transfer-Encoding", "chunked"),)) if drip else b"")
                await until_closed(reader, (lambda: writer.write(b"1\r\n \r\n")) if drip else None)
                raise ConnectionResetError
            case Drops(middle=middle):
                writer.write(response(HTTPStatus.OK, b"[1, 2, 3, 4]")[:-4] if middle else b"")
                raise ConnectionResetError
        await writer.drain()

    def _reply(self, request: Request) -> Reply:
        asked = f"{request.method} {request.target}"
        told = next((reply for beginning, reply in self.instead.items() if asked.startswith(beginning)), None)
        path = urlsplit(request.target).path
        if told is not None:
            return told
        if of := _COMMENTS_OF.fullmatch(path):
            return self._listed(of[1], request) if request.method == "GET" else self._commented(of[1], request)
        if one := _COMMENT.fullmatch(path):
            return self._changed(int(one[1]), request)
        accept = request.headers["accept"]
        return self._recorded(asked if accept == JSON else f"{asked} as {accept}")

    def _recorded(self, asked: str) -> Sends:
        for file in sorted(_RECORDINGS.glob("*.json")):
            for exchange in json.loads(file.read_text(encoding="utf-8").replace("{url}", self.url)):
                if exchange["request"] == asked:
                    body = exchange["text"] if "text" in exchange else json.dumps(exchange["body"])
                    return Sends(exchange["status"], body.encode(), tuple(exchange["headers"].items()))
        return refused(404, "Not Found")

    def _listed(self, commit: str, request: Request) -> Sends:
        query = parse_qs(urlsplit(request.target).query)
        size, page = min(int(query["per_page"][0]), self.comments_per_page), int(query.get("page", ["1"])[0])
        found = [comment for comment in self.comments if comment["commit_id"] == commit]
        more = f'<{self.url}/repos/acme/checkout/commits/{commit}/comments?per_page={size}&page={page + 1}>; rel="next"'
        link = (("Link", more),) if page * size < len(found) else ()
        return Sends(200, json.dumps(found[(page - 1) * size : page * size]).encode(), link)

    def _commented(self, commit: str, request: Request) -> Sends:
        if "authorization" not in request.headers:
            return refused(401, "Requires authentication")
        self.comments.append({"id": 7000 + len(self.comments), "commit_id": commit, "body": request.body["body"]})
        return Sends(201, json.dumps(self.comments[-1]).encode())

    def _changed(self, number: int, request: Request) -> Sends:
        comment = next(comment for comment in self.comments if comment["id"] == number)
        comment["body"] = request.body["body"]
        return Sends(200, json.dumps(comment).encode())


@asynccontextmanager
async def github_server() -> AsyncIterator[GitHubServer]:
    """A server on a free port of this machine; leaves with every connection closed."""
    made = GitHubServer()
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
        await made.hang_up()
        await server.wait_closed()
