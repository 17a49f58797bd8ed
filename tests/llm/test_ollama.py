"""The Ollama adapter: the real client against a little server that speaks the protocol."""

from __future__ import annotations

import asyncio
import gc
import json
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Literal, Protocol

import certifi
import pytest

from heddle.egress import is_private
from heddle.errors import Code, ModelError, ModelUnavailable, SettingsError
from heddle.llm import ollama as adapter
from heddle.llm.model import Answer
from heddle.llm.ollama import OllamaModel, ollama_model
from heddle.macros.loading import Registry, load
from heddle.planner import make_planner
from heddle.planning.goal import Asked
from heddle.planning.plan import PlannedCall
from heddle.planning.prompt import Prompt
from heddle.settings import PlannerSettings, Settings
from tests.llm.ollama_server import OVERLOADED, Drops, OllamaServer, Reply, Says, Sends, Stays, error, ollama_server, redirect
from tests.support import PATIENCE, planning

WORKFLOWS = Path(__file__).parents[2] / "workflows"
SCHEMA = {"type": "object", "properties": {"zulu": {"const": "z"}, "alpha": {"$ref": "#/$defs/A"}}, "$defs": {"A": {"type": "null"}}}
PROMPT = Prompt("the rules", 'Goal: "say grüezi"', SCHEMA)
ANSWER = '{"tasks": [{"macro": "echo", "arguments": {"word": "grüezi"}}]}'

UNREADABLE: dict[str, Reply] = {
    "JSON that breaks off": Sends(200, b'{"model": "test-model", "mess'),
    "no JSON": Sends(200, b"<html>it works</html>"),
    "nothing": Sends(200),
    "bytes that are not UTF-8": Sends(200, b'{"message": "\xff\xfe"}'),
    "a JSON list": Sends(200, b"[1, 2]"),
    "a JSON null": Sends(200, b"null"),
    "an object without a message": Sends(200, b'{"done": true}'),
    "an error under status 200": error(200, "something broke"),
    "content that is a number": Sends(200, b'{"message": {"role": "assistant", "content": 7}}'),
    "an error that is a JSON list": Sends(500, b"[1, 2]"),
    "a connection dropped in the middle of the answer": Drops(),
    "a connection dropped before the answer": Drops(middle=False),
}


class MakesModel(Protocol):
    def __call__(self, url: str, egress: Literal["any", "none"] = "none", **planner: Any) -> AbstractAsyncContextManager[OllamaModel]: ...


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
async def server() -> AsyncIterator[OllamaServer]:
    async with ollama_server(Says(ANSWER)) as running:
        yield running


@pytest.fixture
async def elsewhere() -> AsyncIterator[OllamaServer]:
    """A second server, which no request should reach unless a test says so."""
    async with ollama_server(Says(ANSWER)) as running:
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


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


async def failure_of(model: OllamaModel) -> ModelError:
    with pytest.raises(ModelError) as caught:
        await model.complete(PROMPT)
    assert caught.value.code is Code.NO_PLAN
    return caught.value


# What is asked


async def test_a_goal_is_one_call_that_asks_for_a_repeatable_answer_of_the_schema(server: OllamaServer, model_at: MakesModel) -> None:
    async with model_at(server.url, num_ctx=4096, num_predict=256) as model:
        assert await model.complete(PROMPT) == Answer(ANSWER, 212, 31)
    [chat] = server.chats
    options = chat.pop("options")
    assert options == {"temperature": 0, "seed": 7, "num_ctx": 4096, "num_predict": 256}
    assert chat.pop("messages") == [{"role": "system", "content": PROMPT.system}, {"role": "user", "content": PROMPT.user}]
    assert json.dumps(chat.pop("format")) == json.dumps(SCHEMA), "as it is, and in its order, which the grammar follows"
    assert (chat.pop("model"), chat.pop("keep_alive"), chat.pop("stream")) == ("test-model", "30m", False)
    assert not any(chat.values()), "and nothing else, such as tools"


async def test_the_next_goal_finds_the_connection_and_the_prefix_as_they_were(server: OllamaServer, model_at: MakesModel) -> None:
    async with model_at(server.url) as model:
        for _ in range(3):
            await model.complete(PROMPT)
    assert server.connections == 1
    assert server.chats == [server.chats[0]] * 3


async def test_token_counts_that_the_server_leaves_out_are_unknown(server: OllamaServer, model_at: MakesModel) -> None:
    server.then(Says(ANSWER, prompt_tokens=None, answer_tokens=None))
    async with model_at(server.url) as model:
        assert await model.complete(PROMPT) == Answer(ANSWER, None, None)


async def test_two_goals_at_a_time_get_their_own_answers(server: OllamaServer, model_at: MakesModel) -> None:
    server.then(Says("one"), Says("two"))
    async with model_at(server.url) as model, asyncio.TaskGroup() as group:
        answers = [group.create_task(model.complete(PROMPT)) for _ in range(2)]
    assert {answer.result().text for answer in answers} == {"one", "two"}


# What comes back


async def test_an_empty_answer_is_handed_on_as_it_is(server: OllamaServer, model_at: MakesModel) -> None:
    server.then(Says(""), Sends(200, b'{"message": {"role": "assistant"}, "done": true}'))
    async with model_at(server.url) as model:
        assert [(await model.complete(PROMPT)).text for _ in range(2)] == ["", ""]


async def test_an_answer_cut_at_num_predict_is_an_error_that_keeps_what_there_is(server: OllamaServer, model_at: MakesModel) -> None:
    server.then(Says('{"tasks": [{"mac', done_reason="length", answer_tokens=64))
    async with model_at(server.url, num_predict=64) as model:
        failure = await failure_of(model)
    assert str(failure) == "the answer was cut off after 64 tokens (planner.num_predict)"
    assert failure.answer == '{"tasks": [{"mac'


async def test_a_prompt_that_fills_the_context_is_an_error_since_the_server_cuts_it_silently(
    server: OllamaServer, model_at: MakesModel
) -> None:
    server.then(Says(ANSWER, prompt_tokens=1023), Says(ANSWER, prompt_tokens=1024))
    async with model_at(server.url, num_ctx=1024) as model:
        await model.complete(PROMPT)
        failure = await failure_of(model)
    assert str(failure) == "the prompt does not fit the context of 1024 tokens (planner.num_ctx)"
    assert failure.answer == ANSWER


@pytest.mark.parametrize("reply", UNREADABLE.values(), ids=UNREADABLE)
async def test_what_is_not_an_answer_is_an_error_and_the_next_goal_is_served(
    server: OllamaServer, model_at: MakesModel, reply: Reply
) -> None:
    server.then(reply, Says(ANSWER))
    async with model_at(server.url) as model:
        failure = await failure_of(model)
        assert (await model.complete(PROMPT)).text == ANSWER
    assert not isinstance(failure, ModelUnavailable), "waiting would not mend it"
    assert server.url in str(failure)
    assert len(server.chats) == 2, "nothing is asked twice"


async def test_a_model_that_was_not_pulled_is_unavailable_and_the_remedy_pulls_it(server: OllamaServer, model_at: MakesModel) -> None:
    async with model_at(server.url, model="big-one:7b") as model:
        failure = await failure_of(model)
    assert isinstance(failure, ModelUnavailable)
    assert (str(failure), failure.remedy) == (f"{server.url} has no model big-one:7b", "ollama pull big-one:7b")


@pytest.mark.parametrize("reply", [OVERLOADED, error(429, "slow down"), Sends(502, b"Bad Gateway", (("Content-Type", "text/plain"),))])
async def test_a_server_that_has_no_room_now_is_unavailable(server: OllamaServer, model_at: MakesModel, reply: Sends) -> None:
    server.then(reply)
    async with model_at(server.url) as model:
        failure = await failure_of(model)
    assert isinstance(failure, ModelUnavailable)
    assert str(failure).startswith(f"{server.url} is overloaded ({reply.status}: ")
    assert "wait" in failure.remedy
    assert len(server.chats) == 1


@pytest.mark.parametrize("reply", [error(400, "invalid format"), error(500, "llama runner process has terminated"), Sends(403, b"no")])
async def test_any_other_refusal_is_told_in_the_words_of_the_server(server: OllamaServer, model_at: MakesModel, reply: Sends) -> None:
    server.then(reply)
    async with model_at(server.url) as model:
        failure = await failure_of(model)
    assert not isinstance(failure, ModelUnavailable)
    words = json.loads(reply.body)["error"] if reply.body.startswith(b"{") else "no"
    assert str(failure) == f"{server.url} refused ({reply.status}: {words})"


# When nothing comes back


async def test_where_nothing_listens_the_remedy_starts_a_server_and_gets_the_model(model_at: MakesModel) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    async with model_at(url) as model:
        failure = await failure_of(model)
    assert isinstance(failure, ModelUnavailable)
    assert (str(failure), failure.remedy) == (f"no model server answers at {url}", "ollama serve & ollama pull test-model")


async def test_a_name_that_does_not_resolve_is_a_server_that_does_not_answer(model_at: MakesModel, names: dict[str, list[str]]) -> None:
    async with model_at("models.example", egress="any") as model:
        failure = await failure_of(model)
    assert isinstance(failure, ModelUnavailable)
    assert "http://models.example:11434" in str(failure)


async def test_a_host_that_takes_no_connection_is_given_up_early(model_at: MakesModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapter, "_CONNECT_TIMEOUT", 0.05)
    with ExitStack() as stack:
        full = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(8):  # its queue is full, so the next one gets no answer
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        async with model_at(f"127.0.0.1:{full.getsockname()[1]}") as model:
            failure = await failure_of(model)
    assert isinstance(failure, ModelUnavailable)
    assert "no model server answers" in str(failure)


@pytest.mark.parametrize("drip", [False, True], ids=["which is silent", "which comes byte by byte"])
async def test_an_answer_not_done_in_time_is_an_error_and_its_connection_is_closed(
    server: OllamaServer, model_at: MakesModel, drip: bool
) -> None:
    server.then(Stays(drip))
    async with asyncio.timeout(PATIENCE), model_at(server.url, timeout=0.15) as model:
        failure = await failure_of(model)
        await server.closed.wait()
    assert not isinstance(failure, ModelUnavailable)
    assert str(failure) == f"test-model at {server.url} did not answer within 0.15 s (planner.timeout)"
    assert failure.answer is None


async def test_a_cancelled_goal_closes_its_connection_so_that_the_server_stops(server: OllamaServer, model_at: MakesModel) -> None:
    server.then(Stays(), Says(ANSWER))
    async with asyncio.timeout(PATIENCE), model_at(server.url) as model:
        asking = asyncio.create_task(model.complete(PROMPT))
        await server.heard.wait()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await server.closed.wait()
        assert (await model.complete(PROMPT)).text == ANSWER


async def test_leaving_closes_every_connection_and_nothing_is_left_to_the_collector(server: OllamaServer, model_at: MakesModel) -> None:
    server.then(Says(ANSWER), Drops(), OVERLOADED, Stays(), Says(ANSWER))
    async with asyncio.timeout(PATIENCE):
        async with model_at(server.url, timeout=0.15) as model:
            await model.complete(PROMPT)
            for _ in range(3):
                await failure_of(model)
            await model.complete(PROMPT)
            assert not server.closed.is_set()
        await server.closed.wait()
    gc.collect()  # an unclosed socket would warn here, and warnings are errors


# Where the server is


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
    async with model_at(f"{server.url}/behind/a/proxy/") as model:
        await failure_of(model)
    assert [request.target for request in server.requests] == ["/behind/a/proxy/api/chat"]


# Where the goal must not go


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
    assert (len(server.requests), elsewhere.connections) == (1, 0)


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
    assert (len(server.requests), elsewhere.connections) == (1, 0)


async def test_a_public_server_is_asked_through_the_proxy_of_the_environment(
    elsewhere: OllamaServer, model_at: MakesModel, monkeypatch: pytest.MonkeyPatch, names: dict[str, list[str]]
) -> None:
    monkeypatch.setenv("HTTP_PROXY", elsewhere.url)
    async with model_at("models.example", egress="any") as model:
        await failure_of(model)  # this proxy only knows its own paths
    assert [request.target for request in elsewhere.requests] == ["http://models.example:11434/api/chat"]


# From a goal to a plan


@pytest.fixture(scope="module")
def registry() -> Iterator[Registry]:
    """The example macros as a worker loads them; the modules that other tests import are put back."""

    def loaded() -> list[str]:
        return [name for name in sys.modules if name.split(".")[0] == "workflows"]

    known = {name: sys.modules[name] for name in loaded()}
    yield load([str(WORKFLOWS)])
    for name in loaded():
        del sys.modules[name]
    sys.modules.update(known)


GOAL = "Label the last 3 changes in acme/checkout, and profile data/orders.csv"
CALLS = (
    PlannedCall("repo_triage", {"repository": "acme/checkout", "count": 3}),
    PlannedCall("csv_profile", {"path": "data/orders.csv"}),
)
GOAL_ANSWER = json.dumps({"tasks": [{"macro": call.macro, "arguments": call.arguments} for call in CALLS]})
PHRASED = "label the last 3 changes in acme/checkout"


async def test_a_goal_becomes_a_plan_with_one_call_of_the_model(server: OllamaServer, model_at: MakesModel, registry: Registry) -> None:
    server.then(Says(GOAL_ANSWER))
    async with model_at(server.url) as model:
        plan = await make_planner(registry, model, planning("fallback")).plan(Asked(GOAL, {"team": "payments"}, 0.0))
    assert plan.calls == CALLS
    assert (plan.planned_by, plan.model_calls, plan.answer, plan.note) == ("test-model", 1, GOAL_ANSWER, None)
    [chat] = server.chats
    system, user = (message["content"] for message in chat["messages"])
    assert user == f'Goal: "{GOAL}"\nContext: {{"team": "payments"}}'
    branches = chat["format"]["properties"]["tasks"]["items"]["anyOf"]
    offered = [branch["properties"]["macro"]["const"] for branch in branches]
    assert offered == [*(macro.name for macro in registry.newest()), "unsupported"]
    assert all(f"- {name}(" in system for name in offered[:-1])
    assert all(next(iter(branch["properties"])) == "macro" for branch in branches), "the name is decided before the arguments"


@pytest.mark.parametrize(
    ("reply", "code", "words"),
    [
        (Says(""), Code.NO_PLAN, "not JSON"),
        (Says("Sure! Here is your plan."), Code.NO_PLAN, "not JSON"),
        (Says('{"tasks": [{"macro": "unsupported"}]}'), Code.UNSUPPORTED_GOAL, "no macro does"),
        (Says('{"tasks": [{"macro": "rm_rf", "arguments": {}}]}'), Code.NO_PLAN, "'rm_rf'"),
        (Says(GOAL_ANSWER, done_reason="length"), Code.NO_PLAN, "planner.num_predict"),
        (Drops(), Code.NO_PLAN, "cannot be read"),
        (error(500, "no memory"), Code.NO_PLAN, "no memory"),
    ],
)
async def test_phrases_do_not_stand_in_for_a_model_that_was_reached(
    server: OllamaServer, model_at: MakesModel, registry: Registry, reply: Reply, code: Code, words: str
) -> None:
    server.then(reply)
    async with model_at(server.url) as model:
        plan = await make_planner(registry, model, planning("fallback")).plan(Asked(PHRASED, {}, 0.0))
    assert plan.problem is not None
    assert plan.problem[0] is code
    assert words in plan.problem[1]
    assert len(server.chats) == 1


def lacks_the_model(server: OllamaServer) -> str:
    server.models.clear()
    return "ollama pull test-model"


def is_overloaded(server: OllamaServer) -> str:
    server.then(OVERLOADED)
    return "give it less to do"


@pytest.mark.parametrize("trouble", [lacks_the_model, is_overloaded])
async def test_while_the_model_is_unavailable_phrases_plan_only_if_they_may(
    server: OllamaServer, model_at: MakesModel, registry: Registry, trouble: Callable[[OllamaServer], str]
) -> None:
    remedy = trouble(server)
    async with model_at(server.url) as model:
        plan = await make_planner(registry, model, planning("fallback")).plan(Asked(PHRASED, {}, 0.0))
        with pytest.raises(ModelUnavailable) as caught:
            await make_planner(registry, model, planning("off")).plan(Asked(PHRASED, {}, 0.0))
    assert (plan.calls, plan.planned_by, plan.model_calls) == (CALLS[:1], "phrases", 0)
    assert remedy in (plan.note or "")
    assert remedy in caught.value.remedy


async def test_a_goal_that_a_phrase_fits_asks_no_model_when_phrases_come_first(
    server: OllamaServer, model_at: MakesModel, registry: Registry
) -> None:
    server.then(Says(GOAL_ANSWER))
    async with model_at(server.url) as model:
        planner = make_planner(registry, model, planning("first"))
        assert (await planner.plan(Asked(PHRASED, {}, 0.0))).model_calls == 0
        assert server.connections == 0
        assert (await planner.plan(Asked(f"{GOAL}, please", {}, 0.0))).model_calls == 1
