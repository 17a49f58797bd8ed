"""Values as Python source: literals, parts of results, and what is made of them; and texts as comments have them. Pure."""

from __future__ import annotations

import json
from typing import Any

from heddle.gate.shapes import Shape
from heddle.gate.steps import Step
from heddle.gate.templates import EACH, Constant, Entries, Fields, Given, Items, Result, Template, Text


def expression(template: Template, steps: tuple[Step, ...]) -> str:
    """The source that makes what a template comes to, in a handler that made these steps before."""
    match template:
        case Constant(value):
            return literal(value)
        case Given(name):
            return f"request.{name}"
        case Result():
            return _result(template, steps)
        case Text(parts):
            return _text(parts, steps)
        case Items(items):
            return f"[{', '.join(expression(item, steps) for item in items)}]"
        case Fields(fields):
            return f"{{{', '.join(f'{literal(key)}: {expression(inner, steps)}' for key, inner in fields.items())}}}"
        case Entries(entries):
            return f"{{{', '.join(f'{expression(key, steps)}: {expression(inner, steps)}' for key, inner in entries)}}}"


def _text(parts: tuple[str | Given | Result, ...], steps: tuple[Step, ...]) -> str:
    """A text with values in it; a sum where a value's source has what no f-string may have in it before Python 3.12."""
    told = [(isinstance(part, str), literal(part) if isinstance(part, str) else expression(part, steps)) for part in parts]
    if any(mark in source for is_text, source in told if not is_text for mark in '"\\'):
        return " + ".join(source if is_text else f"str({source})" for is_text, source in told)
    inner = (source[1:-1].replace("{", "{{").replace("}", "}}") if is_text else f"{{{source}}}" for is_text, source in told)
    return f'f"{"".join(inner)}"'


def _result(result: Result, steps: tuple[Step, ...]) -> str:
    """The source that takes a part of an earlier result: attributes of models, keys of mappings, places of lists."""
    step = steps[result.call]
    if EACH not in result.way:
        return step.variable + taken(step.result, result.way)[0]
    at = result.way.index(EACH)
    before, shape = taken(step.result, result.way[:at])
    item = shape.item() if shape.item is not None else shape
    return f"[one{taken(item, result.way[at + 1 :])[0]} for one in {step.variable}{before}]"


def taken(shape: Shape, way: tuple[str | int, ...]) -> tuple[str, Shape]:
    """The source that takes a part of a value of this shape, and the part's shape."""
    text = ""
    for key in way:
        found = shape.step(key)
        part, shape = found if found is not None else (f"[{key!r}]", shape)
        text += part
    return text, shape


def literal(value: Any) -> str:
    """A JSON value as Python source, texts in double quotes."""
    match value:
        case str():
            told = json.dumps(value, ensure_ascii=False)
            return "".join(letter if letter.isprintable() else f"\\U{ord(letter):08x}" for letter in told)
        case list():
            return f"[{', '.join(map(literal, value))}]"
        case dict():
            return f"{{{', '.join(f'{literal(key)}: {literal(inner)}' for key, inner in value.items())}}}"
        case _:
            return repr(value)


def one_line(text: str) -> str:
    """A text as a comment or a docstring may have it: neither ends in it."""
    told = "".join(letter if letter.isprintable() else " " for letter in text.replace("\\", ""))
    return " ".join(told.replace('"""', "'''").split())
