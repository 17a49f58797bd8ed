"""What a replay sends: the same message in its next generation, and nothing else of it is another."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heddle import subjects
from heddle.errors import Code
from heddle.messages import DeadLetter, Goal, TaskMessage, decode
from heddle.replays import Again, Never, merge_patched, sent_again

MIB = 1 << 20
OURS = ("generation", "attempt", "hops", "task_id", "goal_id")


def letter(**fields: Any) -> DeadLetter:
    known: dict[str, Any] = {
        "reason": "handler_failed: no",
        "original_task": {},
        "task_id": "t",
        "id": "letter-0",
        "code": "handler_failed",
        "at": "2027-01-15T08:00:00Z",
        "by": "worker/a",
        "remedy": "none",
    }
    return DeadLetter(**(known | fields))


def again(body: bytes, patch: dict[str, Any] | None = None, **fields: Any) -> Again:
    sent = sent_again(letter(**fields), body, patch, MIB)
    assert isinstance(sent, Again), sent
    return sent


def never(body: bytes, patch: dict[str, Any] | None = None, **fields: Any) -> str:
    sent = sent_again(letter(**fields), body, patch, MIB)
    assert isinstance(sent, Never), sent
    return sent.why


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "hops", "generation", "attempt", "task_id"]), inner),
    max_leaves=8,
)
TASKS = st.fixed_dictionaries(
    {"worker_type": st.just("echo"), "payload": st.dictionaries(st.sampled_from(["x", "hops", "generation"]), JSON)},
    optional={
        "task_id": st.just("t") | st.none(),
        "generation": st.integers(0, 5),
        "attempt": st.integers(1, 5),
        "hops": st.integers(0, 5) | st.none(),
        "metadata": st.dictionaries(st.sampled_from(["generation", "b"]), JSON),
        "_more": JSON,
    },
)


@given(TASKS, st.sampled_from([None, 2]), st.booleans())
@settings(max_examples=60, deadline=None)
def test_a_task_has_its_next_generation_its_first_attempt_one_more_hop_and_is_the_same_otherwise(
    task: dict[str, Any], indent: int | None, escaped: bool
) -> None:
    body = json.dumps(task, indent=indent, ensure_ascii=escaped).encode()
    sent = again(body, generation=task.get("generation", 0))
    read = json.loads(sent.body)
    assert (read["generation"], read.get("attempt", 1), read["hops"]) == (task.get("generation", 0) + 1, 1, (task.get("hops") or 0) + 1)
    assert (read["task_id"], sent.task_id, sent.subject) == ("t", "t", subjects.TASKS_INCOMING)
    assert {key: value for key, value in read.items() if key not in OURS} == {k: v for k, v in task.items() if k not in OURS}
    assert decode(TaskMessage, sent.body) == sent.message


def test_numbers_and_unknown_keys_stay_byte_for_byte() -> None:
    body = b'{ "payload" : {"b":1.50, "a":1e3} ,"worker_type":"a", "task_id":"t","generation": 0 ,"_k":[1.0]}'
    assert again(body).body == b'{"hops":1, "payload" : {"b":1.50, "a":1e3} ,"worker_type":"a", "task_id":"t","generation": 1 ,"_k":[1.0]}'


def test_a_task_that_came_without_an_id_keeps_the_one_that_was_made_for_it() -> None:
    sent = again(b'{"worker_type":"a","payload":{},"parent_task_id":"g"}', task_id="HEDDLE_INCOMING-1-2")
    assert (sent.task_id, sent.outcome) == ("HEDDLE_INCOMING-1-2", subjects.task_outcome("HEDDLE_INCOMING-1-2", "g", 1))


def test_a_goal_goes_where_goals_go_and_has_no_hops() -> None:
    sent = again(b'{"instruction":"do it","goal_id":"g"}', kind="goal", task_id="g", generation=0)
    assert json.loads(sent.body) == {"generation": 1, "instruction": "do it", "goal_id": "g"}
    assert (sent.subject, sent.outcome, type(sent.message)) == (subjects.GOALS_INCOMING, subjects.goal_outcome("g", 1), Goal)


def test_the_higher_of_the_letters_and_the_messages_generation_counts() -> None:
    assert again(b'{"worker_type":"a","payload":{},"generation":4}', generation=2).generation == 5
    assert again(b'{"worker_type":"a","payload":{},"generation":2}', generation=4).generation == 5


@pytest.mark.parametrize(
    ("body", "fields", "told"),
    [
        (b"[]", {}, "correct it with --patch, or publish the message anew"),
        (b'{"worker_type":"a","payload":5}', {}, "payload"),
        (b'{"worker_type":"a","payload":{}}', {"code": "loop"}, "--patch '{\"hops\": 0}'"),
        (b'{"instruction":"x"}', {"code": "loop", "kind": "goal"}, "submit it anew"),
        (b'{"worker_type":"a","payload":{"x":"%b"}}' % (b"y" * (MIB - 4096)), {}, "publish a reference"),
    ],
)
def test_what_cannot_be_sent_again_says_what_to_do(body: bytes, fields: dict[str, Any], told: str) -> None:
    assert told in never(body, **fields)


@pytest.mark.parametrize("key", ["generation", "hops"])
def test_a_message_with_the_highest_number_there_is_cannot_be_sent_again(key: str) -> None:
    body = b'{"task_id": "t", "worker_type": "echo", "payload": {}, "%b": %d}' % (key.encode(), 2**53)
    assert "another id" in never(body)


def test_a_loop_that_is_mended_goes_round_again() -> None:
    sent = again(b'{"worker_type":"a","payload":{},"hops":9}', {"hops": 0}, code=Code.LOOP.value)
    assert json.loads(sent.body)["hops"] == 1


@pytest.mark.parametrize("patch", [{"task_id": "u"}, {"task_id": None}, {"parent_task_id": "h"}])
def test_a_patch_leaves_the_ids_that_are_known(patch: dict[str, Any]) -> None:
    assert "keeps the ids" in never(b'{"worker_type":"a","payload":{}}', patch, parent_task_id="g")


def test_a_patch_gives_an_id_where_none_could_be_read() -> None:
    sent = again(b'{"worker_type":"a","payload":{},"task_id":5}', {"task_id": "u"}, task_id=None)
    assert (sent.task_id, sent.generation) == ("u", 1)


def test_a_patch_mends_a_generation_that_is_none_by_leaving_it_out() -> None:
    assert again(b'{"worker_type":"a","payload":{},"generation":"one","attempt":7}', {}).generation == 1


@pytest.mark.parametrize("body", [b"no json", b"[1]", b'"text"', b"\xff"])
def test_only_an_object_can_be_patched(body: bytes) -> None:
    assert "only a JSON object can be patched" in never(body, {"a": 1})


@pytest.mark.parametrize(
    ("target", "patch", "result"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a", "b"], ["c", "d"], ["c", "d"]),
        ({"a": "b"}, ["c"], ["c"]),
        ({"a": "foo"}, None, None),
        ({"a": "foo"}, "bar", "bar"),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_a_merge_patch_does_what_rfc_7386_says_in_its_appendix(target: Any, patch: Any, result: Any) -> None:
    assert merge_patched(target, patch) == result
