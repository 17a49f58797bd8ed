"""Where the Ollama server is, as OLLAMA_HOST says."""

from __future__ import annotations

import pytest

from heddle.errors import SettingsError
from heddle.llm import ollama as adapter
from tests.llm.ollama_server import OllamaServer, Says, ollama_server
from tests.llm.support import ANSWER, PROMPT, MakesModel, failure_of


@pytest.mark.parametrize(
    ("told", "url"),
    [
        ("", "http://127.0.0.1:11434"),
        ("  ", "http://127.0.0.1:11434"),
        ("127.0.0.1", "http://127.0.0.1:11434"),
        ("10.0.0.7:8080", "http://10.0.0.7:8080"),
        (":8080", "http://127.0.0.1:8080"),
        ("0.0.0.0", "http://127.0.0.1:11434"),  # noqa: S104
        ("0.0.0.0:8080", "http://127.0.0.1:8080"),
        ("[::]:8080", "http://[::1]:8080"),
        ("http://10.0.0.7", "http://10.0.0.7"),
        ("http://10.0.0.7:11434/", "http://10.0.0.7:11434"),
        ("https://10.0.0.7", "https://10.0.0.7"),
        ("HTTPS://10.0.0.7:8443", "https://10.0.0.7:8443"),
        ("::1", "http://[::1]:11434"),
        ("[::1]", "http://[::1]:11434"),
        ("[::1]:8080", "http://[::1]:8080"),
        ("https://[::1]", "https://[::1]"),
        ("10.0.0.7/ollama/", "http://10.0.0.7:11434/ollama"),
        ("https://10.0.0.7:8443/a/b", "https://10.0.0.7:8443/a/b"),
        ('"127.0.0.1:8080"', "http://127.0.0.1:8080"),
    ],
)
def test_ollama_host_means_what_it_means_to_ollama(told: str, url: str) -> None:
    assert adapter._url(told) == url


@pytest.mark.parametrize("told", ["10.0.0.7", "http://10.0.0.7", "https://[::1]/a/b"])
async def test_the_client_goes_where_the_errors_say_it_went(model_at: MakesModel, told: str) -> None:
    async with model_at(told) as model:
        assert str(model.client._client.base_url).rstrip("/") == model.host


@pytest.mark.parametrize("told", ["host:port", "host:99999", "ftp://10.0.0.7", "http://[", "unix:///run/ollama.sock"])
async def test_an_ollama_host_that_is_no_address_is_a_setting_that_cannot_be_used(model_at: MakesModel, told: str) -> None:
    with pytest.raises(SettingsError, match="OLLAMA_HOST is ") as caught:
        async with model_at(told, egress="any"):
            pass
    assert repr(told) in str(caught.value)


async def test_host_and_port_alone_reach_the_server(server: OllamaServer, model_at: MakesModel) -> None:
    for told in (f"127.0.0.1:{server.port}", f"0.0.0.0:{server.port}", f":{server.port}", f"{server.url}/"):
        async with model_at(told) as model:
            assert (await model.complete(PROMPT)).text == ANSWER
    assert len(server.chats) == 4


async def test_a_server_on_ipv6_is_reached(model_at: MakesModel) -> None:
    try:
        async with ollama_server(Says(ANSWER), host="::1") as six, model_at(f"[::1]:{six.port}") as model:
            assert (await model.complete(PROMPT)).text == ANSWER
    except OSError:
        pytest.skip("this machine has no IPv6")


async def test_a_path_goes_before_the_path_of_the_call(server: OllamaServer, model_at: MakesModel) -> None:
    async with model_at(f"{server.url}/behind/a/proxy/", egress="any") as model:
        await failure_of(model)
    assert [request.target for request in server.requests] == ["/behind/a/proxy/api/chat"]
