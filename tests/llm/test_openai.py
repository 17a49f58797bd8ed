"""The adapter for servers of the OpenAI API, against a little server that speaks it."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import ssl
from collections.abc import Callable
from typing import Any

import pytest

from heddle.errors import ModelError, ModelUnavailable, SettingsError
from heddle.llm.model import Answer, Facts
from heddle.planning.confidence import Token
from heddle.planning.prompt import Prompt
from heddle.settings import PlannerSettings
from tests.llm.http_server import Drops, Sends, Stays, redirect
from tests.llm.ollama_server import OllamaServer
from tests.llm.openai_server import ANSWER, Completes, OpenAIServer, Reply, refuses
from tests.llm.support import PROMPT, SCHEMA, MakesOpenAIModel, failure_of
from tests.support import PATIENCE

KEY = "sk-THE-KEY"

UNREADABLE: dict[str, Reply] = {
    "JSON that breaks off": Sends(200, b'{"choices": [{"mess'),
    "no JSON": Sends(200, b"<html>it works</html>"),
    "nothing": Sends(200),
    "bytes that are not UTF-8": Sends(200, b'{"choices": "\xff\xfe"}'),
    "a JSON list": Sends(200, b"[1, 2]"),
    "an error under status 200": Sends(200, b'{"error": {"message": "something broke"}}'),
    "no choice": Sends(200, b'{"choices": [], "usage": null}'),
    "a choice without a message": Sends(200, b'{"choices": [{"index": 0}]}'),
    "content that is a number": Sends(200, b'{"choices": [{"message": {"content": 7}}]}'),
    "no content": Completes(None),
    "an error nested without an end": Sends(400, b'{"error": ' + b"[" * 100_000),
    "a charset that is none of letters": Sends(400, b'{"error": "no"}', (("Content-Type", "application/json; charset=base64"),)),
    "a connection dropped in the middle of the answer": Drops(),
    "a connection dropped before the answer": Drops(middle=False),
}


# What is asked


async def test_a_goal_is_one_completion_that_asks_for_a_repeatable_answer_of_the_schema(
    openai: OpenAIServer, openai_at: MakesOpenAIModel
) -> None:
    async with openai_at(openai.api, planner=PlannerSettings(num_predict=256)) as model:
        assert await model.complete(PROMPT) == Answer(ANSWER, 212, 31)
    [chat] = openai.chats
    assert chat.pop("messages") == [{"role": "system", "content": PROMPT.system}, {"role": "user", "content": PROMPT.user}]
    form = chat.pop("response_format")
    assert json.dumps(form["json_schema"].pop("schema")) == json.dumps(SCHEMA), "as it is, and in its order, which the grammar follows"
    assert form == {"type": "json_schema", "json_schema": {"name": "plan", "strict": False}}
    assert chat == {"model": "test-model", "temperature": 0, "seed": 7, "max_tokens": 256, "logprobs": True, "top_logprobs": 20}


@pytest.mark.parametrize(("more", "strict"), [({}, True), ({"required": []}, False), ({"additionalProperties": True}, False)])
async def test_decoding_is_strict_where_the_schema_is_one_that_the_strict_mode_takes(
    openai: OpenAIServer, openai_at: MakesOpenAIModel, more: dict[str, Any], strict: bool
) -> None:
    schema = {"type": "object", "properties": {"macro": {"type": "string"}}, "required": ["macro"], "additionalProperties": False, **more}
    async with openai_at(openai.api) as model:
        await model.complete(Prompt("", "", schema))
    assert openai.chats[0]["response_format"]["json_schema"]["strict"] is strict


async def test_the_key_goes_to_the_server_and_nothing_else_but_it(openai: OpenAIServer, openai_at: MakesOpenAIModel) -> None:
    openai.key = KEY
    async with openai_at(openai.api, key=KEY) as model:
        assert (await model.complete(PROMPT)).text == ANSWER
        assert KEY not in repr(model)


async def test_without_a_key_none_is_sent(openai: OpenAIServer, openai_at: MakesOpenAIModel) -> None:
    async with openai_at(f"{openai.api}/") as model:
        await model.complete(PROMPT)
    assert "authorization" not in openai.requests[0].headers


async def test_the_next_goal_finds_the_connection_as_it_was(openai: OpenAIServer, openai_at: MakesOpenAIModel) -> None:
    async with openai_at(openai.api) as model:
        for _ in range(3):
            await model.complete(PROMPT)
    assert (openai.connections, openai.chats) == (1, [openai.chats[0]] * 3)


# What a server does not take


async def test_a_server_that_refuses_log_probabilities_is_asked_again_without_them_and_not_asked_for_them_again(
    openai: OpenAIServer, openai_at: MakesOpenAIModel
) -> None:
    openai.refused = {"logprobs": refuses(400, "logprobs is not supported by this model", param="logprobs")}
    async with openai_at(openai.api) as model:
        answers = [await model.complete(PROMPT) for _ in range(2)]
    assert answers == [Answer(ANSWER, 212, 31)] * 2
    assert ["logprobs" in chat for chat in openai.chats] == [True, False, False]
    assert all("top_logprobs" not in chat for chat in openai.chats[1:])


async def test_a_reasoning_model_of_the_frontier_is_asked_as_it_wants_to_be(openai: OpenAIServer, openai_at: MakesOpenAIModel) -> None:
    openai.refused = {
        "logprobs": refuses(403, "You are not allowed to request logprobs from this model."),
        "max_tokens": refuses(
            400, "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
        ),
        "temperature": refuses(400, "Unsupported value: 'temperature' does not support 0 with this model."),
        "seed": refuses(422, "seed: Extra inputs are not permitted"),
    }
    async with openai_at(openai.api, planner=PlannerSettings(num_predict=256)) as model:
        assert (await model.complete(PROMPT)).text == ANSWER
        await model.complete(PROMPT)
    assert len(openai.chats) == 6
    assert openai.chats[-1].keys() == {"model", "messages", "response_format", "max_completion_tokens"}
    assert openai.chats[-1]["max_completion_tokens"] == 256


async def test_two_goals_at_a_time_are_both_asked_again(openai: OpenAIServer, openai_at: MakesOpenAIModel) -> None:
    openai.refused = {"logprobs": refuses(400, "logprobs is not supported by this model")}
    async with openai_at(openai.api) as model, asyncio.TaskGroup() as group:
        answers = [group.create_task(model.complete(PROMPT)) for _ in range(2)]
    assert [answer.result().text for answer in answers] == [ANSWER] * 2
    assert len(openai.chats) == 4


async def test_a_refusal_that_leaving_out_does_not_mend_is_an_error(openai: OpenAIServer, openai_at: MakesOpenAIModel) -> None:
    openai.then(refuses(400, "seed must be less"))
    async with openai_at(openai.api) as model:
        failure = await failure_of(model)
    assert "(400: seed must be less)" in str(failure)
    assert len(openai.chats) == 2


async def test_a_refusal_that_names_another_parameter_leaves_out_none(openai: OpenAIServer, openai_at: MakesOpenAIModel) -> None:
    openai.then(refuses(400, "Invalid schema: in 'temperature', 'type' is missing", param="response_format"))
    async with openai_at(openai.api) as model:
        await failure_of(model)
    assert len(openai.chats) == 1


async def test_warming_asks_the_same_for_one_token(openai: OpenAIServer, openai_at: MakesOpenAIModel) -> None:
    async with openai_at(openai.api) as model:
        await model.warm(PROMPT)
        await model.complete(PROMPT)
    assert [chat.pop("max_tokens") for chat in openai.chats] == [1, 1024]
    assert openai.chats[0] == openai.chats[1], "so that the server finds the prompt as it read it"


# What comes back


async def test_the_answers_tokens_come_with_their_log_probabilities(openai: OpenAIServer, openai_at: MakesOpenAIModel) -> None:
    openai.then(Completes("{é", logprobs=[("{", -0.1, [("{", -0.1), ('{"', -2.5)]), ("é", -9999.0, [])]))
    async with openai_at(openai.api) as model:
        answer = await model.complete(PROMPT)
    assert answer.tokens == (Token("{", -0.1, (("{", -0.1), ('{"', -2.5))), Token("é", -9999.0))


@pytest.mark.parametrize(
    "reply",
    [
        Completes(ANSWER),
        Completes(ANSWER, logprobs=[]),
        Completes(ANSWER, logprobs=[("Hm", -0.1, [])], reasoning="Hm"),
        Sends(200, json.dumps({"choices": [{"message": {"content": ANSWER}, "logprobs": {"tokens": ["{"]}}]}).encode()),
    ],
    ids=["from a server without", "of an empty list", "mixed with those of a train of thought", "of the legacy form"],
)
async def test_without_log_probabilities_there_are_no_tokens_and_no_failure(
    openai: OpenAIServer, openai_at: MakesOpenAIModel, reply: Reply
) -> None:
    openai.then(reply)
    async with openai_at(openai.api) as model:
        answer = await model.complete(PROMPT)
    assert (answer.text, answer.tokens) == (ANSWER, None)


async def test_an_answer_cut_at_max_tokens_is_an_error_that_keeps_what_there_is(openai: OpenAIServer, openai_at: MakesOpenAIModel) -> None:
    openai.then(Completes('{"tasks": [{"mac', finish_reason="length", answer_tokens=64))
    async with openai_at(openai.api) as model:
        failure = await failure_of(model)
    assert (str(failure), failure.answer) == ("the answer was cut off after 64 tokens (planner.num_predict)", '{"tasks": [{"mac')


async def test_a_model_that_declines_says_why(openai: OpenAIServer, openai_at: MakesOpenAIModel) -> None:
    openai.then(Completes(None, refusal="I'm sorry, I can't help with that."))
    async with openai_at(openai.api) as model:
        failure = await failure_of(model)
    assert str(failure) == "test-model declines to answer: I'm sorry, I can't help with that."


@pytest.mark.parametrize(
    "words",
    [
        "This model's maximum context length is 4096 tokens. However, your request has 9031 input tokens. Please reduce max_tokens.",
        "request (9031 tokens) exceeds the available context size (4096 tokens), try increasing it",
        "Trying to keep the first 9031 tokens when context the overflows. However, the model is loaded with context length of only 4096",
    ],
)
async def test_a_prompt_that_does_not_fit_the_context_is_an_error_of_its_own(
    openai: OpenAIServer, openai_at: MakesOpenAIModel, words: str
) -> None:
    openai.then(refuses(400, words, "context_length_exceeded"))
    async with openai_at(openai.api) as model:
        failure = await failure_of(model)
    assert str(failure) == f"prompt and answer do not fit the context of test-model at {openai.api} (400: {words})"
    assert len(openai.chats) == 1


@pytest.mark.parametrize("reply", UNREADABLE.values(), ids=UNREADABLE)
async def test_what_is_not_an_answer_is_an_error_and_the_next_goal_is_served(
    openai: OpenAIServer, openai_at: MakesOpenAIModel, reply: Reply
) -> None:
    openai.then(reply, Completes())
    async with openai_at(openai.api) as model:
        failure = await failure_of(model)
        assert (await model.complete(PROMPT)).text == ANSWER
    assert not isinstance(failure, ModelUnavailable), "waiting would not mend it"
    assert openai.api in str(failure)
    assert len(openai.chats) == 2, "nothing is asked twice"


# Who does not answer


@pytest.mark.parametrize(
    ("reply", "words", "remedy"),
    [
        (refuses(401, f"Incorrect API key provided: {KEY}"), "does not let heddle in (401)", "correct providers.gpu.key"),
        (refuses(403, "Country not supported"), "does not let heddle in (403)", "(HEDDLE_PROVIDERS__GPU__KEY)"),
        (refuses(404, "The model `test-model` does not exist"), "has no model test-model", "correct providers.gpu.model"),
        (Sends(404, b"404 page not found"), "or no such path (404: 404 page not found)", "for most servers ends in /v1"),
        (refuses(429, "Rate limit reached", retry_after="20"), "is overloaded (429: Rate limit reached)", "wait 20 s, as it says"),
        (refuses(429, "Rate limit reached", retry_after="Tue, 13 Oct 2026 10:00:00 GMT"), "is overloaded", "wait, or give it less to do"),
        (Sends(503, b'{"error": "Loading model"}'), "is overloaded (503: Loading model)", "wait"),
        (Sends(502, b"<html>\n<h1>Bad Gateway</h1>\n</html>"), "(502: <html> <h1>Bad Gateway</h1> </html>)", "wait"),
        (refuses(529, "Overloaded"), "is overloaded (529: Overloaded)", "wait"),
    ],
)
async def test_a_server_that_cannot_answer_now_is_unavailable_and_the_remedy_is_told(
    openai: OpenAIServer, openai_at: MakesOpenAIModel, reply: Sends, words: str, remedy: str
) -> None:
    openai.then(reply)
    async with openai_at(openai.api, key=KEY) as model:
        failure = await failure_of(model)
    assert isinstance(failure, ModelUnavailable)
    assert words in str(failure)
    assert remedy in failure.remedy
    assert len(openai.chats) == 1


async def test_where_a_key_is_wanted_and_there_is_none_the_remedy_sets_it(openai: OpenAIServer, openai_at: MakesOpenAIModel) -> None:
    openai.key = KEY
    async with openai_at(openai.api) as model:
        failure = await failure_of(model)
    assert isinstance(failure, ModelUnavailable)
    assert failure.remedy == "set providers.gpu.key (HEDDLE_PROVIDERS__GPU__KEY)"


@pytest.mark.parametrize("reply", [refuses(400, "Invalid schema"), refuses(500, "CUDA out of memory"), Sends(418, b"no")])
async def test_any_other_refusal_is_told_in_the_words_of_the_server(
    openai: OpenAIServer, openai_at: MakesOpenAIModel, reply: Sends
) -> None:
    openai.then(reply)
    async with openai_at(openai.api) as model:
        failure = await failure_of(model)
    assert not isinstance(failure, ModelUnavailable)
    words = json.loads(reply.body)["error"]["message"] if reply.body.startswith(b"{") else "no"
    assert str(failure) == f"{openai.api} refused ({reply.status}: {words})"


async def test_a_long_story_is_cut(openai: OpenAIServer, openai_at: MakesOpenAIModel) -> None:
    openai.then(Sends(500, b"x" * 10_000))
    async with openai_at(openai.api) as model:
        assert len(str(await failure_of(model))) < 400


async def test_the_key_is_in_no_error_and_no_log(
    openai: OpenAIServer, openai_at: MakesOpenAIModel, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    replies = [refuses(status, f"you sent Bearer {KEY}") for status in (400, 401, 404, 429, 500)]
    openai.then(*replies, Completes(None, refusal=f"no, {KEY}"))
    async with openai_at(openai.api, key=KEY) as model:
        for _ in range(6):
            failure = await failure_of(model)
            assert KEY not in f"{failure!r} {getattr(failure, 'remedy', '')}"
    assert KEY not in caplog.text
    assert caplog.records


@pytest.mark.parametrize("key", ["sk-1\nHost: evil", "sk 1", "schlüssel"])
async def test_a_key_that_no_header_can_carry_is_refused_without_being_told(openai_at: MakesOpenAIModel, key: str) -> None:
    with pytest.raises(SettingsError, match=r"providers.gpu.key holds a space, a line break or a letter") as caught:
        async with openai_at("http://127.0.0.1:9/v1", key=key):
            pass
    assert key not in str(caught.value)


@pytest.mark.parametrize("url", ["http://me:secret@127.0.0.1/v1", "http://127.0.0.1/v1?key=secret", "http://127.0.0.1/v1#secret"])
async def test_a_url_with_a_secret_in_it_is_refused_without_being_told(openai_at: MakesOpenAIModel, url: str) -> None:
    with pytest.raises(SettingsError, match=r"providers.gpu.url is an address up to /v1") as caught:
        async with openai_at(url):
            pass
    assert "secret" not in str(caught.value)


async def test_where_nothing_listens_the_remedy_names_the_setting(openai_at: MakesOpenAIModel, nobody: str) -> None:
    async with openai_at(f"http://{nobody}/v1") as model:
        failure = await failure_of(model)
    assert isinstance(failure, ModelUnavailable)
    assert str(failure).startswith(f"no model server answers at http://{nobody}/v1 (")
    assert failure.remedy == "start it, or correct providers.gpu.url (HEDDLE_PROVIDERS__GPU__URL)"


async def test_a_name_that_does_not_resolve_is_a_server_that_does_not_answer(
    openai_at: MakesOpenAIModel, names: dict[str, list[str]], may_call: Callable[..., None]
) -> None:
    may_call("models.example:443")
    async with openai_at("https://models.example/v1", egress="any") as model:
        failure = await failure_of(model)
    assert isinstance(failure, ModelUnavailable)
    assert "https://models.example/v1 (" in str(failure)


async def test_a_server_without_tls_where_tls_is_expected_does_not_answer(
    openai_at: MakesOpenAIModel, may_call: Callable[..., None]
) -> None:
    async def refuse(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as listener:
        address = "127.0.0.1:{1}".format(*listener.sockets[0].getsockname())
        may_call(address)
        async with openai_at(f"https://{address}/v1") as model:
            failure = await failure_of(model)
    assert isinstance(failure, ModelUnavailable)
    assert "SSL" in str(failure)


async def test_a_certificate_that_is_not_trusted_is_told_with_the_variable_that_names_its_authority(
    openai: OpenAIServer, openai_at: MakesOpenAIModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with openai_at(openai.api.replace("http:", "https:")) as model:

        def untrusted(*_: object, **__: object) -> None:
            raise ssl.SSLCertVerificationError(1, "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: self-signed certificate")

        monkeypatch.setattr(ssl.SSLObject, "do_handshake", untrusted)
        failure = await failure_of(model)
    assert isinstance(failure, ModelUnavailable)
    assert "self-signed certificate" in str(failure)
    assert failure.remedy == "have SSL_CERT_FILE name its authority"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed(openai: OpenAIServer, elsewhere: OllamaServer, openai_at: MakesOpenAIModel, status: int) -> None:
    openai.then(redirect(f"{elsewhere.url}/v1/chat/completions", status))
    async with openai_at(openai.api, key=KEY) as model:
        failure = await failure_of(model)
    assert str(failure).startswith(f"{openai.api} redirects elsewhere ({status}); name the model server itself in providers.gpu.url")
    assert (len(openai.requests), elsewhere.connections) == (1, 0)


@pytest.mark.parametrize("drip", [False, True], ids=["which is silent", "which comes byte by byte"])
async def test_an_answer_not_done_in_time_is_an_error_and_its_connection_is_closed(
    openai: OpenAIServer, openai_at: MakesOpenAIModel, drip: bool
) -> None:
    openai.then(Stays(drip))
    async with asyncio.timeout(PATIENCE), openai_at(openai.api, planner=PlannerSettings(timeout=0.15)) as model:
        failure = await failure_of(model)
        await openai.closed.wait()
    assert not isinstance(failure, ModelUnavailable)
    assert str(failure) == f"test-model at {openai.api} did not answer within 0.15 s (planner.timeout)"


async def test_a_cancelled_goal_closes_its_connection_so_that_the_server_stops(openai: OpenAIServer, openai_at: MakesOpenAIModel) -> None:
    openai.then(Stays(), Completes())
    async with asyncio.timeout(PATIENCE), openai_at(openai.api) as model:
        asking = asyncio.create_task(model.complete(PROMPT))
        await openai.heard.wait()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await openai.closed.wait()
        assert (await model.complete(PROMPT)).text == ANSWER


async def test_leaving_closes_every_connection_and_nothing_is_left_to_the_collector(
    openai: OpenAIServer, openai_at: MakesOpenAIModel
) -> None:
    openai.then(Completes(), Drops(), refuses(500, "no"), Completes())
    async with asyncio.timeout(PATIENCE):
        async with openai_at(openai.api) as model:
            await model.complete(PROMPT)
            for _ in range(2):
                await failure_of(model)
            await model.complete(PROMPT)
        await openai.closed.wait()
    gc.collect()  # an unclosed socket would warn here, and warnings are errors


# What the server tells of the model

LLAMA = {
    "id": "/models/Qwen2.5-7B.gguf",
    "object": "model",
    "owned_by": "llamacpp",
    "meta": {"n_ctx": 4096, "n_params": 7_615_616_512, "size": 4_677_120_000, "ftype": "Q4_K_M"},
}
VLLM = {"id": "test-model", "object": "model", "owned_by": "vllm", "root": "Qwen/Qwen2.5-7B", "max_model_len": 8192}


@pytest.mark.parametrize(
    ("models", "settings", "facts"),
    [
        ([LLAMA], {}, Facts(None, 7_615_616_512, 4.0, None)),
        ([LLAMA], {"parameters": 1e9, "bits": 16, "instruct": True}, Facts(None, 7_615_616_512, 4.0, instruct=True)),
        ([VLLM], {}, Facts()),
        ([VLLM], {"parameters": 7.6e9, "bits": 16, "instruct": True}, Facts(None, 7_600_000_000, 16.0, instruct=True)),
        ([VLLM, {"id": "other"}], {"instruct": False}, Facts(instruct=False)),
        (Sends(404, b""), {"parameters": 7.6e9}, Facts(None, 7_600_000_000)),
    ],
    ids=["llama.cpp", "llama.cpp before the settings", "vLLM", "vLLM and the settings", "one of several", "no list"],
)
async def test_the_facts_are_the_servers_and_else_those_of_the_settings(
    openai: OpenAIServer, openai_at: MakesOpenAIModel, models: Any, settings: dict[str, Any], facts: Facts
) -> None:
    openai.models = models
    async with openai_at(openai.api, **settings) as model:
        assert await model.facts() == facts


async def test_a_model_that_the_server_does_not_list_is_unavailable(openai: OpenAIServer, openai_at: MakesOpenAIModel) -> None:
    openai.models = [{"id": "one"}, {"id": "two"}]
    async with openai_at(openai.api) as model:
        with pytest.raises(ModelUnavailable) as caught:
            await model.facts()
    assert str(caught.value) == f"{openai.api} has no model test-model; it has one, two"
    assert caught.value.remedy == "correct providers.gpu.model (HEDDLE_PROVIDERS__GPU__MODEL)"


@pytest.mark.parametrize("reply", [Sends(200, b"{}"), Sends(200, b"no"), refuses(500, "no")])
async def test_facts_that_cannot_be_read_are_an_error(openai: OpenAIServer, openai_at: MakesOpenAIModel, reply: Sends) -> None:
    openai.models = reply
    async with openai_at(openai.api) as model:
        with pytest.raises(ModelError, match=r"cannot be read|refused"):
            await model.facts()
