"""What a server tells of a model, read: bits per weight, and whether it is tuned to follow instructions."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final

_QUANTIZATION: Final = re.compile(r"(?<![a-z])(?:bf|fp|f|iq|tq|q|mxfp|nvfp|int)(\d+)|(\d+)-?bit", re.IGNORECASE)
_TUNED: Final = re.compile(r"(?<![a-z])(instruct|chat|it|assistant)(?![a-z])", re.IGNORECASE)
_BASE: Final = re.compile(r"(?<![a-z])(base|text|pretrained?|pt)(?![a-z])", re.IGNORECASE)
_BARE: Final = "{{ .Prompt }}"
"""Ollama's template for a model without one: the prompt is continued, not answered."""


def bits_of(quantization: str | None) -> float | None:
    """Bits per weight as a quantization's name states them: 4 for `Q4_K_M` and `MXFP4`, 16 for `F16`; None if it states none.

    The scales of its blocks come on top: `Q4_K_M` takes 4.8 bits in all.
    """
    found = _QUANTIZATION.search(quantization or "")
    return float(found[1] or found[2]) if found else None


def is_instruct(name: str, *, finetune: str | None = None, template: str | None = None, capabilities: Collection[str] = ()) -> bool | None:
    """Is a model tuned to follow instructions?

    The strongest sign decides: what the model file calls itself, then its name, then whether it can call tools, then its chat template,
    which base models lack on an Ollama server.

    Args:
        name: as the server knows it.
        finetune: `general.finetune` of the model file.
        template: the chat template of an Ollama server; empty or bare where the model has none.
        capabilities: as an Ollama server lists them.

    Returns:
        None if there is no sign.
    """
    for sign in (finetune or "", name):
        if _TUNED.search(sign):
            return True
        if _BASE.search(sign):
            return False
    if "tools" in capabilities:
        return True
    return None if template is None else template.strip() not in {"", _BARE}
