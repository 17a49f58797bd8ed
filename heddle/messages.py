"""The wire contract, version 1: what travels over NATS, as frozen models with one decoder.

Types are JSON's own and nothing is coerced; null equals absent for every field that has a default; of a repeated key the
last wins; unknown keys are kept. Times are RFC 3339 texts with an offset and stay as they came.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal, TypeVar

import pydantic_core
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from heddle.errors import DecodeError

RESERVED_NAMES: Final = frozenset({"incoming", "dead_letter", "default", "orchestrator"})
GOAL_WORKER_TYPE: Final = "orchestrator"
"""Stands as the worker type in a goal's own outcome."""
NAME_PATTERN: Final = r"^[a-z0-9][a-z0-9_-]{0,62}$"
TOKEN_PATTERN: Final = r"^[A-Za-z0-9_=-]{1,128}$"  # noqa: S105  # a subject's token
TIME_PATTERN: Final = r"^\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}:\d{2}(\.\d+)?([Zz]|[+-]\d{2}:[0-5]\d)$"
TASK_ID_BYTES: Final = 256
DEFAULT_TIER: Final = "standard"
_PLAIN_DAY: Final = r"(?:(?:0[1-9]|1[0-2])-(?:0[1-9]|1[0-9]|2[0-8])|(?:0[13-9]|1[0-2])-(?:29|30)|(?:0[13578]|1[02])-31)"
PLAIN_TIME: Final = (
    rf"[1-9][0-9]{{3}}-{_PLAIN_DAY}T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]+)?(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
)
"""A wire time that surely exists, without the 29th of February and other rarities."""

Priority = Literal["low", "normal", "high", "critical"]
Status = Literal["pending", "processing", "completed", "failed"]
PRIORITIES: Final[tuple[Priority, ...]] = ("low", "normal", "high", "critical")


def _unreserved(name: str) -> str:
    if name in RESERVED_NAMES:
        raise ValueError(f"{name!r} is a reserved word")
    return name


def _within_id_limit(task_id: str) -> str:
    if len(task_id.encode()) > TASK_ID_BYTES:
        raise ValueError(f"a task id has at most {TASK_ID_BYTES} bytes")
    return task_id


def _real_time(text: str) -> str:
    parse_time(text)
    return text


NameText = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
Name = Annotated[NameText, AfterValidator(_unreserved)]
"""A worker type or a tier."""
Token = Annotated[str, StringConstraints(pattern=TOKEN_PATTERN)]
"""An id that becomes part of a subject."""
TaskId = Annotated[str, AfterValidator(_within_id_limit)]
Time = Annotated[str, StringConstraints(pattern=TIME_PATTERN), AfterValidator(_real_time)]
Count = Annotated[int, Field(ge=0, le=2**53)]
Ordinal = Annotated[int, Field(ge=1, le=2**53)]


class Message(BaseModel):
    """What all messages share: strict types, frozen values, unknown keys kept."""

    model_config = ConfigDict(strict=True, frozen=True, extra="allow")

    def encode(self) -> bytes:
        """The message as JSON; optional fields that are None are left out, for null equals absent."""
        absent = {name for name in _optional(type(self)) if getattr(self, name) is None}
        return self.model_dump_json(exclude=absent).encode()


@functools.cache
def _optional(model: type[Message]) -> frozenset[str]:
    return frozenset(name for name, field in model.model_fields.items() if not field.is_required())


class Goal(Message):
    """Free text plus context, on `heddle.goals.incoming`; `approved`: a plan with irreversible macros need not wait for a person."""

    goal_id: Token | None = None
    instruction: str
    context: dict[str, Any] = {}
    request_id: str | None = None
    priority: Priority = "normal"
    created_at: Time | None = None
    generation: Count = 0
    approved: bool = False


class TaskMessage(Message):
    """One call of a macro, on `heddle.tasks.incoming` and, routed, on `heddle.tasks.<worker_type>.<tier>`."""

    task_id: TaskId | None = None
    parent_task_id: Token | None = None
    worker_type: Name
    payload: dict[str, Any]
    model_tier: Name = DEFAULT_TIER
    priority: Priority = "normal"
    created_at: Time | None = None
    request_id: str | None = None
    metadata: dict[str, Any] = {}
    macro_version: Ordinal | None = None
    expires_at: Time | None = None
    attempt: Ordinal = 1
    generation: Count = 0
    hops: Count = 0

    @property
    def names_tier(self) -> bool:
        """Does the message itself name the tier?"""
        return "model_tier" in self.model_fields_set


class TaskResult(Message):
    """How a task or a goal ended, on `heddle.results.<parent_task_id or "default">`; `error` is "code: detail"."""

    task_id: TaskId
    worker_type: str
    status: Status
    parent_task_id: Token | None = None
    output: Any = None
    error: str | None = None
    model_used: str | None = None
    token_usage: dict[str, Any] = {}
    processing_time_ms: float | None = None
    completed_at: Time | None = None
    metadata: dict[str, Any] = {}


class DeadLetter(Message):
    """The record of a task or goal that could not go on, with its reason ("code: detail") and a remedy.

    `original_task` is the message as it came: JSON where it is JSON, a string where it is text, base64 where it is
    neither (`encoding` says which). One that is too long is cut: then `truncated` is true, `size` and `sha256` are those of
    the whole, and the whole bytes are kept under `heddle.original.<id>`. Of a goal's letter `task_id` is the goal's id.
    """

    reason: str
    original_task: Any
    task_id: str | None = None
    worker_type: str | None = None
    id: str
    kind: Literal["task", "goal"] = "task"
    code: str
    at: Time
    by: str
    rules: str | None = None
    attempt: int = 1
    generation: int = 0
    tier: str | None = None
    parent_task_id: str | None = None
    remedy: str
    encoding: Literal["json", "text", "base64"] = "json"
    truncated: bool = False
    size: int | None = None
    sha256: str | None = None
    traceback: str | None = None
    trace_id: str | None = None
    traceparent: str | None = None

    @property
    def goal_id(self) -> str | None:
        """The goal that it tells of, or whose task; None if there is none."""
        return self.task_id if self.kind == "goal" else self.parent_task_id


M = TypeVar("M", bound=Message)
K = TypeVar("K", bound=BaseModel)

_N, _I = b"NI"
"""A single byte is looked for ten times as fast as a word."""


def decode(model: type[M], body: bytes) -> M:
    """Read a message of the wire contract.

    Raises:
        DecodeError: the bytes are not such a message; it names every field at fault and keeps the bytes.
    """
    try:
        if (_N in body or _I in body) and (b"NaN" in body or b"Infinity" in body):
            _refuse_constants(body)
        return model.model_validate_json(body)
    except ValidationError as error:
        try:
            return model.model_validate_json(_without_nulls(model, body))
        except ValidationError:
            raise DecodeError(_explain(error, body), body) from None


def _refuse_constants(body: bytes) -> None:
    """NaN and Infinity are no JSON, though the parsers at hand take them."""

    def refuse(constant: str) -> None:
        raise DecodeError(f"not JSON: {constant} is no JSON value", body)

    try:
        json.loads(body, parse_constant=refuse)
    except (ValueError, RecursionError):
        return  # the strict reading says it better


def _without_nulls(model: type[Message], body: bytes) -> bytes:
    """The same message without the nulls that stand for absent fields; anything else comes back unchanged."""
    try:
        parsed = pydantic_core.from_json(body, allow_inf_nan=True)
    except ValueError:
        return body
    if not isinstance(parsed, dict):
        return body
    optional = _optional(model)
    kept = {key: value for key, value in parsed.items() if value is not None or key not in optional}
    return pydantic_core.to_json(kept, inf_nan_mode="constants") if len(kept) < len(parsed) else body


def _explain(error: ValidationError, body: bytes) -> str:
    problems = error.errors(include_url=False, include_input=False)
    if problems[0]["type"] == "json_invalid":
        try:
            body.decode()
        except UnicodeDecodeError as broken:
            return f"not UTF-8: byte {broken.start} is {body[broken.start]:#04x}"
        return f"not JSON: {problems[0]['msg'].removeprefix('Invalid JSON: ')}"
    if not problems[0]["loc"]:
        return f"a JSON object is needed, not {_json_kind(body)}"
    return "; ".join(f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in problems[:8])


def _json_kind(body: bytes) -> str:
    first = body.lstrip()[:1]
    return {b"[": "an array", b'"': "a string", b"t": "true", b"f": "false", b"n": "null"}.get(first, "a number")


def read_kept(model: type[K], body: bytes) -> K | None:
    """What was kept, read again; None for what is none: it was deleted, or somebody or another version wrote it."""
    try:
        return model.model_validate_json(body)
    except ValidationError:
        return None


def sendable(text: str) -> str:
    """A text with a question mark for half a letter, as names of files and words of servers may have it: no message could carry that."""
    return text.encode(errors="replace").decode()


def readable(body: bytes) -> dict[str, Any]:
    """What can still be read of a message that does not decode: its top-level keys, or nothing at all.

    A dead letter names the task if at least its id can be read, so that nobody waits for ever.
    """
    try:
        parsed = json.loads(body.decode(errors="surrogateescape"))  # the decoder's parser stops at half a surrogate pair, this one does not
    except (ValueError, RecursionError):
        return {}
    return parsed if isinstance(parsed, dict) else {}


def readable_task_id(parsed: dict[str, Any], key: str = "task_id") -> str | None:
    """The id under `key` if it is one by the contract's rules."""
    value = parsed.get(key)
    if not isinstance(value, str):
        return None
    if key == "goal_id":
        return value if is_token(value) else None
    try:
        return _within_id_limit(value)
    except ValueError:  # too long, or no Unicode text
        return None


_TOKEN = re.compile(TOKEN_PATTERN)
_NAME = re.compile(NAME_PATTERN)


def is_token(text: object) -> bool:
    """Can this be the id of a goal, as a part of a subject?"""
    return isinstance(text, str) and _TOKEN.fullmatch(text) is not None


def is_name(text: object) -> bool:
    """Can this be a worker type or a tier?"""
    return isinstance(text, str) and _NAME.fullmatch(text) is not None and text not in RESERVED_NAMES


def task_hash(task_id: str) -> str:
    """The first 32 hex digits of the id's sha256: how a task id stands in a subject."""
    return hashlib.sha256(task_id.encode()).digest()[:16].hex()


def parse_time(text: str) -> datetime:
    """A wire time as an aware datetime.

    Raises:
        ValueError: it is no RFC 3339 time with an offset.
    """
    moment = datetime.fromisoformat(text.upper())
    if moment.tzinfo is None:
        raise ValueError("a time needs an offset, such as Z or +01:00")
    return moment


def format_time(seconds: float) -> str:
    """Seconds since the epoch as a wire time in UTC, to the millisecond."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
