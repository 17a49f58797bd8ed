"""A dashboard for a test: served for real, over the session's nats-server, with the macros of the tests."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from heddle.settings import DashboardSettings
from heddle.web.serve import dashboard
from heddle.web.shelf import Shelf, shelf_of
from tests.support import PATIENCE, Ground, registry_of

_TOKEN = re.compile(r'name="form_token" value="([0-9a-f]+)"')


@dataclass(frozen=True, slots=True)
class Board:
    """A dashboard, and a visitor that keeps its cookie."""

    address: str
    http: httpx.AsyncClient

    async def page(self, path: str, status: int = 200) -> str:
        """A page's text."""
        answer = await self.http.get(path, headers={"Accept": "text/html"})
        assert answer.status_code == status, answer.text
        return answer.text

    async def post(self, path: str, **fields: str) -> httpx.Response:
        """What a form of the overview's session would send; redirects are not followed."""
        token = _TOKEN.search(await self.page("/rules"))
        assert token is not None
        return await self.http.post(path, data={"form_token": token[1], **fields}, headers={"Accept": "text/html", "Origin": self.address})

    @asynccontextmanager
    async def stream(self, path: str) -> AsyncIterator[AsyncIterator[dict[str, str]]]:
        """The changes of a page, as they come."""
        async with self.http.stream("GET", path, headers={"Accept": "text/event-stream"}) as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            yield _changes(answer)


async def _changes(answer: httpx.Response) -> AsyncIterator[dict[str, str]]:
    async with asyncio.timeout(PATIENCE):
        async for line in answer.aiter_lines():
            if line.startswith("data: "):
                changed: dict[str, str] = json.loads(line.removeprefix("data: "))
                yield changed


@asynccontextmanager
async def board(ground: Ground, shelf: Shelf | None = None, **settings: Any) -> AsyncIterator[Board]:
    """Serve a dashboard on a free port."""
    found = shelf if shelf is not None else shelf_of(registry_of(), "tests")
    async with (
        dashboard(ground.client, DashboardSettings(port=0, **settings), lambda: found, "ada@test") as address,
        httpx.AsyncClient(base_url=address, trust_env=False) as http,
    ):
        yield Board(address.rstrip("/"), http)
