"""What model servers do with a JSON Schema when it is to steer the decoding: keywords that they ignore, and such as they reject.

What is ignored costs nothing but tokens: every answer is checked against the whole schema. What is rejected is no plan at all.

Where it is known from:

- llama.cpp: measured with xllamacpp (bounds, pattern, lengths, maxItems, dates, references, oneOf and allOf are enforced; bounds of
  numbers, uniqueItems, if/then and not are skipped in silence), and the limitations listed in its grammars/README.md; patterns that
  are not anchored: ggml-org/llama.cpp issue 26930.
- Ollama: it converts with llama.cpp's code; patterns: ollama/ollama issues 8185 and 8325, and with escapes ollama-python issue 541.
- OpenAI-compatible structured outputs, strict: the page "Structured model outputs" of the API's documentation, and for propertyNames
  vercel-labs/json-render issue 180. What that page does not list as supported counts as rejected, but for lengths, which it names
  as lacking in fine-tuned models only.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final, Literal, NamedTuple

from heddle.macros.schema import Schema, parts_of

Effect = Literal["ignored", "rejected"]


class Finding(NamedTuple):
    """A keyword of a schema that a server's decoder does not heed; `path` is dotted."""

    server: str
    keyword: str
    path: str
    effect: Effect


def decoder_findings(schema: Schema) -> list[Finding]:
    """What the decoders do not take from a schema, by server and in the schema's order."""
    return [
        Finding(server, keyword, path, effect)
        for server in SERVERS
        for path, part in parts_of(schema, "")
        if isinstance(part, dict)
        for keyword, effect in (_by_openai(part) if server == "openai" else _by_llama(part, ollama=server == "ollama"))
    ]


SERVERS: Final = ("llama.cpp", "ollama", "openai")

_BOUNDS: Final = frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"})
_CONDITIONS: Final = frozenset({"if", "then", "else", "dependentRequired", "dependentSchemas"})
_SKIPPED: Final = _CONDITIONS | {"uniqueItems", "multipleOf", "not", "contains", "patternProperties", "propertyNames"}
_ANCHORED: Final = re.compile(r"\^.*\$", re.DOTALL)
_GRAMMAR_FORMATS: Final = frozenset({"date", "time", "date-time", "uuid"})

_OPENAI_TAKES_NOT: Final = _CONDITIONS | frozenset(
    {"allOf", "oneOf", "not", "prefixItems", "uniqueItems", "contains", "patternProperties", "propertyNames"}
)
_OPENAI_FORMATS: Final = frozenset({"date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"})


def _by_llama(part: Schema, *, ollama: bool) -> Iterator[tuple[str, Effect]]:
    for keyword, value in part.items():
        match keyword, value:
            case "pattern", str() if not _ANCHORED.fullmatch(value) or (ollama and "\\" in value):
                yield keyword, "rejected"
            case "format", str() if value not in _GRAMMAR_FORMATS:
                yield keyword, "ignored"
            case _ if keyword in _SKIPPED or (keyword in _BOUNDS and part.get("type") == "number"):
                yield keyword, "ignored"


def _by_openai(part: Schema) -> Iterator[tuple[str, Effect]]:
    """Strict mode: every object is closed, and has all its fields."""
    for keyword, value in part.items():
        if keyword in _OPENAI_TAKES_NOT or (keyword == "format" and value not in _OPENAI_FORMATS):
            yield keyword, "rejected"
    fields: dict[str, Any] = part.get("properties", {})
    if part.get("type") == "object" and part.get("additionalProperties") is not False:
        yield "additionalProperties", "rejected"
    if fields.keys() - set(part.get("required", ())):
        yield "required", "rejected"
