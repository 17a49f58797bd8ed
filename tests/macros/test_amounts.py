"""How much, in words: what is clear is read, and what is not says why."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heddle.macros.amounts import days, percent, size
from heddle.macros.number_words import cardinal, number_of


@pytest.mark.parametrize(
    ("words", "number"),
    [
        ("3", 3), ("0.25", Fraction(1, 4)), ("zero", 0), ("twelve", 12), ("forty", 40), ("twenty one", 21), ("a", 1), ("an", 1),
        ("half a", Fraction(1, 2)), ("half an", Fraction(1, 2)), ("two and a half", Fraction(5, 2)), ("2 and a half", Fraction(5, 2)),
        ("one hundred", 100), ("a hundred", 100), ("two hundred and five", 205), ("two hundred fifty", 250), ("three thousand", 3000),
        ("a thousand and one", 1001), ("twelve thousand three hundred and forty five", 12345),
    ],
)  # fmt: skip
def test_numbers_in_digits_and_in_words_are_read(words: str, number: Fraction) -> None:
    assert number_of(words.split()) == number


@pytest.mark.parametrize(
    "words",
    [
        "", "and", "half", "hundred", "thousand", "two three", "2 3", "twenty twelve", "twenty zero", "zero hundred", "one hundred hundred",
        "one hundred and", "one thousand thousand", "zero thousand", "ten hundred", "1.5 and a half", "half a and a half", "a two",
        "1,5", "1.", ".5", "-1", "٣", "²", "one hundred zero", "few", "couple",
    ],
)  # fmt: skip
def test_what_is_no_number_is_none(words: str) -> None:
    assert number_of(words.split()) is None


@given(st.integers(0, 999_999))
def test_every_number_below_a_million_is_read_as_it_is_spelled(number: int) -> None:
    assert cardinal(spelled(number)) == number


def spelled(number: int) -> list[str]:
    small = (
        "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen"
    )
    tens = "twenty thirty forty fifty sixty seventy eighty ninety"
    thousands, rest = divmod(number, 1000)
    if thousands:
        return [*spelled(thousands), "thousand", *(spelled(rest) if rest else [])]
    hundreds, rest = divmod(number, 100)
    if hundreds:
        return [small.split()[hundreds], "hundred", *(["and", *spelled(rest)] if rest else [])]
    if number < 20:
        return [small.split()[number]]
    return [tens.split()[number // 10 - 2], *([small.split()[number % 10]] if number % 10 else [])]


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("14 days", 14), ("14d", 14), ("14-day", 14), ("two weeks", 14), ("Two Weeks", 14), ("a fortnight", 14), ("1 day", 1), ("36 h", 1.5),
        ("a day and a half", 1.5), ("one and a half days", 1.5), ("half a day", 0.5), ("2 weeks and 3 days", 17), ("2 weeks, 3 days", 17),
        ("1h30min", 0.0625), ("90 minutes", 0.0625), ("twenty-one days", 21), ("the last 10 days", 10), ("last week", 7),
        ("the past week", 7), ("the next two weeks", 14), ("  3   days ", 3), ("0 days", 0), ("86400 s", 1), ("0.1 days", 0.1),
    ],
)  # fmt: skip
def test_spans_of_time_are_read_in_days(text: str, number: float) -> None:
    assert float(days(text)) == number


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a month", "a month has 28 to 31 days"),
        ("2 years", "a year has 365 or 366 days"),
        ("1 year and 2 days", "a year has 365 or 366 days"),
        ("30 m", "m is minutes or months"),
        ("14", "has no unit: write one, such as 14 days"),
        ("fourteen", "has no unit"),
        ("1,5 days", "has a comma in its number"),
        ("1,500 days", "has a comma in its number"),
        ("2-3 days", "is no span of time"),
        ("-3 days", "is no span of time"),
        ("a few days", "is no span of time"),
        ("about two weeks", "is no span of time"),
        ("2 days 3 days", "is no span of time"),
        ("days", "is no span of time"),
        ("", "is no span of time"),
        ("1e3 days", "is no span of time"),
        ("10 MB", "is no span of time"),
        ("days ago", "is no span of time"),
        ("x" * 401, "is too long"),
    ],
)
def test_what_is_no_span_or_of_several_lengths_says_why(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        days(text)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0 B", 0), ("512 bytes", 512), ("1 byte", 1), ("10 MB", 10**7), ("10MB", 10**7), ("10-MB", 10**7), ("10 mb", 10**7), ("1 KB", 1000),
        ("1 kB", 1000), ("1 kb", 1000), ("2 GB", 2 * 10**9), ("1 TB", 10**12), ("1 PB", 10**15), ("1 KiB", 1024), ("1.5 GiB", 1610612736),
        ("2 MiB", 2 * 1024**2), ("ten megabytes", 10**7), ("two mebibytes", 2 * 1024**2), ("a gigabyte", 10**9), ("half a Terabyte", 5 * 10**11),
    ],
)  # fmt: skip
def test_sizes_are_read_in_bytes_by_powers_of_1000_or_1024(text: str, number: int) -> None:
    assert size(text) == number


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("10M", r"write MB \(powers of 1000\) or MiB \(powers of 1024\)"),
        ("10 k", r"write KB \(powers of 1000\) or KiB"),
        ("10 Gi", r"write GB \(powers of 1000\) or GiB"),
        ("10 Mb", "is in bits"),
        ("10 bits", "is in bits"),
        ("10 mbit", "is in bits"),
        ("10 gigabits", "is in bits"),
        ("10 Mibit", "is in bits"),
        ("10 mebibits", "is in bits"),
        ("512", "has no unit: write one, such as 512 MB"),
        ("1,5 GB", "has a comma in its number"),
        ("-1 MB", "is no size"),
        ("10 XB", "is no size"),
        ("MB", "is no size"),
        ("", "is no size"),
        ("1 GB and 200 MB", "is no size"),
        ("a few MB", "is no size"),
        ("1e9 B", "is no size"),
        ("10 mB", "is no size"),
    ],
)
def test_what_is_no_size_or_could_be_two_says_why(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        size(text)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("15%", 15), ("15 %", 15), ("15 percent", 15), ("15 per cent", 15), ("15 pct", 15), ("fifteen percent", 15), ("12.5%", 12.5),
        ("-2.5%", -2.5), ("0%", 0), ("250%", 250), ("half a percent", 0.5), ("One Percent", 1),
    ],
)  # fmt: skip
def test_percentages_are_read(text: str, number: float) -> None:
    assert percent(text) == Fraction(number)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("15", "has no unit"),
        ("0.15", "has no unit"),
        ("1,5%", "has a comma in its number"),
        ("half", "is no percentage"),
        ("%", "is no percentage"),
        ("--5%", "is no percentage"),
        ("5%%", "is no percentage"),
        ("12½%", "is no percentage"),
        ("5 percentage points", "is no percentage"),
        ("", "is no percentage"),
    ],
)
def test_what_is_no_percentage_says_why(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        percent(text)
