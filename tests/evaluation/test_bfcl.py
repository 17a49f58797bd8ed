"""Public cases: functions become macros, and every right value is one."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heddle.errors import DefinitionError
from heddle.evaluation.bfcl import is_public, macro_names, public_cases
from heddle.evaluation.cases import Case, ExpectedCall
from heddle.messages import is_name
from heddle.planning.offer import Offer

CAPITAL = {
    "name": "country_info.capital",
    "description": "The capital\n  of a country.",
    "parameters": {"type": "object", "properties": {"country": {"type": "string"}}, "required": ["country"], "additionalProperties": False},
}


def public(**more: Any) -> dict[str, Any]:
    return {"id": "multiple_1", "category": "multiple", "question": "Which is it?", "functions": [CAPITAL], "ground_truth": []} | more


def read(*cases: Any) -> tuple[Case, ...]:
    return public_cases({"cases": list(cases)}, "b.json")


def values(*given: Any) -> ExpectedCall:
    (found,) = read(public(ground_truth=[{"country_info.capital": {"country": list(given)}}]))
    return found.expected[0]


def test_a_function_becomes_a_macro_with_a_macro_s_name() -> None:
    (found,) = read(public())
    offer = offer_of(found)
    assert (offer.name, offer.intent) == ("country_info_capital", "The capital of a country.")
    assert offer.read({"country": "Brazil"}) == {"country": "Brazil"}


def offer_of(case: Case) -> Offer:
    assert case.offers is not None
    (offer,) = case.offers.newest()
    return offer


def test_a_case_is_tagged_with_its_category_and_named_by_its_id() -> None:
    (found,) = read(public())
    assert (found.name, found.tags, found.goal) == ("multiple_1", ("multiple",), "Which is it?")


def test_a_case_without_ground_truth_expects_a_refusal() -> None:
    assert read(public())[0].expected == ()


def test_every_value_in_the_list_is_right_and_an_empty_text_means_left_out() -> None:
    assert values("Brazil", "Brasil", "") == ExpectedCall("country_info_capital", {"country": ("Brazil", "Brasil")}, frozenset({"country"}))


def test_alternatives_inside_an_object_are_multiplied_out() -> None:
    assert values({"min": [1, 2], "max": [3, ""]}).arguments["country"] == (
        {"min": 1, "max": 3},
        {"min": 1},
        {"min": 2, "max": 3},
        {"min": 2},
    )


def test_alternatives_inside_a_list_of_objects_are_multiplied_out_and_a_plain_list_is_one_value() -> None:
    assert values([{"x": [1, 2]}, {"x": [3]}]).arguments["country"] == ([{"x": 1}, {"x": 3}], [{"x": 2}, {"x": 3}])
    assert values([1, 2]).arguments["country"] == ([1, 2],)


@pytest.mark.parametrize(
    ("case", "said"),
    [
        (3, "case 1: "),
        ({"id": "m_1"}, "case 1 (m_1): category: Field required"),
        (public(ground_truth=[{"capital": {}}]), "case 1 (multiple_1): ground_truth: must name one of the functions, not capital"),
        (public(ground_truth=[{}]), "ground_truth: must name one of the functions, not nothing"),
        (public(ground_truth=[{"country_info.capital": {"country": "Brazil"}}]), "ground_truth.0.country_info.capital.country: "),
        (public(functions=[CAPITAL | {"parameters": {"type": "array"}}]), "country_info.capital: parameters must be an object"),
        (public(functions=[CAPITAL | {"parameters": {"type": "dict"}}]), "country_info.capital: parameters are no JSON Schema"),
        (public(ground_truth=[{"country_info.capital": {"country": [{str(key): list(range(10)) for key in range(9)}]}}]), "more than 1000"),
    ],
    ids=["number", "nothing in it", "other function", "no function", "no list", "no object", "no schema", "too many"],
)
def test_what_is_no_case_is_refused_with_file_case_and_field(case: Any, said: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        read(case)
    assert str(caught.value).startswith("b.json: case 1")
    assert said in str(caught.value)


@pytest.mark.parametrize(("parsed", "public"), [([], False), ({"goal": "x"}, False), ({"cases": []}, True)])
def test_public_cases_are_told_by_their_shape(parsed: Any, public: bool) -> None:
    assert is_public(parsed) is public


def test_a_file_without_a_case_is_refused() -> None:
    with pytest.raises(DefinitionError, match="must be a list of cases"):
        read()


@given(st.lists(st.text(max_size=80) | st.sampled_from(["a.b", "a_b", "A.b", "incoming", "é", "x" * 100, "x" * 101]), max_size=8))
@settings(max_examples=40, deadline=None)
def test_every_function_has_a_name_of_its_own_that_a_macro_can_have(names: list[str]) -> None:
    found = macro_names(names)
    assert set(found) == set(names)
    assert len(set(found.values())) == len(found)
    assert all(map(is_name, found.values()))
