"""A child process of the pool: loads macros from their source and runs them, one task at a time.

Frames go both ways: how many bytes, and in an answer whether they are an output, an error, or why a macro cannot be loaded. A task
is one frame: a line that says which macro, then its input; without an input the macro is only loaded.
"""

from __future__ import annotations

import importlib.util
import inspect
import json
import pickle
import socket
import struct
import sys
import traceback
from dataclasses import asdict, dataclass
from io import BufferedRWPair
from pathlib import Path
from typing import Any, Final

from heddle.errors import DefinitionError, HeddleError
from heddle.macros.failures import described
from heddle.macros.loading import AnyMacro, load
from heddle.macros.macro import AS_WRITTEN, Macro, with_called

HEADER: Final = struct.Struct(">BI")
WRITTEN: Final = 0
FAILED: Final = 1
REFUSED: Final = 2


@dataclass(frozen=True, slots=True)
class Order:
    """Which macro an input is for; `module` and `file` say where it stands."""

    name: str
    version: int
    module: str
    file: str


def order_of(macro: AnyMacro) -> bytes:
    """A macro's order, as the line that its input follows."""
    function = inspect.unwrap(macro.handler)
    file = str(Path(inspect.getfile(function)).resolve())
    return json.dumps(asdict(Order(macro.name, macro.version, function.__module__, file))).encode() + b"\n"


def why_unreachable(macro: AnyMacro) -> str | None:
    """Why another process could not load a macro from its file; None if it can."""
    function = inspect.unwrap(macro.handler)
    if function.__module__ == "__main__":
        return "it stands in the program itself, which would start once more there"
    if not Path(inspect.getfile(function)).is_file():
        return "it has none"
    there = vars(sys.modules.get(function.__module__, sys)).values()
    at_the_top = with_called(one for one in there if isinstance(one, Macro))
    if (macro.name, macro.version) not in {(one.name, one.version) for one in at_the_top}:
        return "it does not stand at the top of it"
    return None


def source_of(module: str, file: Path) -> str:
    """What to load to get a module as its parent process has it, so that its classes have the same names."""
    if module.startswith("heddle_macros_"):
        return str(file)
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        spec = None
    if spec is not None and spec.origin is not None and Path(spec.origin).resolve() == file:
        return module
    levels = module.count(".") + (file.name == "__init__.py")
    return str(file.parents[levels - 1]) if levels else str(file)


def loaded(order: Order) -> AnyMacro:
    """The macro that an order is for.

    Raises:
        DefinitionError: it is not found in its source.
    """
    found = load([source_of(order.module, Path(order.file))]).find(order.name, order.version)
    if found is None:
        raise DefinitionError(
            f"{order.file}: {order.name} version {order.version} cannot be found from another process: define it at the top of its file"
        )
    return found


def run(macro: AnyMacro, body: bytes) -> tuple[int, bytes]:
    """Run a handler; an answer's kind and its bytes."""
    try:
        return WRITTEN, macro.write(macro.handler(macro.input.model_validate_json(body, **AS_WRITTEN)))
    except BaseException as error:  # noqa: BLE001  # a handler may raise anything; it is told, and the process lives on
        error.add_note("".join(traceback.format_exception(error)))
        return FAILED, portable(error)


def portable(error: BaseException) -> bytes:
    """An error as bytes.

    One whose class cannot be called with its `args` is put together without being called; one of a class that the parent process
    could not find becomes a RuntimeError with its words.
    """
    notes = {"__notes__": getattr(error, "__notes__", [])}
    plain = RuntimeError(described(error))
    forms = (error, _Bare(error, vars(error)), _Bare(error, notes), _Bare(plain, notes))
    return next(written for form in forms if (written := _pickled(form)) is not None)


class _Bare:
    """Stands for an error in a pickle."""

    def __init__(self, error: BaseException, attributes: dict[str, Any]) -> None:
        self._made = (type(error), error.args, attributes)

    def __reduce__(self) -> tuple[Any, ...]:
        return put_together, self._made


def put_together(kind: type[BaseException], args: tuple[Any, ...], attributes: dict[str, Any]) -> BaseException:
    """An error of a class, without calling the class."""
    error = kind.__new__(kind, *args)
    vars(error).update(attributes)
    return error


def _pickled(form: object) -> bytes | None:
    try:
        written = pickle.dumps(form)
        return written if isinstance(pickle.loads(written), BaseException) else None  # noqa: S301  # our own
    except Exception:  # noqa: BLE001  # an error's own methods may raise anything
        return None


def _receive(pipe: BufferedRWPair) -> bytes | None:
    header = pipe.read(HEADER.size)
    return pipe.read(HEADER.unpack(header)[1]) if len(header) == HEADER.size else None


def _answer(pipe: BufferedRWPair, kind: int, body: bytes) -> None:
    pipe.write(HEADER.pack(kind, len(body)) + body)
    pipe.flush()


def main() -> None:
    """Serve until the parent closes its end."""
    macros: dict[bytes, AnyMacro] = {}
    with socket.socket(fileno=int(sys.argv[1])) as ours, ours.makefile("rwb") as pipe:
        ours.set_inheritable(False)  # what a handler starts must not hold the pipe open
        while (frame := _receive(pipe)) is not None:
            order, _, body = frame.partition(b"\n")
            try:
                macro = macros.get(order) or loaded(Order(**json.loads(order)))
            except HeddleError as error:
                _answer(pipe, REFUSED, str(error).encode())
                continue
            macros[order] = macro
            _answer(pipe, *(run(macro, body) if body else (WRITTEN, b"")))
