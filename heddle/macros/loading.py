"""Collects macros and providers from modules, files and folders into a registry."""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any

from heddle.errors import DefinitionError
from heddle.macros.macro import Macro, Provider

AnyMacro = Macro[..., Any]


@dataclass(frozen=True)
class Registry:
    """The macros at hand, by name and version, and the providers of their tools, by type."""

    macros: Mapping[str, Mapping[int, AnyMacro]]
    providers: Mapping[Any, Provider]

    def newest(self) -> list[AnyMacro]:
        """The newest version of every macro, by name."""
        return [versions[max(versions)] for _, versions in sorted(self.macros.items())]

    def find(self, name: str, version: int | None = None) -> AnyMacro | None:
        """The macro of that name, of that version or the newest; None if there is none."""
        versions = self.macros.get(name, {})
        return versions.get(max(versions, default=0) if version is None else version)


def load(sources: Sequence[str]) -> Registry:
    """Collect from each source: a module's name, a file `x.py`, or a folder of such files.

    A folder is loaded afresh as a package of its own name, so that its files may import each other
    (`from workflows.forge import Forge`); loading it again reads what was saved since.

    Raises:
        DefinitionError: a source does not exist or cannot be imported, or two macros share a name and version.
    """
    return collect(item for source in sources for module in _modules(source) for item in vars(module).values())


def collect(items: Iterator[Any]) -> Registry:
    """A registry of the macros and providers among some values; the same one met twice counts once.

    Raises:
        DefinitionError: two macros share a name and version, two providers a type, or a tool has no provider.
    """
    macros: dict[str, dict[int, AnyMacro]] = {}
    providers: dict[Any, Provider] = {}
    for item in items:
        match item:
            case Macro():
                known = macros.setdefault(item.name, {}).setdefault(item.version, item)
                if known is not item:
                    raise DefinitionError(f"two macros are called {item.name!r} version {item.version}: {known.where} and {item.where}")
            case Provider():
                if providers.setdefault(item.tool, item) is not item:
                    raise DefinitionError(f"two providers make a {_type_name(item.tool)}: {providers[item.tool].where} and {item.where}")
    for versions in macros.values():
        for macro in versions.values():
            for parameter, tool in macro.tools.items():
                if tool not in providers:
                    raise DefinitionError(
                        f"{macro.where}: {macro.name} needs a {_type_name(tool)} as {parameter!r}, and nothing provides one: "
                        f"write `@provides async def {parameter}() -> AsyncIterator[{_type_name(tool)}]` in a file beside it"
                    )
    return Registry(MappingProxyType(macros), MappingProxyType(providers))


def _type_name(tool: Any) -> str:
    return getattr(tool, "__name__", repr(tool))


def _modules(source: str) -> Iterator[ModuleType]:
    path = Path(source)
    if path.is_dir():
        yield from _folder(path.resolve())
    elif path.suffix == ".py":
        if not path.is_file():
            raise DefinitionError(f"no file {source}: give a module, a file or a folder of macros")
        yield _execute(path.resolve(), path.stem)
    elif "/" in source or not all(part.isidentifier() for part in source.split(".")):
        raise DefinitionError(f"no folder {source}: give a module, a file or a folder of macros, or make a project with `heddle init`")
    else:
        try:
            yield importlib.import_module(source)
        except ImportError as error:
            raise DefinitionError(f"cannot import {source}: {error}") from error


def _folder(folder: Path) -> Iterator[ModuleType]:
    package = re.sub(r"\W", "_", folder.name)
    for loaded in [name for name in sys.modules if name == package or name.startswith(f"{package}.")]:
        del sys.modules[loaded]
    importlib.invalidate_caches()
    _execute(folder / "__init__.py", package, search=[str(folder)])
    for file in sorted(folder.glob("*.py")):
        if file.stem != "__init__" and not file.stem.startswith("test_"):
            name = f"{package}.{file.stem}"
            yield sys.modules.get(name) or _import(name, file)


def _import(name: str, file: Path) -> ModuleType:
    try:
        return importlib.import_module(name)
    except DefinitionError:
        raise
    except Exception as error:
        raise DefinitionError(f"cannot load {file}: {type(error).__name__}: {error}") from error


def _execute(file: Path, name: str, search: list[str] | None = None) -> ModuleType:
    """Run a file as the module `name`; a package may lack the file."""
    if search is not None and not file.exists():
        spec = importlib.util.spec_from_loader(name, loader=None, is_package=True)
    else:
        spec = importlib.util.spec_from_file_location(name, file, submodule_search_locations=search)
    if spec is None:
        raise DefinitionError(f"cannot load {file}: not a Python file")
    if search is not None:
        spec.submodule_search_locations = search
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    if spec.loader is not None:
        try:
            spec.loader.exec_module(module)
        except DefinitionError:
            raise
        except Exception as error:
            raise DefinitionError(f"cannot load {file}: {type(error).__name__}: {error}") from error
    return module
