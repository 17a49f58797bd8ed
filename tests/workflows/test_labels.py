from __future__ import annotations

import string
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflows import labels
from workflows.contents import Kind, kind_of, public_names
from workflows.conventional import TYPES, read_conventional
from workflows.forge import Change, FileChange


def change(title: str, body: str = "", files: tuple[FileChange, ...] = (), diff: str = "", *, partial: bool = False) -> Change:
    return Change(
        id="0" * 40, title=title, body=body, author="Ada", date=datetime(2026, 3, 1, tzinfo=UTC), files=files, diff=diff, partial=partial
    )


def touching(*paths: str, title: str = "Work", diff: str = "", partial: bool = False) -> Change:
    return change(title, files=tuple(FileChange(path=path, added=1) for path in paths), diff=diff, partial=partial)


def patch(path: str, *lines: str) -> str:
    return "\n".join([f"diff --git a/{path} b/{path}", f"--- a/{path}", f"+++ b/{path}", "@@ -1 +1 @@", *lines, ""])


# By the title's prefix


@pytest.mark.parametrize(
    ("title", "expected"),
    [
        ("feat: pay by invoice", ["feat"]),
        ("FIX(till): round", ["fix", "scope:till"]),
        ("refactor!: drop v1", ["refactor", "breaking"]),
        ("feat(api)!: drop v1", ["feat", "scope:api", "breaking"]),
        ("fixup! test: more", ["test"]),
        ('Revert "feat: pay by invoice"', ["revert"]),
        ("wip: something", []),
        ("feat:", []),
        ("feat pay by invoice", []),
        ("Merge branch 'main'", []),
        ("https://example.org: moved", []),
    ],
)
def test_the_prefix_decides(title: str, expected: list[str]) -> None:
    assert labels.conventional(change(title)).labels == expected


@pytest.mark.parametrize("footer", ["BREAKING CHANGE: v1 is gone", "Text\n\nBREAKING-CHANGE: v1 is gone"])
def test_a_footer_makes_it_breaking(footer: str) -> None:
    assert labels.conventional(change("fix: x", footer)).labels == ["fix", "breaking"]


def test_a_footer_counts_without_a_prefix() -> None:
    assert labels.conventional(change("Drop v1", "BREAKING CHANGE: v1 is gone")).labels == ["breaking"]


def test_lower_case_words_about_breaking_are_no_footer() -> None:
    assert labels.conventional(change("fix: x", "breaking change: no")).labels == ["fix"]


@pytest.mark.parametrize("title", ["Merge pull request #7 from ada/side", "Merge branch 'side' into 'main'"])
def test_a_merge_is_labelled_by_its_requests_title(title: str) -> None:
    assert labels.conventional(change(title, "feat: pay by invoice\n\nSee !7")).labels == ["feat"]


def test_a_plain_merge_keeps_its_own_title() -> None:
    assert change("Merge branch 'side'", "* side:\n  work").headline == "Merge branch 'side'"


SCOPES = st.none() | st.text(string.ascii_lowercase, min_size=1)


@given(st.sampled_from(TYPES), SCOPES, st.booleans(), st.text(string.ascii_letters, min_size=1))
def test_what_is_written_by_the_rules_is_read_back(kind: str, scope: str | None, breaking: bool, text: str) -> None:
    read = read_conventional(change(f"{kind}{f'({scope})' if scope else ''}{'!' if breaking else ''}: {text}"))
    assert read is not None
    assert (read.type, read.scope, read.breaking, read.text) == (kind, scope, breaking, text)


# By the contents


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("tests/test_till.py", Kind.TESTS),
        ("pkg/till_test.go", Kind.TESTS),
        ("src/till.spec.ts", Kind.TESTS),
        ("tests/data/orders.csv", Kind.TESTS),
        ("docs/till.md", Kind.DOCS),
        ("README", Kind.DOCS),
        ("docs/conf.py", Kind.DOCS),
        (".github/workflows/test.yml", Kind.CI),
        (".gitlab-ci.yml", Kind.CI),
        ("requirements-dev.txt", Kind.DEPENDENCIES),
        ("web/package-lock.json", Kind.DEPENDENCIES),
        ("uv.lock", Kind.DEPENDENCIES),
        ("pyproject.toml", Kind.BUILD),
        ("deploy/Dockerfile", Kind.BUILD),
        ("shop/till.py", Kind.CODE),
        ("shop/latest.rs", Kind.CODE),
        ("logo.png", Kind.OTHER),
    ],
)
def test_a_path_tells_what_a_file_is_for(path: str, kind: Kind) -> None:
    assert kind_of(path) is kind


@pytest.mark.parametrize(
    ("path", "line", "name"),
    [
        ("a.py", "def pay():", "pay"),
        ("a.py", "async def pay():", "pay"),
        ("a.py", "class Till:", "Till"),
        ("a.go", "func (t *Till) Pay() {", "Pay"),
        ("a.rs", "    pub async fn pay() {", "pay"),
        ("a.ts", "export default class Till {", "Till"),
        ("A.java", "    public static int pay(int x) {", "pay"),
    ],
)
def test_a_public_definition_is_a_name(path: str, line: str, name: str) -> None:
    assert public_names(patch(path, f"+{line}")) == ([name], [])


@pytest.mark.parametrize(
    ("path", "line"), [("a.py", "def _pay():"), ("a.py", "    def pay(self):"), ("a.go", "func pay() {"), ("a.txt", "def pay():")]
)
def test_a_private_definition_is_none(path: str, line: str) -> None:
    assert public_names(patch(path, f"+{line}")) == ([], [])


def test_a_name_that_moved_is_neither_new_nor_lost() -> None:
    assert public_names(patch("a.py", "-def pay():") + patch("b.py", "+def pay(now):")) == ([], [])


def test_a_line_that_looks_like_a_header_is_a_line() -> None:
    assert public_names(patch("a.py", "+++ b/x.go", "+def pay():")) == (["pay"], [])


@given(st.text())
def test_any_text_can_be_read_as_a_diff(text: str) -> None:
    added, removed = public_names(text)
    assert not set(added) & set(removed)


@pytest.mark.parametrize(
    ("of", "expected"),
    [
        (touching("a.py", diff=patch("a.py", "+def pay():")), ["feature"]),
        (touching("a.py", diff=patch("a.py", "-def pay():")), ["removal"]),
        (touching("a.py", "tests/test_a.py", diff=patch("a.py", "+def pay():")), ["feature", "tests"]),
        (touching("a.py", title="Fix rounding", diff=patch("a.py", "+x = 1")), ["fix"]),
        (touching("a.py", title="Prefix the totals", diff=patch("a.py", "+x = 1")), ["refactor"]),
        (touching("a.py"), ["code"]),
        (touching("tests/test_a.py"), ["tests"]),
        (touching("README.md", "uv.lock", ".gitlab-ci.yml", "Makefile"), ["docs", "dependencies", "build", "ci"]),
        (touching("logo.png"), []),
        (change("Nothing"), ["empty"]),
        (change("Shallow", partial=True), []),
    ],
)
def test_the_contents_decide(of: Change, expected: list[str]) -> None:
    assert labels.semantic(of).labels == expected


def test_code_that_only_moves_is_refactored() -> None:
    assert labels.semantic(change("Move", files=(FileChange(path="b.py", old_path="a.py"),))).labels == ["refactor"]


def test_the_reason_names_what_was_found() -> None:
    found = labels.semantic(touching("a.py", diff=patch("a.py", *(f"+def {name}():" for name in "pqrst"))))
    assert found.reason == "adds the public p, q, r and 2 more"


def test_the_reason_admits_a_partial_view() -> None:
    assert labels.semantic(touching("README.md", partial=True)).reason == "touches README.md (seen in part only)"


def test_by_hand_both_propose_and_no_label_comes_twice() -> None:
    assert labels.manual(change("docs: pay", files=(FileChange(path="docs/pay.md"), FileChange(path="Makefile")))).labels == [
        "docs",
        "build",
    ]
