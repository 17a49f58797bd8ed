"""The lean decoder: whatever bytes come, it says what the full one says."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import pydantic_core
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from heddle import envelope
from heddle.envelope import Envelope, Work, decode_envelope, decode_work
from heddle.errors import DecodeError
from heddle.messages import RESERVED_NAMES, TaskMessage, decode

READ = ["names_tier", *Envelope.__struct_fields__]
FIELDS = list(TaskMessage.model_fields)
PLAIN: dict[str, Any] = {
    "task_id": "goal-1-1",
    "parent_task_id": "goal-1",
    "worker_type": "repo_triage",
    "payload": {"repository": "acme/checkout", "count": 3, "nested": {"deep": [1, 2.5, None, True, "x"]}},
    "model_tier": "local",
    "priority": "high",
    "created_at": "2027-01-15T08:00:00Z",
    "request_id": "request-1",
    "metadata": {"team": "weaving"},
    "macro_version": 2,
    "expires_at": "2027-01-15T09:00:00.125+01:00",
    "attempt": 2,
    "generation": 1,
    "hops": 3,
}
BODY = json.dumps(PLAIN).encode()


def seen(task: Envelope | TaskMessage) -> dict[str, Any]:
    values = {name: getattr(task, name) for name in READ}
    return values | {
        "metadata": dict(task.metadata),
        "types": [type(values[name]) for name in READ if name != "metadata"],
    }


def fully(body: bytes) -> dict[str, Any] | str:
    try:
        return seen(decode(TaskMessage, body))
    except DecodeError as error:
        return f"{error} {error.body!r}"


def leanly(body: bytes) -> dict[str, Any] | str:
    try:
        return seen(decode_envelope(body))
    except DecodeError as error:
        return f"{error} {error.body!r}"


def at_work(body: bytes) -> dict[str, Any] | str:
    """What a worker reads, as `seen` tells it of a message that was decoded in full."""
    try:
        work = decode_work(body)
    except DecodeError as error:
        return f"{error} {error.body!r}"
    whole = decode(TaskMessage, body)
    assert repr(pydantic_core.from_json(bytes(work.payload))) == repr(whole.payload)
    assert (work.created_at, work.request_id, work.macro_version) == (whole.created_at, whole.request_id, whole.macro_version)
    return seen(work)


def same(body: bytes) -> None:
    assert leanly(body) == at_work(body) == fully(body)


def test_the_envelope_s_fields_and_defaults_are_those_of_the_message() -> None:
    assert set(Work.__struct_encode_fields__) == set(FIELDS)
    assert set(envelope._Routed.__struct_encode_fields__) == set(FIELDS)
    assert seen(Envelope("a")) == seen(TaskMessage(worker_type="a", payload={}))


@pytest.fixture
def full_decodes(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    calls: list[bytes] = []
    whole = envelope._fully_decoded

    def counted(body: bytes) -> tuple[TaskMessage, tuple[Any, ...]]:
        calls.append(body)
        return whole(body)

    monkeypatch.setattr(envelope, "_fully_decoded", counted)
    return calls


@pytest.mark.parametrize(
    "fields",
    [
        PLAIN,
        {"worker_type": "a", "payload": {}},
        {"worker_type": "a", "payload": {}, "_x": 1, "other": [None]},
        PLAIN | dict.fromkeys(["task_id", "parent_task_id", "created_at", "request_id", "macro_version", "expires_at"]),
        PLAIN | {"created_at": "2027-12-31T23:59:59.123456Z", "payload": {"text": "In New York"}},
    ],
)
def test_a_plain_task_needs_no_second_look(fields: dict[str, Any], full_decodes: list[bytes]) -> None:
    body = json.dumps(fields).encode()
    assert leanly(body) == fully(body)
    assert not full_decodes


@pytest.mark.parametrize(
    "fields",
    [
        {"priority": None},
        {"payload": {"x": [[]] * 200}},
        {"task_id": "x" * 65},
        {"created_at": "2028-02-29T00:00:00Z"},
        {"expires_at": "2027-01-15 08:00:00z"},
    ],
)
def test_an_unusual_task_is_read_all_the_same(fields: dict[str, Any], full_decodes: list[bytes]) -> None:
    body = json.dumps(PLAIN | fields).encode()
    assert leanly(body) == fully(body)
    assert isinstance(leanly(body), dict)
    assert full_decodes


WORDS = [
    *RESERVED_NAMES,
    *("", "a", "A", "local", "standard", "high", "critical", "urgent", "a" * 63, "a" * 64, "x" * 65, "x" * 128, "x" * 129, "x" * 257),
    *(
        "é" * 64,
        "é" * 65,
        "é" * 128,
        "é" * 129,
        "\U0001f9f5" * 64,
        "\U0001f9f5" * 65,
        "a\n",
        "a.b",
        "\u212a",
        "\x00",
        "NaN",
        "Infinity",
        "-Infinity",
    ),
    *("2027-01-15T08:00:00Z", "2027-01-15t08:00:00z", "2027-01-15 08:00:00Z", "2027-01-15T08:00:00.1Z", "2027-01-15T08:00:00.1234567890Z"),
    *("2027-01-15T08:00:00.Z", "2027-01-15T08:00:00", "2027-02-29T08:00:00Z", "2028-02-29T08:00:00Z", "2027-02-30T08:00:00Z"),
    *("2027-04-31T08:00:00Z", "2027-04-30T08:00:00Z", "2027-12-31T23:59:59Z", "2027-13-01T08:00:00Z", "2027-00-01T08:00:00Z"),
    *("2027-01-00T08:00:00Z", "2027-01-15T24:00:00Z", "2027-01-15T08:60:00Z", "2027-01-15T08:00:60Z", "0000-01-01T00:00:00Z"),
    *(
        "0001-01-01T00:00:00Z",
        "9999-12-31T23:59:59-23:59",
        "2027-01-15T08:00:00+24:00",
        "2027-01-15T08:00:00+23:59",
        "2027-01-15T08:00:00Z\n",
    ),
    *("\u0662\u0660\u0662\u0667-01-15T08:00:00Z", "2027-01-15T08:00:00-00:00", "2027-01-15T08:00:00+0100", "1027-1-15T08:00:00Z"),
]
NUMBERS = [
    0,
    -0,
    1,
    -1,
    2**53,
    2**53 + 1,
    2**63,
    2**64,
    10**30,
    1.0,
    0.0,
    -0.0,
    1.5,
    True,
    False,
    float("nan"),
    float("inf"),
    float("-inf"),
]
JSON = st.recursive(
    st.none() | st.sampled_from(WORDS) | st.sampled_from(NUMBERS) | st.text(max_size=6) | st.integers(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS) | st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
KEYS = st.sampled_from(FIELDS) | st.text(max_size=5) | st.sampled_from(["_x", "model_fields_set", "__dict__", "__class__", "self"])


@given(st.dictionaries(KEYS, JSON, max_size=4), st.sets(st.sampled_from(FIELDS)))
@settings(max_examples=400, deadline=None)
def test_any_values_in_any_fields(fields: dict[str, Any], without: set[str]) -> None:
    same(json.dumps({key: value for key, value in PLAIN.items() if key not in without} | fields).encode())


@pytest.mark.parametrize("field", FIELDS)
def test_every_field_with_every_edge(field: str) -> None:
    values: list[Any] = [*WORDS, *NUMBERS, None, [], {}, [{}], {"a": None}]
    for value in values:
        same(json.dumps(PLAIN | {field: value}).encode())
        same(json.dumps({"worker_type": "a", "payload": {}} | {field: value}, ensure_ascii=False).encode(errors="surrogatepass"))


NUMERALS = [
    "1",
    "-0",
    "-1",
    "1.0",
    "1e0",
    "1E2",
    "01",
    "+1",
    "1e999",
    "-1e999",
    "9" * 19,
    "9" * 400,
    "9" * 5000,
    "0x1",
    "1_0",
    ".5",
    "5.",
    "1 ",
]


@pytest.mark.parametrize("field", ["payload", "metadata", "attempt", "generation", "hops", "macro_version", "priority", "_x"])
@pytest.mark.parametrize("numeral", NUMERALS, ids=lambda text: text[:12])
def test_every_way_to_write_a_number(field: str, numeral: str) -> None:
    other = json.dumps({key: value for key, value in PLAIN.items() if key != field}).encode()[1:]
    same(b'{"%b":%b,%b' % (field.encode(), numeral.encode(), other))
    same(b'{"%b":{"x":%b},%b' % (field.encode(), numeral.encode(), other))


PAIRS = st.lists(st.tuples(KEYS, JSON), max_size=4)


@given(PAIRS, PAIRS, st.booleans())
@settings(max_examples=300, deadline=None)
def test_of_a_repeated_key_the_last_wins(before: list[tuple[str, Any]], after: list[tuple[str, Any]], ascii_only: bool) -> None:
    pairs = [*before, *PLAIN.items(), *after]
    members = ",".join(f"{json.dumps(key)}:{json.dumps(value, ensure_ascii=ascii_only)}" for key, value in pairs)
    same(f"{{{members}}}".encode(errors="surrogatepass"))


PIECES = [
    b"NaN",
    b"Infinity",
    b"-",
    b"null",
    b"{",
    b"}",
    b"[",
    b"]",
    b'"',
    b",",
    b":",
    b"\\u0061",
    b"\\ud800",
    b"\\",
    b"\xff",
    b"\x00",
    b"\xef\xbb\xbf",
]
PIECES += [
    b"e5",
    b".5",
    b"true",
    b" ",
    b"\n",
    b'"model_tier":"frontier",',
    b'"priority":null,',
    b'"payload":[],',
    b"incoming",
    b"0",
    b"\xc3\xa9",
    b"//",
]


@given(st.randoms(use_true_random=False), st.integers(1, 4))
@settings(max_examples=1500, deadline=None)
def test_mutilated_bytes(chance: Random, cuts: int) -> None:
    body = BODY
    for _ in range(cuts):
        at = chance.randrange(len(body) + 1)
        match chance.randrange(4):
            case 0:
                body = body[:at] + body[at + chance.randrange(1, 12) :]
            case 1:
                body = body[:at] + chance.choice(PIECES) + body[at:]
            case 2:
                body = body[:at] + bytes([chance.randrange(256)]) + body[at + 1 :]
            case _:
                piece = chance.choice(PIECES)
                body = body[:at] + piece + body[at + len(piece) :]
    same(body)


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode) | JSON.map(lambda value: json.dumps(value).encode()))
@settings(max_examples=300, deadline=None)
@example(b"")
@example(b"{}")
@example(b"\xef\xbb\xbf" + BODY)
@example(b"[" * 100_000)
@example(b'{"worker_type":' * 50_000)
@example(BODY + b" ")
@example(BODY + b"\x00")
@example(BODY + BODY)
@example(BODY.replace(b"repo_triage", b"repo\\u005ftriage"))
@example(BODY.replace(b'"payload"', b'"p\\u0061yload"'))
@example('{"worker_type":"a","payload":{}}'.encode("utf-16"))
def test_any_bytes(body: bytes) -> None:
    same(body)


@pytest.mark.parametrize("field", ["payload", "metadata", "_x"])
@pytest.mark.parametrize("depth", [10, 150, *range(190, 210), 1000])
def test_every_depth(field: str, depth: int) -> None:
    deep = b"[" * depth + b"]" * depth
    other = json.dumps({key: value for key, value in PLAIN.items() if key != field}).encode()[1:]
    same(b'{"%b":{"x":%b},%b' % (field.encode(), deep, other))
    same(b'{"%b":%b,%b' % (field.encode(), deep, other))
