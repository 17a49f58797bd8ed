"""`heddle demo`: the whole system, one real goal end to end, and what to type next."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from heddle import subjects
from heddle.broker.outcomes import stored_outcome
from heddle.cli.goals import brief
from heddle.cli.options import Macros, Output, OutputFormat, RulesFile, Timeout, macro_sources, rules_path
from heddle.cli.output import Exit, aside, console, fail, print_json, print_table, run, seconds
from heddle.cli.system import System, system
from heddle.control.goals import GoalEnded, Planned, TaskEnded, goal_followed, new_goal, submit_goal
from heddle.control.tasks import new_task, submit_message, task_message_id
from heddle.errors import HeddleError
from heddle.messages import TaskResult, decode
from heddle.settings import load_settings

CHAOS_TASKS = 200
"""Fewer than the local tier of the example rules lets through at once."""


@dataclass(frozen=True, slots=True)
class Stage:
    """Where the demo plays: a git repository, and what there is to ask of it."""

    root: Path
    goal: str
    table: str | None


def demo(
    chaos: Annotated[
        bool, typer.Option("--chaos", help="Kill the worker in the middle of 200 tasks; show that nothing is missing.")
    ] = False,
    rules: RulesFile = None,
    macros: Macros = None,
    timeout: Timeout = "60s",
    output: Output = OutputFormat.TEXT,
) -> None:
    """Run the whole system on an embedded server, take one real goal from end to end, and exit."""
    with _stage() as stage:
        record = run(_demo(stage, rules_path(rules), macro_sources(macros), chaos, seconds(timeout, "--timeout"), output), output)
    if output is OutputFormat.JSON:
        print_json(record)
    if record["status"] != "completed":
        raise fail(f"the goal ended {record['status']}: see the errors above", Exit.INCOMPLETE)


async def _demo(stage: Stage, rules: Path, macros: list[str], chaos: bool, timeout: float, output: OutputFormat) -> dict[str, Any]:
    tell = _Teller(output)
    tell.line("[bold]1[/] starting nats-server, router and orchestrator here, the worker in a child process")
    async with system(load_settings(), rules=rules, macros=macros, root=stage.root) as running:
        tell.line(
            f"  nats-server {running.server.version} at {running.server.url}, rules {running.router.rules.digest}, looking at {escape(str(stage.root))}"
        )
        try:
            async with asyncio.timeout(timeout):
                record = await _goal(running, stage, tell)
        except TimeoutError:
            raise HeddleError(f"the goal did not end within {timeout:g} s; try again with --timeout 120") from None
        if chaos:
            await _chaos(running, stage, tell)
        tell.ending(record, chaos)
        return record


async def _goal(running: System, stage: Stage, tell: _Teller) -> dict[str, Any]:
    goal = new_goal(stage.goal)
    goal_id = goal.goal_id or ""
    async with goal_followed(running.ground.client, goal_id) as steps:
        await submit_goal(running.ground.client, goal)
        tell.line(f"[bold]2[/] published a goal: [italic]{escape(stage.goal)}[/]\n  the orchestrator has it")
        async for step in steps:
            match step:
                case Planned(state):
                    tell.line(
                        f"[bold]3[/] planned by [bold]{escape(state.planned_by)}[/] in {(state.planned - state.stored) * 1000:.0f} ms; the router has its tasks"
                    )
                    if state.note:
                        tell.line(f"  [dim]{escape(state.note)}[/]")
                    for task in state.tasks:
                        tell.line(f"  {escape(task.worker_type)}({escape(json.dumps(task.payload)[1:-1])})")
                    tell.line("[bold]4[/] routed by rules, worked by macros; the worker has them")
                case TaskEnded(result):
                    tell.task(result, goal_id)
                case GoalEnded(result):
                    record: dict[str, Any] = result.output
                    return record
    raise AssertionError("following a goal ends with its end")


async def _chaos(running: System, stage: Stage, tell: _Teller) -> None:
    """Submit tasks, kill -9 the worker among them, start another, and count the outcomes in the store."""
    client = running.ground.client
    payload = {"path": stage.table} if stage.table else {"repository": "."}
    tasks = [new_task("csv_profile" if stage.table else "repo_triage", payload, tier="local") for _ in range(CHAOS_TASKS)]
    tell.line(f"[bold]chaos[/] {len(tasks)} tasks at once, and kill -9 of the worker among them")
    places = [subjects.task_outcome(task.task_id or "", None, 0) for task in tasks]
    await asyncio.gather(*(submit_message(client, task, subjects.TASKS_INCOMING, task_message_id(task)) for task in tasks))
    while len(await _completed(running, places)) < CHAOS_TASKS // 20:  # noqa: ASYNC110  # the store is what is being shown
        await asyncio.sleep(0.01)
    running.worker.kill()
    done = len(await _completed(running, places))
    tell.line(f"  killed it with {done} done; its supervisor starts another")
    started = time.monotonic()
    while len(await _completed(running, places)) < len(places):
        if time.monotonic() - started > 60:
            raise HeddleError("some tasks are still missing after a minute; this should not happen")
        await asyncio.sleep(0.1)
    tell.line(f"  [green]{len(places)} tasks, {len(places)} outcomes, 0 missing[/], {time.monotonic() - started:.1f} s after the kill")


async def _completed(running: System, places: Sequence[str]) -> list[TaskResult]:
    stored = await asyncio.gather(*(stored_outcome(running.ground.client, place) for place in places))
    return [decode(TaskResult, body) for body in stored if body is not None]


class _Teller:
    """Live progress for people; silence for pipes."""

    def __init__(self, output: OutputFormat) -> None:
        self._silent = output is OutputFormat.JSON
        self._out = aside() if self._silent else console()

    def line(self, text: str) -> None:
        if not self._silent:
            self._out.print(text)

    def task(self, result: TaskResult, goal_id: str) -> None:
        hops = result.metadata.get("hops") or {}
        name = f"{escape(result.worker_type)} ({escape(result.task_id.removeprefix(f'{goal_id}-'))})"
        if result.status != "completed":
            self.line(f"  [red]{name}: {escape(result.error or result.status)}[/]")
            return
        tier = result.metadata.get("tier")
        queued, ran = hops["started"] - hops["routed"], hops["done"] - hops["started"]
        self.line(f"  [green]{name}[/] on tier {tier}: queued {queued} ms, ran {ran} ms")

    def ending(self, record: dict[str, Any], chaos: bool) -> None:
        if self._silent:
            return
        rows = [
            (t["task_id"].rsplit("-", 1)[-1], t["worker_type"], t["tier"], t["status"], *_hops(t), brief(t, 60)) for t in record["tasks"]
        ]
        self.line("")
        print_table(("task", "macro", "tier", "status", "planned", "routed", "started", "done", "output"), rows)
        self.line(f"goal [bold]{record['status']}[/] in {record['total_ms']} ms (hops in ms since the goal was stored)\n\nnext:")
        if not chaos:
            self.line("  heddle demo --chaos        # kill the worker in the middle; nothing is lost")
        self.line("  heddle up                  # the same, stays up")
        self.line('  heddle goal "profile FILE.csv"   # in another terminal, once it is up')
        if chaos:
            self.line("  heddle init my-project     # your own first macro")


def _hops(task: dict[str, Any]) -> list[Any]:
    return [task["hops_ms"][hop] for hop in ("planned", "routed", "started", "done")]


@contextmanager
def _stage() -> Iterator[Stage]:
    """This checkout, if there is enough in it to ask about; else a small repository of our own making."""
    if shutil.which("git") is None:
        raise fail("the demo looks at a git repository, and there is no git here: install git", Exit.INCOMPLETE)
    top = _git(Path.cwd(), "rev-parse", "--show-toplevel")
    if top and (stage := _stage_in(Path(top))):
        yield stage
        return
    with tempfile.TemporaryDirectory(prefix="heddle-demo-") as folder:
        stage = _stage_in(_sample(Path(folder)))
        if stage is None:
            raise fail("git could not make a sample repository", Exit.INCOMPLETE)
        yield stage


def _stage_in(root: Path) -> Stage | None:
    """What to ask of a repository; None if there are not two things to ask."""
    commits = int(_git(root, "rev-list", "--count", "--first-parent", "HEAD") or 0)
    tables = [name for name in (_git(root, "ls-files", "*.csv") or "").splitlines() if (root / name).is_file() and " " not in name]
    parts = []
    if commits:
        parts.append(f"check the last {min(5, commits)} changes in . and tag them using conventional commits")
    if commits > 1:
        parts.append(f"draft release notes for . from HEAD~{min(10, commits - 1)} to HEAD")
    if tables:
        parts.append(f"profile {tables[0]}")
    return Stage(root, "; ".join(parts), tables[0] if tables else None) if len(parts) > 1 else None


def _sample(folder: Path) -> Path:
    history = [
        ("feat: take orders", "orders.csv", "id,amount,country\n1,19.90,NL\n2,5.00,DE\n3,,FR\n"),
        ("fix: an order without an amount is none", "orders.py", "def amount(order):\n    return order.get('amount') or 0\n"),
        ("docs: say how to order", "README.md", "# Orders\n"),
    ]
    _git(folder, "init", "-q")
    for title, name, text in history:
        (folder / name).write_text(text)
        _git(folder, "add", name)
        _git(folder, "-c", "user.name=heddle demo", "-c", "user.email=demo@heddle.invalid", "commit", "-qm", title)
    return folder


def _git(folder: Path, *arguments: str) -> str | None:
    done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else None
