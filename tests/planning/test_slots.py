"""What a word of a goal can state in a phrase: quantities, declared words, and nothing of what is filled otherwise."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field

from heddle import macro
from heddle.errors import DefinitionError
from heddle.fields import Bytes, Days, Percent, When, given, words
from heddle.macros.catalogue import contract_of
from heddle.planning.offer import Offer
from heddle.planning.phrases import NoMatch, compile_phrases, match_phrases
from heddle.planning.plan import PlannedCall


class Sweep(BaseModel):
    store: Annotated[str, given("store")]
    older_than: Days = Field(14, ge=1)
    larger_than: Bytes | None = None
    share: Percent = 100
    since: When | None = None
    order: Annotated[Literal["age", "size"] | None, words(age=["oldest", "by age"], size=["largest"])] = None
    loud: Annotated[bool, words(true=["loudly"], false=["quietly"])] = False


def sweep(*phrases: str) -> Offer:
    @macro(phrases=phrases)
    async def handler(request: Sweep) -> str:
        return request.store

    return handler


def arguments(goal: str, phrase: str) -> Any:
    """Of the one call that the goal stands for; the same of a macro and of its contract alone."""
    live = sweep(phrase)
    plans = [match_phrases(goal, compile_phrases([offer])) for offer in (live, contract_of(live))]  # type: ignore[arg-type]  # it is a macro
    match plans:
        case [(PlannedCall(arguments=one),), (PlannedCall(arguments=other),)] if one == other:
            return one
        case _:
            return plans[0]


@pytest.mark.parametrize(
    ("goal", "phrase", "field", "value"),
    [
        ("sweep what is older than 14d", "sweep what is older than {older_than}", "older_than", "14d"),
        ("sweep what is older than 'two weeks'.", "sweep what is older than {older_than}", "older_than", "two weeks"),
        ("sweep all over 10MB now", "sweep all over {larger_than} now", "larger_than", "10MB"),
        ('sweep all over "1.5 GiB" now', "sweep all over {larger_than} now", "larger_than", "1.5 GiB"),
        ("sweep 15% of it", "sweep {share} of it", "share", "15%"),
        ("sweep since yesterday", "sweep since {since}", "since", "yesterday"),
        ("sweep since 2026-03-01.", "sweep since {since}", "since", "2026-03-01"),
        ("sweep since 'last Monday'", "sweep since {since}", "since", "last Monday"),
    ],
)
def test_a_slot_of_a_quantity_takes_a_text_that_states_one_and_leaves_it_as_it_is(goal: str, phrase: str, field: str, value: str) -> None:
    assert arguments(goal, phrase) == {field: value}


@pytest.mark.parametrize("word", ["14", "soon", "'a month'", "10Mb", "15%", "Friday"])
def test_a_slot_of_a_quantity_takes_nothing_else(word: str) -> None:
    assert isinstance(arguments(f"sweep what is older than {word} now", "sweep what is older than {older_than} now"), NoMatch)


@pytest.mark.parametrize(
    ("goal", "phrase", "field", "value"),
    [
        ("sweep the oldest first", "sweep the {order} first", "order", "age"),
        ("sweep the Largest first", "sweep the {order} first", "order", "size"),
        ("sweep the size first", "sweep the {order} first", "order", "size"),
        ("sweep the 'by age' first", "sweep the {order} first", "order", "age"),
        ("sweep loudly", "sweep {loud}", "loud", True),
        ("sweep quietly", "sweep {loud}", "loud", False),
        ("sweep off", "sweep {loud}", "loud", False),
    ],
)
def test_a_slot_of_a_choice_takes_its_declared_words_as_the_value_they_stand_for(goal: str, phrase: str, field: str, value: Any) -> None:
    assert arguments(goal, phrase) == {field: value}


def test_a_phrase_needs_no_slot_for_a_required_field_that_the_context_fills() -> None:
    assert arguments("sweep everything", "sweep everything") == {}


def test_a_field_that_the_context_fills_can_be_no_slot() -> None:
    with pytest.raises(DefinitionError, match="'store' is filled from the goal's context: it can be no slot"):
        compile_phrases([sweep("sweep {store}")])
    with pytest.raises(DefinitionError, match=r"there are: larger_than, loud, older_than, order, share, since$"):
        compile_phrases([sweep("sweep {shop}")])
