"""The Ollama adapter: the real client against a little server that speaks the protocol."""

from __future__ import annotations

import asyncio
import gc
import json
import socket
from collections.abc import Callable
from contextlib import ExitStack

import pytest

from heddle.errors import ModelError, ModelUnavailable
from heddle.llm import connection
from heddle.llm.model import Answer, Facts
from heddle.planning.confidence import Token
from tests.llm.http_server import Drops, Sends, Stays
from tests.llm.ollama_server import OVERLOADED, OllamaServer, Reply, Says, digest, error, shown
from tests.llm.support import ANSWER, PROMPT, SCHEMA, MakesModel, failure_of
from tests.support import PATIENCE

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
    "an error nested without an end": Sends(500, b'{"error": ' + b"[" * 100_000),
    "a charset that is none of letters": Sends(500, b'{"error": "no"}', (("Content-Type", "application/json; charset=base64"),)),
    "a connection dropped in the middle of the answer": Drops(),
    "a connection dropped before the answer": Drops(middle=False),
}


# What is asked


async def test_a_goal_is_one_call_that_asks_for_a_repeatable_answer_of_the_schema(server: OllamaServer, model_at: MakesModel) -> None:
    async with model_at(server.url, num_ctx=4096, num_predict=256, keep_alive="10m") as model:
        assert await model.complete(PROMPT) == Answer(ANSWER, 212, 31)
    [chat] = server.chats
    options = chat.pop("options")
    assert options == {"temperature": 0, "seed": 7, "num_ctx": 4096, "num_predict": 256}
    assert chat.pop("messages") == [{"role": "system", "content": PROMPT.system}, {"role": "user", "content": PROMPT.user}]
    assert json.dumps(chat.pop("format")) == json.dumps(SCHEMA), "as it is, and in its order, which the grammar follows"
    assert (chat.pop("model"), chat.pop("keep_alive"), chat.pop("stream")) == ("test-model", "10m", False)
    assert (chat.pop("logprobs"), chat.pop("top_logprobs")) == (True, 20)
    assert chat == {"truncate": False, "think": False}, "and nothing else, such as tools"


@pytest.mark.parametrize(("told", "sent"), [("30m", "30m"), ("-1", -1), ("0", 0), ("90", 90)])
async def test_keep_alive_without_a_unit_is_a_number_as_the_server_wants_it(
    server: OllamaServer, model_at: MakesModel, told: str, sent: str | int
) -> None:
    async with model_at(server.url, keep_alive=told) as model:
        await model.complete(PROMPT)
    assert server.chats[0]["keep_alive"] == sent


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


async def test_warming_asks_the_same_for_one_token(server: OllamaServer, model_at: MakesModel) -> None:
    async with model_at(server.url) as model:
        await model.warm(PROMPT)
        await model.complete(PROMPT)
    assert [chat["options"].pop("num_predict") for chat in server.chats] == [1, 1024]
    assert server.chats[0] == server.chats[1], "so that the server finds the prompt as it read it"


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


@pytest.mark.parametrize(("prompt_tokens", "answer_tokens"), [(1024, 0), (1024, None), (900, 124), (514, 600)])
async def test_a_context_that_was_full_is_an_error_since_the_server_drops_what_came_first_in_silence(
    server: OllamaServer, model_at: MakesModel, prompt_tokens: int, answer_tokens: int | None
) -> None:
    server.then(Says(ANSWER, prompt_tokens=900, answer_tokens=123), Says(ANSWER, prompt_tokens=prompt_tokens, answer_tokens=answer_tokens))
    async with model_at(server.url, num_ctx=1024) as model:
        await model.complete(PROMPT)
        failure = await failure_of(model)
    assert str(failure) == "prompt and answer do not fit the context of 1024 tokens (planner.num_ctx)"
    assert failure.answer == ANSWER


@pytest.mark.parametrize(
    "words",
    [
        "the input length exceeds the context length",
        '{"error":{"code":400,"message":"request (9031 tokens) exceeds the available context size (4096 tokens), try increasing it"}}',
        "the prompt is longer than the context length currently available to the model; shorten the prompt",
    ],
)
async def test_a_prompt_that_the_server_refuses_as_too_long_is_the_same_error(
    server: OllamaServer, model_at: MakesModel, words: str
) -> None:
    server.then(error(400, words))
    async with model_at(server.url, num_ctx=4096) as model:
        failure = await failure_of(model)
    assert str(failure) == "prompt and answer do not fit the context of 4096 tokens (planner.num_ctx)"
    assert not isinstance(failure, ModelUnavailable)


async def test_the_answers_tokens_come_with_their_log_probabilities(server: OllamaServer, model_at: MakesModel) -> None:
    server.then(Says('{"é', logprobs=[('{"', -0.1, [('{"', -0.1), ("{", -2.5)]), ("é", -0.7, [])]))
    async with model_at(server.url) as model:
        answer = await model.complete(PROMPT)
    assert answer.tokens == (Token('{"', -0.1, (('{"', -0.1), ("{", -2.5))), Token("é", -0.7))


@pytest.mark.parametrize(
    "reply",
    [Says(ANSWER), Says(ANSWER, logprobs=[]), Says(ANSWER, logprobs=[("Hm", -0.1, [])], thinking="Hm")],
    ids=["from a server before 0.12.11", "of an empty list", "mixed with those of a train of thought"],
)
async def test_without_log_probabilities_there_are_no_tokens_and_no_failure(
    server: OllamaServer, model_at: MakesModel, reply: Says
) -> None:
    server.then(reply)
    async with model_at(server.url) as model:
        answer = await model.complete(PROMPT)
    assert (answer.text, answer.tokens) == (ANSWER, None)


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


async def test_half_a_letter_in_an_answer_is_a_question_mark_for_a_record_could_not_hold_it(
    server: OllamaServer, model_at: MakesModel
) -> None:
    server.then(Sends(200, b'{"message": {"role": "assistant", "content": "\\ud800 hello"}}'))
    async with model_at(server.url) as model:
        assert (await model.complete(PROMPT)).text == "? hello"


async def test_of_a_long_refusal_the_beginning_is_told_in_one_line(server: OllamaServer, model_at: MakesModel) -> None:
    server.then(Sends(500, b"<html>\n" + b"x" * 2_000_000))
    async with model_at(server.url) as model:
        told = str(await failure_of(model))
    assert "500: <html> xxx" in told
    assert len(told) < 500


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
    assert failure.answer is None
    assert str(failure) == f"{server.url} refused ({reply.status}: {words})"


# When nothing comes back


async def test_where_nothing_listens_the_remedy_starts_a_server_and_gets_the_model(model_at: MakesModel, nobody: str) -> None:
    url = f"http://{nobody}"
    async with model_at(url) as model:
        failure = await failure_of(model)
    assert isinstance(failure, ModelUnavailable)
    assert (str(failure), failure.remedy) == (f"no model server answers at {url}", "ollama serve & ollama pull test-model")


async def test_a_name_that_does_not_resolve_is_a_server_that_does_not_answer(
    model_at: MakesModel, names: dict[str, list[str]], may_call: Callable[..., None]
) -> None:
    may_call("models.example:11434")
    async with model_at("models.example", egress="any") as model:
        failure = await failure_of(model)
    assert isinstance(failure, ModelUnavailable)
    assert "http://models.example:11434" in str(failure)


async def test_a_host_that_takes_no_connection_is_given_up_early(
    model_at: MakesModel, monkeypatch: pytest.MonkeyPatch, may_call: Callable[..., None]
) -> None:
    monkeypatch.setattr(connection, "CONNECT_TIMEOUT", 0.05)
    with ExitStack() as stack:
        full = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(8):  # its queue is full, so the next one gets no answer
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        may_call(f"127.0.0.1:{full.getsockname()[1]}")
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
    async with asyncio.timeout(PATIENCE), model_at(server.url, egress="any") as model:
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


# What the server tells of the model


async def test_the_facts_of_a_model_are_those_of_its_file(server: OllamaServer, model_at: MakesModel) -> None:
    async with model_at(server.url) as model:
        assert await model.facts() == Facts(digest("test-model"), 7_615_616_512, 4.0, instruct=True)


async def test_a_name_without_a_tag_means_the_latest(server: OllamaServer, model_at: MakesModel) -> None:
    server.models = {"test-model", "mine:latest"}
    server.shown = shown()
    async with model_at(server.url, model="mine:latest") as model:
        assert (await model.facts()).digest == digest("mine:latest")


async def test_what_the_server_does_not_tell_is_unknown(server: OllamaServer, model_at: MakesModel) -> None:
    server.shown = {"model_info": {}}
    async with model_at(server.url) as model:
        assert await model.facts() == Facts(digest("test-model"))


@pytest.mark.parametrize("there", [True, False])
async def test_the_server_says_whether_it_has_the_model(server: OllamaServer, model_at: MakesModel, there: bool) -> None:
    server.models = {"test-model"} if there else set()
    async with model_at(server.url) as model:
        assert await model.is_there() is there


async def test_facts_of_a_model_that_was_not_pulled_are_as_unavailable_as_its_answers(server: OllamaServer, model_at: MakesModel) -> None:
    server.models.clear()
    async with model_at(server.url) as model:
        with pytest.raises(ModelUnavailable) as caught:
            await model.facts()
    assert caught.value.remedy == "ollama pull test-model"


@pytest.mark.parametrize("reply", [Sends(200, b"[]"), Sends(200, b"{}"), error(500, "no memory")])
async def test_facts_that_cannot_be_read_are_an_error(server: OllamaServer, model_at: MakesModel, reply: Sends) -> None:
    server.shown = reply
    async with model_at(server.url) as model:
        with pytest.raises(ModelError, match=r"cannot be read|no memory"):
            await model.facts()
