"""Names for what is generated: fields, variables, classes, macros. Pure."""

from __future__ import annotations

import builtins
import keyword
import re
import unicodedata
from collections.abc import Container, Sequence
from typing import Final

from pydantic import BaseModel

from heddle.messages import is_name

IMPORTED: Final = frozenset({"AsyncIterator", "BaseModel", "Field", "Literal", "Protocol", "macro", "provides", "reject", "retry"})
"""What the file of a macro may import."""
TAKEN: Final = frozenset({*keyword.kwlist, *keyword.softkwlist, *dir(builtins), *IMPORTED})
"""Names that nothing in such a file may have."""
_NO_NAMES: Final = frozenset({*keyword.kwlist, "self"})
MOST_LETTERS: Final = 50


def words_of(name: str) -> list[str]:
    """The words of a name in any style: `latestChanges`, `latest-changes` and `latest_changes` are two each."""
    apart = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", name)
    return re.findall(r"[A-Za-z0-9]+", apart)


def snake(name: str) -> str:
    """A name as a variable has it."""
    told = "_".join(word.lower() for word in words_of(name)) or "value"
    told = told if told[0].isalpha() else f"n{told}"
    return f"{told}_" if told in TAKEN else told


def camel(name: str) -> str:
    """A name as a class has it."""
    told = "".join(word[0].upper() + word[1:] for word in words_of(name)) or "Value"
    return told if told[0].isalpha() else f"N{told}"


def code_name(name: str) -> str:
    """A method's or an argument's name as code has it: the same if it is such a name, and nobody's but its own."""
    if name.isascii() and name.isidentifier() and name[0] != "_" and name not in _NO_NAMES:
        return name
    told = re.sub(r"\W+", "_", unicodedata.normalize("NFKC", name)).strip("_") or "value"
    told = told if told[0].isalpha() else f"n{told}"
    told = f"{told}_" if told in _NO_NAMES else told
    return told if told.isidentifier() else snake(name)


def type_name(name: str) -> str:
    """A tool's name as its type has it: the same if it is such a name, and free."""
    told = code_name(name)
    if told != name or told[0].islower():
        told = code_name("".join(f"{part[:1].upper()}{part[1:]}" for part in told.split("_")))
    return f"{told}_" if told in TAKEN else told


def field_name(path: Sequence[str], taken: Container[str]) -> str:
    """The name of an input's field for an argument: its own, with what it belongs to before it where that is taken.

    Args:
        path: the method, the argument, and the keys within it.
        taken: names of other fields.
    """
    own = [snake(part).rstrip("_") for part in path]
    for first in range(len(own) - 1, -1, -1):
        name = "_".join(own[first:])
        if name not in taken and not clashes(name):
            return name
    return unique("_".join(own), taken)


def clashes(name: str) -> bool:
    """Would a model's field of this name hide something of the model, or not be a name?"""
    return hasattr(BaseModel, name) or name.startswith("model_") or keyword.iskeyword(name)


def macro_name(methods: Sequence[str], taken: Container[str]) -> str:
    """A name for a macro by what it calls first and last: `latest_then_annotate`."""
    first, last = snake(methods[0]).rstrip("_"), snake(methods[-1]).rstrip("_")
    name = first if first == last and len(methods) > 1 else f"{first}_then_{last}"
    name = f"{name}_{len(methods)}_times" if first == last else name
    name = name[:MOST_LETTERS].rstrip("_")
    return unique(name if is_name(name) else f"{name}_macro", taken)


def unique(name: str, taken: Container[str]) -> str:
    """The name, with a number where it is taken."""
    number = 1
    told = name
    while told in taken:
        number += 1
        told = f"{name}_{number}"
    return told
