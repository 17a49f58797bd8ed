"""Goals planned by sentence templates."""

from __future__ import annotations

import logging
import time
from enum import StrEnum
from typing import Annotated, Any, Literal

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from heddle import macro, person_only
from heddle.errors import DefinitionError
from heddle.macros.loading import AnyMacro
from heddle.planning.phrases import MAX_CALLS, MAX_CHARACTERS, MAX_WORDS, NoMatch, compile_phrases, match_phrases
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


def calls(goal: str, *macros: AnyMacro) -> tuple[PlannedCall, ...]:
    match match_phrases(goal, compile_phrases(macros) if macros else BOOK):
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
    (call,) = calls(phrase.replace(slot, word), everything(phrase))
    (found,) = call.arguments.values()
    return found


def triage(repository: str, count: int, **more: Any) -> PlannedCall:
    return PlannedCall("repo_triage", {"repository": repository, "count": count, **more})


# One call.


def test_the_goal_of_the_design() -> None:
    assert calls(GOAL) == (triage("acme/checkout", 3, label_strategy="conventional"),)


@pytest.mark.parametrize("goal", ["label 3 changes of x", "TRIAGE THE LAST three PrS In x", "check\tthe  last 3\nchanges in x"])
def test_literal_words_match_in_any_case_and_spacing(goal: str) -> None:
    assert calls(goal) == (triage("x", 3),)


@pytest.mark.parametrize(
    "word",
    [
        "acme/Checkout", "./x", "../secrets", "https://x.y/?q=1", ".", "..", "HEAD~3", "v1.2.0", "{count}", "[a|b]", "(a", "<x>", "a;b",
        "x_y", "don't", "don’t", "É", "E\u0301", "Straße", "İx", "-", "3.5", "a\\b", "%s", "🙂", "\u200bx", "zq0z000", "paint", "now", ",",
    ],
)  # fmt: skip
def test_a_text_slot_takes_a_word_exactly_as_it_is(word: str) -> None:
    assert value(word) == word


@pytest.mark.parametrize(
    ("quoted", "text"),
    [
        ('"a b"', "a b"), ("'a b'", "a b"), ("“a b”", "a b"), ("‘a b’", "a b"), ("„a b“", "a b"), ("«a b»", "a b"),
        ('"a; b and  c."', "a; b and  c."), ("'don't go'", "don't go"), ('""', ""), ('"and"', "and"), ('"3"', "3"), ('" x "', " x "),
        ('"it\'s"', "it's"), ('"a"b"', 'a"b'),
    ],
)  # fmt: skip
def test_a_quoted_string_is_one_value_without_its_quotes(quoted: str, text: str) -> None:
    assert value(quoted) == text


def test_a_quote_that_never_closes_belongs_to_the_word() -> None:
    assert value('"x') == '"x'


def test_a_quoted_string_is_never_a_literal_word() -> None:
    assert refusal("'profile' x")


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


def test_a_mark_after_a_literal_word_at_the_end_is_dropped() -> None:
    assert calls(f"{GOAL}.") == calls(GOAL)


def test_a_mark_within_the_goal_is_kept() -> None:
    assert calls("changes in acme/x. since v1?") == (PlannedCall("release_notes", {"repository": "acme/x.", "since": "v1"}),)


def test_a_comma_at_the_end_of_a_word_is_punctuation() -> None:
    assert calls("check 3 PRs in acme/x, using by-path") == (triage("acme/x", 3, label_strategy="by-path"),)


def test_optional_fields_without_a_slot_in_the_goal_are_not_set() -> None:
    assert calls("draft release notes for . from v1") == (PlannedCall("release_notes", {"repository": ".", "since": "v1"}),)


@pytest.mark.parametrize("phrase", ["paint [it] {count} times", "paint {limit} times", "paint {count}"])
@pytest.mark.parametrize(("word", "number"), [("3", 3), ("-3", -3), ("0", 0), ("three", 3), ("Twelve", 12), ("ninety", 90), ("007", 7)])
def test_an_integer_slot_takes_digits_and_number_words(phrase: str, word: str, number: int) -> None:
    found = value(word, phrase.replace("[it] ", ""))
    assert (found, type(found)) == (number, int)


@pytest.mark.parametrize("word", ["3.5", "x", "third", "'3'", "1e3", "٣", "3x", "9" * 40, "true"])
def test_an_integer_slot_takes_nothing_else(word: str) -> None:
    assert refusal(f"paint {word} times", everything("paint {count} times"))


@pytest.mark.parametrize(("word", "number"), [("0.5", 0.5), ("3", 3.0), ("-2.25", -2.25), ("1e-3", 0.001), ("two", 2.0)])
def test_a_number_slot_gives_a_float(word: str, number: float) -> None:
    found = value(word, "paint {ratio} more")
    assert (found, type(found)) == (number, float)


@pytest.mark.parametrize("word", ["nan", "inf", "1e999", "0x1", "1_0"])
def test_a_number_slot_takes_no_number_that_json_lacks(word: str) -> None:
    assert refusal(f"paint {word} more", everything("paint {ratio} more"))


@pytest.mark.parametrize(("word", "flag"), [("true", True), ("Yes", True), ("on", True), ("false", False), ("no", False), ("off", False)])
def test_a_boolean_slot_takes_its_few_words(word: str, flag: bool) -> None:
    assert value(word, "paint {flag} now") is flag


@pytest.mark.parametrize("word", ["by-path", "BY-Path", "'by-path'"])
def test_a_choice_takes_its_words_and_gives_them_as_they_are_written(word: str) -> None:
    assert calls(f"check 3 PRs in x using {word}") == (triage("x", 3, label_strategy="by-path"),)


@pytest.mark.parametrize("word", ["bypath", "by", "conventionally", "con"])
def test_a_choice_takes_no_other_word(word: str) -> None:
    assert refusal(f"check 3 PRs in x using {word}")


def test_an_enumeration_of_strings_is_a_choice() -> None:
    assert value("green", "paint it {colour} now") == "green"


def test_an_ending_in_brackets_belongs_to_the_word_before_it() -> None:
    (plural, singular) = (calls(goal, everything("count PR[s] {text}")) for goal in ("count PRs x", "count PR x"))
    assert plural == singular


@pytest.mark.parametrize("goal", ["überprüfe x", "ÜBERPRÜFE x", "U\u0308berpru\u0308fe x"])
def test_letters_beyond_ascii_match_composed_or_not_in_any_case(goal: str) -> None:
    assert calls(goal, everything("überprüfe {text}")) == (PlannedCall("everything", {"text": "x"}),)


@pytest.mark.parametrize(("literal", "typed"), [("Straße", "straße"), ("İptal", "iptal"), ("ΣΑΣ", "σας"), ("हिन्दी", "हिन्दी")])
def test_letters_without_a_simple_other_case_match(literal: str, typed: str) -> None:
    assert calls(f"{typed} x", everything(f"{literal} {{text}}")) == calls(f"{literal} x", everything(f"{typed} {{text}}"))


@pytest.mark.parametrize("goal", ["what's in x", "What’s in x"])
def test_an_apostrophe_is_one_however_it_is_typed(goal: str) -> None:
    assert calls(goal, everything("what's in {text}")) == (PlannedCall("everything", {"text": "x"}),)


# Nothing is left over, and nothing is swallowed.


@pytest.mark.parametrize(
    "goal",
    [
        "make me a sandwich", "check the last 3 PRs", "check the last 3 PRs in", "check the last 3 PRs in acme checkout",
        "please check the last 3 PRs in x", "check the last 3PRs in x", "check 3 PRs in x usingconventional", "profile", "profile a b",
        "profile x and", "and profile x", "profile x and and profile y", "profile and", "profile x and;", "profile x; and", "and", "", "  ", ";", "pro file x", "profile-x",
        "check 3 PRs in x using conventional commits commits",
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


def test_a_word_is_never_split_between_slots() -> None:
    assert refusal("paint a ab b", everything("paint {text} {colour}"))


def test_a_value_that_the_macro_refuses_is_no_match_and_the_refusal_says_why() -> None:
    assert refusal("check the last 500 PRs in x").reason == (
        "no phrase fits: 'check the last 500 PRs in x' (repo_triage: count: Input should be less than or equal to 200)"
    )


# Several calls.


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


def test_a_semicolon_always_splits() -> None:
    assert refusal("paint x; and polish", everything("paint {text} and polish"))


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
    assert reason == """ambiguous between one {"text": "x"} and two {"text": "x"}: 'polish; paint x'"""


def test_different_arguments_of_one_macro_are_ambiguous() -> None:
    assert refusal("paint 3 4", everything("paint {count} {limit}", "paint {limit} {count}")).reason.startswith("ambiguous between ")


def test_a_reading_that_the_macro_refuses_does_not_make_a_goal_ambiguous() -> None:
    assert calls("check 500 PRs in x", repo_triage, everything("check {count} PRs in {text}")) == (
        PlannedCall("everything", {"count": 500, "text": "x"}),
    )


# Phrases that are refused when they are compiled.


@pytest.mark.parametrize(
    ("phrase", "problem"),
    [
        ("paint (it", "does not parse"), ("paint {text", "does not parse"), ("paint it)", "does not parse"), ("paint [] it", "does not parse"),
        ("", "does not parse"), ("paint {} it", "does not parse"), ("paint it]", "does not parse"), ("(" * 3000 + "a" + ")" * 3000, "does not parse"),
        ("paint {nothing}", "{nothing} is no input field; there are: colour, count,"), ("paint {write}", "only a person may set 'write'"),
        ("paint {words}", "{words} is of a type"), ("paint {inner}", "{inner} is of a type"), ("paint {number}", "{number} is of a type"),
        ("paint {either}", "{either} is of a type"), ("paint {count:int}", "a slot is written {field}"), ("paint {@text}", "a slot is written {field}"),
        ("paint {1..3:count}", "a slot is written {field}"), ("paint <it>", "a <rule> means nothing"), ("paint (it|)", "empty alternative"),
        ("paint{text}", "touches what stands beside it, at 't{'"), ("paint {text}[s]", "touches what stands beside it, at '}['"), ("paint {text} {text}", "{text} can stand in one goal twice"),
        ("paint [{text}] and {text}", "{text} can stand in one goal twice"), ("{text}", "a word of its own"), ("[paint] {text}", "a word of its own"),
        ("(paint|{text})", "a word of its own"), ("re-paint {text}", "'re-paint' is not made of letters"), ("paint: {text}", "'paint:' is not made"),
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


# Any goal at all.

TOKENS = st.text(st.characters(exclude_categories=("C", "Z")), min_size=1).filter(
    lambda token: not any(c.isspace() for c in token) and token[0] not in "\"'“”„‘«" and token[-1] not in ",;" and token.lower() != "and"
)


@given(TOKENS)
@example("ß")
@example("zq0z000")
def test_any_word_comes_back_exactly(word: str) -> None:
    assert calls(f"check the last 3 PRs in {word} and tag them") == (triage(word, 3),)


@given(st.text(st.characters(exclude_categories=("Cs",), exclude_characters='"”„“'), max_size=50))
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
        ("x " * (MAX_WORDS + 1), "too long for phrases, more than 200 words: "),
        ("and " * 40, 'too long for phrases, more than 32 parts between "and" or ";": '),
        ("profile x; " * (MAX_CALLS + 1), "more than 16 calls in one goal: "),
        ("profile \ud800", "not Unicode text: "),
    ],
)
def test_a_goal_beyond_the_bounds_is_refused_with_the_reason(goal: str, reason: str) -> None:
    assert refusal(goal).reason.startswith(reason)
    assert len(refusal(goal).reason) < 400


def test_a_goal_may_have_sixteen_calls() -> None:
    assert len(calls("; ".join(f"profile {n}" for n in range(MAX_CALLS)))) == MAX_CALLS


def fifty_macros() -> list[AnyMacro]:
    return [
        everything(
            f"(check|triage|label) [the] [last] {{count}} thing{n} (in|of) {{text}} [and tag them] [using {{colour}} [paint]]",
            f"profile{n} {{text}} [and {{colour}}]",
            f"(draft|write) notes{n} for {{text}} [from {{count}} [to {{limit}}]]",
            name=f"macro{n}",
        )
        for n in range(50)
    ]


def seconds(goal: str, *macros: AnyMacro) -> float:
    book = compile_phrases(macros)
    match_phrases(goal, book)
    return min(_timed(goal, book) for _ in range(5))


def _timed(goal: str, book: Any) -> float:
    begun = time.perf_counter()
    match_phrases(goal, book)
    return time.perf_counter() - begun


def test_a_goal_takes_little_time_among_many_phrases() -> None:
    goal = "check the last 3 thing7 in acme/x and tag them using red paint and profile9 y.csv; draft notes3 for . from 1 to 2"
    assert len(calls(goal, *fifty_macros())) == 3
    assert seconds(goal, *fifty_macros()) < 0.02


@pytest.mark.parametrize(
    "goal",
    [
        "and " * 200,
        "paint " + "s\u017f " * 100,
        "paint " + " ".join("s\u017fiI\u0131\u0130k\u212a"[n % 8] * (n % 9 + 1) for n in range(190)),
        "paint " + " ".join("a" * n for n in range(1, 40)),
        "paint a b c " + "and paint a b c " * 31,
        "paint " + "'a " * 190,
        "paint " + "[a|b](" * 300,
        "zq0z zq1z " * 90,
    ],
)
def test_no_goal_takes_long(goal: str) -> None:
    many = everything(
        "paint {text} {colour}", "paint [a] {text} [b] [{count}] [c] [{limit} and paint]", "paint {text} [and {colour}] [a] [b] [c]"
    )
    assert seconds(goal, many, *fifty_macros()) < 0.5


def test_it_is_quiet(caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]) -> None:
    with caplog.at_level(logging.DEBUG):
        calls(GOAL)
        refusal("make me a sandwich")
    assert (caplog.records, *capsys.readouterr()) == ([], "", "")
