"""Events of session logs: written, cut, read again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import to_json

from heddle.gate.sessions import KEPT_BYTES, Call, SessionLog, Usage, decode, encode

LOG = SessionLog("s1", goal="label the last 3 changes", goal_id="goal-1", novel="research")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)


class Busy(Exception):
    """An error."""


@given(JSON)
def test_an_event_is_read_as_it_was_written(result: object) -> None:
    event = LOG.called("Forge", "latest", {"count": 3}, result, 1_770_000_000.0)
    assert decode(encode(event)) == event


def test_a_call_carries_what_its_session_is_for() -> None:
    event = LOG.called("Forge", "latest", {"count": 3}, [], 1_770_000_000.0)
    told = (event.session, event.goal, event.goal_id, event.novel, event.at)
    assert told == ("s1", "label the last 3 changes", "goal-1", "research", "2026-02-02T02:40:00.000Z")


def test_an_error_is_kept_by_its_class_and_words() -> None:
    event = LOG.failed("Forge", "latest", {}, Busy("try later"), 1.0)
    assert event.error is not None
    assert (event.error.type, event.error.message, event.result) == ("Busy", "try later", None)


@given(st.integers(0, 60), st.integers(0, 3000), st.integers(0, 60))
def test_of_a_long_result_only_the_beginning_is_kept_and_it_says_so(items: int, letters: int, nested: int) -> None:
    result = {"items": ["é" * letters] * items, "nested": [{"text": "x" * 500} for _ in range(nested)]}
    event = LOG.called("Store", "query", {}, result, 1.0)
    assert len(to_json(event.result)) <= KEPT_BYTES
    assert event.cut == (event.result != result)


def test_the_digest_is_of_the_whole_result() -> None:
    one, other = (LOG.called("Store", "read", {}, "x" * 40_000 + end, 1.0) for end in "ab")
    assert one.result == other.result
    assert one.digest != other.digest


@pytest.mark.parametrize(
    "line",
    [b"", b"[]", b"{}", b'{"kind":"call","session":"s"}', b'{"kind":"jump","session":"s"}', b'{"kind":"usage","session":"s","at":"noon"}'],
)
def test_what_is_no_event_is_refused(line: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # the words are the decoder's
        decode(line)


def test_keys_that_are_not_known_are_passed_over() -> None:
    assert decode(b'{"kind":"usage","session":"s","model":"m","cost":0.5,"mood":"good"}') == Usage(session="s", model="m", cost=0.5)
    assert isinstance(decode(b'{"kind":"call","session":"s","tool":"A","method":"b"}'), Call)
