"""What texts say, whatever their spelling."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heddle.planning.words import has_invisible, holds, normal, number_of, numbers


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("Check ACME/Checkout", "check acme/checkout"),
        ("  two\n\tlines ", "2 lines"),
        ("\u201cquoted\u201d and \u2018quoted\u2019 and `quoted` and «quoted»", "quoted and quoted and quoted and quoted"),
        ("don\u2019t touch O\u2019Brien's", "don't touch o'brien's"),
        ("\uff21\uff43\uff4d\uff45\uff0f\uff38 \uff13\uff15", "acme/x 35"),
        ("\u0663 files", "3 files"),
        ("cafe\u0301", "caf\u00e9"),
        ("Stra\u00dfe", "strasse"),
        ("\ufb01le", "file"),
        ("1,000 and 12,345,678 and 1_000 and 1'000 and 1\u202f000", "1000 and 12345678 and 1000 and 1000 and 1000"),
        ("1,2,3 and 1,00 and v1,000", "1,2,3 and 1,00 and v1,000"),
        ("\u22125 and \u20133 and minus seven", "-5 and -3 and -7"),
        ("twenty-five, Two Hundred and Five", "25, 205"),
        ("between one hundred and five hundred", "between 100 and 500"),
        ("one two three", "1 2 3"),
        ("a dozen, two dozen, half a dozen, dozens", "12, 24, 6, dozens"),
        ("five thousand, 1.5 million, half a million, a hundred", "5000, 1500000, 500000, 100"),
        ("a couple of PRs", "2 prs"),
        ("someone, tenfold and often", "someone, tenfold and often"),
        ("\u6700\u540e3\u4e2aPR", "\u6700 \u540e 3 \u4e2a pr"),
    ],
)
def test_spelling_makes_no_difference(text: str, same: str) -> None:
    assert normal(text) == same


@pytest.mark.parametrize("text", ["10\u00b2", "1\u00bd", "\u2462", "x\u2083"])
def test_a_raised_digit_a_fraction_and_a_digit_in_a_circle_are_no_digits(text: str) -> None:
    assert normal(text) == text


@given(st.text(max_size=60))
@settings(max_examples=200, deadline=None)
def test_what_is_normal_stays_as_it_is(text: str) -> None:
    assert normal(normal(text)) == normal(text)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("3 of 12", [3, 12]),
        ("the last three, or twenty-five", [3, 25]),
        ("-5, x=-2, (-4) and 3-5, top-9", [-5, -2, -4, 3, 5, 9]),
        ("#12, pr-13, owner/name#14", [12, 13, 14]),
        ("20mb, 5 km, 3rd, 10k, 50%, $1.50", [20, 5, 3, 10_000, 50, "1.50"]),
        ("0.5 and .25 and 1e3", ["0.5", "0.25", 1000]),
        ("2024-06-01 at 10:30", [2024, 6, 1, 10, 30]),
        ("v2, sha1, 3f2a9c, 10.0.0.1, x3y, 0x1f", []),
        ("10\u00b2 and 1\u00bd", []),
    ],
)
def test_numbers_are_those_that_stand_for_themselves(text: str, found: list[int | str]) -> None:
    assert list(numbers(normal(text))) == [Decimal(number) for number in found]


@pytest.mark.parametrize(("value", "number"), [(3, 3), (0.1, "0.1"), (3.0, 3), (True, None), ("3", None), (float("nan"), None)])
def test_a_number_of_json_is_exact_and_a_boolean_is_none(value: object, number: int | str | None) -> None:
    assert number_of(value) == (None if number is None else Decimal(number))


GOAL = normal(
    "Look at https://github.com/acme/checkout.git, ../secrets, /etc/passwd and git@github.com:acme/web.git; also acme/api#12, "
    "in . (see src/), for bob@acme.com, C++, acme's x-files, label=semantic and lib\u200bcrypto."
)


@pytest.mark.parametrize(
    "phrase",
    [
        "acme/checkout", "acme", "github.com", "../secrets", "secrets", "/etc/passwd", "acme/web", "12", "api", ".", "src/", "src", "bob",
        "bob@acme.com", "c++", "x-files", "semantic", "look at",
    ],
)  # fmt: skip
def test_a_phrase_is_whole_words_or_parts_of_a_word_between_its_separators(phrase: str) -> None:
    assert holds(GOAL, phrase)


@pytest.mark.parametrize(
    "phrase",
    ["", "hub", "acm", "/secrets", "etc/passwd2", "..", "/", "c", "files", "x", "checkout.gi", "lib", "crypto", "mantic", "com", "at http"],
)
def test_a_part_of_a_part_is_no_phrase(phrase: str) -> None:
    assert not holds(GOAL, phrase)


@pytest.mark.parametrize(
    "alike", ["\u0430cme/checkout", "acme/checkou\u0442", "acme/check\u03bfut", "acme\u2044checkout", "acme\u2215checkout"]
)
def test_letters_that_only_look_alike_are_others(alike: str) -> None:
    assert not holds(GOAL, normal(alike))


@pytest.mark.parametrize("mark", ["\u200b", "\u200d", "\u0336", "\u202e", "\ufeff", "\u00ad", "\U000e0041"])
def test_what_clings_to_a_word_makes_it_another(mark: str) -> None:
    assert not holds(normal(f"triage acme/web{mark}"), "acme/web")
    assert not holds(normal(f"triage {mark}acme/web"), "acme/web")


@pytest.mark.parametrize("letter", ["\u200b", "\u202e", "\u2066", "\ufeff", "\u00ad", "\U000e0041", "\x00", "\x1b"])
def test_invisible_characters_are_seen(letter: str) -> None:
    assert has_invisible(f"acme{letter}/web")


@pytest.mark.parametrize(
    "text", ["plain", "two\nlines\t", "caf\u00e9", "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645", "\U0001f468\u200d\U0001f469"]
)
def test_what_scripts_and_emoji_need_is_not_invisible(text: str) -> None:
    assert not has_invisible(text)


@given(st.text(min_size=1, max_size=20), st.text(max_size=20), st.text(max_size=20))
@settings(max_examples=200, deadline=None)
def test_a_phrase_between_blanks_is_held(phrase: str, before: str, after: str) -> None:
    if phrase := normal(phrase):
        assert holds(f"{normal(before)} {phrase} {normal(after)}", phrase)
