"""A little server on loopback that speaks the OpenAI API's two endpoints and answers as a test tells it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.llm.http_server import Drops, HttpServer, Request, Sends, Stays, listening, ok
from tests.llm.ollama_server import Logprob

ANSWER = '{"tasks": [{"macro": "unsupported"}]}'


@dataclass(frozen=True, slots=True)
class Completes:
    """A whole completion."""

    text: str | None = ANSWER
    finish_reason: str = "stop"
    prompt_tokens: int = 212
    answer_tokens: int = 31
    logprobs: Sequence[Logprob] | None = None
    refusal: str | None = None
    reasoning: str | None = None


Reply = Completes | Sends | Stays | Drops


def refuses(status: int, message: str, code: str | None = None, param: str | None = None, **headers: str) -> Sends:
    """An error in the API's own form."""
    body = json.dumps({"error": {"message": message, "type": "invalid_request_error", "param": param, "code": code}}).encode()
    return Sends(
        status, body, (("Content-Type", "application/json"), *((name.replace("_", "-"), value) for name, value in headers.items()))
    )


@dataclass
class OpenAIServer(HttpServer[Completes]):
    """The server, once it listens.

    Attributes:
        models: what `/v1/models` lists, or another answer.
        refused: the error for each parameter that it does not take.
        key: the key without which nobody is let in.
    """

    models: list[dict[str, Any]] | Sends = field(default_factory=lambda: [{"id": "test-model", "object": "model", "owned_by": "vllm"}])
    refused: Mapping[str, Sends] = field(default_factory=dict)
    key: str | None = None

    @property
    def api(self) -> str:
        """The API's address."""
        return f"{self.url}/v1"

    @property
    def chats(self) -> list[dict[str, Any]]:
        """The bodies of the completions asked for."""
        return [request.body for request in self.requests if request.target.endswith("/chat/completions")]

    async def respond(self, request: Request) -> bytes | Sends | Stays | Drops:
        if self.key is not None and request.headers.get("authorization") != f"Bearer {self.key}":
            return refuses(401, f"Incorrect API key provided: {request.headers.get('authorization')}", "invalid_api_key")
        match request.method, request.target:
            case "GET", "/v1/models":
                return self.models if isinstance(self.models, Sends) else ok({"object": "list", "data": self.models})
            case "POST", "/v1/chat/completions":
                unwanted = next((error for name, error in self.refused.items() if name in request.body), None)
                reply = unwanted or self.next_reply()
                return ok(completion(request.body, reply)) if isinstance(reply, Completes) else reply
            case _:
                return Sends(404, b'{"detail":"Not Found"}')

    def sample(self) -> bytes:
        return ok(completion({"model": "any"}, Completes("never to be read")))


def completion(asked: dict[str, Any], said: Completes) -> dict[str, Any]:
    """A completion, with the fields of OpenAI's and the reasoning of vLLM's."""
    message = {"role": "assistant", "content": said.text, "refusal": said.refusal}
    logprobs = None
    if asked.get("logprobs") and said.logprobs is not None:
        logprobs = {"content": [_logprob(token, value, top) for token, value, top in said.logprobs], "refusal": None}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1_767_605_400,
        "model": asked["model"],
        "choices": [
            {
                "index": 0,
                "message": message | ({"reasoning_content": said.reasoning} if said.reasoning else {}),
                "logprobs": logprobs,
                "finish_reason": said.finish_reason,
            }
        ],
        "usage": {
            "prompt_tokens": said.prompt_tokens,
            "completion_tokens": said.answer_tokens,
            "total_tokens": said.prompt_tokens + said.answer_tokens,
            "prompt_tokens_details": {"cached_tokens": 0},
        },
    }


def _logprob(token: str, logprob: float, top: Sequence[tuple[str, float]]) -> dict[str, Any]:
    others = [{"token": other, "logprob": its, "bytes": list(other.encode())} for other, its in top]
    return {"token": token, "logprob": logprob, "bytes": list(token.encode()), "top_logprobs": others}


@asynccontextmanager
async def openai_server(*replies: Reply, **more: Any) -> AsyncIterator[OpenAIServer]:
    """A server on a free port of this machine; leaves with every connection closed. `more` are its attributes."""
    async with listening(OpenAIServer(list(replies) or [Completes()], **more)) as server:
        yield server
