"""A forge on a little GitHub of this machine, for the tests of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from tests.support import PATIENCE
from tests.workflows.github_server import NOW, TOKEN, GitHubServer, MakesForge, github_server, github_settings
from workflows.github import GitHub, github


@pytest.fixture
async def server() -> AsyncIterator[GitHubServer]:
    async with github_server() as running:
        yield running


@pytest.fixture
async def elsewhere() -> AsyncIterator[GitHubServer]:
    """A second server, which no request should reach."""
    async with github_server() as running:
        yield running


@pytest.fixture
async def forge_at(server: GitHubServer) -> AsyncIterator[MakesForge]:
    async with AsyncExitStack() as stack:

        async def made(*, url: str = "", token: str | None = TOKEN, timeout: float = PATIENCE) -> GitHub:
            chosen = github_settings(url or server.url, token)
            return await stack.enter_async_context(github(chosen, now=NOW.timestamp, timeout=timeout))

        yield made


@pytest.fixture
async def forge(forge_at: MakesForge) -> GitHub:
    return await forge_at()
