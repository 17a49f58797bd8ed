"""What refers to nothing but itself is no contract."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from heddle.errors import DefinitionError
from heddle.macros.catalogue import read_catalogue


def catalogue(definitions: dict[str, Any]) -> str:
    contract = {
        "name": "sort",
        "version": 1,
        "intent": "",
        "tier": "standard",
        "timeout": 1.0,
        "hidden": [],
        "effects": "reversible",
        "deprecated": None,
        "reads": [],
        "examples": [],
        "phrases": [],
        "input": {"type": "object", "properties": {"a": {"$ref": "#/$defs/A"}}, "$defs": definitions},
        "output": {"type": "object"},
    }
    canonical = json.dumps(contract, sort_keys=True, separators=(",", ":"))
    return json.dumps({"format": 1, "macros": [{**contract, "digest": hashlib.sha256(canonical.encode()).hexdigest()[:12]}]})


@pytest.mark.parametrize(
    "definitions",
    [{"A": {"$ref": "#/$defs/A"}}, {"A": {"$ref": "#/$defs/B"}, "B": {"$ref": "#/$defs/A"}}],
)
def test_a_definition_that_refers_to_nothing_but_itself_is_damage(definitions: dict[str, Any]) -> None:
    with pytest.raises(DefinitionError, match="'A' refers to nothing but itself"):
        read_catalogue(catalogue(definitions), "macros.json")


def test_a_definition_that_contains_itself_is_none() -> None:
    tree = {"type": "object", "properties": {"children": {"type": "array", "items": {"$ref": "#/$defs/A"}}}}
    assert read_catalogue(catalogue({"A": tree}), "macros.json").find("sort") is not None
