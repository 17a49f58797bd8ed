"""A contract is the same text in every process, and what refers to nothing but itself is no contract."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from typing import Any

import pytest

from heddle.errors import DefinitionError
from heddle.macros.catalogue import read_catalogue

MACRO = """
from pydantic import BaseModel
from heddle import macro
from heddle.macros.catalogue import contract_of

class Inner(BaseModel):
    words: frozenset[str] = frozenset({"p", "q", "r", "s"})

class Request(BaseModel):
    words: set[str] = {"a", "b", "c", "d"}
    inner: Inner = Inner()
    groups: dict[str, set[str]] = {"x": {"k", "l", "m", "n"}}

@macro
async def sort(request: Request) -> Inner:
    "Sort."

print(contract_of(sort).digest)
"""


def digest(folder: Any, seed: int) -> str:
    (folder / "macro.py").write_text(MACRO)
    environment = {**os.environ, "PYTHONHASHSEED": str(seed), "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, folder / "macro.py"], env=environment, capture_output=True, text=True, timeout=60, check=True)
    return done.stdout


def test_a_digest_is_the_same_whatever_the_order_of_sets(tmp_path: Any) -> None:
    assert len({digest(tmp_path, seed) for seed in (0, 1, 2, 3)}) == 1


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
