"""The documents are true: links, names, tables, examples and commands are held against the code."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType
from typing import Any, Final, NamedTuple

import pytest
import typer.main
from pydantic import BaseModel

from heddle import children
from heddle.broker.streams import stream_configs
from heddle.cli.main import app
from heddle.errors import CODES
from heddle.evaluation import cases as eval_cases
from heddle.events import ALL_EVENTS
from heddle.macros.loading import load
from heddle.macros.marks import given_fields
from heddle.messages import Goal, Message, TaskMessage, decode
from heddle.planning.goal import Asked
from heddle.planning.phrases import compile_phrases
from heddle.planning.plan import PlannedCall
from heddle.planning.review import review
from heddle.router.audit import NOTE, WAY
from heddle.router.cases import parse_cases, run_case
from heddle.router.reading import parse_rules
from heddle.settings import Settings, StreamSettings
from heddle.subjects import GOALS_INCOMING, TASKS_INCOMING
from tests.cli.command import heddle
from tests.examples import EXAMPLES

ROOT: Final = Path(__file__).resolve().parents[2]
DOCUMENTS: Final = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
README: Final = ROOT / "README.md"
ADRS: Final = sorted(ROOT.glob("docs/adr/*.md"))

_FENCE: Final = re.compile(r"^```(?P<info>[^\n]*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK: Final = re.compile(r"(?<!!)\[[^\]]*\]\((?P<target>[^)\s]+)\)")
_HEADING: Final = re.compile(r"^#+ (?P<title>.+)$", re.MULTILINE)
_FILE_NAME: Final = re.compile(r"`((?:heddle|workflows|tests|docs|configs)/[\w./-]+\.(?:py|md|yaml))`")


class Block(NamedTuple):
    """A fenced block of a document."""

    document: Path
    line: int
    info: str
    text: str

    def __str__(self) -> str:
        return f"{self.document.relative_to(ROOT)}:{self.line}"


def blocks(info: str, documents: list[Path] = DOCUMENTS) -> list[Block]:
    return [block for document in documents for block in _blocks(document) if block.info == info]


def _blocks(document: Path) -> Iterator[Block]:
    text = document.read_text()
    for found in _FENCE.finditer(text):
        yield Block(document, text.count("\n", 0, found.start()) + 1, found["info"].strip(), found["text"])


def prose(document: Path) -> str:
    return _FENCE.sub("", document.read_text())


def words(name: str) -> str:
    return (ROOT / "docs" / name).read_text()


def commands(program: str, documents: list[Path] = DOCUMENTS) -> list[tuple[str, str]]:
    """Every shell line that begins with a program, and where it stands."""
    return [
        (line.strip(), str(block))
        for block in blocks("sh", documents)
        for line in block.text.splitlines()
        if line.startswith(f"{program} ")
    ]


def _anchor(title: str) -> str:
    """A heading's anchor, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", title.replace("`", "").lower()).replace(" ", "-")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_relative_link_resolves(document: Path) -> None:
    broken = []
    for link in _LINK.finditer(prose(document)):
        target, _, anchor = link["target"].partition("#")
        if "://" in target or target.startswith("mailto:"):
            continue
        file = (document.parent / target).resolve() if target else document
        anchors = [_anchor(title) for title in _HEADING.findall(prose(file))] if file.suffix == ".md" and file.exists() else []
        if not file.exists() or (anchor and anchor not in anchors):
            broken.append(link["target"])
    assert not broken


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_file_that_is_named_in_prose_is_there_or_in_an_example(document: Path) -> None:
    of_examples = {"workflows/count_words.py", "workflows/longest_word.py", *project(document)}
    named = set(_FILE_NAME.findall(prose(document))) - of_examples
    assert not [name for name in sorted(named) if not (ROOT / name).exists()]


@pytest.mark.parametrize("code", list(CODES), ids=str)
def test_every_dead_letter_code_has_its_cause_where_to_look_and_remedy(code: Any) -> None:
    sections = re.split(r"^## ", words("how-to/interpret-dead-letters.md"), flags=re.MULTILINE)
    section = next((part for part in sections if part.startswith(f"{code.value}\n")), "")
    assert f"- **Cause:** {CODES[code].cause}" in section
    assert "- **Where to look:** " in section
    assert f"- **Remedy:** {CODES[code].remedy}" in section


def settings_rows(model: type[BaseModel], path: tuple[str, ...] = ()) -> Iterator[str]:
    """The rows of the table of settings."""
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from settings_rows(field.annotation, (*path, name))
            continue
        whole = isinstance(field.default, float) and field.default.is_integer()
        default = int(field.default) if whole else field.default
        variable = f"HEDDLE_{'__'.join((*path, name)).upper()}"
        yield f"| `{'.'.join((*path, name))}` | `{variable}` | `{default}` | {field.description} |"


def test_every_setting_is_there_with_its_variable_and_default() -> None:
    table = words("reference/settings.md").splitlines()
    assert not [row for row in settings_rows(Settings) if row not in table]


def leaves(command: Any, path: tuple[str, ...] = ("heddle",)) -> Iterator[tuple[str, list[str]]]:
    """Every command and its options, from the command line itself."""
    if not hasattr(command, "list_commands"):
        options = (option for option in command.params if option.param_type_name == "option" and not option.hidden)
        named = (name for option in options for name in option.opts)
        yield " ".join(path), sorted(set(named) - {"--help", "-h"})
        return
    for name in command.list_commands(None):
        yield from leaves(command.get_command(None, name), (*path, name))


COMMANDS: Final = dict(leaves(typer.main.get_command(app)))


@pytest.mark.parametrize("command", list(COMMANDS))
def test_every_command_is_there_with_its_options(command: str) -> None:
    sections = re.split(r"^## ", words("reference/cli.md"), flags=re.MULTILINE)
    section = next((part for part in sections if part.startswith(f"{command}\n")), "")
    assert section, f"docs/reference/cli.md has no section `## {command}`"
    assert not [option for option in COMMANDS[command] if f"`{option}`" not in section]


def test_every_stream_bucket_and_subject_is_there() -> None:
    text = words("reference/streams.md")
    configs = stream_configs(StreamSettings(), (2, 15, 1))
    names = [config["name"].removeprefix("KV_") for config in configs]
    subjects = [f"`{subject}`" for config in configs for subject in config["subjects"] if not subject.startswith("$KV.")]
    assert not [name for name in (*names, *subjects) if name not in text]


def test_every_counter_is_there() -> None:
    text = words("how-to/run-in-production.md")
    names = [event.name if event.buckets else f"{event.name}_total" for event in ALL_EVENTS]
    assert not [name for name in names if f"`{name}`" not in text]


@pytest.mark.parametrize("block", blocks("python execute"), ids=str)
def test_python_examples_are_macros_that_load(block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"example_in_line_{block.line}_of_{block.document.stem.replace('-', '_').lower()}"
    (tmp_path / f"{name}.py").write_text(block.text)
    monkeypatch.setitem(sys.modules, name, ModuleType(name))  # so that what loading puts there is taken out again
    registry = load([str(tmp_path / f"{name}.py")])
    assert registry.macros
    for macro in registry.newest():
        for goal, arguments in macro.examples:
            context = dict.fromkeys(given_fields(macro.schema).values(), "web")
            assert review([PlannedCall(macro.name, dict(arguments))], registry, Asked(goal, context, 0.0), 16).problems == ()
    compile_phrases(registry.newest())


def project(document: Path) -> dict[str, str]:
    """The files that a document shows: blocks whose info is a language and a path."""
    infos = ((block.info.split(" "), block.text) for block in _blocks(document))
    return {info[1]: text for info, text in infos if len(info) == 2 and "." in info[1]}


@pytest.mark.parametrize("document", [document for document in DOCUMENTS if project(document)], ids=lambda path: path.stem)
def test_a_project_that_a_document_shows_passes_its_own_tests_and_its_check(document: Path, tmp_path: Path) -> None:
    for name, text in project(document).items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    for command in ([sys.executable, "-m", "pytest", "-q"], _heddle("macros", "check", "--strict")):
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_what_is_recorded_is_what_the_document_on_testing_shows(tmp_path: Path) -> None:
    document = ROOT / "docs" / "how-to" / "test-macros.md"
    (line,) = [line for line, _ in commands("heddle", [document]) if line.startswith("heddle macros record ")]
    (tmp_path / "workflows").mkdir()
    (tmp_path / "workflows" / "greet.py").write_text(project(document)["workflows/greet.py"])
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        _heddle(*shlex.split(line)[1:]), cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    name = "workflows/fixtures/greet/ada.yaml"
    assert (done.returncode, (tmp_path / name).read_text()) == (0, project(document)[name])


@pytest.mark.parametrize("block", blocks("yaml rules"), ids=str)
def test_rules_examples_can_be_used(block: Block) -> None:
    parse_rules(block.text, str(block))


@pytest.mark.parametrize("block", blocks("yaml cases"), ids=str)
def test_tables_of_cases_hold_for_the_first_rules_of_their_document(block: Block) -> None:
    rules = parse_rules(blocks("yaml rules", [block.document])[0].text, str(block))
    assert [verdict for case in parse_cases(block.text, str(block)) if not (verdict := run_case(case, rules, 0.0)).ok] == []


@pytest.mark.parametrize("block", blocks("yaml eval"), ids=str)
def test_cases_for_the_planner_are_such_that_the_example_macros_can_meet_them(block: Block) -> None:
    assert [told for case in eval_cases.parse_cases(block.text, str(block)) for told in eval_cases.misfits(case, EXAMPLES)] == []


def test_every_column_of_a_recorded_decision_is_there() -> None:
    text = words("reference/streams.md")
    assert not [column for column in (*WAY, *NOTE, "rules") if f"`{column}`" not in text]


CONTRACT: Final[dict[str, type[Message]]] = {GOALS_INCOMING: Goal, TASKS_INCOMING: TaskMessage}


@pytest.mark.parametrize(("line", "where"), commands("nats"))
def test_nats_examples_publish_messages_of_the_contract(line: str, where: str) -> None:
    match shlex.split(line):
        case ["nats", "pub", subject, body]:
            decode(CONTRACT[subject], body.encode())
        case ["nats", "sub", subject]:
            assert subject == "heddle.results.>"
        case _:
            pytest.fail(f"{where}: {line}")


@pytest.mark.parametrize("document", ADRS, ids=lambda path: path.stem)
def test_a_decision_has_its_five_headings_and_fits_a_page(document: Path) -> None:
    text = document.read_text()
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == ["Status", "Context", "Decision", "Alternatives considered", "Consequences"]
    assert len(text.splitlines()) <= 75
    assert text.startswith(f"# {document.stem[:3]}: ")


def _heddle(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "heddle", *arguments]


@pytest.fixture
def readers_environment(nats_url: str, tmp_path: Path) -> Iterator[dict[str, str]]:
    """The three roles with the README's macro and its line in the rules, as after `heddle up`."""
    environment = {**os.environ, "NATS_URL": nats_url, "HEDDLE_PLANNER__PHRASES": "first", "HEDDLE_FORGE__ROOT": str(ROOT)}
    rules, macro = tmp_path / "router_rules.yaml", tmp_path / "count_words.py"
    given = (ROOT / "configs" / "router_rules.yaml").read_text()
    rules.write_text(re.sub(r"^(worker_types:.*)$", r"\1\n  count_words: {}", given, flags=re.MULTILINE))
    macro.write_text(next(block.text for block in blocks("python execute", [README])))
    roles = [
        ("router", "--rules", str(rules)),
        ("orchestrator", "--macros", "workflows"),
        ("worker", "--macros", f"workflows,{macro}"),
    ]
    with ExitStack() as stack, (tmp_path / "roles.log").open("wb") as log:
        for role in roles:
            child = children.start(_heddle("run", *role), env=environment, cwd=ROOT, stderr=log)
            stack.callback(children.stop, child)
        yield environment


def test_the_commands_of_the_readme_run(readers_environment: dict[str, str], tmp_path: Path) -> None:
    lines = [line for line, _ in commands("heddle", [README]) if shlex.split(line)[1] not in {"demo", "up"}]
    assert {"goal", "task", "status", "dead", "rules"} <= {shlex.split(line)[1] for line in lines}

    def run(line: str) -> str | None:
        done = heddle(*shlex.split(line, comments=True)[1:], cwd=ROOT, **readers_environment)
        return None if done.returncode == 0 else f"{line}: exit code {done.returncode}\n{done.stdout}{done.stderr}"

    with ThreadPoolExecutor(4) as pool:
        failures = [told for told in pool.map(run, lines) if told]
    assert not failures, "\n".join([*failures, (tmp_path / "roles.log").read_text()])
