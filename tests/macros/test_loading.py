"""Macros from modules, files and folders."""

from __future__ import annotations

import json
import os
import re
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from heddle.errors import DefinitionError
from heddle.macros.loading import Registry, load

Write = Callable[[str, str], str]
MODEL = "from pydantic import BaseModel\nfrom heddle import macro\nclass In(BaseModel):\n    text: str\n"


@pytest.fixture(autouse=True)
def modules() -> Iterator[None]:
    """Whatever a test loads is forgotten after it."""
    before, path = dict(sys.modules), list(sys.path)
    yield
    sys.path[:] = path
    for name in [name for name in sys.modules if name not in before]:
        del sys.modules[name]
    sys.modules.update(before)


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def put(name: str, text: str) -> str:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
        return str(path)

    return put


def macro_text(name: str, version: int = 1) -> str:
    return f"{MODEL}@macro(version={version})\nasync def {name}(request: In) -> In:\n    return request\n"


def versions(registry: Registry) -> dict[str, list[int]]:
    return {name: sorted(found) for name, found in registry.macros.items()}


def refusal(*sources: str) -> str:
    with pytest.raises(DefinitionError) as caught:
        load(sources)
    return str(caught.value)


def test_a_file_that_ends_the_program_is_refused_by_its_name(write: Write) -> None:
    assert re.search(r"cannot load .*script\.py: SystemExit: 3", refusal(write("script.py", "import sys; sys.exit(3)")))


# --- what is found


def test_a_file_is_loaded(write: Write) -> None:
    assert versions(load([write("triage_file.py", macro_text("triage"))])) == {"triage": [1]}


def test_a_module_is_loaded_by_its_name(write: Write, tmp_path: Path) -> None:
    write("triage_package/__init__.py", "")
    write("triage_package/inner.py", macro_text("triage"))
    sys.path.insert(0, str(tmp_path))
    assert versions(load(["triage_package.inner"])) == {"triage": [1]}


def test_a_folder_is_loaded_with_all_its_files_but_the_tests(write: Write, tmp_path: Path) -> None:
    write("flows_a/one.py", macro_text("one"))
    write("flows_a/two.py", macro_text("two", 3))
    write("flows_a/test_one.py", "raise AssertionError")
    write("flows_a/notes.txt", "not Python")
    assert versions(load([str(tmp_path / "flows_a")])) == {"one": [1], "two": [3]}


def test_several_sources_make_one_registry(write: Write) -> None:
    assert versions(load([write("one_b.py", macro_text("one")), write("two_b.py", macro_text("one", 2))])) == {"one": [1, 2]}


def test_a_folder_without_macros_is_an_empty_registry(tmp_path: Path) -> None:
    assert versions(load([str(tmp_path)])) == {}


def test_no_source_is_an_empty_registry() -> None:
    assert versions(load([])) == {}


@pytest.mark.parametrize(
    "line", ["from flows_c.shared import triage", "from .shared import triage", "import flows_c.shared as s; triage = s.triage"]
)
def test_files_of_a_folder_may_import_each_other_and_a_macro_met_twice_counts_once(write: Write, tmp_path: Path, line: str) -> None:
    write("flows_c/aaa.py", line)
    write("flows_c/shared.py", macro_text("triage"))
    assert versions(load([str(tmp_path / "flows_c")])) == {"triage": [1]}


def test_a_folder_of_any_name_can_be_loaded(write: Write, tmp_path: Path) -> None:
    write("my-flows 2/one.py", macro_text("one"))
    write("my-flows 2/two.py", "from my_flows_2.one import one")
    assert versions(load([str(tmp_path / "my-flows 2")])) == {"one": [1]}


def test_a_folder_loaded_again_has_what_was_saved_since(write: Write, tmp_path: Path) -> None:
    folder = str(tmp_path / "flows_d")
    write("flows_d/one.py", macro_text("one"))
    load([folder])
    write("flows_d/one.py", macro_text("other", 22))
    write("flows_d/two.py", macro_text("two"))
    assert versions(load([folder])) == {"other": [22], "two": [1]}


def test_a_folder_loaded_again_has_what_was_saved_within_the_same_second_and_size(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    folder = str(tmp_path / "flows_e")
    os.utime(write("flows_e/one.py", macro_text("one", 1)), (1_800_000_000.1, 1_800_000_000.1))
    load([folder])
    os.utime(write("flows_e/one.py", macro_text("one", 2)), (1_800_000_000.9, 1_800_000_000.9))
    assert versions(load([folder])) == {"one": [2]}


def test_a_folder_loaded_again_loads_shared_files_again_too(write: Write, tmp_path: Path) -> None:
    folder = str(tmp_path / "flows_f")
    write("flows_f/one.py", "from flows_f.shared import triage")
    write("flows_f/shared.py", macro_text("triage"))
    load([folder])
    write("flows_f/shared.py", macro_text("triage", 22))
    assert versions(load([folder])) == {"triage": [22]}


def test_a_file_that_failed_is_loaded_once_it_is_mended(write: Write) -> None:
    source = write("mended_g.py", "def (")
    refusal(source)
    write("mended_g.py", macro_text("one"))
    assert versions(load([source])) == {"one": [1]}


def test_macros_are_found_by_name_and_version_or_the_newest(write: Write) -> None:
    registry = load(
        [
            write(
                "versions_h.py",
                macro_text("one", 2)
                + macro_text("one", 10).replace("def one", "def one_b").replace("version=10", "version=10, name='one'"),
            )
        ]
    )
    newest, second, none = registry.find("one"), registry.find("one", 2), registry.find("one", 3)
    assert newest is not None
    assert second is not None
    assert (newest.version, second.version, none, registry.find("two")) == (10, 2, None, None)


def test_the_newest_are_in_the_order_of_their_names(write: Write) -> None:
    registry = load([write("order_i.py", macro_text("zeta") + macro_text("alpha"))])
    assert [macro.name for macro in registry.newest()] == ["alpha", "zeta"]


def test_macros_of_a_folder_s_init_are_found(write: Write, tmp_path: Path) -> None:
    write("flows_q/__init__.py", macro_text("zero"))
    write("flows_q/one.py", "from . import zero\n" + macro_text("one"))
    assert versions(load([str(tmp_path / "flows_q")])) == {"zero": [1], "one": [1]}


@pytest.mark.parametrize("names", [["", ""], ["", "one.py"], ["one.py", ""], ["one.py", "one.py"], ["one.py", "../flows_r/./one.py"]])
def test_what_is_given_twice_counts_once(write: Write, tmp_path: Path, names: list[str]) -> None:
    write("flows_r/one.py", macro_text("one"))
    assert versions(load([f"{tmp_path}/flows_r/{name}" for name in names])) == {"one": [1]}


def test_a_module_of_a_folder_counts_once_beside_it(write: Write, tmp_path: Path) -> None:
    write("flows_s/one.py", macro_text("one"))
    sys.path.insert(0, str(tmp_path))
    assert versions(load(["flows_s.one", str(tmp_path / "flows_s")])) == {"one": [1]}


def test_a_file_takes_the_name_of_no_other_module(write: Write) -> None:
    assert versions(load([write("json.py", macro_text("one")), write("more/json.py", macro_text("two"))])) == {"one": [1], "two": [1]}
    assert sys.modules["json"] is json


def test_a_subfolder_loaded_again_has_what_was_saved_since(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    folder = str(tmp_path / "flows_t")
    write("flows_t/one.py", "from flows_t.inner.shared import one")
    for version in (1, 2):
        os.utime(write("flows_t/inner/shared.py", macro_text("one", version)), (1_800_000_000.0, 1_800_000_000.0))
        assert versions(load([folder])) == {"one": [version]}


def test_a_macro_may_ask_for_the_settings(write: Write) -> None:
    text = (
        "from heddle import Settings\n" + MODEL + "@macro\nasync def one(request: In, *, settings: Settings) -> In:\n    return request\n"
    )
    assert versions(load([write("settings_u.py", text)])) == {"one": [1]}


# --- what is refused


def test_a_folder_with_the_name_of_another_package_is_refused(write: Write) -> None:
    folder = Path(write("json/one.py", macro_text("one"))).parent
    assert refusal(str(folder)) == f"cannot load {folder}: 'json' is imported already, from {json.__file__}; rename the folder"
    assert sys.modules["json"] is json


def test_two_macros_of_one_name_and_version_are_refused_naming_both_places(write: Write) -> None:
    one, two = write("dup_one.py", macro_text("triage")), write("dup_two.py", "\n" + macro_text("triage"))
    assert refusal(one, two) == f"two macros are called 'triage' version 1: {one}:5 and {two}:6"


PROVIDER = """\
from collections.abc import AsyncIterator
from pathlib import Path
from heddle import provides
@provides
async def {name}() -> AsyncIterator[Path]:
    yield Path()
"""


def test_two_providers_of_one_type_are_refused_naming_both_places(write: Write) -> None:
    one, two = write("prov_one.py", PROVIDER.format(name="a")), write("prov_two.py", PROVIDER.format(name="b"))
    assert refusal(one, two) == f"two providers make a Path: {one}:4 and {two}:4"


def test_a_tool_that_nothing_provides_is_told_with_the_provider_to_write(write: Write) -> None:
    source = write(
        "needy.py",
        MODEL + "class Forge: ...\n@macro\nasync def triage(request: In, *, forge: Forge) -> In:\n    return request\n",
    )
    assert refusal(source) == (
        f"{source}:6: triage needs a Forge as 'forge', and nothing provides one: "
        "write `@provides async def forge() -> AsyncIterator[Forge]` in a file beside it"
    )


def test_a_provider_may_stand_in_another_source(write: Write) -> None:
    needy = "from pathlib import Path\n" + MODEL + "@macro\nasync def triage(request: In, *, where: Path) -> In:\n    return request\n"
    registry = load([write("needy_j.py", needy), write("prov_j.py", PROVIDER.format(name="a"))])
    assert list(registry.providers) == [Path]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nowhere.py", "no file {path}: give a module, a file or a folder of macros"),
        ("nowhere", "no folder {path}: give a module, a file or a folder of macros, or make a project with `heddle init`"),
        ("no\0where.py", "no file {path}: "),
        ("no\0where", "no folder {path}: "),
    ],
)
def test_a_path_that_cannot_be_read_is_told_as_it_was_given(tmp_path: Path, name: str, said: str) -> None:
    path = f"{tmp_path}/{name}"
    assert refusal(path).startswith(said.format(path=path))


def test_a_file_that_is_no_python_is_no_source(write: Write) -> None:
    source = write("rules.yaml", "version: 1")
    assert refusal(source).startswith(f"no folder {source}: ")


def test_a_module_that_does_not_exist_is_told() -> None:
    assert refusal("no_such_module_k") == "cannot import no_such_module_k: No module named 'no_such_module_k'"


BROKEN = [
    ("def (", "SyntaxError: invalid syntax ({file}, line 1)"),
    ("import nothing_of_the_kind", "ModuleNotFoundError: No module named 'nothing_of_the_kind'"),
    ("1 / 0", "ZeroDivisionError: division by zero"),
    ("x = undefined", "NameError: name 'undefined' is not defined"),
]


@pytest.mark.parametrize(("text", "said"), BROKEN)
def test_a_file_that_cannot_be_run_is_told_with_its_path_and_why(write: Write, text: str, said: str) -> None:
    source = write("broken_l.py", text)
    assert refusal(source) == f"cannot load {source}: {said.format(file='broken_l.py')}"


@pytest.mark.parametrize(("text", "said"), BROKEN)
@pytest.mark.parametrize("name", ["one.py", "__init__.py"])
def test_a_file_of_a_folder_that_cannot_be_run_is_told_with_its_path_and_why(write: Write, name: str, text: str, said: str) -> None:
    source = write(f"flows_m/{name}", text)
    assert refusal(str(Path(source).parent)) == f"cannot load {source}: {said.format(file=name)}"


@pytest.mark.parametrize(("text", "said"), BROKEN)
def test_a_module_that_cannot_be_run_is_told_with_its_name_and_why(write: Write, tmp_path: Path, text: str, said: str) -> None:
    write("broken_n.py", text)
    sys.path.insert(0, str(tmp_path))
    told = refusal("broken_n")
    assert told.startswith("cannot import broken_n: ")
    assert said.split(": ", 1)[1].format(file="broken_n.py") in told


def test_bytes_that_are_no_utf_8_are_told_with_the_path(tmp_path: Path) -> None:
    path = tmp_path / "latin_o.py"
    path.write_bytes(b'name = "\xff"\n')
    assert refusal(str(path)).startswith(f"cannot load {path}: SyntaxError: ")


def test_a_macro_that_cannot_be_one_is_told_with_its_place_alone(write: Write) -> None:
    source = write("wrong_p.py", "from heddle import macro\n@macro\nasync def triage(): ...\n")
    assert refusal(source).startswith(f"{source}:2: triage's first parameter")


# --- macros that call macros


CALLS = (
    MODEL.replace("import macro", "import Calls, macro")
    + "@macro(calls=[{called}])\nasync def {name}(request: In, *, calls: Calls) -> In:\n    return request\n"
)


def test_a_macro_that_is_called_is_loaded_with_its_caller(write: Write, tmp_path: Path) -> None:
    write("called_v.py", macro_text("inner"))
    sys.path.insert(0, str(tmp_path))
    source = write("caller_v.py", "import called_v\n" + CALLS.format(called="called_v.inner", name="outer"))
    assert versions(load([source])) == {"inner": [1], "outer": [1]}


def test_a_tool_that_only_a_called_macro_needs_must_be_provided_too(write: Write, tmp_path: Path) -> None:
    needy = "from pathlib import Path\n" + MODEL + "@macro\nasync def inner(request: In, *, where: Path) -> In:\n    return request\n"
    write("called_w.py", needy)
    sys.path.insert(0, str(tmp_path))
    source = write("caller_w.py", "import called_w\n" + CALLS.format(called="called_w.inner", name="outer"))
    assert "inner needs a Path as 'where', and nothing provides one" in refusal(source)


def test_a_called_macro_that_is_another_than_the_loaded_one_of_its_name_is_refused(write: Write, tmp_path: Path) -> None:
    called = write("called_x.py", macro_text("inner"))
    sys.path.insert(0, str(tmp_path))
    source = write("caller_x.py", "import called_x\n" + CALLS.format(called="called_x.inner", name="outer"))
    assert refusal(called, source) == f"two macros are called 'inner' version 1: {called}:5 and {called}:5"


def test_two_macros_of_a_file_that_call_each_other_cannot_be_loaded(write: Write) -> None:
    text = CALLS.format(called="second", name="first") + CALLS.format(called="first", name="second")
    source = write("circle_y.py", text)
    assert refusal(source) == f"cannot load {source}: NameError: name 'second' is not defined"


def test_macros_of_two_files_that_call_each_other_cannot_be_loaded(write: Write, tmp_path: Path) -> None:
    write("flows_z/one.py", "from flows_z.two import two\n" + CALLS.format(called="two", name="one"))
    write("flows_z/two.py", "from flows_z.one import one\n" + CALLS.format(called="one", name="two"))
    told = refusal(str(tmp_path / "flows_z"))
    assert "cannot import name 'one' from partially initialized module 'flows_z.one'" in told
    assert "circular import" in told


# --- lifetimes


def test_a_tool_of_a_worker_may_not_need_one_of_a_task_and_both_are_named(write: Write) -> None:
    source = write(
        "lifetimes_a2.py",
        """\
        from collections.abc import AsyncIterator
        from heddle import provides
        class Store: ...
        class Folder: ...
        @provides(per="task")
        async def folder() -> AsyncIterator[Folder]:
            yield Folder()
        @provides
        async def store(folder: Folder) -> AsyncIterator[Store]:
            yield Store()
        """,
    )
    assert refusal(source) == (
        f"{source}:8: Store lives as long as its worker and needs Folder, which is made for each task ({source}:5): "
        "make both @provides(per='task'), or neither"
    )


# --- upgrades

OLDER = "from heddle import upgrade\nclass Old(BaseModel):\n    words: str\n"
UPGRADE = "@upgrade('triage', to=2)\ndef up(old: Old) -> In:\n    return In(text=old.words)\n"


def test_an_upgrade_is_found_beside_its_macro(write: Write) -> None:
    registry = load([write("triage_m.py", macro_text("triage", 2) + OLDER + UPGRADE)])
    assert registry.readable("triage") == [1, 2]
    route = registry.route("triage", 1)
    assert route is not None
    assert route.read(b'{"words":"a"}').model_dump() == {"text": "a"}


def test_an_upgrade_may_stand_in_another_file_and_met_twice_counts_once(write: Write, tmp_path: Path) -> None:
    write("flows_n/triage.py", macro_text("triage", 2))
    write("flows_n/older.py", f"from flows_n.triage import BaseModel, In, triage\n{OLDER}{UPGRADE.replace(repr('triage'), 'triage')}")
    write("flows_n/zzz.py", "from flows_n.older import up")
    assert load([str(tmp_path / "flows_n")]).readable("triage") == [1, 2]


def test_two_upgrades_of_one_step_are_refused_with_both_places(write: Write) -> None:
    told = refusal(write("triage_o.py", macro_text("triage", 2) + OLDER + UPGRADE + UPGRADE.replace("def up", "def other")))
    assert re.fullmatch(r"two upgrades of triage make version 2 of 1: \S+triage_o\.py:11 and \S+triage_o\.py:14", told)


def test_an_upgrade_that_reaches_no_handler_is_refused_with_its_place(write: Write) -> None:
    assert re.match(
        r"\S+triage_p\.py:11: an upgrade of triage makes version 2, which",
        refusal(write("triage_p.py", macro_text("triage", 3) + OLDER + UPGRADE)),
    )
