"""Goals whose second part needs the first's result: tasks of one plan run on their own and see nothing of each other."""

from __future__ import annotations

import re
from typing import Final

from heddle.planning.words import unfolded

_QUOTED: Final = re.compile(r"\"[^\"]*\"|(?<!\w)'[^']*'(?!\w)")
_RESULT: Final = r"(?:results?|outputs?|outcomes?|findings?|answers?|conclusions?|response)"
_MADE: Final = (
    rf"(?:{_RESULT}|reports?|summary|summaries|lists?|notes|drafts?|analysis|profiles?|tables?|numbers|figures|statistics|labels)"
)
_OF_BEFORE: Final = (
    r"(?:its|their|that|those|these|the resulting|the (?:first|previous|former|earlier|last)(?: one| task| step| call)?'s|both|all the)"
)
_GIVES: Final = r"(?:e-?mail|mail|send|forward|post|publish|pass|feed|pipe|attach|upload|save|store|write|insert|add|include|put|share)"
_TAKES: Final = r"(?:us(?:e|es|ing)|compar(?:e|es|ing)|combin(?:e|es|ing)|merg(?:e|es|ing)|translat(?:e|es|ing)|summari[sz](?:e|es|ing)|based on|from|with|on)"
_UP_TO: Final = r"(?: [\w@./'-]+){0,3}?"

_CHAINS: Final = tuple(
    re.compile(rf"(?<!\w)(?:{pattern})(?!\w)", re.IGNORECASE)
    for pattern in (
        rf"{_RESULT} (?:of|from) (?:the |that |this |each |both |step |task |call )*(?:first|second|previous|former|latter|earlier|step|task|call|that|it|this|these|those|both|each|one|1)",
        rf"(?:{_GIVES}|{_TAKES}){_UP_TO} (?:{_OF_BEFORE} {_MADE}|the {_RESULT})",
        rf"(?:{_OF_BEFORE}) {_RESULT}",
        r"based on (?:that|this|it|those|them|what)",
        r"(?:pipe|feed) (?:it|that|them|those|the [\w-]+) (?:to|into)",
        r"with (?:what|whatever|everything|anything) (?:you|it) (?:finds?|gets?|found|got)",
        r"(?:once|after|when|as soon as) (?:it|that|this|they|the first(?: \w+)?) (?:is|are|has|have|was|were|finish(?:es|ed)?|succeeds?|complet(?:es|ed)|ends?)(?: (?:done|finished|complete|completed|over|ready|through))?",
        r"if (?:it|that|this|they|any|the first(?: \w+)?) (?:fails?|succeeds?|passes|finds?|contains?|shows?|is (?:ok|fine|good|green|clean|empty))",
        r"depending on (?:that|this|it|the|what)",
    )
)


def chained(text: str) -> str | None:
    """The words by which a goal asks for what an earlier part of it gives; None if there are none. Quoted strings say nothing."""
    said = " ".join(_QUOTED.sub(" ", unfolded(text)).split())
    return next((found[0] for chain in _CHAINS if (found := chain.search(said))), None)
