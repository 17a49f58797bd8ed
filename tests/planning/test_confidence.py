"""How sure a model was, told from the tokens of its answer."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heddle.planning.confidence import Token, confidence

NAMES = frozenset({"repo", "repo_triage", "release_notes", "unsupported"})


def token(text: str, **others: float) -> Token:
    """A token with what is left of the probability; `others`: other tokens there, with theirs."""
    left = 1.0 - sum(others.values())
    return Token(text, math.log(left), tuple((other, math.log(share)) for other, share in [(text, left), *others.items()]))


def answer(*names: Sequence[Token], opened: str = '{"tasks": [{"macro": "', closed: str = ', "arguments": {}}') -> tuple[Token, ...]:
    """The tokens of an answer whose tasks' names, with the quotes after them, are these."""
    tokens = [token(opened)]
    for number, name in enumerate(names):
        tokens += [*([token(', {"macro": "')] if number else []), *name, token(closed)]
    return (*tokens, token("]}"))


def test_all_the_mass_on_one_name_is_certain() -> None:
    assert confidence(answer([token("repo"), token("_tri"), token("age"), token('"')]), NAMES) == 1.0


def test_a_name_is_as_likely_as_its_tokens_among_those_that_go_on_to_a_name() -> None:
    name = [token("re", un=0.1, rel=0.2, I=0.3), token("po", lease=0.25), token("_", **{'"': 0.2}), token('triage"')]
    assert confidence(answer(name), NAMES) == pytest.approx((0.4 / 0.7) * 0.75 * 0.8)


def test_a_name_that_begins_another_is_only_certain_at_its_quote() -> None:
    short = [token("repo"), token('",', _tri=0.25)]
    assert confidence(answer(short, closed=' "arguments": {}}'), NAMES) == pytest.approx(0.75)


def test_once_no_other_name_is_possible_the_rest_does_not_count() -> None:
    assert confidence(answer([token("rel", un=0.2), token("ease_n", ish=0.9), token('otes"')]), NAMES) == pytest.approx(0.8)


def test_another_spelling_of_the_only_name_left_is_no_doubt() -> None:
    assert confidence(answer([token("rel", un=0.2, release=0.3), token('ease_notes"')]), NAMES) == pytest.approx(0.8)


@pytest.mark.parametrize("space", ["", " ", "\n      "])
def test_the_first_token_may_begin_before_the_name_with_any_space(space: str) -> None:
    first = token(f'{space}"re', **{'"un': 0.2, ' "': 0.1, "null": 0.1})
    tokens = answer([first, token('lease_notes"', po=0.5)], opened='{"tasks": [{"macro":')
    assert confidence(tokens, NAMES) == pytest.approx((0.6 / 0.8) * 0.5)


def test_the_last_token_may_go_on_after_the_name() -> None:
    assert confidence(answer([token("un", re=0.5), token('supported"}]}')], closed=""), NAMES) == pytest.approx(0.5)


def test_a_name_in_one_token_with_all_around_it_counts() -> None:
    whole = '{"tasks": [{"macro": "unsupported"}]}'
    assert confidence([token(whole, **{whole.replace("unsupported", "repo"): 0.25})], NAMES) == pytest.approx(0.75)


def test_the_least_sure_task_decides() -> None:
    names = [[token("rel", un=0.1), token('ease_notes"')], [token("un", rel=0.4), token('supported"')]]
    assert confidence(answer(*names), NAMES) == pytest.approx(0.6)


def test_of_a_macro_that_is_named_again_only_the_first_time_counts() -> None:
    sure, unsure = ([token("rel", un=share), token('ease_notes"')] for share in (0.1, 0.9))
    assert confidence(answer(sure, unsure), NAMES) == pytest.approx(0.9)


def test_a_name_that_the_model_did_not_want_to_say_is_not_certain_though_no_other_is_told() -> None:
    forced = Token("repo", math.log(1e-7), (("I", math.log(0.6)), ("Sure", math.log(0.3)), ("{", math.log(0.05))))
    assert (confidence(answer([forced, token('_triage"')]), NAMES) or 0) < 0.001


def test_without_other_tokens_a_name_is_as_likely_as_the_model_says() -> None:
    assert confidence(answer([Token("rel", math.log(0.6)), Token('ease_notes"', 0.0)]), NAMES) == pytest.approx(0.6)


def test_a_macro_s_name_in_the_arguments_is_no_task() -> None:
    text = json.dumps({"tasks": [{"macro": "repo", "arguments": {"macro": "unsupported", "x": '"macro": "release_notes"'}}]})
    tokens = [token(text[:22]), token('repo"', un=0.25), token(text[27:60]), token(text[60:], x=0.9)]
    assert confidence(tokens, NAMES) == pytest.approx(0.75)


def test_letters_that_are_no_text_of_their_own_disturb_nothing() -> None:
    tokens = answer([token("rel", un=0.2), token('ease_notes"')], closed=', "arguments": {"x": "\ufffd\ufffd<0x9F>\ufffd"}}')
    assert confidence(tokens, NAMES) == pytest.approx(0.8)


@pytest.mark.parametrize("before", ["", "\n```json\n", " ", "<|im_start|>"])
def test_what_stands_around_the_json_disturbs_nothing(before: str) -> None:
    tokens = [token(before), *answer([token("rel", un=0.2), token('ease_notes"')]), token("<|im_end|>"), token("")]
    assert confidence(tokens, NAMES) == pytest.approx(0.8)


@pytest.mark.parametrize(
    "text",
    ["", "I cannot do that.", '{"tasks": []}', '{"tasks": [{"macro": "nobody"}]}', '{"tasks": [{"macro": "rep', '{"macro": "repo"}',
     '{"tasks": [{"macro": 5}]}', '{"tasks": [{"macro": "repo\\u005ftriage"}]}', '{"tasks": [{"name": "repo"}]}', '{"tasks": [["macro", "repo"]]}'],
)  # fmt: skip
def test_an_answer_that_names_no_macro_tells_nothing(text: str) -> None:
    assert confidence([token(text)], NAMES) is None


def test_no_tokens_tell_nothing() -> None:
    assert confidence([], NAMES) is None


# --- against a tokenizer of which all probabilities are known


@dataclass(frozen=True)
class Node:
    """Where an answer may go on: the tokens of names, and others, by probability."""

    names: Mapping[str, float]
    junk: Mapping[str, float]


@st.composite
def answers(draw: st.DrawFn) -> tuple[tuple[Token, ...], frozenset[str], float]:
    """An answer, all names, and the probability of the least likely of its tasks' names, told from every node's probabilities."""
    names = draw(st.lists(st.text("ab_", min_size=1, max_size=6), min_size=1, max_size=6, unique=True))
    lead = draw(st.sampled_from(["", '"', ' "']))
    splits: dict[str, tuple[str, ...]] = {}
    for name in names:
        cuts = sorted(draw(st.sets(st.integers(1, len(name)), max_size=len(name))))
        text = f'{name}"'
        pieces = [text[start:stop] for start, stop in pairwise([0, *cuts, len(text)])]
        splits[name] = (lead + pieces[0], *pieces[1:])
    nodes: dict[tuple[str, ...], Node] = {}
    for path in sorted({split[:depth] for split in splits.values() for depth in range(len(split))}):
        following = sorted({split[len(path)] for split in splits.values() if len(split) > len(path) and split[: len(path)] == path})
        junk = [f"{lead if not path else ''}Z{number}" for number in range(draw(st.integers(0, 3)))]
        weights = draw(st.lists(st.integers(1, 1000), min_size=len(following) + len(junk), max_size=len(following) + len(junk)))
        shares = [weight / sum(weights) for weight in weights]
        nodes[path] = Node(dict(zip(following, shares, strict=False)), dict(zip(junk, shares[len(following) :], strict=True)))
    tokens, likely = [token('{"tasks": [{"macro":' + ' "'.removesuffix(lead))], []
    for number, name in enumerate(draw(st.lists(st.sampled_from(names), min_size=1, max_size=3, unique=True))):
        tokens += [token(', {"macro":' + ' "'.removesuffix(lead))] if number else []
        likely.append(1.0)
        for depth, piece in enumerate(splits[name]):
            node = nodes[splits[name][:depth]]
            top = tuple((text, math.log(share)) for text, share in {**node.names, **node.junk}.items())
            tokens.append(Token(piece, math.log(node.names[piece]), top))
            likely[-1] *= node.names[piece] / sum(node.names.values())
        tokens.append(token(', "arguments": {}}'))
    return (*tokens, token("]}")), frozenset(names), min(likely)


@given(answers())
@settings(max_examples=100, deadline=None)
def test_confidence_is_the_product_of_what_each_token_is_among_those_of_names(
    case: tuple[tuple[Token, ...], frozenset[str], float],
) -> None:
    tokens, names, expected = case
    assert confidence(tokens, names) == pytest.approx(expected, rel=1e-6, abs=1e-9)


PIECES = [
    '{"tasks": [{"macro": "',
    "repo",
    "_triage",
    'repo"',
    '"',
    "}",
    "{",
    "[",
    "]",
    ",",
    ': "',
    "\\",
    '"macro"',
    "unsupported",
    "",
    " ",
    "\ufffd",
    "Ä",
]
LOGPROBS = st.floats(allow_nan=True, allow_infinity=True)
ANY_TOKEN = st.builds(
    Token,
    st.sampled_from(PIECES) | st.text(max_size=4),
    LOGPROBS,
    st.lists(st.tuples(st.sampled_from(PIECES) | st.text(max_size=4), LOGPROBS), max_size=5).map(tuple),
)


@given(st.lists(ANY_TOKEN, max_size=12), st.frozensets(st.sampled_from(["", "repo", "repo_triage", "unsupported", '"']), max_size=5))
@settings(max_examples=100, deadline=None)
def test_whatever_the_tokens_are_confidence_is_a_probability_or_nothing(tokens: list[Token], names: frozenset[str]) -> None:
    opened = [Token('{"tasks": [{"macro": "', 0.0), *tokens, Token('"}]}', 0.0)]
    for these in (tokens, opened):
        sure = confidence(these, names)
        assert sure is None or 0.0 <= sure <= 1.0
