"""Dead letters: they always fit, they lose nothing, and they can be made again."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from heddle import subjects
from heddle.deadletters import Ending, Letter, end_of_unreadable, failed_result, letter_of
from heddle.errors import CODES, Code
from heddle.messages import DeadLetter, TaskResult, decode

MIB = 1024 * 1024
WHOLE = 128 * 1024
CUT = 4 * 1024
SOURCE = ("HEDDLE_INCOMING", 1_800_000_000_000_000, 42)


def unreadable(body: bytes, *, goal: bool = False) -> Ending:
    return end_of_unreadable(body, "not JSON: x", source=SOURCE, at=1_800_000_000.0, by="router/a", rules="abc", goal=goal)


def ending(**fields: Any) -> Ending:
    known: dict[str, Any] = {
        "code": Code.HANDLER_FAILED,
        "detail": "ValueError: no",
        "letter_id": subjects.task_letter("g-1", 0),
        "subject": subjects.task_outcome("g-1", "g", 0),
        "at": 1_800_000_000.0,
        "by": "worker/b",
        "task_id": "g-1",
        "worker_type": "repo_triage",
        "parent_task_id": "g",
        "tier": "local",
    }
    return Ending(**(known | fields))


def letter_for(original: bytes, **fields: Any) -> Letter:
    letter = letter_of(failed_result(ending(**fields)), original)
    assert letter is not None
    return letter


def read(original: bytes, **fields: Any) -> DeadLetter:
    return decode(DeadLetter, letter_for(original, **fields).body)


def json_of_size(size: int) -> bytes:
    body = b'{"worker_type":"a","payload":{"x":"' + b"y" * (size - 38) + b'"}}'
    assert len(body) == size
    return body


# --- any original

UNITS = st.sampled_from(
    [b'"', b"\\", b"\x00", b"\x1f", b"\x7f", b"\xff", "\u00e9".encode(), "\U0001f9f5".encode(), b"x", b"\xe2\x82", b"{", b" "]
)
LONG = st.builds(
    lambda unit, more, size: ((unit + more) * (size // len(unit + more) + 1))[:size], UNITS, st.binary(max_size=3), st.integers(0, MIB)
)
DEEP = st.integers(0, 150).map(lambda depth: b'{"a":' * depth + b"1" + b"}" * depth)
JSON = st.dictionaries(st.text(max_size=5), st.text(max_size=20) | st.integers() | st.none(), max_size=4).map(
    lambda value: json.dumps(value).encode()
)


@given(LONG | DEEP | JSON | st.binary(max_size=100))
@settings(max_examples=80, deadline=None)
@example(b"\x01" * WHOLE)
@example(b"\x01" * MIB)
@example(b"\xff" * WHOLE)
@example(b"\xff" * MIB)
@example(b'"' * WHOLE)
@example("\U0001f9f5".encode() * (MIB // 4))
@example(b"x" + "\U0001f9f5".encode() * (MIB // 4 - 1))
@example(json_of_size(WHOLE))
@example(json_of_size(WHOLE + 1))
def test_a_letter_fits_into_a_message_and_tells_all_of_its_original(original: bytes) -> None:
    made = letter_for(original, detail="\x00" * 5000)
    letter = decode(DeadLetter, made.body)
    assert len(made.body) < MIB
    assert letter.reason.startswith("handler_failed: ")
    assert (letter.size, letter.sha256) == (len(original), hashlib.sha256(original).hexdigest())
    assert letter.truncated is (made.whole is not None)
    assert made.whole in (None, original)


@given(LONG | DEEP | JSON)
@settings(max_examples=40, deadline=None)
def test_a_letter_made_twice_is_the_same(original: bytes) -> None:
    assert letter_for(original) == letter_for(original)


@given(st.binary(max_size=300) | st.text(max_size=100).map(str.encode) | JSON)
@settings(max_examples=80, deadline=None)
@example(b"")
@example(b"null")
@example(b'{"a":1,"a":2}')
def test_of_a_short_original_nothing_is_lost(original: bytes) -> None:
    letter = read(original)
    carried = letter.original_task
    match letter.encoding:
        case "json":
            assert carried == json.loads(original)
        case "text":
            assert carried.encode() == original
        case "base64":
            assert base64.b64decode(carried) == original


@pytest.mark.parametrize(
    ("original", "encoding"),
    [
        (b'{"worker_type":"a"}', "json"),
        (b" [1, 2]\n", "json"),
        (b'"text"', "json"),
        (b"label it", "text"),
        (b'{"worker_type":"a",}', "text"),
        (b'{"x":NaN}', "text"),
        (b"", "text"),
        ("é".encode(), "text"),
        (b'{"x":"\xff"}', "base64"),
        (b"\x00\xff", "base64"),
    ],
)
def test_an_original_is_carried_as_json_or_as_text_or_as_base64(original: bytes, encoding: str) -> None:
    assert read(original).encoding == encoding


def test_json_is_carried_as_it_came() -> None:
    original = b'{ "payload" : {"b":1.50, "a":1e3} ,"worker_type":"a" }'
    assert original in letter_for(original).body


@pytest.mark.parametrize(("size", "cut"), [(WHOLE, False), (WHOLE + 1, True)])
def test_json_up_to_128_kib_is_carried_whole(size: int, cut: bool) -> None:
    original = json_of_size(size)
    letter = read(original)
    assert (letter.truncated, letter.encoding) == ((True, "text") if cut else (False, "json"))
    assert letter_for(original).whole == (original if cut else None)


def test_what_is_cut_is_cut_to_its_first_4_kib() -> None:
    original = json_of_size(WHOLE + 1)
    assert read(original).original_task.encode() == original[:CUT]


@pytest.mark.parametrize("shift", range(4))
def test_a_cut_into_the_middle_of_a_character_is_still_text(shift: int) -> None:
    original = b"x" * shift + "\U0001f9f5".encode() * (WHOLE // 2)
    letter = read(original)
    assert letter.encoding == "text"
    assert original.startswith(letter.original_task.encode())
    assert len(letter.original_task.encode()) > CUT - 4


def test_long_bytes_that_are_not_utf_8_are_cut_to_their_first_4_kib_in_base64() -> None:
    original = b"\xff" * (WHOLE + 1)
    letter = read(original)
    assert (letter.encoding, base64.b64decode(letter.original_task)) == ("base64", original[:CUT])


def test_text_that_grows_too_long_once_encoded_is_cut() -> None:
    letter = letter_for(b"\x01" * WHOLE)
    assert letter.whole == b"\x01" * WHOLE


@pytest.mark.parametrize("tail", [b"\xc3", b"\xe2\x82", b"\xf0\x9f\xa7", b"\xff"])
@pytest.mark.parametrize("size", [CUT, CUT + 1, WHOLE])
def test_whole_bytes_that_end_in_no_utf_8_lose_nothing(size: int, tail: bytes) -> None:
    original = b"x" * (size - len(tail)) + tail
    letter = read(original)
    assert letter.encoding == "base64"
    assert base64.b64decode(letter.original_task) == original


@pytest.mark.parametrize(
    "original",
    [
        rb'{"x":"\ud800"}',
        rb'{"\udc00":1}',
        b"[" * 199 + b"]" * 199,
        b"[" * 200 + b"]" * 200,
        b"[" * 300 + b"]" * 300,
        b"[" * 900 + b"]" * 900,
    ],
    ids=lambda original: f"{original[:12]!r}*{len(original)}",
)
def test_a_letter_can_be_read_by_our_own_decoder_whatever_it_carries(original: bytes) -> None:
    assert read(original).sha256 == hashlib.sha256(original).hexdigest()


# --- what a letter says


def test_a_letter_says_everything_that_the_outcome_says() -> None:
    letter = read(b'{"worker_type":"repo_triage"}', attempt=3, generation=2, rules="abc")
    assert letter.model_dump(exclude={"size", "sha256"}) == {
        "reason": "handler_failed: ValueError: no",
        "original_task": {"worker_type": "repo_triage"},
        "task_id": "g-1",
        "worker_type": "repo_triage",
        "id": subjects.task_letter("g-1", 0),
        "kind": "task",
        "code": "handler_failed",
        "at": "2027-01-15T08:00:00.000Z",
        "by": "worker/b",
        "rules": "abc",
        "attempt": 3,
        "generation": 2,
        "tier": "local",
        "parent_task_id": "g",
        "remedy": CODES[Code.HANDLER_FAILED].remedy,
        "encoding": "json",
        "truncated": False,
        "traceback": None,
        "trace_id": None,
        "traceparent": None,
    }


@pytest.mark.parametrize("code", list(Code))
def test_every_code_has_a_letter_with_its_remedy(code: Code) -> None:
    letter = read(b"{}", code=code)
    assert (letter.code, letter.reason, letter.remedy) == (code.value, f"{code.value}: ValueError: no", CODES[code].remedy)


def test_a_letter_is_kept_under_its_code_type_tier_and_id() -> None:
    made = letter_for(b"{}")
    assert made.subject == f"heddle.dead.handler_failed.repo_triage.local.{made.id}"


def test_the_letter_is_the_same_after_the_outcome_went_over_the_wire() -> None:
    outcome = failed_result(ending(detail='é"\x00', rules=None))
    assert letter_of(decode(TaskResult, outcome.encode()), b"{}") == letter_of(outcome, b"{}")


def test_a_completed_outcome_implies_no_letter() -> None:
    assert letter_of(TaskResult(task_id="1", worker_type="a", status="completed", metadata={"dead_letter": {}}), b"{}") is None


def test_a_failed_outcome_of_somebody_else_s_making_implies_no_letter() -> None:
    assert letter_of(TaskResult(task_id="1", worker_type="a", status="failed", error="x"), b"{}") is None


# --- the failed outcome


def test_a_failed_outcome_says_code_and_detail() -> None:
    result = failed_result(ending())
    assert (result.task_id, result.worker_type, result.status, result.parent_task_id, result.error) == (
        "g-1",
        "repo_triage",
        "failed",
        "g",
        "handler_failed: ValueError: no",
    )


def test_a_failed_outcome_s_metadata_holds_what_the_contract_names() -> None:
    told = failed_result(ending(rules="abc", attempt=2, extra={"hops": {}})).metadata
    assert told["hops"] == {}
    assert {key: told["dead_letter"][key] for key in ("code", "at", "by", "rules", "attempt", "tier")} == {
        "code": "handler_failed",
        "at": "2027-01-15T08:00:00.000Z",
        "by": "worker/b",
        "rules": "abc",
        "attempt": 2,
        "tier": "local",
    }


@pytest.mark.parametrize("detail", ["x" * 10**6, "\x00" * 10**6, "\U0001f9f5" * 10**6])
def test_a_long_detail_is_cut(detail: str) -> None:
    assert len(failed_result(ending(detail=detail)).encode()) < 16 * 1024


def test_half_a_surrogate_pair_in_a_detail_does_no_harm() -> None:
    assert failed_result(ending(detail="\ud800 broken")).error == "handler_failed: ? broken"


# --- what does not decode


def test_an_unreadable_task_ends_under_its_own_id_if_that_can_be_read() -> None:
    found = unreadable(
        b'{"task_id":"g-1","parent_task_id":"g","worker_type":"repo_triage","payload":5,"generation":2,"attempt":3,"model_tier":"local"}'
    )
    assert (found.code, found.subject, found.letter_id) == (
        Code.INVALID_TASK_MESSAGE,
        subjects.task_outcome("g-1", "g", 2),
        subjects.task_letter("g-1", 2),
    )
    assert (found.task_id, found.parent_task_id, found.worker_type, found.tier, found.generation, found.attempt) == (
        "g-1",
        "g",
        "repo_triage",
        "local",
        2,
        3,
    )


def test_a_parent_that_cannot_be_a_subject_token_puts_the_outcome_under_default() -> None:
    found = unreadable(b'{"task_id":"1","parent_task_id":"a.b","worker_type":"a","payload":{}}')
    assert (found.subject, found.parent_task_id) == (subjects.task_outcome("1", None, 0), None)


@pytest.mark.parametrize(
    "body", [b"", b"nonsense", b"[]", b"{}", b'{"task_id":5}', b'{"task_id":null}', b'{"task_id":"' + b"x" * 257 + b'"}', b"\xff"]
)
def test_a_message_without_a_readable_task_has_a_letter_named_after_its_source_and_no_outcome(body: bytes) -> None:
    found = unreadable(body)
    assert (found.letter_id, found.subject, found.task_id) == ("HEDDLE_INCOMING-1800000000000000-42", None, None)


@pytest.mark.parametrize("generation", ["-1", "true", '"1"', "1.5", str(2**53 + 1), "null", "[]"])
def test_a_generation_that_is_none_counts_as_the_first(generation: str) -> None:
    assert unreadable(b'{"task_id":"1","generation":%b}' % generation.encode()).subject == subjects.task_outcome("1", None, 0)


@pytest.mark.parametrize("attempt", ["0", "-1", "true", '"1"', "null"])
def test_an_attempt_that_is_none_counts_as_the_first(attempt: str) -> None:
    assert unreadable(b'{"task_id":"1","attempt":%b}' % attempt.encode()).attempt == 1


@pytest.mark.parametrize("name", ['"Upper"', '"default"', "5", '"a.b"', "null"])
def test_a_worker_type_or_tier_that_is_no_name_is_left_out(name: str) -> None:
    found = unreadable(b'{"task_id":"1","worker_type":%b,"model_tier":%b}' % (name.encode(), name.encode()))
    assert (found.worker_type, found.tier) == (None, None)


def test_an_unreadable_goal_ends_under_its_goal_id() -> None:
    found = unreadable(b'{"goal_id":"g","instruction":5,"generation":1}', goal=True)
    assert (found.subject, found.task_id, found.worker_type) == (subjects.goal_outcome("g", 1), "g", "orchestrator")


def test_a_goal_id_that_cannot_be_a_subject_token_leaves_no_place_for_an_outcome() -> None:
    assert unreadable(b'{"goal_id":"a.b","instruction":5}', goal=True).subject is None


@given(
    st.binary(max_size=60)
    | JSON
    | st.dictionaries(
        st.sampled_from(["task_id", "goal_id", "generation", "attempt", "worker_type", "model_tier", "parent_task_id"]),
        st.text(max_size=5) | st.integers() | st.none() | st.booleans() | st.lists(st.integers(), max_size=2),
        max_size=7,
    ).map(lambda value: json.dumps(value).encode()),
    st.booleans(),
)
@settings(max_examples=150, deadline=None)
@example(b"[" * 100_000, False)
@example(b'{"task_id":"1","attempt":' + b"9" * 4000 + b"}", False)
@example(b'{"task_id":"1","attempt":' + b"9" * 5000 + b"}", False)
def test_whatever_does_not_decode_has_a_letter_with_a_subject_that_nats_takes(body: bytes, goal: bool) -> None:
    letter = letter_of(failed_result(unreadable(body, goal=goal)), body)
    assert letter is not None
    assert decode(DeadLetter, letter.body).code == "invalid_task_message"
    assert [bool(token) and " " not in token for token in letter.subject.split(".")] == [True] * 6
