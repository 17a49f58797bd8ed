"""Goals whose second part needs the first's result: tasks of one plan run on their own and see nothing of each other."""

from __future__ import annotations

import re
from typing import Final

from heddle.planning.words import unfolded

_QUOTED: Final = re.compile(r"\"[^\"]*\"|(?<!\w)'[^']*'(?!\w)")

_RESULT: Final = r"(?:results?|outputs?|outcomes?|findings?|answers?|conclusions?|response)"
_REPORT: Final = r"(?:reports?|summary|summaries|notes|drafts?|analysis|profiles?)"
_PRODUCT: Final = rf"(?:{_RESULT}|{_REPORT}|lists?|tables?|numbers|figures|statistics|labels)"
_FIRST: Final = r"(?:first|second|previous|former|latter|earlier)"
_ITS: Final = rf"(?:its|their|that|those|these|the resulting|the {_FIRST}(?: one| task| step| call)?'s|both|all the)"
_GIVE: Final = r"(?:e-?mail|mail|send|forward|post|publish|pass|feed|pipe|attach|upload|save|store|write|insert|add|include|put|share)"
_TAKE: Final = r"(?:us(?:e|ing)|compar(?:e|ing)|combin(?:e|ing)|merg(?:e|ing)|translat(?:e|ing)|summari[sz](?:e|ing)|based on|from|with|on)"
_FEW_WORDS: Final = r"(?: [\w@./'-]+){0,3}?"
_ENDED: Final = (
    r"(?:is|are|has|have|was|were)(?: been)? (?:done|finished|completed?|over|ready|through)|finish(?:es|ed)|succeeds|completes|ends"
)

_CHAINS: Final = tuple(
    re.compile(rf"(?<!\w)(?:{chain})(?!\w)", re.IGNORECASE)
    for chain in (
        rf"{_RESULT} (?:of|from) (?:the |step |task |call )*(?:{_FIRST}|step|task|call|that|it|this|these|those|both|each|one|1)",
        rf"(?:{_GIVE}|{_TAKE}){_FEW_WORDS} (?:{_ITS} {_PRODUCT}|the {_RESULT})",
        rf"{_GIVE}(?: [\w@.-]+){{0,2}}? the {_REPORT}(?= (?:to|by|via|as)\b|[.,;!?]|$)",
        rf"{_ITS} {_RESULT}",
        r"based on (?:that|this|it|those|them|what)",
        r"(?:pipe|feed) (?:it|that|them|those|the [\w-]+) (?:to|into)",
        r"with (?:what|whatever|everything|anything) (?:you|it) (?:finds?|gets?|found|got)",
        rf"(?:once|after|when|as soon as) (?:it|that|this|they|the first(?: \w+)?) (?:{_ENDED})",
        r"if (?:it|that|this|they|any|the first(?: \w+)?) (?:fails?|succeeds?|passes|finds?|contains?|shows?)",
        r"depending on (?:that|this|it|the|what)",
    )
)


def chained(text: str) -> str | None:
    """The words by which a goal asks for what an earlier part of it gives; None if there are none. Quoted strings say nothing."""
    said = " ".join(_QUOTED.sub(" ", unfolded(text)).split())
    return next((found[0] for chain in _CHAINS if (found := chain.search(said))), None)
