"""What the decoders of model servers do not take from a schema."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import AnyUrl, BaseModel, Field

from heddle.macros.decoders import SERVERS, Finding, decoder_findings
from heddle.macros.schema import compile_schema


class Plain(BaseModel):
    repository: str = Field(min_length=1, max_length=9)
    count: int = Field(5, ge=1, le=200)
    strategy: Literal["semantic", "manual"] = "manual"
    since: str | None = None
    path: str = Field("/a", pattern="^/[a-z]+$")


class Inner(BaseModel):
    share: float = Field(gt=0)


class Awkward(BaseModel):
    even: int = Field(multiple_of=2)
    share: float | None = Field(ge=0.5, lt=1)
    inner: list[Inner]
    tags: set[str]
    name: str = Field(pattern="[a-z]+")
    code: Annotated[str, Field(pattern=r"^\d+$")]


class Further(BaseModel):
    moment: datetime
    home: AnyUrl
    table: dict[Annotated[str, Field(min_length=1)], int]
    matching: dict[Annotated[str, Field(pattern="^a$")], int]


class Strict(BaseModel):
    count: Annotated[int, Field(ge=1)]
    since: datetime | None
    words: Annotated[list[Literal["a", "b"]], Field(max_length=3)]


class Lax(BaseModel):
    name: str = Field(min_length=1)
    inner: Strict
    other: int = 0
    table: dict[str, int]
    path: Path
    event: Inner | Strict


def found(model: type[BaseModel], server: str, effect: str) -> list[tuple[str, str]]:
    findings = decoder_findings(compile_schema(model, "it"))
    return [(one.path, one.keyword) for one in findings if (one.server, one.effect) == (server, effect)]


@pytest.mark.parametrize("server", SERVERS[:2])
def test_what_a_grammar_enforces_is_not_told(server: str) -> None:
    assert found(Plain, server, "ignored") == found(Plain, server, "rejected") == []


def test_what_strict_outputs_take_is_not_told() -> None:
    assert found(Strict, "openai", "rejected") == found(Awkward, "openai", "ignored") == []


@pytest.mark.parametrize("server", SERVERS[:2])
def test_what_a_grammar_ignores_is_told_with_its_path(server: str) -> None:
    assert found(Awkward, server, "ignored") == [
        ("even", "multipleOf"),
        ("share", "exclusiveMaximum"),
        ("share", "minimum"),
        ("tags", "uniqueItems"),
        ("Inner.share", "exclusiveMinimum"),
    ]
    assert found(Further, server, "ignored") == [("home", "format"), ("table", "propertyNames"), ("matching", "patternProperties")]


@pytest.mark.parametrize(("server", "rejected"), [("llama.cpp", ["name"]), ("ollama", ["name", "code"])])
def test_a_pattern_that_a_decoder_cannot_read_is_rejected(server: str, rejected: list[str]) -> None:
    findings = decoder_findings(compile_schema(Awkward, "it"))
    assert [one for one in findings if one.server == server and one.effect == "rejected"] == [
        Finding(server, "pattern", path, "rejected") for path in rejected
    ]


def test_strict_outputs_reject_fields_that_may_be_left_out_open_objects_and_what_they_do_not_list() -> None:
    assert found(Lax, "openai", "rejected") == [
        ("", "required"),
        ("table", "additionalProperties"),
        ("path", "format"),
    ]
    assert found(Further, "openai", "rejected") == [
        ("home", "format"),
        ("table", "propertyNames"),
        ("table", "additionalProperties"),
        ("matching", "patternProperties"),
    ]
