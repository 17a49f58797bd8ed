"""Public cases: those of the Berkeley Function-Calling Leaderboard, as one file of JSON.

    {"source": …, "cases": [{"id": "multiple_2", "category": "multiple", "question": "What is the capital of Brazil?",
                             "functions": [{"name": "country_info.capital", "description": …, "parameters": {…}}],
                             "ground_truth": [{"country_info.capital": {"country": ["Brazil"]}}]}]}

`parameters` are JSON Schema. Every value in `ground_truth` is a list of values that are right, of which `""` means that the parameter
may be left out; no `ground_truth` means that no function does what is asked. Each case brings functions of its own: they become the
macros that it is planned with.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice, product
from typing import Any, Final

from jsonschema.exceptions import SchemaError
from jsonschema.validators import Draft202012Validator
from pydantic import BaseModel, ValidationError

from heddle.errors import DefinitionError
from heddle.evaluation.cases import Case, ExpectedCall
from heddle.macros.catalogue import Contract
from heddle.macros.macro import DEFAULT_TIER, DEFAULT_TIMEOUT, explain_fields
from heddle.macros.schema import DIALECT
from heddle.macros.versioned import Versioned
from heddle.messages import is_name

_LEFT_OUT: Final = ""
_MOST_VALUES: Final = 1000
"""Right values of one parameter, once the alternatives inside an object are multiplied out."""
_LONGEST_NAME: Final = 60


class _Function(BaseModel):
    name: str
    description: str = ""
    parameters: dict[str, Any]


class _Case(BaseModel):
    id: str
    category: str
    question: str
    functions: list[_Function]
    ground_truth: list[dict[str, dict[str, list[Any]]]] = []


def is_public(parsed: Any) -> bool:
    """Whether a file's content looks like public cases rather than our own."""
    return isinstance(parsed, dict) and "cases" in parsed


def public_cases(parsed: Any, source: str) -> tuple[Case, ...]:
    """The cases in a file of public ones.

    Args:
        parsed: the file's JSON.
        source: its name, for errors.

    Raises:
        DefinitionError: some cannot be used; every problem at once, each with its case and field.
    """
    listed = parsed["cases"]
    if not isinstance(listed, list) or not listed:
        raise DefinitionError(f"{source}: `cases` must be a list of cases, and not an empty one")
    found: list[Case] = []
    wrong: list[str] = []
    for number, given in enumerate(listed, 1):
        name = given.get("id") if isinstance(given, dict) else None
        place = f"{source}: case {number}{f' ({name})' if name else ''}"
        try:
            found.append(_case(_Case.model_validate(given, strict=True), place))
        except ValidationError as error:
            wrong.append(f"{place}: {explain_fields(error)}")
        except ValueError as error:
            wrong.append(f"{place}: {error}")
    if wrong:
        raise DefinitionError("\n".join(wrong))
    return tuple(found)


def _case(given: _Case, place: str) -> Case:
    names = macro_names([function.name for function in given.functions])
    contracts = [_contract(function, names[function.name], place) for function in given.functions]
    expected = tuple(_expected(call, names) for call in given.ground_truth)
    return Case(
        name=given.id,
        goal=given.question,
        expected=expected,
        context={},
        tags=(given.category,),
        offers=Versioned({contract.name: {1: contract} for contract in contracts}),
        loose=True,
    )


def macro_names(names: Sequence[str]) -> Mapping[str, str]:
    """A macro's name for each function's: `math.roots.cubic` becomes `math_roots_cubic`; no two are the same."""
    found: dict[str, str] = {}
    for name in dict.fromkeys(names):
        plain = re.sub(r"[^a-z0-9_-]+", "_", name.lower())[:_LONGEST_NAME].lstrip("_-") or "function"
        one = plain if is_name(plain) else f"f_{plain}"
        taken = set(found.values())
        found[name] = next(other for other in _numbered(one) if other not in taken)
    return found


def _numbered(name: str) -> Iterator[str]:
    yield name
    number = 2
    while True:
        yield f"{name[: _LONGEST_NAME - len(str(number))]}_{number}"
        number += 1


def _contract(function: _Function, name: str, place: str) -> Contract:
    schema = {"$schema": DIALECT, "properties": {}, **function.parameters}
    try:
        Draft202012Validator.check_schema(schema)
    except (SchemaError, RecursionError) as error:
        raise ValueError(f"functions: {function.name}: parameters are no JSON Schema: {str(error).splitlines()[0]}") from None
    if '"$ref"' in json.dumps(schema):
        raise ValueError(f"functions: {function.name}: parameters refer to something with $ref, which is not read here")
    if schema.get("type") != "object" or not isinstance(schema["properties"], dict):
        raise ValueError(f"functions: {function.name}: parameters must be an object with named fields")
    return Contract(
        name=name,
        version=1,
        intent=" ".join(function.description.split()),
        schema=schema,
        output_schema={},
        tier=DEFAULT_TIER,
        timeout=DEFAULT_TIMEOUT,
        examples=(),
        phrases=(),
        hidden=frozenset(),
        effects="reversible",
        deprecated=None,
        reads=(),
        where=place,
    )


def _expected(call: Mapping[str, Mapping[str, list[Any]]], names: Mapping[str, str]) -> ExpectedCall:
    match list(call.items()):
        case [(name, arguments)] if name in names:
            values = {field: tuple(_values(field, given)) for field, given in arguments.items()}
            return ExpectedCall(
                names[name],
                {field: tuple(value for value in given if value != _LEFT_OUT) for field, given in values.items()},
                frozenset(field for field, given in arguments.items() if _LEFT_OUT in given),
            )
        case _:
            raise ValueError(f"ground_truth: must name one of the functions, not {', '.join(call) or 'nothing'}")


def _values(field: str, given: Sequence[Any]) -> Iterator[Any]:
    """Every right value: the alternatives inside an object or a list of objects are multiplied out."""
    found = [value for one in given for value in islice(_multiplied(one), _MOST_VALUES + 1)]
    if len(found) > _MOST_VALUES:
        raise ValueError(f"ground_truth: {field} has more than {_MOST_VALUES} right values")
    yield from found


def _multiplied(value: Any) -> Iterator[Any]:
    match value:
        case dict():
            each = [[(key, inner) for one in _listed(values) for inner in _multiplied(one)] for key, values in value.items()]
            for pairs in product(*each):
                yield {key: inner for key, inner in pairs if inner != _LEFT_OUT}
        case list() if any(isinstance(item, dict) for item in value):
            for items in product(*(list(_multiplied(item)) for item in value)):
                yield list(items)
        case _:
            yield value


def _listed(values: Any) -> list[Any]:
    return values if isinstance(values, list) else [values]
