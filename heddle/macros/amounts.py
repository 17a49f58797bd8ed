"""How much, in words: spans of time, sizes and percentages. What could mean two things is no amount, and the error says why.

Every reader takes a text and gives an exact fraction, the same on every machine.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Final, NamedTuple

from heddle.macros.number_words import number_of

LONGEST: Final = 400
"""Characters of a text that is read at all."""

SPANS: Final[Mapping[str, str]] = {
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), "second"),
    **dict.fromkeys(("min", "mins", "minute", "minutes"), "minute"),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), "hour"),
    **dict.fromkeys(("d", "day", "days"), "day"),
    **dict.fromkeys(("w", "wk", "wks", "week", "weeks"), "week"),
    **dict.fromkeys(("fortnight", "fortnights"), "fortnight"),
}
"""The spans of time that are always as long, by every word for them."""

SECONDS: Final[Mapping[str, int]] = {"second": 1, "minute": 60, "hour": 3_600, "day": 86_400, "week": 604_800, "fortnight": 1_209_600}

CALENDAR: Final[Mapping[str, str]] = dict.fromkeys(("month", "months"), "month") | dict.fromkeys(("year", "years"), "year")
"""The spans that are not: how long depends on where they begin."""

_DIRECTIONS: Final = frozenset({"last", "past", "next", "coming"})
_DAYS_IN: Final = {"month": "28 to 31 days", "year": "365 or 366 days"}
_MINUTES_OR_MONTHS: Final = "m is minutes or months: write min, or days"

_PREFIXES: Final = {"kilo": "kibi", "mega": "mebi", "giga": "gibi", "tera": "tebi", "peta": "pebi"}
_SIZES: Final[Mapping[str, int]] = {
    **dict.fromkeys(("B", "byte", "bytes"), 1),
    **{
        unit: base**power
        for power, (decimal, binary) in enumerate(_PREFIXES.items(), 1)
        for base, name, letter in ((1000, decimal, decimal[0]), (1024, binary, f"{decimal[0]}i"))
        for unit in (f"{name}byte", f"{name}bytes", f"{letter.capitalize()}B", f"{letter}b")
    },
    "kB": 1000,
}
"""Bytes by unit; a short one in lower case is how a size is typed in a hurry, and `Mb`, with its capital, is megabits."""

ROUND_SIZES: Final = tuple(
    (f"{letter}{mark}", base**power) for power, letter in reversed([*enumerate("KMGTP", 1)]) for base, mark in ((1000, "B"), (1024, "iB"))
)
"""Units in which a size may be a whole number, the largest first."""

_BITS: Final = re.compile(r"b|[KMGTP]i?b|(?i:(?:[kmgtp]i?|kilo|mega|giga|tera|peta|[kmgtp][ei]bi)?bits?)")
_PREFIX_ALONE: Final = re.compile(r"[kmgtp]i?", re.IGNORECASE)

_TOKEN: Final = re.compile(r"[0-9]+(?:\.[0-9]+)?|[A-Za-z]+|\S")
_JOINING: Final = re.compile(r"(?<=[0-9A-Za-z])-(?=[A-Za-z])")


class Term(NamedTuple):
    """A number of one unit."""

    number: Fraction
    unit: str


def days(text: str) -> Fraction:
    """A span of time in days: "two weeks", "36 h", "a day and a half", "the last 10 days".

    Raises:
        ValueError: it is none, or could be of two lengths.
    """
    words = tokens(text.lower())
    found = terms(_without_direction(words), SPANS)
    if found is None:
        raise ValueError(_no_span(text, words))
    return sum((term.number * SECONDS[term.unit] for term in found), Fraction(0)) / SECONDS["day"]


def _without_direction(words: list[str]) -> list[str]:
    """The last two weeks are as long as two weeks, and the past week is as long as a week."""
    after = words[1:] if words[:1] == ["the"] else words
    if not after or after[0] not in _DIRECTIONS:
        return words
    return ["a", *after[1:]] if after[1:] and after[1] in SPANS else after[1:]


def _no_span(text: str, words: Sequence[str]) -> str:
    if calendar := next((CALENDAR[word] for word in words if word in CALENDAR), None):
        return f"{shown(text)} could be of several lengths, for a {calendar} has {_DAYS_IN[calendar]}: write it in days or weeks"
    if "m" in words:
        return f"{shown(text)} could be of two lengths: {_MINUTES_OR_MONTHS}"
    return (
        _comma(text, words)
        or _no_unit(text, words, "days")
        or f"{shown(text)} is no span of time: write a number and a unit, such as 14 days, two weeks or 36 hours"
    )


def size(text: str) -> Fraction:
    """A size in bytes: "10 MB" (SI: a thousand thousands), "1.5 GiB" (IEC: powers of 1,024), "ten kilobytes".

    Raises:
        ValueError: it is none, or could be of two sizes.
    """
    words = tokens(text)
    unit = words[-1] if words else ""
    bytes_each = _SIZES.get(unit) or _SIZES.get(unit.lower() if len(unit) > 3 else "")
    number = number_of([word.lower() for word in words[:-1]])
    if bytes_each and number is not None:
        return number * bytes_each
    if _PREFIX_ALONE.fullmatch(unit) and number is not None:
        letter = unit[0].upper()
        raise ValueError(f"{shown(text)} could be of two sizes: write {letter}B (powers of 1000) or {letter}iB (powers of 1024)")
    if _BITS.fullmatch(unit) and number is not None:
        raise ValueError(f"{shown(text)} is in bits: write a size in bytes, such as 10 MB or 10 MiB")
    raise ValueError(
        _comma(text, words)
        or _no_unit(text, [word.lower() for word in words], "MB")
        or f"{shown(text)} is no size: write a number and a unit, such as 10 MB or 1.5 GiB"
    )


def percent(text: str) -> Fraction:
    """A percentage: "15%", "fifteen percent", "-2.5 %".

    Raises:
        ValueError: it is none.
    """
    words = tokens(text.lower())
    match words:
        case [*stated, "%" | "percent" | "pct"] | [*stated, "per", "cent"]:
            negative = stated[:1] == ["-"]
            number = number_of(stated[negative:])
            if number is not None:
                return -number if negative else number
    raise ValueError(
        _comma(text, words) or _no_unit(text, words, "%") or f"{shown(text)} is no percentage: write a number and %, such as 15%"
    )


def tokens(text: str) -> list[str]:
    """The words, numbers and marks of a text; a hyphen joins words and is left out: "14-day", "twenty-one".

    Raises:
        ValueError: the text is too long.
    """
    if len(text) > LONGEST:
        raise ValueError(f"{shown(text)} is too long: at most {LONGEST} characters")
    return _TOKEN.findall(_JOINING.sub(" ", text))


def terms(words: Sequence[str], units: Mapping[str, str]) -> list[Term] | None:
    """Numbers with units, such as "2 weeks and 3 days" or "an hour and a half"; each unit once; None if the words are none."""
    found: list[Term] = []
    stated: list[str] = []
    for word in words:
        if word not in units:
            stated.append(word)
            continue
        if found and stated[:1] in (["and"], [","]):
            del stated[0]
        number = number_of(stated)
        if number is None:
            return None
        found.append(Term(number, units[word]))
        stated = []
    if found and stated == ["and", "a", "half"] and found[-1].number.denominator == 1:
        found[-1] = Term(found[-1].number + Fraction(1, 2), found[-1].unit)
    elif stated:
        return None
    return found if found and len({term.unit for term in found}) == len(found) else None


def _comma(text: str, words: Sequence[str]) -> str | None:
    pairs = zip(words, words[1:], words[2:], strict=False)
    if any(before[0].isdigit() and mark == "," and after[0].isdigit() for before, mark, after in pairs):
        return f"{shown(text)} has a comma in its number, which marks decimals to some and thousands to others: write 1.5 or 1500"
    return None


def _no_unit(text: str, words: Sequence[str], unit: str) -> str | None:
    return f"{shown(text)} has no unit: write one, such as {text.strip()} {unit}" if number_of(words) is not None else None


def shown(text: str) -> str:
    """A text in an error: quoted, and not too long."""
    return repr(text if len(text) <= 60 else f"{text[:60]}…")
