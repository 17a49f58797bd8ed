"""`heddle` as its user runs it, in a process of its own: forked from one that has imported all of it, since that is most of what a command costs."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Final

from heddle.cli.main import COMMANDS, app
from heddle.cli.run import ROLES

ROOT: Final = Path(__file__).parents[2]
PATIENCE: Final = 60.0

for _place in (*COMMANDS.values(), *ROLES.values()):
    import_module(_place.partition(":")[0])
_FORKS: Final = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload([__name__])


def heddle(*arguments: str, cwd: Path, url: str | None = None, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end; `url` is NATS_URL."""
    around = {**os.environ, "XDG_CONFIG_HOME": str(cwd / "none"), "COLUMNS": "200", **env}
    if url is not None:
        around["NATS_URL"] = url
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder) / "out", Path(folder) / "err"
        process = _FORKS.Process(target=_run, args=(arguments, str(cwd), around, str(out), str(err)))
        process.start()
        process.join(PATIENCE)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise subprocess.TimeoutExpired(["heddle", *arguments], PATIENCE, out.read_bytes(), err.read_bytes())
        return subprocess.CompletedProcess(["heddle", *arguments], process.exitcode, out.read_text(), err.read_text())


def _run(arguments: tuple[str, ...], cwd: str, env: Mapping[str, str], out: str, err: str) -> None:
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    for path, number in ((out, 1), (err, 2)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    sys.path[:] = [cwd, *(folder for folder in sys.path if folder not in ("", str(ROOT))), *env.get("PYTHONPATH", "").split(":")]
    sys.argv = ["heddle", *arguments]
    app()
