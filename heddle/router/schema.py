"""The JSON Schema of a rules file, for editors.

It says what can be said without the names that a file declares: what `parse_rules` accepts, the schema accepts. The other way
round a few things stay to `heddle rules check`: that a tier or worker type that is named is declared, and numbers so large or so
small that they cannot be kept.

An editor sees values where the router sees their text, so a number may stand wherever its text would do (a worker type may be
called 5). Only a name that YAML reads as something else again (true, false, null) has to be quoted for the editor's sake.
"""

from __future__ import annotations

from typing import Any, Final

from heddle.messages import NAME_PATTERN, PRIORITIES, RESERVED_NAMES
from heddle.router.rules import DEFAULT_MAX_HOPS, DEFAULT_MAX_PAYLOAD, DEFAULT_RESERVE

Schema = dict[str, Any]

_SHARE: Final = r"^\s*[+-]?(\d[\d_]*(\.[\d_]*)?|\.\d[\d_]*)([eE][+-]?\d[\d_]*)?\s*$"
_LARGEST: Final = 10**15 - 1


def rules_schema() -> Schema:
    """The schema, in the dialect of 2020-12."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Rules of the heddle router",
        "description": "Where tasks go, and how fast. Check a file with `heddle rules check`, a task with `heddle rules explain`.",
        "type": "object",
        "required": ["version", "tiers", "worker_types"],
        "additionalProperties": False,
        "properties": {
            "version": {"description": "The version of this format.", "enum": [1, "1"]},
            "tiers": _named("Every tier there is, by name: where tasks run, and how fast they may get there.", {"$ref": "#/$defs/tier"}),
            "worker_types": _named(
                "Every worker type there is, by name; tasks of any other end as unknown_tier.", {"$ref": "#/$defs/worker_type"}
            ),
            "routes": {
                "description": "Ordered rules, tried before worker_types; the first whose conditions all hold gives the tier.",
                **_list({"$ref": "#/$defs/route"}),
            },
            "limits": {
                "description": "What no task may exceed.",
                **_mapping(
                    {
                        "max_payload": {
                            "description": "Bytes of a whole message; a larger one ends as payload_too_large.",
                            "default": DEFAULT_MAX_PAYLOAD,
                            **_number_or_text(r"^\s*(?!0+\s*(B|KiB|MiB)?\s*$)\d+\s*(B|KiB|MiB)?\s*$"),
                            "examples": ["256KiB", "1MiB"],
                        },
                        "max_hops": {
                            "description": "Passes through heddle.tasks.incoming; a task that comes more often ends as loop.",
                            "default": DEFAULT_MAX_HOPS,
                            **_whole_number(),
                        },
                    }
                ),
            },
        },
        "$defs": {"tier": _tier(), "worker_type": _worker_type(), "route": _route()},
    }


def _tier() -> Schema:
    return {
        **_mapping(
            {
                "rate": {
                    "description": "Tokens per second, minute or hour, one for each task. Without it the tier has no limit.",
                    **_text(r"^\s*(?!0+(\.0+)?\s*/)\d+(\.\d+)?\s*/\s*(s|min|h)\s*$"),
                    "examples": ["200/s", "300/min", "30/h"],
                },
                "burst": {
                    "description": "Tokens that the tier saves up at most. Default: what comes in a second, at least 1.",
                    **_whole_number(),
                },
                "max_wait": {
                    "description": "How long a task may wait for a token before it ends as rate_limited.",
                    "default": "0s",
                    **_text(r"^\s*\d+(\.\d+)?\s*(ms|s|m|h)\s*$"),
                    "examples": ["500ms", "30s", "2m", "1h"],
                },
                "scope": {
                    "description": "replica: each router replica keeps to the rate by itself; cluster: all of them together.",
                    "enum": ["replica", "cluster"],
                    "default": "replica",
                },
                "reserve": {
                    "description": "The share of the burst that a task of a priority must leave to higher ones. Critical takes the last.",
                    **_mapping({priority: _share(priority, default) for priority, default in DEFAULT_RESERVE.items()}),
                },
            }
        ),
        "dependentRequired": {"burst": ["rate"]},
    }


def _worker_type() -> Schema:
    return _mapping({"tier": {"description": "Where tasks of this type always go, whatever tier they ask for.", **_name()}})


def _route() -> Schema:
    when = {
        "worker_type": _one_or_many("Worker types, as globs: `*`, `?`, `[abc]`.", {"type": ["string", "number"]}),
        "priority": _one_or_many("Priorities.", {"enum": list(PRIORITIES)}),
        "tier": _one_or_many("Tiers that the task asks for.", _name()),
        "metadata": {
            "description": "Keys that the task's metadata must have, each with a glob for its value; `*` for any.",
            **_mapping(None, {"type": ["string", "number", "boolean", "null"]}),
        },
    }
    return {
        "type": "object",
        "required": ["when", "tier"],
        "additionalProperties": False,
        "properties": {
            "when": {"description": "Conditions, all of which must hold; {} holds always.", **_mapping(when)},
            "tier": {"description": "Where the task goes.", **_name()},
        },
    }


def _mapping(properties: Schema | None, others: Schema | bool = False) -> Schema:
    """A mapping that may also be left empty: nothing after the colon, or an empty text."""
    given = {} if properties is None else {"properties": properties}
    return {"type": ["object", "null", "string"], "maxLength": 0, "additionalProperties": others, **given}


def _list(item: Schema) -> Schema:
    return {"type": ["array", "null", "string"], "maxLength": 0, "items": item}


def _named(description: str, value: Schema) -> Schema:
    names = {"pattern": NAME_PATTERN, "not": {"enum": sorted(RESERVED_NAMES)}}
    return {"description": description, **_mapping(None, value), "propertyNames": names}


def _one_or_many(description: str, item: Schema) -> Schema:
    return {"description": description, "anyOf": [item, {"type": "array", "items": item}]}


def _name() -> Schema:
    return {"type": ["string", "number"], "pattern": NAME_PATTERN}


def _text(pattern: str) -> Schema:
    return {"type": "string", "pattern": pattern}


def _number_or_text(pattern: str) -> Schema:
    return {"type": ["integer", "string"], "minimum": 1, "pattern": pattern}


def _whole_number() -> Schema:
    return {**_number_or_text(r"^(?!0+$)\d{1,15}$"), "maximum": _LARGEST}


def _share(priority: str, default: float) -> Schema:
    return {
        "description": f"The share, from 0 to 1, that a task of {priority} priority must leave.",
        "type": ["number", "string"],
        "minimum": 0,
        "maximum": 1,
        "pattern": _SHARE,
        "default": default,
    }
