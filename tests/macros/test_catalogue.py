"""What macros promise, as a file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from heddle import macro, person_only
from heddle.errors import Code, DefinitionError, MacroFailure
from heddle.macros.catalogue import Contract, catalogue_of, contract_of, read_catalogue, write_catalogue
from heddle.macros.loading import AnyMacro, collect

ROOT = Path(__file__).resolve().parents[2]


class Request(BaseModel):
    """What to label."""

    repository: str = Field(min_length=1, description="Where.")
    count: Annotated[int, Field(ge=1, le=200)] = 5
    strategy: Literal["semantic", "manual"] = "semantic"
    write: Annotated[bool, person_only] = False


class Report(BaseModel):
    """What came of it."""

    processed: int = 0


EXAMPLES = [("Check acme/checkout", {"repository": "acme/checkout"})]
PHRASES = ["triage {repository}", "label {count} changes of {repository}"]


@macro(tier="local", timeout=30, examples=EXAMPLES, phrases=PHRASES)
async def triage(request: Request) -> Report:
    """Label recent changes."""
    return Report()


@macro(name="triage", version=2, deprecated="until 2027-03")
async def triage_v2(request: Request) -> Report:
    """Label recent changes, better."""
    return Report()


@macro
async def adding(request: Report) -> Report:
    """Add."""
    return request


CATALOGUE = catalogue_of(collect(iter([triage_v2, adding, triage])))
TEXT = write_catalogue(CATALOGUE)


def damaged(change: Callable[[dict[str, Any]], Any], text: str = TEXT) -> str:
    parsed = json.loads(text)
    change(parsed)
    return refusal(json.dumps(parsed))


def refusal(text: str) -> str:
    with pytest.raises(DefinitionError) as caught:
        read_catalogue(text, "macros.json")
    return str(caught.value)


def of(macro: AnyMacro) -> Contract:
    return contract_of(macro)


# --- writing and reading


def test_what_is_written_is_read_again() -> None:
    read = read_catalogue(TEXT, "macros.json")
    assert [(one.name, one.version, one.promises) for one in read.newest()] == [
        (one.name, one.version, one.promises) for one in CATALOGUE.newest()
    ]
    assert write_catalogue(read) == TEXT


def test_a_file_has_every_version_by_name_with_all_that_it_promises() -> None:
    parsed = json.loads(TEXT)
    assert parsed["format"] == 1
    assert [(one["name"], one["version"]) for one in parsed["macros"]] == [("adding", 1), ("triage", 1), ("triage", 2)]
    one = parsed["macros"][1]
    assert {key: one[key] for key in one.keys() - {"input", "output", "digest"}} == {
        "name": "triage",
        "version": 1,
        "intent": "Label recent changes.",
        "tier": "local",
        "timeout": 30.0,
        "hidden": ["write"],
        "effects": "reversible",
        "deprecated": None,
        "reads": [],
        "examples": [["Check acme/checkout", {"repository": "acme/checkout"}]],
        "phrases": PHRASES,
    }
    assert (one["input"], one["output"]) == (triage.schema, triage.output_schema)
    assert parsed["macros"][2]["deprecated"] == "until 2027-03"


def test_fields_keep_their_order_for_the_planner_shows_them_in_it() -> None:
    contract = read_catalogue(TEXT, "macros.json").find("triage", 1)
    assert contract is not None
    assert list(contract.schema["properties"]) == ["repository", "count", "strategy", "write"]
    assert contract.planner_schema == triage.planner_schema


def test_the_newest_and_any_version_are_found() -> None:
    assert [(one.name, one.version) for one in CATALOGUE.newest()] == [("adding", 1), ("triage", 2)]
    assert [CATALOGUE.find("triage", 3), CATALOGUE.find("other")] == [None, None]


def test_an_empty_catalogue_is_one() -> None:
    assert read_catalogue(write_catalogue(catalogue_of(collect(iter([])))), "macros.json").newest() == []


# --- digests


def test_a_digest_is_twelve_hex_digits_and_says_nothing_of_the_place() -> None:
    @macro(name="triage", tier="local", timeout=30.0, examples=EXAMPLES, phrases=PHRASES)
    async def elsewhere(request: Request) -> Report:
        """Label recent changes."""
        return Report()

    assert of(elsewhere).digest == of(triage).digest
    assert len(of(triage).digest) == len(bytes.fromhex(of(triage).digest)) * 2 == 12


@pytest.mark.parametrize(
    "change",
    [
        {"tier": "standard"},
        {"timeout": 31},
        {"phrases": PHRASES[:1]},
        {"examples": ()},
        {"version": 3},
        {"deprecated": "now"},
        {"name": "x"},
    ],
    ids=str,
)
def test_another_promise_is_another_digest(change: dict[str, Any]) -> None:
    promises = {"name": "triage", "tier": "local", "timeout": 30, "examples": EXAMPLES, "phrases": PHRASES, **change}
    other: AnyMacro = macro(**promises)(triage.handler)
    assert of(other).digest != of(triage).digest


SETS = """
from pydantic import BaseModel, Field
from typing import Annotated
from heddle import macro, person_only
class In(BaseModel):
    words: set[str] = {"a", "bb", "ccc", "dddd", "eeeee"}
    a: Annotated[int, person_only] = 0
    b: Annotated[int, person_only] = 0
    c: Annotated[int, person_only] = Field(0, alias="d")
    groups: dict[str, set[str]] = {"x": {"k", "l", "m", "n"}}
class Out(BaseModel):
    words: frozenset[str] = frozenset({"p", "q", "r", "s"})
@macro
async def sets(request: In) -> Out:
    return Out()
"""
COMPILES = """
import sys
from heddle.macros.catalogue import catalogue_of, write_catalogue
from heddle.macros.loading import load
print(write_catalogue(catalogue_of(load(sys.argv[1:]))), end="")
"""


def test_a_catalogue_and_its_digests_are_the_same_under_any_hash_seed(tmp_path: Path) -> None:
    (tmp_path / "sets.py").write_text(SETS)
    argv = [sys.executable, "-c", COMPILES, str(tmp_path / "sets.py")]

    def compiled(seed: int) -> str:
        env = {**os.environ, "PYTHONHASHSEED": str(seed), "PYTHONPATH": str(ROOT)}
        return subprocess.run(argv, env=env, capture_output=True, text=True, check=True, timeout=60).stdout

    texts = {compiled(seed) for seed in (1, 2)}
    assert len(texts) == 1
    assert read_catalogue(texts.pop(), "it").find("sets") is not None


@pytest.mark.parametrize("timeout", [float("inf")])
def test_a_promise_that_json_cannot_say_is_refused_with_its_place(timeout: float) -> None:
    endless: AnyMacro = macro(timeout=timeout)(triage.handler)
    with pytest.raises(DefinitionError, match="cannot be written to a catalogue") as caught:
        contract_of(endless)
    assert str(caught.value).startswith(f"{endless.where}: triage ")


# --- arguments


@pytest.mark.parametrize(
    "arguments",
    [
        {"repository": "x"},
        {"repository": "x", "count": 200},
        {"repository": ""},
        {"repository": "x", "count": 1.0},
        {"repository": "x", "count": True},
        {"repository": "x", "count": "1"},
        {"repository": "x", "count": float("nan")},
        {"repository": "x", "more": 1},
        {"repository": "\ud800"},
        {"count": 3},
        {},
    ],
    ids=repr,
)
def test_a_contract_takes_the_arguments_that_the_macro_takes(arguments: dict[str, Any]) -> None:
    assert taken(of(triage), arguments) == taken(triage, arguments)


@given(
    st.dictionaries(
        st.sampled_from(["repository", "count", "strategy", "write", "x"]),
        st.none() | st.booleans() | st.integers(-1, 300) | st.floats() | st.sampled_from(["", "semantic", "x"]) | st.just([]),
    )
)
def test_a_contract_takes_whatever_the_macro_takes_and_nothing_else(arguments: dict[str, Any]) -> None:
    assert taken(CONTRACT, arguments) == taken(triage, arguments)


CONTRACT = of(triage)


def taken(offer: AnyMacro | Contract, arguments: dict[str, Any]) -> bool:
    try:
        offer.read(arguments)
    except MacroFailure:
        return False
    return True


def test_arguments_at_fault_are_told_by_field() -> None:
    with pytest.raises(MacroFailure) as caught:
        of(triage).read({"repository": "x", "count": 0})
    assert str(caught.value) == "count: 0 is less than the minimum of 1"


def test_arguments_nested_without_end_are_invalid() -> None:
    nested: list[Any] = []
    for _ in range(10_000):
        nested = [nested]
    with pytest.raises(MacroFailure) as caught:
        of(triage).read({"repository": nested})
    assert caught.value.code is Code.INVALID_PAYLOAD


# --- files that are none


@pytest.mark.parametrize("text", ["", "{", "\x00", TEXT[: len(TEXT) // 2], '{"format": NaN}', "[" * 100_000], ids=lambda text: text[:10])
def test_what_is_no_json_is_refused_saying_how_to_write_it_anew(text: str) -> None:
    told = refusal(text)
    assert told.startswith("macros.json is not JSON: ")
    assert told.endswith("write it anew: heddle macros compile -O macros.json")


@pytest.mark.parametrize(
    "text", ["null", "[]", "{}", '{"macros": []}', '{"format": 1}', '{"format": "1", "macros": []}', '{"format": true, "macros": []}']
)
def test_what_is_another_file_is_refused(text: str) -> None:
    assert refusal(text).startswith("macros.json is no catalogue of macros: ")


def test_another_format_is_refused_by_its_number() -> None:
    assert refusal('{"format": 2, "macros": {}}').startswith("macros.json is a catalogue of format 2, and this heddle reads format 1; ")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda file: file.update(more=1), "more: Extra inputs"),
        (lambda file: file["macros"].append(1), "macros.3: "),
        (lambda file: file["macros"][0].pop("intent"), "macros.0.intent: Field required"),
        (lambda file: file["macros"][0].update(version="1"), "macros.0.version: "),
        (lambda file: file["macros"][0].update(version=0), "macros.0.version: "),
        (lambda file: file["macros"][0].update(timeout=0), "macros.0.timeout: "),
        (lambda file: file["macros"][0].update(more=0), "macros.0.more: Extra inputs"),
        (lambda file: file["macros"].append(file["macros"][0]), "'adding' version 1: it is there twice"),
        (lambda file: file["macros"][0].update(intent="Other"), "'adding' version 1: its digest is "),
        (lambda file: file["macros"][1]["input"]["properties"].pop("write"), "'triage' version 1: its digest is "),
    ],
)
def test_a_damaged_file_is_refused_naming_what_is_wrong(change: Callable[[dict[str, Any]], Any], said: str) -> None:
    told = damaged(change)
    assert told.startswith(f"macros.json is damaged: {said}"), told


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": "Not A Name"}, "'Not A Name' can be no name"),
        ({"tier": "router.*"}, "'router.*' can be no name"),
        ({"schema": {"type": "string"}}, "its input is no object with named fields"),
        ({"schema": {"type": "object", "properties": {"a": {"type": "nonsense"}}}}, "its schema is none: "),
        ({"output_schema": {"minimum": "1"}}, "its schema is none: "),
        ({"output_schema": {"$ref": "http://127.0.0.1:9/x"}}, "its schema refers to 'http://127.0.0.1:9/x', which is not in it"),
        ({"output_schema": {"items": {"$ref": "#/$defs/None"}}}, "its schema refers to '#/$defs/None', which is not in it"),
    ],
    ids=str,
)
def test_a_foreign_file_whose_digests_are_right_is_refused_for_what_it_says(change: dict[str, Any], said: str) -> None:
    contract = of(triage)
    foreign = Contract(**{**{name: getattr(contract, name) for name in contract.__dataclass_fields__}, **change})
    text = json.dumps({"format": 1, "macros": [{**foreign.promises, "digest": foreign.digest}]})
    assert f": {said}" in refusal(text)


@given(st.data())
def test_whatever_is_cut_out_of_a_file_it_is_read_as_it_was_or_refused(data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(TEXT)))
    end = data.draw(st.integers(start, min(len(TEXT), start + 50)))
    try:
        read = read_catalogue(TEXT[:start] + TEXT[end:], "macros.json")
    except DefinitionError:
        return
    assert all(one in CATALOGUE_DIGESTS for one in digests(read))


def digests(catalogue: Any) -> set[str]:
    return {one.digest for versions in catalogue.macros.values() for one in versions.values()}


CATALOGUE_DIGESTS = digests(CATALOGUE)
