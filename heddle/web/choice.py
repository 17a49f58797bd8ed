"""Which dead letters a query or a form asks for: pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from heddle import subjects
from heddle.control.deadletters import Wanted
from heddle.errors import Code
from heddle.messages import is_name, is_token

AGES: Final[Mapping[str, tuple[str, float]]] = {
    "1h": ("the last hour", 3600.0),
    "1d": ("the last day", 86_400.0),
    "7d": ("the last week", 7 * 86_400.0),
}
FIELDS: Final = ("code", "type", "tier", "goal", "age", "text")


def wanted_of(fields: Mapping[str, str], now: float) -> Wanted:
    """The letters that a query or a form asks for; an age counts from the full minute, so that many ask for the same."""
    given = {name: value for name in FIELDS if (value := fields.get(name, "").strip())}
    age = AGES.get(given.get("age", ""))
    since = None if age is None else now // 60 * 60 - age[1]
    return Wanted(
        code=given.get("code"),
        worker_type=given.get("type"),
        tier=given.get("tier"),
        since=since if (given_since := _moment(fields.get("since"))) is None else given_since,
        until=_moment(fields.get("until")),
        goal_id=given.get("goal"),
        text=given.get("text"),
    )


def _moment(text: str | None) -> float | None:
    """Seconds since the epoch, as a form carries them; None if they are none, or are past the year 2286."""
    return float(text) if text and text.replace(".", "", 1).isdecimal() and float(text) < 1e10 else None


def problem_of(fields: Mapping[str, str]) -> str | None:
    """What is wrong with a query or a form; nothing may be done with it then."""
    if (code := fields.get("code", "").strip()) and code not in list(Code):
        return f"There is no code {code!r}."
    for name in ("type", "tier"):
        if (value := fields.get(name, "").strip()) and value != subjects.NO_TOKEN and not is_name(value):
            return f"{value!r} cannot be a {name}."
    if (goal := fields.get("goal", "").strip()) and not is_token(goal):
        return f"{goal!r} cannot be a goal's id."
    if (age := fields.get("age", "").strip()) and age not in AGES:
        return f"There is no age {age!r}; there are {', '.join(AGES)}."
    for name in ("since", "until"):
        if (moment := fields.get(name, "")) and _moment(moment) is None:
            return f"{name} {moment!r} is no time in seconds since 1970."
    return None


def fields_of(wanted: Wanted) -> dict[str, Any]:
    """A choice as the fields of a form, so that what was looked at is what is replayed."""
    given = {
        "code": wanted.code,
        "type": wanted.worker_type,
        "tier": wanted.tier,
        "goal": wanted.goal_id,
        "text": wanted.text,
        "since": wanted.since,
        "until": wanted.until,
    }
    return {name: value for name, value in given.items() if value is not None}
