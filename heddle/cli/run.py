"""`heddle run …`: one role, for production."""

from __future__ import annotations

import typer

from heddle.cli.on_demand import on_demand

ROLES = {
    "router": "heddle.cli.run_router:router",
    "orchestrator": "heddle.cli.run_orchestrator:orchestrator",
    "worker": "heddle.cli.run_worker:worker",
}
"""Every role and where it is: a worker process has no use for the planner's imports."""

app = typer.Typer(cls=on_demand(ROLES), no_args_is_help=True, help="Run one role, for production; any number of replicas share its work.")


@app.callback()
def _run() -> None:
    pass
