"""What the decoders of model servers do not take from a schema."""

from __future__ import annotations

from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, Field

from heddle.macros.decoders import Finding, decoder_findings
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


def test_what_every_decoder_enforces_is_not_told() -> None:
    assert decoder_findings(compile_schema(Plain, "it")) == []


def test_what_is_ignored_is_told_with_its_path() -> None:
    ignored = [(found.path, found.keyword) for found in decoder_findings(compile_schema(Awkward, "it")) if found.effect == "ignored"]
    expected = [
        ("even", "multipleOf"),
        ("share", "minimum"),
        ("share", "exclusiveMaximum"),
        ("tags", "uniqueItems"),
        ("Inner.share", "exclusiveMinimum"),
    ]
    assert sorted(ignored) == sorted(expected * 2)


@pytest.mark.parametrize(("server", "rejected"), [("llama.cpp", ["name"]), ("ollama", ["name", "code"])])
def test_a_pattern_that_a_decoder_cannot_read_is_rejected(server: str, rejected: list[str]) -> None:
    found = decoder_findings(compile_schema(Awkward, "it"))
    assert [one for one in found if one.server == server and one.effect == "rejected"] == [
        Finding(server, "pattern", path, "rejected") for path in rejected
    ]
