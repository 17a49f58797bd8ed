"""The wire contract: what is accepted, what is refused, and that nothing is lost."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from heddle.errors import DecodeError
from heddle.messages import (
    PRIORITIES,
    RESERVED_NAMES,
    DeadLetter,
    Goal,
    Message,
    TaskMessage,
    TaskResult,
    decode,
    format_time,
    is_name,
    is_token,
    parse_time,
    readable,
    readable_task_id,
    task_hash,
)

SMALLEST: dict[type[Message], dict[str, Any]] = {
    Goal: {"instruction": "label it"},
    TaskMessage: {"worker_type": "repo_triage", "payload": {}},
    TaskResult: {"task_id": "1", "worker_type": "repo_triage", "status": "completed"},
    DeadLetter: {
        "reason": "expired: late",
        "original_task": {},
        "id": "x-0",
        "code": "expired",
        "at": "2027-01-15T08:00:00Z",
        "by": "router/a",
        "remedy": "none",
    },
}
MODELS = list(SMALLEST)
OPTIONAL = [(model, name) for model in MODELS for name, field in model.model_fields.items() if not field.is_required()]
REQUIRED = [(model, name) for model in MODELS for name, field in model.model_fields.items() if field.is_required()]

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


def task(**fields: Any) -> TaskMessage:
    return decode(TaskMessage, json.dumps(SMALLEST[TaskMessage] | fields).encode())


def refusal(model: type[Message], body: bytes) -> str:
    with pytest.raises(DecodeError) as caught:
        decode(model, body)
    return str(caught.value)


def outcome(model: type[Message], body: bytes) -> Message | DecodeError:
    try:
        return decode(model, body)
    except DecodeError as error:
        return error


def refused(**fields: Any) -> str:
    return refusal(TaskMessage, json.dumps(SMALLEST[TaskMessage] | fields).encode())


# --- what decodes


def test_a_plain_publish_by_someone_who_never_heard_of_heddle_works() -> None:
    read = decode(TaskMessage, b'{"worker_type": "repo_triage", "payload": {"count": 3}}')
    assert (read.task_id, read.model_tier, read.priority, read.attempt, read.generation, read.hops) == (None, "standard", "normal", 1, 0, 0)


def test_a_goal_needs_nothing_but_its_instruction() -> None:
    read = decode(Goal, b'{"instruction": "label it"}')
    assert (read.goal_id, read.context, read.priority, read.generation) == (None, {}, "normal", 0)


@pytest.mark.parametrize(("model", "name"), REQUIRED, ids=str)
def test_a_message_without_a_bold_field_is_refused_and_the_field_is_named(model: type[Message], name: str) -> None:
    body = {key: value for key, value in SMALLEST[model].items() if key != name}
    assert refusal(model, json.dumps(body).encode()).startswith(f"{name}: ")


@pytest.mark.parametrize(("model", "name"), OPTIONAL, ids=str)
def test_null_equals_absent_for_every_optional_field(model: type[Message], name: str) -> None:
    absent = decode(model, json.dumps(SMALLEST[model]).encode())
    assert decode(model, json.dumps(SMALLEST[model] | {name: None}).encode()) == absent


def test_all_optional_fields_may_be_null_together() -> None:
    nulls = {name: None for model, name in OPTIONAL if model is TaskMessage}
    assert task(**nulls) == task()


@pytest.mark.parametrize(("model", "name"), [pair for pair in REQUIRED if pair != (DeadLetter, "original_task")], ids=str)
def test_null_is_refused_for_a_bold_field(model: type[Message], name: str) -> None:
    assert refusal(model, json.dumps(SMALLEST[model] | {name: None}).encode()).startswith(f"{name}: ")


@pytest.mark.parametrize(
    ("body", "field", "value"),
    [
        (b'{"worker_type":"a","worker_type":"b","payload":{}}', "worker_type", "b"),
        (b'{"worker_type":5,"worker_type":"b","payload":{}}', "worker_type", "b"),
        (b'{"worker_type":"a","payload":{"x":1},"payload":{"y":2}}', "payload", {"y": 2}),
        (b'{"worker_type":"a","payload":{"x":1,"x":2}}', "payload", {"x": 2}),
        (b'{"worker_type":"a","payload":{},"priority":"high","priority":null}', "priority", "normal"),
        (b'{"worker_type":"a","payload":{},"priority":null,"priority":"high"}', "priority", "high"),
        (b'{"worker_type":"a","payload":{},"priority":"high","\\u0070riority":"low"}', "priority", "low"),
    ],
)
def test_of_a_repeated_key_the_last_wins(body: bytes, field: str, value: object) -> None:
    assert getattr(decode(TaskMessage, body), field) == value


def test_of_a_repeated_bold_key_a_last_null_is_refused() -> None:
    assert refusal(TaskMessage, b'{"worker_type":"a","worker_type":null,"payload":{}}').startswith("worker_type: ")


# --- unknown keys


@given(
    st.dictionaries(
        st.text(max_size=8).filter(lambda key: key not in TaskMessage.model_fields),
        JSON.filter(lambda value: value is not None),
        max_size=5,
    )
)
@settings(max_examples=60, deadline=None)
@example({"_trace_context": {"traceparent": "00-1"}, "encode": 1, "model_fields_set": [], "__class__": {}, "self": 0, "model_config": ""})
def test_what_was_read_is_written_and_read_again_with_every_unknown_key(unknown: dict[str, Any]) -> None:
    read = decode(TaskMessage, json.dumps(SMALLEST[TaskMessage] | unknown).encode())
    again = decode(TaskMessage, read.encode())
    assert (again, again.model_extra) == (read, unknown)


@pytest.mark.parametrize("model", MODELS)
@given(payload=JSON)
@settings(max_examples=25, deadline=None)
def test_every_message_survives_its_own_writing(model: type[Message], payload: Any) -> None:
    where = {Goal: "context", TaskMessage: "payload", TaskResult: "output", DeadLetter: "original_task"}[model]
    value = payload if model in {TaskResult, DeadLetter} and payload is not None else {"x": payload}
    read = decode(model, json.dumps(SMALLEST[model] | {where: value}).encode())
    assert decode(model, read.encode()) == read


@pytest.mark.parametrize("key", ["_x", "other"])
def test_an_unknown_key_that_is_null_is_passed_on_too(key: str) -> None:
    assert json.loads(task(**{key: None}).encode()).get(key, "gone") is None


def test_a_bold_field_that_is_null_is_written_too() -> None:
    letter = decode(DeadLetter, json.dumps(SMALLEST[DeadLetter] | {"original_task": None}).encode())
    assert decode(DeadLetter, letter.encode()) == letter


def test_a_null_inside_a_payload_is_passed_on() -> None:
    assert task(payload={"a": None, "b": [None]}).encode().count(b"null") == 2


# --- what does not decode


@given(st.binary(max_size=80) | st.text(max_size=80).map(str.encode) | JSON.map(lambda value: json.dumps(value).encode()))
@settings(max_examples=150, deadline=None)
@example(b"")
@example(b"\xff")
@example(b"\xef\xbb\xbf{}")
@example(b"[" * 100_000)
@example(b'{"worker_type":' * 50_000)
@example(b'{"worker_type":"a","payload":{"x":' + b"9" * 100_000 + b"}}")
@example('{"worker_type":"a","payload":{}}'.encode("utf-16"))
@example(b"NaN")
@example(b'{"x":NaN')
@example(b"[" * 100_000 + b"NaN")
def test_any_bytes_are_a_message_or_a_decode_error_that_keeps_them(body: bytes) -> None:
    for model in MODELS:
        read = outcome(model, body)
        assert read.body == body if isinstance(read, DecodeError) else isinstance(read, model)


FIELD_VALUES = JSON | st.sampled_from(
    ["local", "high", "2027-01-15T08:00:00Z", "completed", "\ud800", float("nan"), float("-inf"), 2**53, 2**53 + 1]
)


@pytest.mark.parametrize("model", MODELS)
@given(data=st.data())
@settings(max_examples=30, deadline=None)
def test_any_values_in_the_contract_s_fields_are_a_message_or_a_decode_error(model: type[Message], data: st.DataObject) -> None:
    names = sorted(set(model.model_fields) - {"original_task"})  # a null there is a value, and a letter is written by deadletters
    fields = data.draw(st.dictionaries(st.sampled_from(names), FIELD_VALUES, max_size=5))
    read = outcome(model, json.dumps(SMALLEST[model] | fields).encode())
    assert decode(model, read.encode()) == read if isinstance(read, Message) else str(read)


@pytest.mark.parametrize("constant", ["NaN", "Infinity", "-Infinity"])
@pytest.mark.parametrize("where", ['"payload":{"x":%s}', '"payload":{"x":[1,%s]}', '"payload":{},"_x":%s', '"payload":{"x":%s,"x":1}'])
def test_nan_and_infinity_are_no_json(constant: str, where: str) -> None:
    body = ('{"worker_type":"a",' + where % constant + "}").encode()
    assert refusal(TaskMessage, body) == f"not JSON: {constant} is no JSON value"


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity \\u0022NaN"])
def test_nan_and_infinity_are_words_like_any_other_in_a_string(text: str) -> None:
    assert decode(TaskMessage, b'{"worker_type":"a","payload":{"x":"%b"}}' % text.encode()).payload["x"]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "not JSON: "),
        (b"check the last 3 PRs", "not JSON: "),
        (b'{"worker_type":"a",}', "not JSON: "),
        (b"{'worker_type':'a'}", "not JSON: "),
        (b'{"worker_type":"a","payload":{}} {}', "not JSON: "),
        (b'{"worker_type":"a","payload":{"x":"\xff"}}', "not UTF-8: byte 35 is 0xff"),
        (b"[]", "a JSON object is needed, not an array"),
        (b'"text"', "a JSON object is needed, not a string"),
        (b" null", "a JSON object is needed, not null"),
        (b"true", "a JSON object is needed, not true"),
        (b"12", "a JSON object is needed, not a number"),
    ],
)
def test_what_is_no_json_object_is_told_in_its_own_words(body: bytes, said: str) -> None:
    assert refusal(TaskMessage, body).startswith(said)


@pytest.mark.parametrize("half", [r"\ud800", r"\udc00", r"\ud800\ud800", r"\ud800x"])
@pytest.mark.parametrize("where", ['"payload":{"x":"%s"}', '"payload":{"%s":1}', '"payload":{},"task_id":"%s"'])
def test_half_a_surrogate_pair_is_refused(half: str, where: str) -> None:
    assert refusal(TaskMessage, ('{"worker_type":"a",' + where % half + "}").encode()).startswith("not JSON: ")


def test_a_whole_surrogate_pair_is_one_character() -> None:
    assert decode(TaskMessage, rb'{"worker_type":"a","payload":{"x":"\ud83e\uddf5"}}').payload == {"x": "\U0001f9f5"}


@pytest.mark.parametrize(("depth", "accepted"), [(10, True), (150, True), (1000, False), (100_000, False)])
def test_a_payload_may_be_deep_but_not_bottomless(depth: int, accepted: bool) -> None:
    body = b'{"worker_type":"a","payload":{"x":%b}}' % (b"[" * depth + b"]" * depth)
    if accepted:
        assert decode(TaskMessage, body).encode()
    else:
        assert refusal(TaskMessage, body).startswith("not JSON: recursion limit")


def test_every_field_at_fault_is_named() -> None:
    told = refused(worker_type=5, priority="urgent", attempt="1", _x=1)
    assert [part.split(":")[0] for part in told.split("; ")] == ["worker_type", "priority", "attempt"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("worker_type", 5),
        ("payload", []),
        ("payload", "{}"),
        ("payload", None),
        ("model_tier", 1),
        ("priority", "urgent"),
        ("priority", "HIGH"),
        ("priority", 1),
        ("metadata", []),
        ("attempt", "1"),
        ("attempt", 1.0),
        ("attempt", 1.5),
        ("attempt", True),
        ("attempt", 0),
        ("generation", -1),
        ("generation", 2**53 + 1),
        ("hops", "0"),
        ("hops", False),
        ("macro_version", 0),
        ("macro_version", "2"),
        ("request_id", 7),
        ("task_id", 7),
        ("parent_task_id", 7),
        ("created_at", 1_700_000_000),
        ("expires_at", ""),
    ],
)
def test_types_are_json_s_own_and_nothing_is_coerced(field: str, value: object) -> None:
    assert refused(**{field: value}).startswith(f"{field}: ")


@pytest.mark.parametrize("priority", PRIORITIES)
def test_every_priority_is_accepted(priority: str) -> None:
    assert task(priority=priority).priority == priority


@pytest.mark.parametrize("status", ["pending", "processing", "completed", "failed"])
def test_every_status_is_accepted(status: str) -> None:
    assert decode(TaskResult, json.dumps(SMALLEST[TaskResult] | {"status": status}).encode()).status == status


def test_a_status_of_another_word_is_refused() -> None:
    assert refusal(TaskResult, json.dumps(SMALLEST[TaskResult] | {"status": "partial"}).encode()).startswith("status: ")


def test_a_duration_may_be_a_whole_number() -> None:
    assert decode(TaskResult, json.dumps(SMALLEST[TaskResult] | {"processing_time_ms": 12}).encode()).processing_time_ms == 12


# --- names, ids, times


@pytest.mark.parametrize("name", ["a", "0", "repo_triage", "repo-triage", "a" * 63, "0_-", "default2", "in-coming"])
def test_a_name_is_accepted(name: str) -> None:
    assert (task(worker_type=name).worker_type, task(model_tier=name).model_tier, is_name(name)) == (name, name, True)


@pytest.mark.parametrize(
    "name", ["", "a" * 64, "A", "repo.triage", "_a", "-a", "a b", "a\n", "é", "a*", "a>", "\u0430", *sorted(RESERVED_NAMES)]
)
@pytest.mark.parametrize("field", ["worker_type", "model_tier"])
def test_what_is_no_name_or_is_reserved_is_refused(field: str, name: str) -> None:
    assert refused(**{field: name}).startswith(f"{field}: ")
    assert not is_name(name)


@pytest.mark.parametrize("token", ["a", "A-Z_0=", "x" * 128, "default", "="])
def test_an_id_that_becomes_part_of_a_subject_is_accepted(token: str) -> None:
    assert (task(parent_task_id=token).parent_task_id, is_token(token)) == (token, True)


@pytest.mark.parametrize("token", ["", "x" * 129, "a.b", "a b", "a*", ">", "a\n", "é", "\u212a", "a/b"])
def test_an_id_that_cannot_be_part_of_a_subject_is_refused(token: str) -> None:
    assert refused(parent_task_id=token).startswith("parent_task_id: ")
    assert refusal(Goal, json.dumps({"instruction": "x", "goal_id": token}).encode()).startswith("goal_id: ")
    assert not is_token(token)


@pytest.mark.parametrize("task_id", ["", " ", "a.b/c*>", "x" * 256, "é" * 128, "\U0001f9f5" * 64, "\x00", "line\nbreak"])
def test_a_task_id_is_any_string_up_to_256_bytes_in_utf_8(task_id: str) -> None:
    assert task(task_id=task_id).task_id == task_id
    assert readable_task_id({"task_id": task_id}) == task_id


@pytest.mark.parametrize("task_id", ["x" * 257, "é" * 129, "\U0001f9f5" * 65])
def test_a_task_id_of_more_than_256_bytes_is_refused(task_id: str) -> None:
    assert "at most 256 bytes" in refused(task_id=task_id)
    assert readable_task_id({"task_id": task_id}) is None


@pytest.mark.parametrize(
    "time",
    [
        "2027-01-15T08:00:00Z",
        "2027-01-15t08:00:00z",
        "2027-01-15 08:00:00Z",
        "2027-01-15T09:00:00+01:00",
        "2027-01-15T08:00:00.000Z",
        "2027-01-15T08:00:00.000000000+00:00",
        "2027-01-14T20:15:00-11:45",
    ],
)
def test_a_time_with_an_offset_is_accepted_and_stays_as_it_came(time: str) -> None:
    read = task(expires_at=time).expires_at
    assert read == time
    assert parse_time(time).timestamp() == 1_800_000_000


@pytest.mark.parametrize(
    "time",
    [
        "",
        "2027-01-15",
        "2027-01-15T08:00:00",
        "2027-01-15T08:00Z",
        "2027-01-15T08Z",
        "20270115T080000Z",
        "2027-W02-5T08:00:00Z",
        "2027-1-15T08:00:00Z",
        "2027-01-15T08:00:00+0100",
        "2027-01-15T08:00:00+01",
        "2027-01-15T08:00:00 Z",
        "2027-01-15T08:00:00.Z",
        "2027-01-15T08:00:00,5Z",
        "2027-01-15T08:00:00Z\n",
        " 2027-01-15T08:00:00Z",
        "2027-02-30T08:00:00Z",
        "2027-13-01T08:00:00Z",
        "2027-01-15T24:00:00Z",
        "2027-01-15T08:61:00Z",
        "2027-01-15T08:00:00+24:00",
        "2027-01-15T08:00:00+01:60",
        "0000-01-01T00:00:00Z",
        "\u0662\u0660\u0662\u0667-01-15T08:00:00Z",
        "tomorrow",
    ],
)
def test_what_is_no_rfc_3339_time_with_an_offset_is_refused(time: str) -> None:
    assert refused(expires_at=time).startswith("expires_at: ")


def test_a_time_is_written_in_utc_to_the_millisecond() -> None:
    assert format_time(1_800_000_000.0619) == "2027-01-15T08:00:00.061Z"


def test_parse_time_refuses_a_time_without_an_offset() -> None:
    with pytest.raises(ValueError, match="offset"):
        parse_time("2027-01-15T08:00:00")


def test_a_task_id_is_hashed_to_the_first_32_hex_digits_of_its_sha256() -> None:
    assert task_hash("goal-1") == "7ad913b2f0d550eba62f01cba2fbc262"


# --- what can still be read


@pytest.mark.parametrize(
    ("body", "parsed"),
    [
        (b'{"task_id":"1","worker_type":5}', {"task_id": "1", "worker_type": 5}),
        (b'{"task_id":"1","x":NaN}', None),
        (b"[1]", {}),
        (b"null", {}),
        (b"nonsense", {}),
        (b"\xff", {}),
        (b"[" * 100_000, {}),
        (b"", {}),
    ],
)
def test_of_a_message_that_does_not_decode_its_keys_may_still_be_read(body: bytes, parsed: dict[str, Any] | None) -> None:
    found = readable(body)
    assert found == parsed if parsed is not None else found["task_id"] == "1"


@pytest.mark.parametrize(
    "payload", [rb'"\ud800"', rb'{"\udc00":1}', b'"\xff"', b"[" * 300 + b"]" * 300], ids=["value", "key", "bytes", "deep"]
)
def test_a_task_id_is_read_whatever_the_payload_is(payload: bytes) -> None:
    assert readable_task_id(readable(b'{"task_id":"1","payload":%b}' % payload)) == "1"


@pytest.mark.parametrize("task_id", [rb"\ud800", b"\xff"])
def test_a_task_id_that_is_no_text_is_not_read(task_id: bytes) -> None:
    assert readable_task_id(readable(b'{"task_id":"%b"}' % task_id)) is None


@pytest.mark.parametrize("value", [None, 5, "", [], {}, "a.b", "x" * 129])
def test_a_goal_id_is_read_only_if_it_can_be_part_of_a_subject(value: object) -> None:
    assert readable_task_id({"goal_id": value}, "goal_id") is None


def test_a_message_is_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        task().hops = 3  # type: ignore[misc]
