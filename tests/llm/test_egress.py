"""Where a goal must not go: `egress: none`, redirects, proxies, names that change their address, and models that run elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import pytest

from heddle.egress import is_private
from heddle.errors import SettingsError
from tests.llm.http_server import redirect
from tests.llm.ollama_server import OllamaServer, shown
from tests.llm.openai_server import OpenAIServer
from tests.llm.support import ANSWER, PROMPT, MakesModel, MakesOpenAIModel, failure_of


@pytest.mark.parametrize(
    "host", ["8.8.8.8", "https://8.8.8.8", "http://8.8.8.8:11434", "[2606:4700::1111]", "::ffff:8.8.8.8", "http://me:secret@8.8.8.8"]
)
async def test_without_egress_a_public_address_is_refused_before_anything_is_sent(model_at: MakesModel, host: str) -> None:
    with pytest.raises(SettingsError, match=r"egress is none, and http.* \(OLLAMA_HOST\) is neither loopback nor private"):
        async with model_at(host):
            pass


@pytest.mark.parametrize("host", ["", "127.9.9.9:1", "10.1.2.3", "172.16.0.1", "192.168.1.5", "https://[::1]", "fd00::1", "0.0.0.0:80"])
async def test_without_egress_loopback_and_private_addresses_are_accepted(model_at: MakesModel, host: str) -> None:
    async with model_at(host) as model:
        assert model.name == "test-model"


async def test_with_egress_a_public_address_is_accepted(model_at: MakesModel) -> None:
    async with model_at("8.8.8.8", egress="any") as model:
        assert model.host == "http://8.8.8.8:11434"


@pytest.mark.parametrize(
    ("addresses", "private"),
    [(["127.0.0.1"], True), (["10.0.0.7", "fd00::7"], True), (["8.8.8.8"], False), (["10.0.0.7", "8.8.8.8"], False)],
)
def test_a_name_is_private_if_every_address_of_it_is(names: dict[str, list[str]], addresses: list[str], private: bool) -> None:
    names["models.example"] = addresses
    assert is_private("http://models.example:11434") is private


@pytest.mark.parametrize("name", ["models.example", "a" * 70, ""])
def test_a_name_that_does_not_resolve_is_not_private(names: dict[str, list[str]], name: str) -> None:
    assert not is_private(f"http://{name}:11434")


@pytest.mark.parametrize(("status", "egress"), [(301, "none"), (302, "none"), (303, "none"), (307, "none"), (308, "none"), (307, "any")])
async def test_a_redirect_is_not_followed(
    server: OllamaServer, elsewhere: OllamaServer, model_at: MakesModel, status: int, egress: Literal["any", "none"]
) -> None:
    server.then(redirect(f"{elsewhere.url}/api/chat", status))
    async with model_at(server.url, egress=egress) as model:
        failure = await failure_of(model)
    assert str(failure) == f"{server.url} redirects elsewhere ({status}); name the model server itself in OLLAMA_HOST"
    assert (len(server.chats), elsewhere.connections) == (1, 0)


@pytest.mark.parametrize(
    ("variable", "egress"), [("HTTP_PROXY", "none"), ("http_proxy", "none"), ("ALL_PROXY", "none"), ("HTTP_PROXY", "any")]
)
async def test_a_proxy_in_the_environment_gets_nothing_that_is_for_this_machine(
    server: OllamaServer,
    elsewhere: OllamaServer,
    model_at: MakesModel,
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
    egress: Literal["any", "none"],
) -> None:
    monkeypatch.setenv(variable, elsewhere.url)
    async with model_at(server.url, egress=egress) as model:
        assert (await model.complete(PROMPT)).text == ANSWER
    assert (len(server.chats), elsewhere.connections) == (1, 0)


async def test_a_public_server_is_asked_through_the_proxy_of_the_environment(
    elsewhere: OllamaServer,
    model_at: MakesModel,
    monkeypatch: pytest.MonkeyPatch,
    names: dict[str, list[str]],
    may_call: Callable[..., None],
) -> None:
    may_call("models.example:11434")
    monkeypatch.setenv("HTTP_PROXY", elsewhere.url)
    async with model_at("models.example", egress="any") as model:
        await failure_of(model)  # this proxy only knows its own paths
    assert [request.target for request in elsewhere.requests] == ["http://models.example:11434/api/chat"]


# Names that do not stay where they were


async def test_a_private_name_is_reached_by_its_name_at_the_first_address_that_takes_a_connection(
    server: OllamaServer, model_at: MakesModel, names: dict[str, list[str]], may_call: Callable[..., None]
) -> None:
    names["models.example"] = ["::1", "127.0.0.1"]
    may_call(f"models.example:{server.port}")
    async with model_at(f"models.example:{server.port}") as model:
        assert (await model.complete(PROMPT)).text == ANSWER
    assert {request.headers["host"] for request in server.requests} == {f"models.example:{server.port}"}


@pytest.mark.parametrize("addresses", [["8.8.8.8"], ["127.0.0.1", "8.8.8.8"]])
async def test_a_name_that_has_become_public_since_it_was_checked_gets_nothing(
    server: OllamaServer, model_at: MakesModel, names: dict[str, list[str]], may_call: Callable[..., None], addresses: list[str]
) -> None:
    names["models.example"] = ["127.0.0.1"]
    may_call(f"models.example:{server.port}")
    async with model_at(f"models.example:{server.port}") as model:
        names["models.example"] = addresses
        with pytest.raises(SettingsError, match=r"models.example \(OLLAMA_HOST\) is now at 8.8.8.8, which is neither loopback nor private"):
            await model.complete(PROMPT)
    assert server.connections == 0


async def test_the_same_holds_for_a_provider(
    openai: OpenAIServer, openai_at: MakesOpenAIModel, names: dict[str, list[str]], may_call: Callable[..., None]
) -> None:
    names["models.example"] = ["127.0.0.1"]
    may_call(f"models.example:{openai.port}")
    async with openai_at(f"http://models.example:{openai.port}/v1") as model:
        await model.complete(PROMPT)
        names["models.example"] = ["8.8.8.8"]
        with pytest.raises(SettingsError, match=r"\(providers.gpu.url\) is now at 8.8.8.8"):
            await model.complete(PROMPT)
    assert len(openai.requests) == 1


async def test_without_egress_a_public_provider_is_refused_before_anything_is_sent(openai_at: MakesOpenAIModel) -> None:
    with pytest.raises(
        SettingsError, match=r"egress is none, and https://8.8.8.8/v1 \(providers.gpu.url\) is neither loopback nor private"
    ):
        async with openai_at("https://8.8.8.8/v1"):
            pass


# Models that an Ollama server asks another server for


@pytest.mark.parametrize("model", ["gpt-oss:120b-cloud", "qwen3-coder:cloud"])
async def test_without_egress_a_cloud_model_is_refused_by_its_name(server: OllamaServer, model_at: MakesModel, model: str) -> None:
    with pytest.raises(SettingsError, match=rf"egress is none, and {model} does not run on the Ollama server"):
        async with model_at(server.url, model=model):
            pass
    assert server.connections == 0


async def test_without_egress_a_model_of_another_host_is_refused_before_it_sees_a_goal(server: OllamaServer, model_at: MakesModel) -> None:
    server.shown = shown(remote_host="https://ollama.com:443", remote_model="gpt-oss:120b")
    async with model_at(server.url) as model:
        for asked in (model.warm(PROMPT), model.complete(PROMPT), model.facts()):
            with pytest.raises(SettingsError, match="test-model does not run on the Ollama server but at https://ollama"):
                await asked
    assert server.chats == []


async def test_where_the_model_runs_is_asked_once(server: OllamaServer, model_at: MakesModel) -> None:
    async with model_at(server.url) as model:
        for _ in range(3):
            await model.complete(PROMPT)
    assert [request.target for request in server.requests] == ["/api/show", "/api/chat", "/api/chat", "/api/chat"]


async def test_with_egress_it_is_not_asked(server: OllamaServer, model_at: MakesModel) -> None:
    server.shown = shown(remote_host="https://ollama.com:443")
    async with model_at(server.url, egress="any") as model:
        await model.complete(PROMPT)
    assert [request.target for request in server.requests] == ["/api/chat"]
