"""A scan's report as SARIF 2.1.0, which code hosts show beside the code. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

from heddle.gate.reading import Place
from heddle.gate.scanning import Finding, Report
from heddle.gate.together import Together

SCHEMA: Final = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_RULES: Final[Mapping[str, tuple[str, str]]] = {
    "unencoded-sequence": ("A sequence of tool calls keeps coming back outside macros.", "error"),
    "planned-together": ("Goals keep planning the same macros together.", "note"),
    "expired-allowance": ("An entry of the allow-list has expired.", "warning"),
    "unknown-line": ("A line of a log could not be read.", "note"),
}


def sarif_of(report: Report, version: str, allow_list: str | None) -> dict[str, Any]:
    """The report as a SARIF log.

    Args:
        report: of the scan; what a macro does already, and what is allowed, is not in it.
        version: of heddle.
        allow_list: the allow-list's file, if there is one.
    """
    results = [
        *(
            _result("unencoded-sequence", _told(finding), finding.place, " > ".join(finding.pattern.methods))
            for finding in report.unencoded
        ),
        *(_result("planned-together", _advice(one), one.goals[0].place, " + ".join(one.macros)) for one in report.together),
        *(
            _result("expired-allowance", f"{one.pattern}: expired on {one.expires}", Place(allow_list or "", one.line), one.pattern)
            for one in report.expired
        ),
        *(_result("unknown-line", why, place, f"{place}") for place, why in report.logs.unknown),
    ]
    driver = {
        "name": "heddle gate",
        "version": version,
        "rules": [
            {"id": rule, "shortDescription": {"text": text}, "defaultConfiguration": {"level": level}}
            for rule, (text, level) in _RULES.items()
        ],
    }
    return {
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{"tool": {"driver": driver}, "results": results, "columnKind": "utf16CodeUnits"}],
    }


def _told(finding: Finding) -> str:
    pattern = finding.pattern
    return f"{pattern.name} in {pattern.support} sessions; make a macro of it: heddle gate suggest"


def _advice(one: Together) -> str:
    return f"{len(one.goals)} goals planned {', '.join(one.macros)} together; make a parent macro that calls them"


def _result(rule: str, text: str, place: Place, known_by: str) -> dict[str, Any]:
    return {
        "ruleId": rule,
        "ruleIndex": list(_RULES).index(rule),
        "level": _RULES[rule][1],
        "message": {"text": text},
        "locations": [
            {
                "physicalLocation": {
                    "artifactLocation": {"uri": quote(place.file.replace("\\", "/"))},
                    "region": {"startLine": max(1, place.line)},
                }
            }
        ],
        "partialFingerprints": {"sequence/v1": hashlib.sha256(f"{rule} {known_by}".encode()).hexdigest()[:32]},
    }
