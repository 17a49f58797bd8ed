"""Goals planned by sentence templates."""

from __future__ import annotations

import functools
import logging
import time
from enum import StrEnum
from typing import Annotated, Any, Literal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from heddle import macro, person_only
from heddle.errors import DefinitionError
from heddle.macros.loading import AnyMacro
from heddle.planning.phrases import MAX_CALLS, MAX_CHARACTERS, MAX_PARTS, MAX_WORDS, NoMatch, Phrasebook, compile_phrases, match_phrases
from heddle.planning.plan import PlannedCall

TRIAGE = "(check|triage|label) [the] [last] {count} (changes|PRs) (in|of) {repository} [and tag them] [using {label_strategy} [commits]]"
GOAL = "Check the last 3 PRs in acme/checkout and tag them using conventional commits"


class Colour(StrEnum):
    RED = "red"
    GREEN = "green"


class Triage(BaseModel):
    repository: str
    count: Annotated[int, Field(ge=1, le=200)] = 10
    label_strategy: Literal["conventional", "by-path"] | None = None


class Notes(BaseModel):
    repository: str
    since: str
    until: Annotated[str | None, Field(min_length=1)] = None


class Profile(BaseModel):
    path: str


class Everything(BaseModel):
    text: str = ""
    count: int = 0
    limit: int | None = None
    ratio: float = 0.0
    flag: bool = False
    colour: Colour = Colour.RED
    words: list[str] = []
    inner: Profile | None = None
    number: Literal[1, 2] = 1
    either: int | str = 0
    write: Annotated[bool, person_only] = False


class Renamed(BaseModel):
    repository: str = Field(alias="repo")


class Answer(BaseModel):
    done: bool = True


@macro(phrases=[TRIAGE])
async def repo_triage(request: Triage) -> Answer:
    return Answer()


@macro(phrases=["draft [the] release notes for {repository} from {since} [to {until}]", "changes in {repository} since {since}"])
async def release_notes(request: Notes) -> Answer:
    return Answer()


@macro(phrases=["profile {path}"])
async def data_profile(request: Profile) -> Answer:
    return Answer()


BOOK = compile_phrases([repo_triage, release_notes, data_profile])


def everything(*phrases: str, name: str = "everything") -> AnyMacro:
    @macro(name=name, phrases=phrases)
    async def handler(request: Everything) -> Answer:
        return Answer()

    return handler


@functools.cache
def book_of(phrase: str) -> Phrasebook:
    return compile_phrases([everything(phrase)])


def calls(goal: str, *macros: AnyMacro) -> tuple[PlannedCall, ...]:
    return planned(goal, compile_phrases(macros) if macros else BOOK)


def planned(goal: str, book: Phrasebook) -> tuple[PlannedCall, ...]:
    match match_phrases(goal, book):
        case NoMatch(reason=reason):
            pytest.fail(reason)
        case plan:
            return plan


def refusal(goal: str, *macros: AnyMacro) -> NoMatch:
    plan = match_phrases(goal, compile_phrases(macros) if macros else BOOK)
    assert isinstance(plan, NoMatch), plan
    return plan


def value(word: str, phrase: str = "paint {text} now") -> Any:
    """What the one slot of a phrase takes when the word stands in it."""
    slot = phrase[phrase.index("{") : phrase.index("}") + 1]
    (call,) = planned(phrase.replace(slot, word), book_of(phrase))
    (found,) = call.arguments.values()
    return found


def triage(repository: str, count: int, **more: Any) -> PlannedCall:
    return PlannedCall("repo_triage", {"repository": repository, "count": count, **more})


@pytest.mark.parametrize("end", ["", ".", "!", "?!", ";"])
def test_the_goal_of_the_design(end: str) -> None:
    assert calls(GOAL + end) == (triage("acme/checkout", 3, label_strategy="conventional"),)


@pytest.mark.parametrize("goal", ["label 3 changes of x", "TRIAGE THE LAST three PrS In x", "check\tthe  last 3\nchanges in x"])
def test_literal_words_match_in_any_case_and_spacing(goal: str) -> None:
    assert calls(goal) == (triage("x", 3),)


@pytest.mark.parametrize(
    "word",
    [
        "acme/Checkout", "./x", "../secrets", "https://x.y/?q=1", ".", "..", "HEAD~3", "v1.2.0", "{count}", "[a|b]", "(a", "<x>", "a;b",
        '"x', "don't", "don\u2019t", "É", "E\u0301", "Straße", "İx", "-", "3.5", "a\\b", "%s", "🙂", "\u200bx", "zq0z000", "paint", ",",
    ],
)  # fmt: skip
def test_a_text_slot_takes_a_word_exactly_as_it_is(word: str) -> None:
    assert value(word) == word


@pytest.mark.parametrize(
    ("quoted", "text"),
    [
        ('"a b"', "a b"), ("'a b'", "a b"), ("“a b”", "a b"), ("\u2018a b\u2019", "a b"), ("„a b“", "a b"), ("«a b»", "a b"),
        ('"a; b and  c."', "a; b and  c."), ("'don't go'", "don't go"), ('""', ""), ('"and"', "and"), ('"3"', "3"), ('" x "', " x "),
        ('"it\'s"', "it's"), ('"a"b"', 'a"b'),
    ],
)  # fmt: skip
def test_a_quoted_string_is_one_value_without_its_quotes(quoted: str, text: str) -> None:
    assert value(quoted) == text


@pytest.mark.parametrize(
    ("end", "path"),
    [
        ("x.", "x"), ("x!", "x"), ("x?", "x"), ("x,", "x"), ("x?!", "x"), ("x...", "x"), ("acme/checkout.", "acme/checkout"),
        ("v1.2.", "v1.2"), (".", "."), ("..", ".."), ("...", "..."), ("./", "./"), ("src/.", "src/."), ("src/..", "src/.."),
        ("main...", "main"), ("a/main...", "a/main..."), ("'a b.'.", "a b."), ("x/?", "x/?"), ("x;", "x"), ("?", "?"),
    ],
)  # fmt: skip
def test_the_mark_that_ends_the_goal_is_no_part_of_its_last_word(end: str, path: str) -> None:
    assert calls(f"profile {end}") == (PlannedCall("data_profile", {"path": path}),)


def test_a_mark_within_the_goal_is_kept() -> None:
    assert calls("changes in acme/x. since v1?") == (PlannedCall("release_notes", {"repository": "acme/x.", "since": "v1"}),)


def test_a_comma_at_the_end_of_a_word_is_punctuation() -> None:
    assert calls("check 3 PRs in acme/x, using by-path") == (triage("acme/x", 3, label_strategy="by-path"),)


@pytest.mark.parametrize(
    ("slot", "word", "expected"),
    [
        ("{count}", "3", 3), ("{count}", "-3", -3), ("{count}", "0", 0), ("{count}", "007", 7), ("{limit}", "3", 3), ("{text}", "3", "3"),
        ("{count}", "three", 3), ("{count}", "Twelve", 12), ("{count}", "nineteen", 19), ("{limit}", "ninety", 90), ("{ratio}", "0.5", 0.5),
        ("{ratio}", "3", 3.0), ("{ratio}", "-2.25", -2.25), ("{ratio}", "1E-3", 0.001), ("{ratio}", "two", 2.0), ("{flag}", "true", True),
        ("{flag}", "Yes", True), ("{flag}", "off", False), ("{flag}", "no", False), ("{colour}", "green", "green"),
        ("{colour}", "GREEN", "green"), ("{colour}", "'green'", "green"),
    ],
)  # fmt: skip
def test_a_slot_takes_a_word_of_its_type(slot: str, word: str, expected: object) -> None:
    found = value(word, f"paint {slot} now")
    assert (found, type(found)) == (expected, type(expected))


@pytest.mark.parametrize(
    ("slot", "word"),
    [
        ("{count}", "3.5"), ("{count}", "x"), ("{count}", "third"), ("{count}", "'3'"), ("{count}", "1e3"), ("{count}", "\u0663"),
        ("{count}", "3x"), ("{count}", "9" * 40), ("{count}", "true"), ("{ratio}", "nan"), ("{ratio}", "inf"), ("{ratio}", "1e999"),
        ("{ratio}", "0x1"), ("{ratio}", "1_0"), ("{flag}", "maybe"), ("{flag}", "'yes'"), ("{colour}", "gre"), ("{colour}", "greenish"),
        ("{text}", "and"), ("{text}", "a b"),
    ],
)  # fmt: skip
def test_a_slot_takes_no_other_word(slot: str, word: str) -> None:
    assert isinstance(refusal(f"paint {word} now", everything(f"paint {slot} now")), NoMatch)


def test_an_ending_in_brackets_belongs_to_the_word_before_it() -> None:
    phrase = everything("count PR[s] {text}")
    assert calls("count PRs x", phrase) == calls("count PR x", phrase)


@pytest.mark.parametrize(
    ("literal", "typed"),
    [
        ("überprüfe", "ÜBERPRÜFE"), ("überprüfe", "U\u0308berpru\u0308fe"), ("Straße", "straße"), ("İptal", "iptal"), ("ΣΑΣ", "σας"),
        ("हिन्दी", "हिन्दी"), ("what's", "What\u2019s"),
    ],
)  # fmt: skip
def test_literal_words_match_beyond_ascii(literal: str, typed: str) -> None:
    expected = (PlannedCall("everything", {"text": "x"}),)
    assert calls(f"{typed} x", everything(f"{literal} {{text}}")) == calls(f"{literal} x", everything(f"{typed} {{text}}")) == expected


@pytest.mark.parametrize(
    "goal",
    [
        "make me a sandwich", "check the last 3 PRs", "check the last 3 PRs in", "check the last 3 PRs in acme checkout",
        "please check the last 3 PRs in x", "check the last 3PRs in x", "check 3 PRs in x usingconventional", "profile", "profile a b",
        "profile x and", "and profile x", "profile x and and profile y", "profile and", "profile x and;", "profile x; and", "and", "", "  ",
        ";", "pro file x", "profile-x", "'profile' x", "check 3 PRs in x; and tag them", "check 3 PRs in x using by-path commits commits",
    ],
)  # fmt: skip
def test_a_goal_that_no_phrase_fits_wholly_is_refused(goal: str) -> None:
    assert refusal(goal).reason.startswith("no phrase fits: ")


@pytest.mark.parametrize(
    ("goal", "part"),
    [
        ("check the last 3 PRs in acme/checkout and email bob the password", "and email bob the password"),
        ("profile x; email bob; profile y", "email bob"),
        ("email bob and profile x", "email bob"),
        ("profile x, and email bob and profile y.", "and email bob"),
        ("make me a sandwich", "make me a sandwich"),
    ],
)
def test_the_refusal_shows_the_part_that_was_not_understood(goal: str, part: str) -> None:
    assert refusal(goal) == NoMatch(f"no phrase fits: {part!r}", part)


@pytest.mark.parametrize("goal", ["paint a redit it", "paint ared it", "painta red it", "paint a red itit", "paint a redit"])
def test_a_word_is_never_split(goal: str) -> None:
    assert refusal(f"{goal}; a; red; 3", everything("paint {text} {colour} it")).part == f"{goal}; a; red; 3"


def test_a_value_that_the_macro_refuses_is_no_match_and_the_refusal_says_why() -> None:
    assert refusal("check the last 500 PRs in x").reason == (
        "no phrase fits: 'check the last 500 PRs in x' (repo_triage: count: 500 is greater than the maximum of 200)"
    )


def test_a_goal_is_split_at_and_or_semicolon() -> None:
    goal = f"{GOAL[:-8]} commits and profile data/orders.csv; draft release notes for . from v1 to v2"
    assert calls(goal) == (
        triage("acme/checkout", 3, label_strategy="conventional"),
        PlannedCall("data_profile", {"path": "data/orders.csv"}),
        PlannedCall("release_notes", {"repository": ".", "since": "v1", "until": "v2"}),
    )


@pytest.mark.parametrize("between", [" and ", ", and ", "; ", " ; ", "; and ", ";\n\n", ". AND ", "; ; "])
def test_connectives(between: str) -> None:
    assert calls(f"profile x{between}profile y;") == tuple(PlannedCall("data_profile", {"path": path}) for path in "xy")


def test_the_reading_with_the_fewest_calls_is_taken() -> None:
    both = everything("paint {text} and polish", name="both")
    one, two = everything("paint {text}", name="one"), everything("polish", name="two")
    assert calls("paint x and polish", one, two, both) == (PlannedCall("both", {"text": "x"}),)


def test_the_reading_with_the_most_literal_words_is_taken() -> None:
    close, loose = (
        everything("paint the {text}", name="close"),
        everything("paint {colour} {text}", "paint {text} [{colour}]", name="loose"),
    )
    assert [call.macro for call in calls("paint the red", loose, close)] == ["close"]


def test_two_phrases_of_one_meaning_are_no_ambiguity() -> None:
    assert calls("paint x", everything("(paint|draw) {text}", "paint {text}")) == (PlannedCall("everything", {"text": "x"}),)


def test_two_macros_that_fit_equally_well_are_ambiguous() -> None:
    reason = refusal("polish; paint x", everything("paint {text}", "polish", name="one"), everything("paint {text}", name="two")).reason
    assert reason == "ambiguous between one {'text': 'x'} and two {'text': 'x'}: 'polish; paint x'"


def test_different_arguments_of_one_macro_are_ambiguous() -> None:
    assert refusal("paint 3 4", everything("paint {count} {limit}", "paint {limit} {count}")).reason.startswith("ambiguous between ")


def test_a_reading_that_the_macro_refuses_does_not_make_a_goal_ambiguous() -> None:
    assert calls("check 500 PRs in x", repo_triage, everything("check {count} PRs in {text}")) == (
        PlannedCall("everything", {"count": 500, "text": "x"}),
    )


@pytest.mark.parametrize(
    ("phrase", "problem"),
    [
        ("paint (it", "does not parse"), ("paint {text", "does not parse"), ("paint it)", "does not parse"), ("", "does not parse"),
        ("paint it]", "does not parse"), ("paint [] it", "does not parse"), ("paint {} it", "does not parse"), ("it\\", "does not parse"),
        ("(" * 1000 + "a" + ")" * 1000, "does not parse"), ("paint <it>", "a <rule> means nothing"), ("paint (it|)", "empty alternative"),
        ("paint {nothing}", "{nothing} is no input field; there are: colour, count,"), ("paint {write}", "only a person may set 'write'"),
        ("paint {words}", "{words} is of a type"), ("paint {inner}", "{inner} is of a type"), ("paint {number}", "{number} is of a type"),
        ("paint {either}", "{either} is of a type"), ("paint {count:int}", "a slot is written {field}"),
        ("paint {@text}", "a slot is written {field}"), ("paint {1..3:count}", "a slot is written {field}"),
        ("paint{text}", "touches what stands beside it, at 't{'"), ("paint {text}[s]", "touches what stands beside it, at '}['"),
        ("paint {text} {text}", "{text} can stand in one goal twice"), ("paint [{text}] and {text}", "{text} can stand in one goal twice"),
        ("{text}", "a word of its own"), ("[paint] {text}", "a word of its own"), ("(paint|{text})", "a word of its own"),
        ("re-paint {text}", "'re-paint' is not made of letters"), ("paint: {text}", "'paint:' is not made of letters"),
    ],
)  # fmt: skip
def test_a_phrase_that_cannot_be_used_is_refused(phrase: str, problem: str) -> None:
    with pytest.raises(DefinitionError) as refused:
        compile_phrases([everything("paint it", phrase)])
    assert problem in str(refused.value)


@pytest.mark.parametrize(
    ("phrase", "problem"),
    [
        ("changes since {since}", "the required field 'repository' has no slot"),
        ("changes [in {repository}] since {since}", "the required field 'repository' has a slot that may be left out"),
        ("changes (in {repository}|here) since {since}", "the required field 'repository' has a slot that may be left out"),
    ],
)
def test_a_phrase_states_every_required_field(phrase: str, problem: str) -> None:
    @macro(phrases=[phrase])
    async def notes(request: Notes) -> Answer:
        return Answer()

    with pytest.raises(DefinitionError) as refused:
        compile_phrases([notes])
    assert str(refused.value) == f"{notes.where}: notes: phrase {phrase!r}: {problem}"


def test_a_required_field_may_have_a_slot_in_every_alternative() -> None:
    @macro(phrases=["profile (file {path}|{path} please)"])
    async def profile(request: Profile) -> Answer:
        return Answer()

    assert calls("profile x please", profile) == calls("profile file x", profile)


def test_parts_in_any_order() -> None:
    phrase = everything("paint (with {colour};on {text})")
    assert calls("paint with red on x", phrase) == calls("paint on x with red", phrase)


def test_a_slot_is_named_as_the_payload_names_the_field() -> None:
    @macro(phrases=["look at {repo}"])
    async def look(request: Renamed) -> Answer:
        return Answer()

    assert calls("look at x", look) == (PlannedCall("look", {"repo": "x"}),)


QUOTES = "\"'\u201c\u201d\u201e\u2018«"
TOKENS = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1).filter(
    lambda token: token[0] not in QUOTES and token[-1] not in ",;" and token.lower() != "and"
)


@given(TOKENS)
@example("ß")
@example("zq0z000")
def test_any_word_comes_back_exactly(word: str) -> None:
    assert calls(f"check the last 3 PRs in {word} and tag them") == (triage(word, 3),)


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters='"'), max_size=50))
def test_any_text_in_quotes_comes_back_exactly(text: str) -> None:
    assert calls(f'check the last 3 PRs in "{text}", using by-path.') == (triage(text, 3, label_strategy="by-path"),)


WORDS = st.sampled_from(
    [*GOAL.split(), "and", ";", "profile", "x;", ",", "'", '"', "{count}", "[a|b]", "changes", "since", "draft", ".", "\x00"]
)


@given(st.one_of(st.text(st.characters(), max_size=60), st.lists(WORDS, max_size=40).map(" ".join)))
@example("\ud800 profile x")
@example("profile \udfff")
def test_no_goal_crashes_it(goal: str) -> None:
    assert match_phrases(goal, BOOK) == match_phrases(goal, BOOK)


@pytest.mark.parametrize(
    ("goal", "reason"),
    [
        ("x" * (MAX_CHARACTERS + 1), "too long for phrases, 2,001 characters of at most 2,000: "),
        ("x " * (MAX_WORDS + 1), "too long for phrases, more than 200 words, or 32 parts "),
        ("and " * MAX_PARTS, "too long for phrases, more than 200 words, or 32 parts "),
        ("profile x; " * (MAX_CALLS + 1), "more than 16 calls in one goal: "),
        ("profile \ud800", "not Unicode text: "),
    ],
)
def test_a_goal_beyond_the_bounds_is_refused_with_the_reason(goal: str, reason: str) -> None:
    refused = refusal(goal)
    assert refused.reason.startswith(reason)
    assert len(refused.reason) < 300


@pytest.mark.parametrize("goal", ["x" * MAX_CHARACTERS, "x " * MAX_WORDS, "and " * (MAX_PARTS - 1)])
def test_a_goal_at_the_bounds_is_read(goal: str) -> None:
    assert refusal(goal).reason.startswith("no phrase fits: ")


def test_a_goal_may_have_sixteen_calls() -> None:
    assert len(calls("; ".join(f"profile {n}" for n in range(MAX_CALLS)))) == MAX_CALLS


@functools.cache
def big_book() -> Phrasebook:
    greedy = ["paint {text} {count}", "paint [a] {text} [b] [{count}] [c] [{limit} and paint]", "paint {text} [and {colour}] [a] [b] [c]"]
    fifty = [
        everything(
            f"(check|triage|label) [the] [last] {{count}} thing{n} (in|of) {{text}} [and tag them] [using {{colour}} [paint]]",
            f"profile{n} {{text}} [and {{colour}}]",
            f"(draft|write) notes{n} for {{text}} [from {{count}} [to {{limit}}]]",
            name=f"macro{n}",
        )
        for n in range(50)
    ]
    return compile_phrases([everything(*greedy), *fifty])


def test_a_goal_is_understood_among_many_phrases() -> None:
    goal = "check the last 3 thing7 in acme/x and tag them using red paint and profile9 y.csv; draft notes3 for . from 1 to 2"
    plan = match_phrases(goal, big_book())
    assert isinstance(plan, tuple)
    assert [call.macro for call in plan] == ["macro7", "macro9", "macro3"]


@pytest.mark.parametrize(
    "goal",
    [
        "and " * 200,
        "paint s 3; " + "s\u017f " * 95,
        "paint iiiiiii 3 and " + " ".join(f"{n:07b}".replace("0", "i").replace("1", "\u0131") for n in range(128)),
        "paint " + " ".join("s\u017fiI\u0131\u0130k\u212a"[n % 8] * (n % 9 + 1) for n in range(190)),
        "paint " + " ".join("a" * n for n in range(1, 40)),
        "paint a b c " + "and paint a b c " * 31,
        "paint " + "'a " * 190,
        "paint " + "[a|b](" * 300,
        "zq0z zq1z " * 90,
    ],
)
def test_no_goal_takes_longer_and_longer_with_its_length(goal: str) -> None:
    begun = time.perf_counter()
    match_phrases(goal, big_book())
    assert time.perf_counter() - begun < 5, "what takes milliseconds would take minutes"


def test_it_is_quiet(caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]) -> None:
    with caplog.at_level(logging.DEBUG):
        calls(GOAL)
        refusal("make me a sandwich")
    assert (caplog.records, *capsys.readouterr()) == ([], "", "")
