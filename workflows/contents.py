"""What a change contains, told from the paths it touches and the lines it adds and takes away."""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import StrEnum
from pathlib import PurePosixPath
from typing import Final


class Kind(StrEnum):
    """What a file is for."""

    TESTS = "tests"
    DOCS = "docs"
    CI = "ci"
    DEPENDENCIES = "dependencies"
    BUILD = "build"
    CODE = "code"
    OTHER = "other"


_PUBLIC_PYTHON: Final = re.compile(r"(?:async )?(?:def|class) ([A-Za-z]\w*)")
_PUBLIC_SCRIPT: Final = re.compile(
    r"export (?:default )?(?:async )?(?:abstract )?(?:function\*?|class|const|let|interface|type|enum) (\w+)"
)
_PUBLIC_JVM: Final = re.compile(r"\s*public (?:[\w<>\[\], ]+ )?(\w+)\s*(?:\(|\{|<|$| extends| implements)")

# How a line of each language begins that gives something a public name.
_PUBLIC: Final = {
    ".py": _PUBLIC_PYTHON,
    ".pyi": _PUBLIC_PYTHON,
    ".go": re.compile(r"(?:func (?:\([^)]*\) )?|type )([A-Z]\w*)"),
    ".rs": re.compile(r"\s*pub (?:async |const |unsafe )*(?:fn|struct|enum|trait|mod|type|static) (\w+)"),
    **dict.fromkeys((".js", ".jsx", ".mjs", ".ts", ".tsx", ".mts"), _PUBLIC_SCRIPT),
    **dict.fromkeys((".java", ".cs", ".scala"), _PUBLIC_JVM),
}
_CODE_SUFFIXES: Final = {
    *_PUBLIC,
    *(".bash", ".c", ".cc", ".cpp", ".css", ".ex", ".exs", ".h", ".hpp", ".html", ".kt", ".lua", ".php", ".pl", ".rb", ".sh", ".sql"),
    *(".swift", ".vue", ".zig"),
}
_TEST_FOLDERS: Final = {"test", "tests", "testing", "testdata", "spec", "specs", "__tests__"}
_TEST_NAME: Final = re.compile(r"conftest\.py|test_.+|.+_test\.\w+|.+[._-](?:test|spec)\.\w+|.+Tests?\.(?:java|kt|cs)")
_CI_PATH: Final = re.compile(
    r"\.github/workflows/.+|\.circleci/.+|\.ci/.+|\.gitlab-ci\.yml|\.travis\.yml|azure-pipelines\.yml|Jenkinsfile|\.pre-commit-config\.yaml"
)
_DEPENDENCY_NAME: Final = re.compile(
    r"requirements[\w.-]*\.(?:txt|in|lock)|constraints[\w.-]*\.txt|.+\.lock|.+[.-]lock\.(?:json|yaml)|npm-shrinkwrap\.json|go\.(?:mod|sum)|Gemfile"
)
_BUILD_NAME: Final = re.compile(
    r"(?:GNU)?[Mm]akefile|.+\.mk|CMakeLists\.txt|meson\.build|(?:.+\.)?Dockerfile.*|\.dockerignore|docker-compose.*\.ya?ml|compose\.ya?ml"
    r"|pyproject\.toml|setup\.(?:py|cfg)|tox\.ini|package\.json|Cargo\.toml|pom\.xml|build\.gradle(?:\.kts)?|BUILD(?:\.bazel)?"
)
_DOC_FOLDERS: Final = {"doc", "docs", "documentation"}
_DOC_SUFFIXES: Final = {".md", ".rst", ".adoc"}
_DOC_NAME: Final = re.compile(r"(?:README|CHANGELOG|CHANGES|LICENSE|COPYING|CONTRIBUTING|AUTHORS|NOTICE|SECURITY)(?:\.\w+)?")


def kind_of(path: str) -> Kind:
    """What a file is for; the first rule that knows it decides."""
    file = PurePosixPath(path)
    folders = set(file.parts[:-1])
    if _CI_PATH.fullmatch(path):
        return Kind.CI
    if _DEPENDENCY_NAME.fullmatch(file.name):
        return Kind.DEPENDENCIES
    if folders & _TEST_FOLDERS or _TEST_NAME.fullmatch(file.name):
        return Kind.TESTS
    if folders & _DOC_FOLDERS or file.suffix in _DOC_SUFFIXES or _DOC_NAME.fullmatch(file.name):
        return Kind.DOCS
    if _BUILD_NAME.fullmatch(file.name):
        return Kind.BUILD
    return Kind.CODE if file.suffix in _CODE_SUFFIXES else Kind.OTHER


def public_names(diff: str) -> tuple[list[str], list[str]]:
    """The public names that a diff gives to code and takes away from it, in order; a name that only moved is in neither list.

    A name is public if a line defines it the way its language makes things public: at the top level in Python, with `export`,
    `pub` or `public`, or with a capital in Go. Names in tests and names with a leading underscore are not.
    """
    named: dict[str, dict[str, None]] = {"+": {}, "-": {}}
    for sign, suffix, text in _changed_lines(diff):
        if (pattern := _PUBLIC.get(suffix)) and (name := pattern.match(text)):
            named[sign][name[1]] = None
    return [n for n in named["+"] if n not in named["-"]], [n for n in named["-"] if n not in named["+"]]


def _changed_lines(diff: str) -> Iterator[tuple[str, str, str]]:
    """Sign, suffix of the file and text of every line of code that a patch adds or takes away."""
    suffix, in_header = "", True
    for line in diff.split("\n"):
        if line.startswith("diff --git "):
            suffix, in_header = "", True
        elif in_header and line.startswith(("--- ", "+++ ")):
            path = line[4:].rstrip("\t").strip('"').partition("/")[2]  # a/… or b/…, and /dev/null is not code
            suffix = PurePosixPath(path).suffix if kind_of(path) is Kind.CODE else suffix
        elif line.startswith("@@ "):
            in_header = False
        elif not in_header and line[:1] in {"+", "-"}:
            yield line[0], suffix, line[1:]
