"""When, in words: "2026-03-01", "yesterday", "last Monday", "noon tomorrow", "three days ago". All times are UTC.

A day stands for its beginning. Spans are counted to the second, but months and years by the calendar, and of a day that a month
lacks its last is taken. What could be two moments is none, and the error says why.
"""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Iterator, Sequence
from datetime import MAXYEAR, MINYEAR, UTC, date, datetime, time, timedelta
from math import floor
from typing import Final, Literal

from heddle.macros.amounts import CALENDAR, LONGEST, SECONDS, SPANS, Term, shown, terms, tokens

_DAYS: Final = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
_MONTHS: Final = ["january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november", "december"]
_WEEKDAYS: Final = {name: number for number, day in enumerate(_DAYS) for name in (day, day[:3])}
_MONTH_NUMBERS: Final = {name: number for number, month in enumerate(_MONTHS, 1) for name in (month, month[:3])}
_UNITS: Final = {**SPANS, **CALENDAR}
_NEAR: Final = {"day before yesterday": -2, "yesterday": -1, "today": 0, "tomorrow": 1, "day after tomorrow": 2}

_WRITTEN: Final = re.compile(
    r"(?P<day>[0-9]{4}-[0-9]{2}-[0-9]{2})"
    r"(?:(?: |[Tt])(?P<clock>[0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,9})?)?) ?(?P<zone>Z|z|UTC|[+-][0-9]{2}:[0-9]{2})?)?"
)
_DATE: Final = re.compile(r"(?P<day>[0-9]{1,2})(?:st|nd|rd|th)? (?:of )?(?P<month>[a-z]+),? (?P<year>[0-9]{4})")
_DATE_BY_MONTH: Final = re.compile(r"(?P<month>[a-z]+) (?P<day>[0-9]{1,2})(?:st|nd|rd|th)?,? (?P<year>[0-9]{4})")
_CLOCK: Final = r"(?:at )?(?:(?P<noon>noon)|(?P<hour>[0-9]{1,2})(?::(?P<minute>[0-9]{2}))?(?: ?(?P<half>am|pm))?)(?: utc)?"
_WITH_CLOCK: Final = (re.compile(rf"(?P<day>.+?),? {_CLOCK}"), re.compile(rf"{_CLOCK},? (?:on )?(?P<day>.+)"))

_ANY_DAY: Final = "|".join(_WEEKDAYS)
_ANY_MONTH: Final = "|".join(_MONTH_NUMBERS)
_UNCLEAR: Final = (
    (r".*\bmidnight\b.*", "could be the beginning or the end of a day: write 00:00 and the day"),
    (r".*\b12(:[0-9]{2})? ?(am|pm)\b.*", "could be noon or midnight: write noon, or 00:00"),
    (r"(.* )?at [0-9]{1,2}(?! ?[ap]m)( .*)?", "could be in the morning or in the evening: write 09:00, or 9 am"),
    (
        r"(.* )?(?![0-9]{4}-[0-9]{2}-[0-9]{2}\b)[0-9]{1,4}([/.-])[0-9]{1,2}\2[0-9]{1,4}( .*)?",
        "could have its day or its month first: write it as 2026-03-01",
    ),
    (rf"(.* )?({_ANY_DAY})( .*)?", "could be one of several days: write 'last Monday', 'coming Monday' or a date"),
    (r"(the )?(last|past|previous|this|next) (week|month|quarter|year)", "is a stretch of time: write the day that it begins on"),
    (rf"(.* )?({_ANY_MONTH})( .*)?", "lacks its day or its year: write it as 2026-03-01"),
    (_CLOCK, "is a time of an unknown day: write the day as well"),
)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def moment(text: str, now: float | None) -> datetime:
    """The moment that a text states, in UTC.

    Args:
        text: as somebody wrote it.
        now: what "three days ago" counts from, in seconds since the epoch; None if there is nothing to count from.

    Raises:
        ValueError: it states none, or could be two, or counts from now and there is no now.
    """
    if len(text) > LONGEST:
        raise ValueError(f"{shown(text)} is too long: at most {LONGEST} characters")
    said = " ".join(text.split())
    try:
        if found := _written(said) or _dated(said.lower()):
            return found
        found = _counted(said.lower(), _EPOCH + timedelta(seconds=0 if now is None else floor(now)))
    except OverflowError:
        raise ValueError(f"{shown(text)} is not between the years 1 and 9999") from None
    if found is None:
        raise ValueError(f"{shown(text)} {_why_none(said.lower())}")
    if now is None:
        raise ValueError(
            f"{shown(text)} counts from the time at which a goal is given, and there is no goal here: "
            "write the time itself, such as 2026-03-01T12:00:00Z"
        )
    return found


def _why_none(said: str) -> str:
    return next(
        (reason for pattern, reason in _UNCLEAR if re.fullmatch(pattern, said)),
        "is no time: write one such as 2026-03-01, 2026-03-01T12:00:00Z, yesterday, last Monday, noon tomorrow or three days ago",
    )


def _written(said: str) -> datetime | None:
    """A date, or a date and a time, as RFC 3339 has them; without an offset in UTC."""
    match = _WRITTEN.fullmatch(said)
    if match is None:
        return None
    zone = "Z" if match["zone"] in {None, "z", "UTC"} else match["zone"]
    try:
        return datetime.fromisoformat(f"{match['day']}T{match['clock'] or '00:00'}{zone}").astimezone(UTC)
    except ValueError as error:
        raise ValueError(f"{shown(said)} is no time: {error}") from None


def _dated(said: str) -> datetime | None:
    """A date with its year, in digits or with the month's name, perhaps with a time of day."""
    for words, clock in _days_and_clocks(said):
        day = words
        match = _DATE.fullmatch(words) or _DATE_BY_MONTH.fullmatch(words)
        if match and match["month"] in _MONTH_NUMBERS:
            day = f"{match['year']}-{_MONTH_NUMBERS[match['month']]:02}-{match['day']:>02}"
        if len(day) == len("2026-03-01") and (beginning := _written(day)):
            return datetime.combine(beginning, clock, UTC)
    return None


def _counted(said: str, now: datetime) -> datetime | None:
    """A moment that depends on now: a day near it, perhaps with a time of day, or so long before it or after it."""
    for words, clock in _days_and_clocks(said):
        if (day := _near(words.removeprefix("the "), now.date())) is not None:
            return datetime.combine(day, clock, UTC)
    match tokens(said):
        case ["now"] | ["right", "now"]:
            return now
        case [*span, "ago"]:
            return _moved(now, terms(span, _UNITS), -1)
        case ["in", *span] | [*span, "from", "now"]:
            return _moved(now, terms(span, _UNITS), 1)
        case _:
            return None


def _days_and_clocks(said: str) -> Iterator[tuple[str, time]]:
    """The ways to take a text for a day and a time of day; a day alone stands for its beginning."""
    yield said, time()
    for pattern in _WITH_CLOCK:
        match = pattern.fullmatch(said)
        clock = _clock(match) if match else None
        if match and clock is not None:
            yield match["day"], clock


def _clock(match: re.Match[str]) -> time | None:
    """The time of day, if it can be but one."""
    if match["noon"]:
        return time(12)
    hour, minute = int(match["hour"]), int(match["minute"] or 0)
    if match["half"]:
        return time(hour + 12 * (match["half"] == "pm"), minute) if 1 <= hour <= 11 and minute < 60 else None
    return time(hour, minute) if match["minute"] and hour < 24 and minute < 60 else None


def _near(words: str, today: date) -> date | None:
    if words in _NEAR:
        return today + timedelta(days=_NEAR[words])
    match words.split():
        case ["last" | "past" | "previous", day] if day in _WEEKDAYS:
            return today - timedelta(days=(today.weekday() - _WEEKDAYS[day] - 1) % 7 + 1)
        case ["coming", day] | ["this", "coming", day] if day in _WEEKDAYS:
            return today + timedelta(days=(_WEEKDAYS[day] - today.weekday() - 1) % 7 + 1)
        case _:
            return None


def _moved(now: datetime, span: Sequence[Term] | None, direction: Literal[-1, 1]) -> datetime | None:
    """So much before or after now; no half months, which are of no certain length."""
    if span is None or any(term.unit in CALENDAR and term.number.denominator != 1 for term in span):
        return None
    months = sum(int(term.number) * (12 if term.unit == "year" else 1) for term in span if term.unit in CALENDAR)
    seconds = sum(term.number * SECONDS[term.unit] for term in span if term.unit in SECONDS)
    year, month = divmod(now.year * 12 + now.month - 1 + direction * months, 12)
    if not MINYEAR <= year <= MAXYEAR:
        raise OverflowError
    moved = now.replace(year=year, month=month + 1, day=min(now.day, monthrange(year, month + 1)[1]))
    return moved + direction * timedelta(seconds=round(seconds))
