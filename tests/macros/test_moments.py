"""When, in words: what is clear is read in UTC, and what could be two moments says why."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heddle.macros.moments import moment

WEDNESDAY = datetime(2026, 3, 18, 15, 0, 30, tzinfo=UTC)
NOW = WEDNESDAY.timestamp()


def at(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[arg-type,misc]  # year, month, day and so on


WRITTEN = [
    ("2026-03-01", at(2026, 3, 1)),
    ("2026-03-01T12:30:15Z", at(2026, 3, 1, 12, 30, 15)),
    ("2026-03-01t12:30:15z", at(2026, 3, 1, 12, 30, 15)),
    ("2026-03-01T12:00:00+02:00", at(2026, 3, 1, 10)),
    ("2026-03-01T23:30:00-01:00", at(2026, 3, 2, 0, 30)),
    ("2026-03-01T12:00:00.25Z", at(2026, 3, 1, 12, 0, 0, 250_000)),
    ("2026-03-01T12:00:00.123456789Z", at(2026, 3, 1, 12, 0, 0, 123_456)),
    ("2026-03-01 12:00", at(2026, 3, 1, 12)),
    ("2026-03-01 12:00 UTC", at(2026, 3, 1, 12)),
    ("2026-03-01 at noon", at(2026, 3, 1, 12)),
    ("9 am on 2026-03-01", at(2026, 3, 1, 9)),
    ("1 March 2026", at(2026, 3, 1)),
    ("1st of March 2026", at(2026, 3, 1)),
    ("3 Mar, 2026", at(2026, 3, 3)),
    ("March 2nd, 2026", at(2026, 3, 2)),
    ("may 3 2026 at 14:05", at(2026, 5, 3, 14, 5)),
]
COUNTED = [
    ("now", WEDNESDAY),
    ("today", at(2026, 3, 18)),
    ("Yesterday", at(2026, 3, 17)),
    ("tomorrow", at(2026, 3, 19)),
    ("the day before yesterday", at(2026, 3, 16)),
    ("day after tomorrow", at(2026, 3, 20)),
    ("last Monday", at(2026, 3, 16)),
    ("last Wednesday", at(2026, 3, 11)),
    ("past thu", at(2026, 3, 12)),
    ("previous Tuesday", at(2026, 3, 17)),
    ("coming Wednesday", at(2026, 3, 25)),
    ("this coming Friday", at(2026, 3, 20)),
    ("noon tomorrow", at(2026, 3, 19, 12)),
    ("tomorrow at noon", at(2026, 3, 19, 12)),
    ("9am tomorrow", at(2026, 3, 19, 9)),
    ("tomorrow, at 9:30 pm", at(2026, 3, 19, 21, 30)),
    ("yesterday at 14:30 utc", at(2026, 3, 17, 14, 30)),
    ("last Monday 00:00", at(2026, 3, 16)),
    ("three days ago", WEDNESDAY - timedelta(days=3)),
    ("an hour ago", WEDNESDAY - timedelta(hours=1)),
    ("half an hour ago", WEDNESDAY - timedelta(minutes=30)),
    ("2 weeks and 3 days ago", WEDNESDAY - timedelta(days=17)),
    ("in two weeks", WEDNESDAY + timedelta(days=14)),
    ("36 hours from now", WEDNESDAY + timedelta(hours=36)),
    ("a month ago", at(2026, 2, 18, 15, 0, 30)),
    ("two years and a month ago", at(2024, 2, 18, 15, 0, 30)),
    ("in 10 months", at(2027, 1, 18, 15, 0, 30)),
]


@pytest.mark.parametrize(("text", "found"), WRITTEN)
def test_a_time_that_is_written_out_needs_no_now(text: str, found: datetime) -> None:
    assert moment(text, None) == moment(text, NOW) == found


@pytest.mark.parametrize(("text", "found"), COUNTED)
def test_a_time_that_counts_from_now_is_in_utc(text: str, found: datetime) -> None:
    assert moment(text, NOW) == found
    assert moment(text, NOW).utcoffset() == timedelta(0)


@pytest.mark.parametrize("text", [text for text, _ in COUNTED])
def test_a_time_that_counts_from_now_is_refused_where_there_is_no_now_with_the_remedy(text: str) -> None:
    with pytest.raises(ValueError, match="there is no goal here: write the time itself, such as 2026-03-01T12:00:00Z"):
        moment(text, None)


@pytest.mark.parametrize(
    ("day", "found"),
    [("2024-03-31", "2024-02-29"), ("2026-03-31", "2026-02-28"), ("2026-05-31", "2026-04-30"), ("2026-01-31", "2025-12-31")],
)
def test_of_a_day_that_the_month_lacks_its_last_is_taken(day: str, found: str) -> None:
    now = datetime.fromisoformat(f"{day}T12:00:00Z").timestamp()
    assert moment("a month ago", now) == datetime.fromisoformat(f"{found}T12:00:00Z")


UNCLEAR = [
    ("03/04/2026", "could have its day or its month first: write it as 2026-03-01"),
    ("3.4.2026 at noon", "could have its day or its month first"),
    ("2026-3-1", "could have its day or its month first"),
    ("next Friday", "could be one of several days: write 'last Monday', 'coming Monday' or a date"),
    ("Friday", "could be one of several days"),
    ("on Friday at noon", "could be one of several days"),
    ("midnight tomorrow", "could be the beginning or the end of a day"),
    ("12 pm tomorrow", "could be noon or midnight"),
    ("tomorrow at 12:30 am", "could be noon or midnight"),
    ("tomorrow at 9", "could be in the morning or in the evening"),
    ("last week", "is a stretch of time"),
    ("the past month", "is a stretch of time"),
    ("March 2026", "lacks its day or its year"),
    ("1 March", "lacks its day or its year"),
    ("noon", "is a time of an unknown day"),
    ("14:30", "is a time of an unknown day"),
    ("2026-02-30", "is no time: day is out of range"),
    ("31 February 2026", "is no time: day is out of range"),
    ("2026-03-01T24:30:00Z", "is no time: "),
    ("2026-03-01T12:00:60Z", "is no time: "),
    ("2026-03-01T12:00:00+25:00", "is no time: "),
    ("0000-01-01", "is no time: "),
    ("0001-01-01T00:00:00+02:00", "is not between the years 1 and 9999"),
    ("9999 years ago", "is not between the years 1 and 9999"),
    ("in 9999 years", "is not between the years 1 and 9999"),
    ("5000000 days ago", "is not between the years 1 and 9999"),
    ("999999999999999999 days ago", "is not between the years 1 and 9999"),
    ("half a month ago", "is no time"),
    ("a few days ago", "is no time"),
    ("two weeks", "is no time"),
    ("tomorrow at 25:00", "is no time"),
    ("tomorrow at 13 pm", "is no time"),
    ("tomorrow morning", "is no time"),
    ("5 pm EST tomorrow", "is no time"),
    ("2026-03-01 2026-03-02", "is no time"),
    ("1773846000", "is no time"),
    ("", "is no time"),
    ("yesterday " * 50, "is too long"),
]


@pytest.mark.parametrize(("text", "why"), UNCLEAR)
def test_what_is_no_time_or_could_be_two_says_why(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        moment(text, NOW)


@given(st.integers(-62_135_596_800, 253_402_300_799), st.sampled_from(["last", "coming"]), st.sampled_from(["monday", "thu", "sunday"]))
def test_the_last_and_the_coming_weekday_are_one_to_seven_days_away(now: int, which: str, day: str) -> None:
    today = datetime.fromtimestamp(now, UTC).date()
    try:
        found = moment(f"{which} {day}", now).date()
    except ValueError:
        assert today.year in {1, 9999}
        return
    away = (found - today).days if which == "coming" else (today - found).days
    assert (1 <= away <= 7, found.strftime("%A").lower().startswith(day)) == (True, True)
