"""What macros save: sessions that would not have been needed, had the macros that are there now been there then. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple

from heddle.gate.mining import Run
from heddle.gate.reading import Session


class Covered(NamedTuple):
    """A sequence that a macro does, with its runs, those that failed too; `unsaid` are fields that it must be given, and the goals do not say."""

    macro: str
    runs: Sequence[Run]
    unsaid: tuple[str, ...] = ()


@dataclass(slots=True)
class Saving:
    """The sessions of one kind: of a category of novel goals, or of the fallback of a macro.

    Attributes:
        sessions: how many there were.
        whole: those in which every call that gave a result belongs to a sequence that a macro does now.
        part: those in which some do.
        calls: of the whole ones; `tokens` and `cost` (dollars) likewise.
        macros: those that do it.
        unsaid: fields of theirs that the goals do not say, such as `post.text`: the planner cannot fill them.
    """

    kind: Literal["novel", "fallback", "other"]
    name: str
    sessions: int = 0
    whole: int = 0
    part: int = 0
    calls: int = 0
    tokens: int = 0
    cost: float = 0.0
    macros: tuple[str, ...] = ()
    unsaid: tuple[str, ...] = ()

    @property
    def to_remove(self) -> bool:
        """Would none of its sessions be needed, and can its goals be planned to the macros?"""
        return self.kind != "other" and self.whole == self.sessions and not self.unsaid

    def as_json(self) -> dict[str, Any]:
        """For `-o json`, and to be told."""
        return {
            **asdict(self),
            "macros": list(self.macros),
            "unsaid": list(self.unsaid),
            "to_remove": self.to_remove,
            "advice": self.advice,
        }

    @property
    def advice(self) -> str | None:
        """What to take out of the settings or the macro now, or why not yet."""
        match self.kind:
            case "novel" if self.unsaid and self.whole == self.sessions:
                return f"keep the category `novel.{self.name}` for now: its goals do not say {', '.join(self.unsaid)}"
            case "novel" if self.to_remove:
                return f"remove the category `novel.{self.name}` from the settings: {', '.join(self.macros)} does what its goals ask for"
            case "fallback" if self.to_remove:
                return f"remove `fallback` from the failures of {self.name}: {', '.join(self.macros)} does what was done instead"
            case _:
                return None


def savings(sessions: Sequence[Session], covered: Iterable[Covered]) -> list[Saving]:
    """What would have been saved, for each kind of sessions in which something would; those that saved most first.

    Args:
        sessions: those that the sequences were mined from.
        covered: the sequences that macros do.
    """
    done: dict[int, dict[int, Covered]] = {}
    for one in covered:
        for run in one.runs:
            done.setdefault(run.session, {}).update(dict.fromkeys(run.calls, one))
    found: dict[tuple[Literal["novel", "fallback", "other"], str], Saving] = {}
    for number, session in enumerate(sessions):
        if not session.calls:
            continue
        key = _key(session)
        saving = found.setdefault(key, Saving(*key))
        saving.sessions += 1
        if number in done:
            _add(saving, session, done[number])
    return sorted((one for one in found.values() if one.whole or one.part), key=lambda one: (-one.cost, -one.whole, one.kind, one.name))


def _key(session: Session) -> tuple[Literal["novel", "fallback", "other"], str]:
    for call in session.calls:
        if call.fallback is not None:
            return "fallback", call.fallback
        if call.novel is not None:
            return "novel", call.novel
    return "other", ""


def _add(saving: Saving, session: Session, done: dict[int, Covered]) -> None:
    saving.macros = tuple(dict.fromkeys((*saving.macros, *(one.macro for one in done.values()))))
    saving.unsaid = tuple(dict.fromkeys((*saving.unsaid, *(f"{one.macro}.{name}" for one in done.values() for name in one.unsaid))))
    if any(call.error is None and at not in done for at, call in enumerate(session.calls)):
        saving.part += 1
        return
    saving.whole += 1
    saving.calls += len(session.calls)
    saving.tokens += sum(usage.prompt_tokens + usage.answer_tokens for usage in session.usage)
    saving.cost += sum(usage.cost for usage in session.usage)
