"""The resolved tier and id, written into a task's own bytes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heddle.messages import TaskMessage, decode
from heddle.splice import routed_body

WORDS = st.sampled_from(
    ["model_tier", "task_id", 'a"model_tier', "model_tier\\", '"model_tier":"x"', "payload", "{", "}", "\u00e9\U0001f9f5", "local", ""]
)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | WORDS
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(WORDS | st.text(max_size=5), VALUES, max_size=4)
NAMES = st.sampled_from(["local", "standard", "frontier"])
ONCE = st.fixed_dictionaries({"model_tier": NAMES}) | st.fixed_dictionaries({"task_id": NAMES, 'a"model_tier': NAMES})
CONTRACT = set(TaskMessage.model_fields)


@dataclass(frozen=True)
class Style:
    """One of the many ways to write the same JSON: blanks, and how often a character is escaped."""

    chance: Random
    escapes: float

    def blank(self) -> str:
        return self.chance.choice(["", "", "", " ", "\n\t", "\r\n  "])

    def written(self, value: Any) -> str:
        match value:
            case str():
                return f'"{"".join(map(self.character, value))}"'
            case dict():
                return self.members(list(value.items()))
            case list():
                return f"[{self.blank()}{','.join(self.blank() + self.written(item) + self.blank() for item in value)}]"
            case _:
                return json.dumps(value)

    def character(self, character: str) -> str:
        if self.chance.random() >= self.escapes:
            return json.dumps(character, ensure_ascii=False)[1:-1]
        raw = character.encode("utf-16-be")
        return "".join(f"\\u{int.from_bytes(raw[at : at + 2]):04x}" for at in range(0, len(raw), 2))

    def members(self, pairs: list[tuple[str, Any]]) -> str:
        blank, written = self.blank, self.written
        parts = [f"{blank()}{written(key)}{blank()}:{blank()}{written(value)}{blank()}" for key, value in pairs]
        return "{" + ",".join(parts) + "}"


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """Any way to write a valid task: order, blanks, escapes, repeated keys, nulls, and the words everywhere else."""
    chance = draw(st.randoms(use_true_random=True))
    style = Style(chance, draw(st.sampled_from([0, 0, 0, 0.01, 1])))
    last: list[tuple[str, Any]] = [
        ("worker_type", "repo_triage"),
        ("payload", draw(OBJECTS | ONCE | ONCE.map(lambda inner: {"x": [inner]}))),
    ]
    last += [(key, value) for key, value in draw(OBJECTS).items() if key not in CONTRACT]
    for key, value in (
        ("model_tier", st.none() | NAMES),
        ("task_id", st.none() | st.text(max_size=20)),
        ("metadata", st.none() | OBJECTS),
        ("priority", st.none() | st.just("high")),
        ("macro_version", st.none() | st.just(2)),
    ):
        if draw(st.booleans()):
            last.append((key, draw(value)))
    chance.shuffle(last)
    earlier = [(key, draw(VALUES)) for key, _ in last if draw(st.integers(0, 5)) == 0]
    return f"{style.blank()}{style.members(earlier + last)}{style.blank()}".encode()


@given(bodies(), st.sampled_from(["local", "standard", "frontier", "own-tier_2"]))
@settings(max_examples=150, deadline=None)
def test_the_routed_bytes_are_the_same_task_with_the_resolved_tier_and_id(body: bytes, tier: str) -> None:
    before = decode(TaskMessage, body)
    given_id = before.task_id if before.task_id is not None else "HEDDLE_INCOMING-1-2"
    after = decode(TaskMessage, routed_body(body, before, given_id, tier))
    assert after.model_dump() == before.model_dump() | {"task_id": given_id, "model_tier": tier}


@given(bodies(), st.sampled_from(["local", "standard"]))
@settings(max_examples=30, deadline=None)
def test_a_routed_task_is_routed_again_without_a_change_in_its_bytes(body: bytes, tier: str) -> None:
    once = routed_body(body, decode(TaskMessage, body), "an-id", tier)
    assert routed_body(once, decode(TaskMessage, once), "another-id", tier) == once


def spliced(body: bytes, tier: str = "local") -> bytes:
    return routed_body(body, decode(TaskMessage, body), "made", tier)


def test_bytes_pass_through_where_nothing_changes() -> None:
    body = b' { "payload" : {"b":1, "a":1.50}, "worker_type":"a", "model_tier" : "local", "task_id":"1", "_x": null } \n'
    assert spliced(body) == body


def test_a_tier_that_is_there_once_is_replaced_in_its_place() -> None:
    body = b'{"task_id":"1","model_tier" : "standard" ,"worker_type":"a","payload":{}}'
    assert spliced(body) == b'{"task_id":"1","model_tier" : "local" ,"worker_type":"a","payload":{}}'


def test_what_is_missing_is_put_in_front() -> None:
    assert spliced(b'{"worker_type":"a","payload":{}}') == b'{"model_tier":"local","task_id":"made","worker_type":"a","payload":{}}'


def test_the_default_tier_is_written_out_for_the_worker() -> None:
    assert b'"model_tier":"standard"' in spliced(b'{"worker_type":"a","payload":{}}', "standard")


@pytest.mark.parametrize(
    "payload",
    [
        b'{"model_tier":"frontier"}',
        b'{"x":{"model_tier" : "frontier"}}',
        b'{"x":[{"model_tier":"frontier"}]}',
        b'{"a\\"model_tier":"frontier"}',
        b'{"x":"\\"model_tier\\":\\"frontier\\""}',
        b'{"x":"model_tier"}',
        b'{"task_id":"other"}',
    ],
)
def test_the_payload_s_own_words_stay_as_they_are_where_the_task_names_no_tier(payload: bytes) -> None:
    body = b'{"worker_type":"a","payload":%b}' % payload
    after = decode(TaskMessage, spliced(body))
    assert (after.payload, after.model_tier, after.task_id) == (json.loads(payload), "local", "made")


def test_an_escaped_key_is_overruled_at_the_end() -> None:
    after = decode(TaskMessage, spliced(b'{"\\u006dodel_tier":"standard","worker_type":"a","payload":{}}'))
    assert after.model_tier == "local"


def test_of_a_repeated_tier_the_last_is_overruled() -> None:
    after = decode(TaskMessage, spliced(b'{"model_tier":"standard","worker_type":"a","payload":{},"model_tier":"frontier"}'))
    assert after.model_tier == "local"


def test_a_tier_of_null_is_overruled() -> None:
    after = decode(TaskMessage, spliced(b'{"model_tier":null,"task_id":null,"worker_type":"a","payload":{}}'))
    assert (after.model_tier, after.task_id) == ("local", "made")


def test_an_id_with_quotes_stays_one_string() -> None:
    body = b'{"worker_type":"a","payload":{}}'
    routed = routed_body(body, decode(TaskMessage, body), 'a"b\\\u00e9', "local")
    assert decode(TaskMessage, routed).task_id == 'a"b\\\u00e9'
