"""What model servers do with a JSON Schema when it is to steer the decoding: keywords that they ignore, and such as they reject.

What is ignored costs nothing but tokens: every answer is checked against the whole schema. What is rejected is no plan at all.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final, Literal, NamedTuple

from heddle.macros.schema import Schema

SERVERS: Final = ("llama.cpp", "ollama")
"""Both make a grammar of the schema by the same rules; Ollama's reads fewer regular expressions."""

_IGNORED: Final = frozenset({"uniqueItems", "multipleOf", "not", "if", "then", "else"})
_BOUNDS: Final = frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"})
_ANCHORED: Final = re.compile(r"\^.*\$", re.DOTALL)


class Finding(NamedTuple):
    """A keyword of a schema that a server's decoder does not heed; `path` is dotted."""

    server: str
    keyword: str
    path: str
    effect: Literal["ignored", "rejected"]


def decoder_findings(schema: Schema) -> list[Finding]:
    """What the decoders do not take from a schema, by server and in the schema's order."""
    found = list(_unheeded(schema, ""))
    return [Finding(server, keyword, path, effect) for server in SERVERS for servers, keyword, path, effect in found if server in servers]


def _unheeded(schema: Any, path: str) -> Iterator[tuple[tuple[str, ...], str, str, Literal["ignored", "rejected"]]]:
    if not isinstance(schema, dict):
        return
    for keyword, value in schema.items():
        match keyword, value:
            case (("properties" | "$defs"), dict()):
                for name, part in value.items():
                    yield from _unheeded(part, f"{path}.{name}".lstrip("."))
            case (("items" | "additionalProperties"), dict()):
                yield from _unheeded(value, f"{path}[]" if keyword == "items" else f"{path}.*")
            case (("anyOf" | "oneOf" | "allOf" | "prefixItems"), list()):
                for part in value:
                    yield from _unheeded(part, path)
            case "pattern", str() if not _ANCHORED.fullmatch(value):
                yield SERVERS, keyword, path, "rejected"
            case "pattern", str() if "\\" in value:
                yield ("ollama",), keyword, path, "rejected"
            case _ if keyword in _IGNORED or (keyword in _BOUNDS and schema.get("type") == "number"):
                yield SERVERS, keyword, path, "ignored"
