"""Writes the macros that the gate proposes: each with its fixtures, run and replayed before they are kept."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from heddle.errors import DefinitionError
from heddle.gate.scanning import Finding, Report
from heddle.gate.source import source_of
from heddle.gate.suggest import Draft, Suggestion, suggest
from heddle.macros.fixtures import Failing, Fixture, Script, fixture_text, read_fixture, shown
from heddle.macros.loading import AnyMacro, Registry, load
from heddle.macros.standins import Played
from heddle.macros.tools import tool_name
from heddle.planning.phrases import compile_phrases
from heddle.worker.vetting import replay, run_once


@dataclass(frozen=True, slots=True)
class Written:
    """A macro that was proposed.

    Attributes:
        file: where it is, if it was written.
        fixtures: how many it has.
        decisions: the lines that a person must decide.
        problem: why it was not written.
    """

    name: str
    pattern: str
    source: str
    fixtures: int
    decisions: tuple[str, ...]
    file: Path | None = None
    problem: str | None = None

    def as_json(self) -> dict[str, Any]:
        """For `-o json`."""
        return {
            "name": self.name,
            "pattern": self.pattern,
            "file": str(self.file) if self.file else None,
            "fixtures": self.fixtures,
            "decide": list(self.decisions),
            "problem": self.problem,
            "source": self.source,
        }


def tools_at_hand(registry: Registry) -> Mapping[str, Any]:
    """The types of the tools that macros have already, by name."""
    return {tool_name(tool): tool for tool in registry.providers}


async def write_proposals(report: Report, registry: Registry, folder: Path | None) -> list[Written]:
    """Propose a macro for everything that has none; written into a folder, and checked there, if one is named.

    Raises:
        OSError: a file cannot be written.
    """
    tools = tools_at_hand(registry)
    taken = set(registry.macros)
    others = [finding.pattern for finding in report.findings]
    written = []
    for finding in report.unencoded:
        try:
            proposal = suggest(finding.pattern, report.sessions, tools, taken, others)
            while folder is not None and _is_there(folder, proposal.name):
                taken.add(proposal.name)
                proposal = suggest(finding.pattern, report.sessions, tools, taken, others)
        except DefinitionError as error:
            written.append(Written(finding.pattern.name, finding.pattern.name, "", 0, (), problem=str(error)))
            continue
        taken.add(proposal.name)
        written.append(await _written(proposal, finding, registry, folder))
    return written


def _is_there(folder: Path, name: str) -> bool:
    """Is something in the folder that a macro of this name would write over?"""
    return (folder / f"{name}.py").exists() or (folder / "fixtures" / name).exists()


async def _written(proposal: Suggestion, finding: Finding, registry: Registry, folder: Path | None) -> Written:
    if folder is None:
        return _told(proposal, finding)
    file = folder / f"{proposal.name}.py"
    fixtures = folder / "fixtures" / proposal.name
    if not proposal.fixtures:
        return replace(
            _told(proposal, finding), problem="not written: no run of it was kept whole, so there is nothing to make a fixture of"
        )
    fixtures.mkdir(parents=True, exist_ok=True)
    try:
        macro, proposal = _loaded(proposal, registry, file)
        for draft in proposal.fixtures:
            await _write_fixture(macro, draft, fixtures / f"{draft.name}.yaml")
    except DefinitionError as error:
        file.unlink(missing_ok=True)
        shutil.rmtree(fixtures, ignore_errors=True)
        return replace(_told(proposal, finding), problem=f"not written: {error}")
    return replace(_told(proposal, finding), file=file)


def _told(proposal: Suggestion, finding: Finding) -> Written:
    source = source_of(proposal)
    decisions = tuple(line.strip().removeprefix("# decide: ") for line in source.split("\n") if line.lstrip().startswith("# decide: "))
    return Written(proposal.name, finding.pattern.name, source, len(proposal.fixtures), decisions)


def _loaded(proposal: Suggestion, registry: Registry, file: Path) -> tuple[AnyMacro, Suggestion]:
    """The macro, written and loaded; phrases that no phrase can be are left out.

    Raises:
        DefinitionError: it cannot be loaded.
    """
    kept: list[str] = []
    for phrases in ((phrase,) for phrase in proposal.phrases):
        file.write_text(source_of(replace(proposal, phrases=phrases)), encoding="utf-8")
        try:
            compile_phrases([_macro(proposal.name, registry, file)])
        except DefinitionError:
            continue
        kept += phrases
    proposal = replace(proposal, phrases=tuple(kept))
    file.write_text(source_of(proposal), encoding="utf-8")
    return _macro(proposal.name, registry, file), proposal


def _macro(name: str, registry: Registry, file: Path) -> AnyMacro:
    """The macro of a file, loaded with those that were there before, whose tools it uses."""
    found = load([*registry.sources, str(file)]).find(name)
    if found is None:
        raise DefinitionError(f"{shown(file)} has no macro {name}")
    return found


async def _write_fixture(macro: AnyMacro, draft: Draft, path: Path) -> None:
    """Run the macro on a recorded run's answers, and keep what comes of it.

    Raises:
        DefinitionError: it does otherwise than the recorded run.
    """
    scripts = {
        tool: {name: Script(tuple(answers), each=True) for name, answers in methods.items()} for tool, methods in draft.answers.items()
    }
    end = Failing(error=draft.fails) if draft.fails else None
    path.write_text(fixture_text(macro.version, draft.input, draft.answers, output=None, fails=end), encoding="utf-8")
    played = Played(macro, Fixture(path, draft.input, scripts, fails=end, version=macro.version))
    ended = await run_once(macro, draft.input, played.tools)
    if end is None and ended.failure is not None:
        raise DefinitionError(f"{path.stem}: the macro fails where the run did not: {ended.told()}")
    if wrong := played.wrong():
        raise DefinitionError(wrong)
    if end is None:
        path.write_text(fixture_text(macro.version, draft.input, draft.answers, output=ended.output), encoding="utf-8")
    if wrong := await replay(macro, read_fixture(path)):
        raise DefinitionError(wrong)
