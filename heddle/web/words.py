"""How values are told on a page: pure. What comes from outside is shown as it is, and cannot disguise itself."""

from __future__ import annotations

import json
import re
from typing import Any, Final

from markupsafe import Markup, escape

from heddle.messages import format_time

UNKNOWN: Final = "\N{EN DASH}"
"""Stands where a value is not known."""
MOST_SHOWN: Final = 64 * 1024
"""Characters of a value that a page shows."""
_DISGUISES: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]")
"""Controls, and characters that are not seen or that turn the direction of what follows (Unicode TR 36)."""


def plain(text: object) -> str:
    r"""A text without disguises: what would not be seen is written as `\u202e`."""
    return _DISGUISES.sub(lambda found: f"\\u{ord(found[0]):04x}", str(text))


def pretty(value: Any) -> str:
    """A JSON value over several lines, or a text as it is; a long one is cut, and says so."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=2)
    text = plain(text)
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}\n… {len(text) - MOST_SHOWN:,} more characters are not shown"


def brief(value: Any, most: int = 120) -> str:
    """A JSON value in one line, cut if it is long."""
    text = plain(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
    text = " ".join(text.split())
    return text if len(text) <= most else f"{text[: most - 1]}…"


def count(number: float) -> str:
    """`12,345`; from a million on `1.2M`."""
    return f"{number:,.0f}" if abs(number) < 1e6 else f"{number / 1e6:.1f}M"


def short(number: int) -> str:
    """`842`, `1.5k`, `12k`, `1.2M`."""
    if number < 1000:
        return str(number)
    thousands = number / 1000
    return f"{thousands:.1f}k" if thousands < 9.95 else f"{thousands:.0f}k" if thousands < 999.5 else f"{number / 1e6:.1f}M"


def rate(per_second: float | None) -> str:
    """`0`, `0.4`, `12`, `1,250`; a dash where it is not known."""
    if per_second is None:
        return UNKNOWN
    return f"{per_second:.1f}" if 0 < per_second < 9.95 else f"{per_second:,.0f}"


def lasted(ms: float | None) -> str:
    """`850 ms`, `1.24 s`, `3 min 20 s`, `2 h 5 min`; a dash where it is not known."""
    if ms is None:
        return UNKNOWN
    if ms < 999.5:
        return f"{ms:.0f} ms"
    seconds = ms / 1000
    if seconds < 60:
        return f"{seconds:.2f} s" if seconds < 9.995 else f"{seconds:.1f} s"
    minutes, hours = int(seconds // 60), int(seconds // 3600)
    return f"{minutes} min {int(seconds % 60)} s" if minutes < 60 else f"{hours} h {minutes % 60} min"


def seconds(value: float) -> str:
    """A duration of the rules or a macro: `500 ms`, `30 s`, `2 min`, `1 h`."""
    for unit, one in (("h", 3600), ("min", 60)):
        if value >= one and value % (one / 2) == 0:
            return f"{value / one:g} {unit}"
    return f"{value:g} s" if value >= 1 or not value else f"{value * 1000:g} ms"


def size(number: int) -> str:
    """`412 B`, `12.3 KiB`, `4.0 MiB`."""
    if number < 1024:
        return f"{number} B"
    return f"{number / 1024:.1f} KiB" if number < 1024**2 else f"{number / 1024**2:.1f} MiB"


def counted(number: int, noun: str) -> str:
    """`1 task`, `2 tasks`."""
    return f"{count(number)} {noun}" if number == 1 else f"{count(number)} {noun}s"


def moment(at: float | str | None, *, exact: bool = False) -> Markup:
    """A time, as seconds since the epoch or a wire time; the page's script says how long ago that is, unless `exact`."""
    if at is None:
        return escape(UNKNOWN)
    wire = at if isinstance(at, str) else format_time(at)
    shown = f"{wire[:10]} {wire[11:19]} UTC" if wire.endswith("Z") else wire
    element = '<time datetime="{}">{}</time>' if exact else '<time datetime="{}" data-ago>{}</time>'
    return Markup(element).format(wire, plain(shown))  # noqa: S704  # one of two texts of ours; what is put in is escaped


def marked(text: str) -> Markup:
    """A text of ours, in which what stands between backticks is to be typed."""
    parts = plain(text).split("`")
    return Markup("").join(Markup("<code>{}</code>").format(part) if at % 2 else escape(part) for at, part in enumerate(parts))


def breakable(name: str) -> Markup:
    """A name, which may be broken after an underscore where there is no room for it."""
    return Markup("_<wbr>").join(plain(name).split("_"))


def reason(text: str) -> Markup:
    """A reason "code: detail": the code set off from the detail."""
    code, separator, detail = text.partition(": ")
    return Markup("<code>{}</code> {}").format(code, plain(detail)) if separator else escape(plain(text))
