"""What the tests of the model adapters share: little servers, models made of settings, and names that resolve as told."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Literal

import certifi
import pytest

from heddle.llm.ollama import OllamaModel, ollama_model
from heddle.llm.openai import OpenAIModel, openai_model
from heddle.settings import PlannerSettings, ProviderSettings, Settings
from tests.llm.http_server import allowed
from tests.llm.ollama_server import OllamaServer, Says, ollama_server
from tests.llm.openai_server import OpenAIServer, openai_server
from tests.llm.support import ANSWER, MakesModel, MakesOpenAIModel
from tests.support import PATIENCE


@pytest.fixture(scope="session")
def one_authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One certificate in place of all: no test speaks TLS, and a client that reads them all takes 50 ms to make."""
    first, end, _ = certifi.contents().partition("-----END CERTIFICATE-----\n")
    file = tmp_path_factory.mktemp("tls") / "one.pem"
    file.write_text(first + end, encoding="utf-8")
    return file


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch, one_authority: Path) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(one_authority))
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
def model_at(monkeypatch: pytest.MonkeyPatch) -> MakesModel:
    @asynccontextmanager
    async def made(url: str, egress: Literal["any", "none"] = "none", **planner: Any) -> AsyncIterator[OllamaModel]:
        monkeypatch.setenv("OLLAMA_HOST", url)
        settings = Settings(egress=egress, planner=PlannerSettings(**{"model": "test-model", "timeout": PATIENCE, **planner}))
        async with ollama_model(settings) as model:
            yield model

    return made


@pytest.fixture
def openai_at() -> MakesOpenAIModel:
    """Makes the model of a provider `gpu`; its settings are the keywords."""

    @asynccontextmanager
    async def made(
        url: str, egress: Literal["any", "none"] = "none", planner: PlannerSettings | None = None, **provider: Any
    ) -> AsyncIterator[OpenAIModel]:
        gpu = ProviderSettings(**{"url": url, "model": "test-model", **provider})
        settings = Settings(egress=egress, planner=planner or PlannerSettings(timeout=PATIENCE), providers={"gpu": gpu})
        async with openai_model(settings, "gpu") as model:
            yield model

    return made


@pytest.fixture
async def server() -> AsyncIterator[OllamaServer]:
    async with ollama_server(Says(ANSWER)) as running:
        yield running


@pytest.fixture
async def elsewhere() -> AsyncIterator[OllamaServer]:
    """A second server, which no request should reach unless a test says so."""
    async with ollama_server(Says(ANSWER)) as running:
        yield running


@pytest.fixture
async def openai() -> AsyncIterator[OpenAIServer]:
    async with openai_server() as running:
        yield running


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """What host names resolve to; one that is not in it does not resolve, and none is asked for outside."""
    known: dict[str, list[str]] = {}
    real = socket.getaddrinfo

    def resolve(host: Any, *args: Any, **kwargs: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        if name not in known and not name.replace(".", "").isdigit() and ":" not in name:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [info for address in known.get(name, [name]) for info in real(address, *args, **kwargs)]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    return known


@pytest.fixture
def may_call() -> Iterator[Callable[..., None]]:
    """Lets model calls out to addresses at which there is no model, for the rest of the test."""
    with ExitStack() as stack:
        yield lambda *addresses: stack.enter_context(allowed(*addresses))


@pytest.fixture
def nobody(may_call: Callable[..., None]) -> str:
    """The address of a port on which nothing listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
    may_call(address)
    return address
