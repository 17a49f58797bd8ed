"""Collects macros and providers from modules, files and folders into a registry."""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, MappingProxyType, ModuleType
from typing import Any

from heddle.errors import DefinitionError
from heddle.macros.failures import described
from heddle.macros.macro import Macro, with_called
from heddle.macros.tools import AllTools, Provider, check_lifetimes, tool_name
from heddle.macros.upgrades import AnyUpgrade, Route, Upgrade, Upgrades, collect_upgrades, route_of
from heddle.macros.versioned import Versioned
from heddle.settings import Settings

AnyMacro = Macro[..., Any]


@dataclass(frozen=True)
class Registry(Versioned[AnyMacro]):
    """The macros at hand, by name and version, the providers of their tools, by type, and the upgrades of old inputs.

    Attributes:
        sources: where they were loaded from, so that another process can load them too; empty if they were not.
        upgrades: by macro and by the version that they begin with.
    """

    providers: Mapping[Any, Provider]
    sources: tuple[str, ...] = ()
    upgrades: Upgrades = field(default_factory=dict)

    def readable(self, name: str) -> list[int]:
        """The versions of a macro whose tasks can be run, oldest first: those with a handler, and those that can be upgraded to one."""
        return sorted({*self.macros.get(name, ()), *self.upgrades.get(name, ())})

    def route(self, name: str, version: int | None = None) -> Route | None:
        """How a task of this version is run, of the newest unless one is named; None if it cannot be read here.

        A version that has a handler runs it. Another is upgraded to the next version that has one.
        """
        macros = self.macros.get(name, {})
        return route_of(max(macros, default=0) if version is None else version, macros, self.upgrades.get(name, {}))


def load(sources: Sequence[str]) -> Registry:
    """Collect from each source: a module's name, a file `x.py`, or a folder of such files.

    A folder is loaded afresh as a package of its own name, so that its files may import each other
    (`from workflows.forge import Forge`); loading it again reads what was saved since. What is given twice counts once.

    Raises:
        DefinitionError: a source does not exist or cannot be imported, a folder has the name of a package that is imported
            already, or two macros share a name and version.
    """
    found = collect(item for module in _modules(sources) for item in list(vars(module).values()))
    return replace(found, sources=tuple(sources))


def collect(items: Iterator[Any]) -> Registry:
    """A registry of the macros and providers among some values, and of all macros that those call; what is met twice counts once.

    Raises:
        DefinitionError: two macros share a name and version, two providers a type, a tool has no provider, a tool needs one
            that does not live as long, or upgrades do not lead from version to version.
    """
    macros: dict[str, dict[int, AnyMacro]] = {}
    providers: dict[Any, Provider] = {}
    upgrades: list[AnyUpgrade] = []
    for item in items:
        match item:
            case Upgrade():
                upgrades.append(item)
            case Macro():
                for one in with_called([item]):
                    known = macros.setdefault(one.name, {}).setdefault(one.version, one)
                    if known is not one:
                        raise DefinitionError(f"two macros are called {one.name!r} version {one.version}: {known.where} and {one.where}")
            case Provider():
                if providers.setdefault(item.tool, item) is not item:
                    raise DefinitionError(f"two providers make a {tool_name(item.tool)}: {providers[item.tool].where} and {item.where}")
    for versions in macros.values():
        for macro in versions.values():
            for parameter, tool in macro.tools.items():
                if tool not in providers and tool not in {Settings, AllTools}:  # these are there without asking
                    raise DefinitionError(
                        f"{macro.where}: {macro.name} needs a {tool_name(tool)} as {parameter!r}, and nothing provides one: "
                        f"write `@provides async def {parameter}() -> AsyncIterator[{tool_name(tool)}]` in a file beside it"
                    )
    check_lifetimes(providers)
    return Registry(MappingProxyType(macros), MappingProxyType(providers), upgrades=MappingProxyType(collect_upgrades(upgrades, macros)))


def _modules(sources: Sequence[str]) -> Iterator[ModuleType]:
    """The modules of all sources, each once: folders first, so that a file or module of one of them is there already."""
    folders = dict.fromkeys(Path(source).resolve() for source in sources if Path(source).is_dir())
    for folder in folders:
        yield from _folder(folder)
    loaded = {file.resolve() for folder in folders for file in _files(folder)}
    for source in sources:
        path = Path(source)
        if path.is_dir():
            continue
        if path.suffix == ".json":
            raise DefinitionError(f"{source} is a catalogue, which has no code: only `run orchestrator` and `plan` work from one")
        if path.suffix != ".py":
            yield _module(source)
        elif not path.is_file():
            raise DefinitionError(f"no file {source}: give a module, a file or a folder of macros")
        elif (file := path.resolve()) not in loaded:
            loaded.add(file)
            yield _execute(file, f"heddle_macros_{file.stem}_{zlib.crc32(bytes(file)):08x}")  # a name that nobody else's module has


def _module(name: str) -> ModuleType:
    if "/" in name or not all(part.isidentifier() for part in name.split(".")):
        raise DefinitionError(f"no folder {name}: give a module, a file or a folder of macros, or make a project with `heddle init`")
    try:
        return importlib.import_module(name)
    except DefinitionError:
        raise
    except ImportError as error:
        raise DefinitionError(f"cannot import {name}: {error}") from error
    except (Exception, SystemExit) as error:  # a script that ends itself would end whoever loads it, without a word
        raise DefinitionError(f"cannot import {name}: {described(error)}") from error


def _files(folder: Path) -> list[Path]:
    return [file for file in sorted(folder.glob("*.py")) if not file.stem.startswith("test_")]


def _folder(folder: Path) -> list[ModuleType]:
    package = re.sub(r"\W", "_", folder.name)
    _refuse_taken(package, folder)
    for loaded in [name for name in sys.modules if name == package or name.startswith(f"{package}.")]:
        del sys.modules[loaded]
    importlib.invalidate_caches()
    with _from_source(package):
        itself = _execute(folder / "__init__.py", package, search=[str(folder)])
        return [itself, *(_import(f"{package}.{file.stem}", file) for file in _files(folder) if file.stem != "__init__")]


def _refuse_taken(package: str, folder: Path) -> None:
    """A folder must not take the name of a package that others import."""
    known = sys.modules.get(package)
    places = list(getattr(known, "__path__", ()))
    if known is not None and [Path(place).resolve() for place in places] != [folder]:
        where = getattr(known, "__file__", None) or next(iter(places), "Python itself")
        raise DefinitionError(f"cannot load {folder}: {package!r} is imported already, from {where}; rename the folder")


def _import(name: str, file: Path) -> ModuleType:
    with _load_errors(file):
        return importlib.import_module(name)


def _execute(file: Path, name: str, search: list[str] | None = None) -> ModuleType:
    """Run a file as the module `name`; a package may lack the file."""
    if search is not None and not file.exists():
        spec = importlib.util.spec_from_loader(name, loader=None, is_package=True)
    else:
        spec = importlib.util.spec_from_file_location(name, file, loader=_Source(name, str(file)), submodule_search_locations=search)
    assert spec is not None  # noqa: S101  # for the type checker: it is None only where no loader is found
    if search is not None:
        spec.submodule_search_locations = search
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    if spec.loader is not None:
        with _load_errors(file):
            spec.loader.exec_module(module)
    return module


@contextmanager
def _load_errors(file: Path) -> Iterator[None]:
    try:
        yield
    except DefinitionError:
        raise
    except (Exception, SystemExit) as error:  # as above
        raise DefinitionError(f"cannot load {file}: {described(error)}") from error


class _Source(SourceFileLoader):
    """Compiles what the file says now: a `.pyc` cannot tell two files of the same second and size apart."""

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        return self.source_to_code(self.get_data(path), path)


@contextmanager
def _from_source(package: str) -> Iterator[None]:
    """While this lasts, whatever of the package is imported is compiled anew."""

    class Finder(MetaPathFinder):
        def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
            spec = PathFinder.find_spec(fullname, path, target) if fullname.startswith(f"{package}.") else None
            if spec is not None and isinstance(spec.loader, SourceFileLoader):
                spec.loader = _Source(fullname, spec.loader.path)
            return spec

    finder = Finder()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
