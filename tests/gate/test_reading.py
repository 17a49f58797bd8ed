"""Logs of every format become sessions; what cannot be read is told with its line."""

from __future__ import annotations

import json
from typing import Any

import pytest

from heddle.gate.reading import Logs, read_logs, within
from heddle.gate.sessions import Call, encode
from heddle.strict_json import MOST_LEVELS
from tests.gate.found import calls, lines

LATEST = ("Forge.latest", {"repository": "acme/web", "count": 2}, [{"id": "a1b2c3d4e5f6"}])

CHAT: list[dict[str, Any]] = [
    {"role": "system", "content": "You work on repositories. Use the tools."},
    {"role": "user", "content": "Note on the newest change of acme/web that it is reviewed"},
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {
                "id": "call_1",
                "type": "function",
                "function": {"name": "forge__latest", "arguments": '{"repository": "acme/web", "count": 1}'},
            }
        ],
    },
    {"role": "tool", "tool_call_id": "call_1", "content": '[{"id": "a1b2c3d4e5f6", "title": "Round totals"}]'},
    {
        "role": "assistant",
        "content": "",
        "tool_calls": [
            {"id": "call_2", "type": "function", "function": {"name": "forge__annotate", "arguments": '{"change": "a1b2c3d4e5f6"}'}},
            {"id": "call_3", "type": "function", "function": {"name": "clock", "arguments": ""}},
        ],
    },
    {"role": "tool", "tool_call_id": "call_3", "content": [{"type": "text", "text": "noon"}]},
    {"role": "tool", "tool_call_id": "call_2", "content": "ForgeError: somebody else is writing"},
    {"role": "assistant", "content": "It could not be noted.", "usage": {"prompt_tokens": 900, "completion_tokens": 40, "cost": 0.02}},
]


def read(text: str | bytes, name: str = "log.jsonl") -> Logs:
    return read_logs([(name, text.encode() if isinstance(text, str) else text)])


def names(logs: Logs) -> dict[str, list[str]]:
    return {name: [call.name for call in session.calls] for name, session in logs.sessions.items()}


def test_events_of_sessions_that_took_turns_are_put_together() -> None:
    one, other = calls("s1", LATEST, LATEST), calls("s2", LATEST)
    assert names(read(lines([one[0], other[0], one[1]]))) == {"s1": ["Forge.latest"] * 2, "s2": ["Forge.latest"]}


def test_a_call_knows_its_line() -> None:
    logs = read(lines(calls("s1", LATEST)) + b"\n" + lines(calls("s2", LATEST)))
    assert str(logs.sessions["s2"].places[0]) == "log.jsonl:3"


def test_lines_that_are_nothing_known_are_told_with_their_numbers_and_the_rest_is_read() -> None:
    logs = read(b"hello\n" + lines(calls("s1", LATEST)) + b'{"some": "thing"}\n{"kind": "call"}\n')
    assert [str(place) for place, _ in logs.unknown] == ["log.jsonl:1", "log.jsonl:3", "log.jsonl:4"]
    assert names(logs) == {"s1": ["Forge.latest"]}


def test_a_list_of_nothing_known_is_one_thing_that_cannot_be_read_and_each_object_of_another_is_one() -> None:
    assert [str(place) for place, _ in read("[1, 2]").unknown] == ["log.jsonl:1"]
    assert [str(place) for place, _ in read('[{"a": 1}, {"b": 2}]').unknown] == ["log.jsonl[1]:1", "log.jsonl[2]:1"]


def test_a_transcript_as_one_json_list_is_a_session() -> None:
    (session,) = read(json.dumps(CHAT, indent=2), "chat.json").sessions.values()
    assert [call.name for call in session.calls] == ["Forge.latest", "Tools.clock", "Forge.annotate"]
    assert session.calls[0].result == [{"id": "a1b2c3d4e5f6", "title": "Round totals"}]
    assert session.calls[0].goal == "Note on the newest change of acme/web that it is reviewed"
    assert (session.calls[1].arguments, session.calls[1].result) == ({}, "noon")
    assert session.calls[2].error is not None
    assert (session.calls[2].error.type, session.calls[2].error.message) == ("ForgeError", "somebody else is writing")
    assert (session.usage[0].prompt_tokens, session.usage[0].cost) == (900, 0.02)


def test_a_file_of_one_message_a_line_is_a_session() -> None:
    logs = read("\n".join(map(json.dumps, CHAT)))
    assert len(logs.sessions["log.jsonl"].calls) == 3
    assert str(logs.sessions["log.jsonl"].places[0]) == "log.jsonl:4"


def test_a_line_may_be_a_whole_transcript_with_a_name_of_its_own() -> None:
    logs = read("\n".join(json.dumps({"id": name, "messages": CHAT}) for name in ("c1", "c2")))
    assert [len(session.calls) for session in (logs.sessions["c1"], logs.sessions["c2"])] == [3, 3]


def test_what_a_transcript_leaves_open_is_told() -> None:
    logs = read(json.dumps([*CHAT[:3], {"role": "tool", "tool_call_id": "other", "content": "?"}, {"role": "narrator"}]), "chat.json")
    assert [why for _, why in logs.unknown] == [
        "message 4: an answer to a call that nobody made",
        "message 5: no message: it has no role that is known",
        "message 3: the call of forge__latest has no answer",
    ]


def test_arguments_that_are_no_object_are_told() -> None:
    asked = {"role": "assistant", "tool_calls": [{"id": "x", "function": {"name": "f", "arguments": "[1"}}]}
    assert [why for _, why in read(json.dumps([asked]), "chat.json").unknown] == ["message 1: the arguments of f are no JSON object"]


def test_goal_records_are_read_with_their_tasks() -> None:
    tasks = [{"worker_type": "a", "payload": {"x": 1}}, {"worker_type": "b"}]
    (goal,) = read(json.dumps({"goal_id": "g1", "instruction": "do both", "planned": 5.0, "tasks": tasks})).goals
    assert [(task.macro, task.payload) for task in goal.tasks] == [("a", {"x": 1}), ("b", None)]


def test_a_file_that_is_broken_json_is_told_and_not_raised() -> None:
    assert [str(place) for place, _ in read('[{"role": "user"', "chat.json").unknown] == ["chat.json:1"]


def test_of_a_file_whose_first_line_was_cut_the_others_are_read() -> None:
    logs = read(b'{"kind":"call","sess\n' + lines(calls("s1", LATEST)))
    assert ([str(place) for place, _ in logs.unknown], names(logs)) == (["log.jsonl:1"], {"s1": ["Forge.latest"]})


def test_a_mark_of_the_encoding_before_the_first_line_is_no_part_of_it() -> None:
    assert names(read(b"\xef\xbb\xbf" + lines(calls("s1", LATEST)))) == {"s1": ["Forge.latest"]}


def test_a_line_may_be_a_list_of_messages() -> None:
    assert [len(session.calls) for session in read(f"{json.dumps(CHAT)}\n{json.dumps(CHAT)}\n").sessions.values()] == [3, 3]


@pytest.mark.parametrize(
    "message",
    [
        {"role": ["user"]},
        {"role": "assistant", "tool_calls": 5},
        {"role": "assistant", "tool_calls": {"id": "x"}},
        {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": '{"x": NaN}'}}]},
        {"role": "tool", "content": 5},
    ],
)
def test_a_message_of_another_shape_is_told_and_not_raised(message: dict[str, Any]) -> None:
    assert len(read(json.dumps([message]), "chat.json").unknown) == 1


@pytest.mark.parametrize("levels", [MOST_LEVELS, 100_000])
def test_what_is_nested_without_an_end_is_told_and_not_raised(levels: int) -> None:
    deep = f'{{"kind":"call","session":"s","tool":"A","method":"b","result":{"[" * levels}{"]" * levels}}}'
    assert [why for _, why in read(deep).unknown] == [f"not JSON: nested deeper than {MOST_LEVELS} levels"]


@pytest.mark.parametrize(
    ("tool", "method", "argument", "told"),
    [
        ("Forge", "latest", "count", ("Forge", "latest", "count")),
        ("forge", "list-changes", "class", ("Forge", "list_changes", "class_")),
        ("my_forge", "../../x", "user id", ("MyForge", "x", "user_id")),
        ("Field", "__init__", "self", ("Field_", "init", "self_")),
        ("", "", "", ("Value", "value", "value")),
        ("2nd", "löschen", "größe", ("N2nd", "löschen", "größe")),
    ],
)
def test_what_is_called_has_names_that_code_can_have(tool: str, method: str, argument: str, told: tuple[str, str, str]) -> None:
    (call,) = read(encode(Call(session="s", tool=tool, method=method, arguments={argument: 1}))).sessions["s"].calls
    assert (call.tool, call.method, *call.arguments) == told


def test_two_arguments_whose_names_become_the_same_are_told_apart() -> None:
    (call,) = read(encode(Call(session="s", tool="A", method="b", arguments={"a-b": 1, "a b": 2}))).sessions["s"].calls
    assert call.arguments == {"a_b": 1, "a_b_2": 2}


def test_a_window_leaves_out_sessions_that_ended_before_and_keeps_those_without_times() -> None:
    logs = read(lines(calls("old", LATEST)))
    logs.sessions |= read(json.dumps(CHAT), "chat.json").sessions
    kept = within(logs, 1_770_000_100.0)
    assert (list(kept.sessions), kept.untimed) == (["chat.json:1"], 1)
