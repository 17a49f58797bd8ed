"""Keep a dead letter as a fixture of its macro, so that what failed once is tried with every check of it."""

from __future__ import annotations

import re
from pathlib import Path

from nats.aio.client import Client

from heddle.control.deadletters import Kept, original
from heddle.errors import Code, DecodeError, DefinitionError
from heddle.macros.fixtures import Failing, fixture_folder, fixture_text, shown
from heddle.macros.loading import AnyMacro, Registry
from heddle.macros.tools import tool_name
from heddle.messages import TaskMessage, decode

_OF_A_MACRO = {Code.INVALID_PAYLOAD, Code.HANDLER_FAILED, Code.TIMED_OUT, Code.CRASHED}
_ERROR = re.compile(r"handler_failed: (?P<error>[A-Za-z_][A-Za-z0-9_]*)\b")


async def keep(client: Client, kept: Kept, registry: Registry, name: str | None = None) -> tuple[Path, list[str]]:
    """Write a letter down as a fixture of its macro: the input, and how it failed.

    Args:
        client: the connection.
        kept: the letter.
        registry: the macros; the fixture goes beside the file that defines the letter's.
        name: of the file, without its ending; made of code and letter id unless given.

    Returns:
        The file, and the tools that the macro uses: what they answered is not known from a letter.

    Raises:
        DefinitionError: there is no such macro, the letter tells nothing of one, or the file is there already.
        BrokerError: the store does not answer.
    """
    told = kept.letter
    if told.code not in _OF_A_MACRO or told.worker_type is None:
        raise DefinitionError(f"a letter with the code {told.code} tells nothing of a macro; only {', '.join(sorted(_OF_A_MACRO))} do")
    body = await original(client, kept)
    if body is None:
        raise DefinitionError(f"the whole message of letter {told.id} is no longer kept")
    try:
        task = decode(TaskMessage, body)
    except DecodeError as error:
        raise DefinitionError(f"the message of letter {told.id} cannot be read: {error}") from None
    macro = registry.find(task.worker_type, task.macro_version)
    if macro is None:
        version = f" {task.macro_version}" if task.macro_version else ""
        raise DefinitionError(f"there is no macro {task.worker_type}{version} here; name its file or folder with --macros")
    path = fixture_folder(macro) / f"{name or f'{told.code}-{told.id[:12]}'}.yaml"
    if path.exists():
        raise DefinitionError(f"{shown(path)} is there already; give another --name")
    path.parent.mkdir(parents=True, exist_ok=True)
    head = f"# Dead letter {told.id} of {told.at}, by {told.by}: {' '.join(told.reason.split())[:300]}\n"
    path.write_text(
        head + fixture_text(macro.version, task.payload, {}, fails=_failing(told.reason, Code(told.code), macro)), encoding="utf-8"
    )
    return path, sorted(tool_name(kind) for kind in macro.tools.values())


def _failing(reason: str, code: Code, macro: AnyMacro) -> Failing:
    """How the run is to fail: by the error that the macro declares, if it was one, and with the code."""
    declared = {error.__name__ for error in macro.fails}
    found = _ERROR.match(reason)
    return Failing(error=found["error"] if found and found["error"] in declared else None, code=code)
