"""The units of rules and settings: rates, durations, sizes."""

from __future__ import annotations

import re
from typing import Final

_RATE = re.compile(r"(\d+(?:\.\d+)?)\s*/\s*(s|min|h)")
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h)")
_SIZE = re.compile(r"(\d+)\s*(B|KiB|MiB)?")
_PER: Final = {"s": 1.0, "min": 60.0, "h": 3600.0}
_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_BYTES: Final = {None: 1, "B": 1, "KiB": 1024, "MiB": 1024**2}


def parse_rate(text: str) -> float:
    """Tokens per second of `200/s`, `300/min` or `30/h`.

    Raises:
        ValueError: it is no such rate.
    """
    match = _RATE.fullmatch(text.strip())
    if match is None or not 0 < float(match[1]) / _PER[match[2]] < float("inf"):
        raise ValueError(f"{text!r} is not a rate; write 200/s, 300/min or 30/h, above 0")
    return float(match[1]) / _PER[match[2]]


def parse_duration(text: str) -> float:
    """Seconds of `500ms`, `30s`, `2m` or `1h`.

    Raises:
        ValueError: it is no such duration.
    """
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a duration; write 500ms, 30s, 2m or 1h")
    return float(match[1]) * _SECONDS[match[2]]


def parse_size(text: str) -> int:
    """Bytes of `262144`, `256KiB` or `1MiB`.

    Raises:
        ValueError: it is no such size.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None or not int(match[1]):
        raise ValueError(f"{text!r} is not a size; write 256KiB, 1MiB or a number of bytes")
    return int(match[1]) * _BYTES[match[2]]


def positive_int(text: str) -> int:
    """A whole number of 1 or more.

    Raises:
        ValueError: it is none.
    """
    if not text.isdecimal() or len(text) > 15 or int(text) < 1:
        raise ValueError(f"{text!r} is not a whole number of 1 or more")
    return int(text)


def share_of(text: str) -> float:
    """A share between 0 and 1.

    Raises:
        ValueError: it is none.
    """
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise ValueError(f"{text!r} is not a share between 0 and 1")
    return share
