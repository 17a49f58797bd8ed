"""What the GitHub forge reads and writes, on a little server that replays recordings."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from heddle.errors import Code, MacroFailure, TryAgain
from heddle.testing import run_macro
from tests.llm.http_server import Sends
from tests.workflows.github_server import BEGIN, DOCUMENT, HEAD, INVOICE, LIST, ROUND, GitHubServer, MakesForge, refused
from workflows import github_api
from workflows.forge import DIFF_BYTES, FileChange, Forge, ForgeBusy, ForgeError, UnknownRef, UnknownRepository
from workflows.github import GitHub
from workflows.release_notes import release_notes
from workflows.repo_triage import repo_triage

NOTE = "labels: fix\nreason: the title begins with 'fix:'\n"


# The latest changes


async def test_a_merged_pull_request_is_one_change(forge: GitHub) -> None:
    assert [change.id for change in await forge.latest("acme/checkout", 10)] == [HEAD, ROUND, BEGIN]


async def test_the_list_goes_on_at_the_first_parent_so_that_merged_branches_are_left_out(forge: GitHub, server: GitHubServer) -> None:
    await forge.latest("acme/checkout", 10)
    assert server.asked == [f"{LIST}?per_page=100", f"{LIST}?per_page=100&sha={ROUND}"]


async def test_no_more_is_asked_for_than_was_wanted(forge: GitHub, server: GitHubServer) -> None:
    assert [change.id for change in await forge.latest("acme/checkout", 1)] == [HEAD]
    assert server.asked == [f"{LIST}?per_page=100"]


async def test_a_change_says_whose_it_is_and_what_its_author_called_it(forge: GitHub) -> None:
    (change,) = await forge.latest("acme/checkout", 1)
    assert (change.author, change.date, change.headline) == (
        "Ada Lovelace",
        datetime(2026, 3, 5, 11, tzinfo=UTC),
        "feat(till): pay by invoice",
    )


async def test_title_and_body_are_told_apart(forge: GitHub) -> None:
    change = (await forge.latest("acme/checkout", 2))[1]
    assert (change.title, change.body) == ("fix: round totals", "Totals had a cent too many.")


async def test_a_list_tells_no_files_and_says_so(forge: GitHub) -> None:
    assert {(change.files, change.partial) for change in await forge.latest("acme/checkout", 10)} == {((), True)}


async def test_with_diffs_every_change_has_its_files(forge: GitHub) -> None:
    first = (await forge.latest("acme/checkout", 10, diffs=True))[0]
    assert not first.partial
    assert first.files == (
        FileChange(path="shop/invoice.py", added=3),
        FileChange(path="docs/logo.png", binary=True),
        FileChange(path="docs/paying.md", old_path="docs/cash.md", added=1, removed=1),
        FileChange(path="shop/__init__.py"),
    )


async def test_a_diff_is_as_git_writes_it_without_context(forge: GitHub) -> None:
    change = (await forge.latest("acme/checkout", 2, diffs=True))[1]
    assert change.diff.splitlines() == [
        "diff --git a/till.py b/till.py",
        "--- a/till.py",
        "+++ b/till.py",
        "@@ -2,4 +2,4 @@ import math",
        "-    return sum(items)",
        "+    return round(sum(items), 2)",
    ]


async def test_a_new_and_a_binary_file_have_the_headers_that_git_gives_them(forge: GitHub) -> None:
    (change,) = await forge.latest("acme/checkout", 1, diffs=True)
    assert "--- /dev/null\n+++ b/shop/invoice.py\n" in change.diff
    assert "diff --git a/docs/logo.png b/docs/logo.png\ndiff --git" in change.diff


def with_files(*files: dict[str, Any], **headers: str) -> Sends:
    """One commit with these files."""
    commit = {"sha": HEAD, "commit": {"message": "x", "author": None}, "parents": [], "files": list(files)}
    return Sends(200, json.dumps(commit).encode(), tuple(headers.items()))


async def partial_with(forge: GitHub, server: GitHubServer, reply: Sends) -> tuple[bool, int]:
    server.instead[f"{LIST}/{HEAD}"] = reply
    (change,) = await forge.latest("acme/checkout", 1, diffs=True)
    return change.partial, len(change.diff)


async def test_a_long_diff_is_cut(forge: GitHub, server: GitHubServer) -> None:
    patch = "@@ -0,0 +1,20000 @@\n" + "+0123456789\n" * 20_000
    file = {"filename": "long.txt", "status": "added", "additions": 20_000, "patch": patch}
    assert await partial_with(forge, server, with_files(file)) == (True, DIFF_BYTES)


async def test_a_patch_that_github_leaves_out_makes_a_change_partial(forge: GitHub, server: GitHubServer) -> None:
    partial, _ = await partial_with(forge, server, with_files({"filename": "x.sql", "status": "modified", "additions": 9_000_000}))
    assert partial


async def test_more_files_than_a_page_has_make_a_change_partial(forge: GitHub, server: GitHubServer) -> None:
    more = f'<{server.url}/repositories/1/commits/{HEAD}?page=2>; rel="next"'
    assert (await partial_with(forge, server, with_files(Link=more)))[0]


async def test_a_commit_without_an_author_has_no_name(forge: GitHub, server: GitHubServer) -> None:
    commit = {"sha": HEAD, "commit": {"message": "x", "author": None}, "parents": []}
    server.instead[LIST] = Sends(200, json.dumps([commit]).encode())
    (change,) = await forge.latest("acme/checkout", 1)
    assert (change.author, change.date) == ("", datetime(1970, 1, 1, tzinfo=UTC))


async def test_a_repository_without_a_commit_has_no_changes(forge: GitHub) -> None:
    assert await forge.latest("acme/empty", 5) == []


async def test_an_unknown_repository_is_named_with_the_setting_that_may_open_it(forge: GitHub) -> None:
    with pytest.raises(UnknownRepository, match=r"no repository http.*/repos/acme/nowhere: .*HEDDLE_FORGE__TOKEN may not see it"):
        await forge.latest("acme/nowhere", 5)


@pytest.mark.parametrize(
    "name", [".", "checkout", "acme/checkout/till", "acme/..", "acme/.", "../acme", "acme/a b", "acme/a?b", "", "a/b#c"]
)
async def test_what_is_no_owner_and_name_is_not_asked_for(forge: GitHub, server: GitHubServer, name: str) -> None:
    with pytest.raises(UnknownRepository, match="owner/name, such as acme/checkout"):
        await forge.latest(name, 5)
    assert server.requests == []


async def test_a_list_that_begins_with_another_commit_is_refused(forge: GitHub, server: GitHubServer) -> None:
    server.instead[f"{LIST}?per_page=100&sha={ROUND}"] = Sends(200, b"[]")
    with pytest.raises(ForgeError, match="does not begin with the commit"):
        await forge.latest("acme/checkout", 3)


# The commits between


async def ids_between(forge: GitHub, since: str | None, until: str = "HEAD", limit: int = 100) -> list[str]:
    return [change.id for change in await forge.between("acme/checkout", since, until, limit=limit)]


async def test_all_of_history_is_read_over_three_pages_newest_first_without_merges(forge: GitHub, server: GitHubServer) -> None:
    assert await ids_between(forge, None) == [DOCUMENT, INVOICE, ROUND, BEGIN]
    pages = [f"/repositories/731204518/commits?sha={HEAD}&per_page=100&page={page}" for page in (2, 3)]
    assert server.asked == [f"{LIST}/HEAD", f"{LIST}?sha={HEAD}&per_page=100", *(f"GET {page}" for page in pages)]


async def test_a_comparison_is_read_over_three_pages_newest_first_without_merges(forge: GitHub) -> None:
    assert await ids_between(forge, "v1.0") == [DOCUMENT, INVOICE, ROUND]


async def test_a_comparison_is_read_from_its_end_and_only_as_far_as_was_wanted(forge: GitHub, server: GitHubServer) -> None:
    assert await ids_between(forge, "v1.0", limit=1) == [DOCUMENT]
    compare = f"compare/{BEGIN}...{HEAD}?per_page=100"
    pages = [f"GET /repositories/731204518/{compare}&page={page}" for page in (3, 2)]
    assert server.asked[2:] == [f"GET /repos/acme/checkout/{compare}", *pages]


async def test_a_comparison_of_one_page_is_one_request(forge: GitHub, server: GitHubServer) -> None:
    assert await ids_between(forge, "release/1.1") == [DOCUMENT, INVOICE]
    assert len([asked for asked in server.asked if "/compare/" in asked]) == 1


@pytest.mark.parametrize("limit", [1, 2, 3])
async def test_limit_keeps_the_newest(forge: GitHub, limit: int) -> None:
    assert await ids_between(forge, None, limit=limit) == [DOCUMENT, INVOICE, ROUND][:limit]


@pytest.mark.parametrize(("since", "until"), [("v9", "HEAD"), ("v1.0", "v9"), (None, "v9")])
async def test_an_unknown_ref_is_named(forge: GitHub, since: str | None, until: str) -> None:
    with pytest.raises(UnknownRef, match=r"no commit 'v9' in http.*/repos/acme/checkout"):
        await ids_between(forge, since, until)


@pytest.mark.parametrize("ref", ["../../user", "a..b", ".hidden", "a//b", "", "a/", "a\nb"])
async def test_what_can_be_no_ref_is_not_asked_for(forge: GitHub, server: GitHubServer, ref: str) -> None:
    with pytest.raises(UnknownRef):
        await ids_between(forge, None, ref)
    assert server.requests == []


async def test_a_ref_with_marks_of_a_url_is_one_part_of_the_path(forge: GitHub, server: GitHubServer) -> None:
    with pytest.raises(UnknownRepository):  # this server has no such recording
        await ids_between(forge, None, "a?b#c%2e")
    assert server.asked == [f"{LIST}/a%3Fb%23c%252e"]


async def test_an_unknown_repository_of_a_comparison_is_told(forge: GitHub) -> None:
    with pytest.raises(UnknownRepository):
        await forge.between("acme/nowhere", "v1.0", "HEAD", limit=5)


async def test_an_empty_repository_has_no_ref(forge: GitHub, server: GitHubServer) -> None:
    server.instead["GET /repos/acme/empty/"] = refused(409, "Git Repository is empty.")
    with pytest.raises(UnknownRef):
        await forge.between("acme/empty", None, "HEAD", limit=5)


async def test_histories_without_a_common_ancestor_are_told(forge: GitHub) -> None:
    with pytest.raises(ForgeError, match=r"'v0\.9' and 'HEAD' have no common ancestor"):
        await ids_between(forge, "v0.9")


async def test_an_answer_that_is_no_commits_id_is_refused(forge: GitHub, server: GitHubServer) -> None:
    server.instead[f"{LIST}/HEAD"] = Sends(200, b"<html>it works</html>")
    with pytest.raises(ForgeError, match="which is no commit's id"):
        await ids_between(forge, None)


async def test_a_comparison_that_hides_where_it_ends_is_refused(forge: GitHub, server: GitHubServer) -> None:
    link = ("Link", f'<{server.url}/x?page=2>; rel="next"')
    server.instead["GET /repos/acme/checkout/compare/"] = Sends(200, b'{"commits": []}', (link,))
    with pytest.raises(ForgeError, match="there is more and not where it ends"):
        await ids_between(forge, "v1.0")


async def test_a_list_without_an_end_is_given_up(forge: GitHub, server: GitHubServer) -> None:
    link = ("Link", f'<{server.url}/repos/acme/checkout/commits?page=1>; rel="next"')
    server.instead[f"{LIST}?"] = Sends(200, b"[]", (link,))
    with pytest.raises(ForgeError, match="more than 100 pages"):
        await ids_between(forge, None)
    assert len(server.requests) == 1 + github_api.MOST_PAGES


# Notes


async def test_a_note_is_a_comment_that_is_marked_and_cannot_be_markup(forge: GitHub, server: GitHubServer) -> None:
    await forge.annotate("acme/checkout", {ROUND: NOTE})
    (comment,) = server.comments
    assert (comment["commit_id"], comment["body"]) == (ROUND, f"<!-- heddle: note -->\n```text\n{NOTE}```")


async def test_the_same_note_twice_is_one_comment_written_once(forge: GitHub, server: GitHubServer) -> None:
    for _ in range(2):
        await forge.annotate("acme/checkout", {ROUND: NOTE})
    assert (len(server.comments), server.writes) == (1, [f"POST /repos/acme/checkout/commits/{ROUND}/comments"])


async def test_another_note_takes_the_place_of_the_first(forge: GitHub, server: GitHubServer) -> None:
    await forge.annotate("acme/checkout", {ROUND: NOTE})
    await forge.annotate("acme/checkout", {ROUND: "labels: docs"})
    assert [comment["body"] for comment in server.comments] == ["<!-- heddle: note -->\n```text\nlabels: docs\n```"]
    assert server.writes[-1] == "PATCH /repos/acme/checkout/comments/7000"


async def test_comments_of_people_are_left_alone_and_the_note_is_found_on_a_later_page(forge: GitHub, server: GitHubServer) -> None:
    server.comments_per_page = 2
    server.comments += [{"id": number, "commit_id": ROUND, "body": "Nice."} for number in range(4)]
    for text in (NOTE, "labels: docs"):
        await forge.annotate("acme/checkout", {ROUND: text})
    assert [comment["body"] for comment in server.comments[:4]] == ["Nice."] * 4
    assert len(server.comments) == 5


async def test_a_note_with_backticks_stays_inside_its_block(forge: GitHub, server: GitHubServer) -> None:
    await forge.annotate("acme/checkout", {ROUND: "reason: ````\n@everyone"})
    assert server.comments[0]["body"].split("\n")[1::3] == ["`````text", "`````"]


@pytest.mark.parametrize("unknown", ["0" * 40, ROUND[:12], "HEAD", "../x"])
async def test_an_unknown_change_leaves_every_note_unwritten(forge: GitHub, server: GitHubServer, unknown: str) -> None:
    with pytest.raises(UnknownRef, match="a note needs the whole id"):
        await forge.annotate("acme/checkout", {ROUND: NOTE, unknown: NOTE})
    assert server.writes == []


async def test_a_limit_on_the_way_leaves_the_rest_to_the_next_call(forge: GitHub, server: GitHubServer) -> None:
    server.instead[f"POST /repos/acme/checkout/commits/{BEGIN}/"] = refused(
        403, "You have exceeded a secondary rate limit.", Retry_After="9"
    )
    with pytest.raises(ForgeBusy):
        await forge.annotate("acme/checkout", {ROUND: NOTE, BEGIN: NOTE})
    server.instead.clear()
    await forge.annotate("acme/checkout", {ROUND: NOTE, BEGIN: NOTE})
    assert [comment["commit_id"] for comment in server.comments] == [ROUND, BEGIN]


async def test_without_a_token_nothing_can_be_written_and_the_setting_is_named(forge_at: MakesForge) -> None:
    with pytest.raises(ForgeError, match="401 Requires authentication; set HEDDLE_FORGE__TOKEN"):
        await (await forge_at(token=None)).annotate("acme/checkout", {ROUND: NOTE})


async def test_a_token_that_may_not_comment_is_told(forge: GitHub, server: GitHubServer) -> None:
    server.instead["POST "] = refused(404, "Not Found")
    with pytest.raises(ForgeError, match="404 Not Found; the token in HEDDLE_FORGE__TOKEN may not do that"):
        await forge.annotate("acme/checkout", {ROUND: NOTE})


# The example macros on it


async def test_repo_triage_labels_what_landed_on_github_and_writes_its_notes(forge: GitHub, server: GitHubServer) -> None:
    payload = {"repository": "acme/checkout", "count": 3, "write": True}
    report = await run_macro(repo_triage, payload, tools={Forge: forge})
    assert [(found["title"], found["labels"], found["written"]) for found in report["results"]] == [
        ("feat(till): pay by invoice", ["feature", "docs"], True),
        ("fix: round totals", ["fix"], True),
        ("Begin", ["docs"], True),
    ]
    assert [comment["commit_id"] for comment in server.comments] == [HEAD, ROUND, BEGIN]
    assert await run_macro(repo_triage, payload, tools={Forge: forge}) == report
    assert len(server.writes) == 3


async def test_release_notes_are_drafted_from_a_comparison(forge: GitHub) -> None:
    notes = await run_macro(release_notes, {"repository": "acme/checkout", "since": "v1.0"}, tools={Forge: forge})
    assert [(section["title"], [entry["text"] for entry in section["entries"]]) for section in notes["sections"]] == [
        ("Features", ["till: pay by invoice"]),
        ("Fixes", ["round totals"]),
        ("Documentation", ["say how to pay by invoice"]),
    ]


@pytest.mark.parametrize("macro", [repo_triage, release_notes], ids=lambda macro: macro.name)
async def test_a_limit_makes_a_task_try_again(forge: GitHub, server: GitHubServer, macro: Any) -> None:
    server.instead["GET "] = refused(429, "Slow down", Retry_After="17")
    payload = {"repository": "acme/checkout", **({"since": "v1.0"} if macro is release_notes else {})}
    with pytest.raises(TryAgain) as caught:
        await run_macro(macro, payload, tools={Forge: forge})
    assert isinstance(caught.value.__cause__, ForgeBusy)
    assert caught.value.__cause__.retry_after == 17.0


async def test_an_unknown_repository_ends_the_task(forge: GitHub) -> None:
    with pytest.raises(MacroFailure, match="UnknownRepository") as caught:
        await run_macro(repo_triage, {"repository": "acme/nowhere"}, tools={Forge: forge})
    assert caught.value.code is Code.HANDLER_FAILED


async def test_a_refusal_is_no_bug_of_the_macro(forge: GitHub, server: GitHubServer) -> None:
    server.instead[LIST] = refused(401, "Bad credentials")
    with pytest.raises(MacroFailure, match=r"ForgeError: .*set HEDDLE_FORGE__TOKEN") as caught:
        await run_macro(repo_triage, {"repository": "acme/checkout"}, tools={Forge: forge})
    assert isinstance(caught.value.__cause__, tuple(repo_triage.fails))
