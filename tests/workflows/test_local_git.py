from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from tests.workflows.git_repository import GitRepository
from workflows import local_git
from workflows.forge import DIFF_BYTES, Change, FileChange, ForgeBusy, ForgeError, UnknownRef, UnknownRepository
from workflows.local_git import LocalGit


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "root"
    folder.mkdir()
    return folder


@pytest.fixture
def repository(root: Path) -> GitRepository:
    return GitRepository(root / "acme" / "checkout")


async def latest(root: Path, repository: str = "acme/checkout", count: int = 10, *, diffs: bool = False) -> list[Change]:
    return await LocalGit(root).latest(repository, count, diffs=diffs)


async def titles(root: Path, since: str | None, until: str = "HEAD", limit: int = 100) -> list[str]:
    return [change.title for change in await LocalGit(root).between("acme/checkout", since, until, limit=limit)]


async def refusal(root: Path, repository: str) -> str:
    with pytest.raises(UnknownRepository) as refused:
        await latest(root, repository)
    return str(refused.value)


# Which folder is meant


@pytest.mark.parametrize("name", ["acme/checkout", "./acme/checkout/", "acme/../acme/checkout"])
async def test_a_repository_is_a_path_below_the_root(root: Path, repository: GitRepository, name: str) -> None:
    repository.commit("one")
    assert [change.title for change in await latest(root, name)] == ["one"]


async def test_a_dot_is_the_root_itself(repository: GitRepository) -> None:
    repository.commit("one")
    assert len(await latest(repository.folder, ".")) == 1


async def test_an_absolute_path_below_the_root_is_taken(root: Path, repository: GitRepository) -> None:
    repository.commit("one")
    assert len(await latest(root, str(repository.folder))) == 1


async def test_a_bare_repository_is_read(root: Path, repository: GitRepository) -> None:
    repository.commit("one")
    repository.clone(root / "bare.git", "--bare")
    assert len(await latest(root, "bare.git")) == 1


async def test_a_linked_work_tree_is_read(root: Path, repository: GitRepository) -> None:
    repository.commit("one")
    repository.git("worktree", "add", "--quiet", "--detach", str(root / "linked"))
    assert len(await latest(root, "linked")) == 1


@pytest.mark.parametrize("name", ["..", "../outside", "acme/../../outside", "/", "way/out", "way/out/.."])
async def test_what_leads_out_of_the_root_is_unknown(root: Path, tmp_path: Path, name: str) -> None:
    GitRepository(tmp_path / "outside").commit("secret")
    (root / "way").mkdir()
    (root / "way" / "out").symlink_to(tmp_path / "outside")
    assert "no path inside" in await refusal(root, name)


async def test_a_git_folder_that_is_a_symlink_out_of_the_root_is_unknown(root: Path, tmp_path: Path) -> None:
    GitRepository(tmp_path / "outside").commit("secret")
    (root / "lure").mkdir()
    (root / "lure" / ".git").symlink_to(tmp_path / "outside" / ".git")
    assert "no path inside" in await refusal(root, "lure")


async def test_a_missing_folder_is_unknown(root: Path) -> None:
    assert "there is no such folder" in await refusal(root, "acme/nowhere")


async def test_a_file_is_no_repository(root: Path) -> None:
    (root / "file").write_text("x")
    assert "there is no such folder" in await refusal(root, "file")


async def test_a_folder_without_git_is_unknown(root: Path) -> None:
    (root / "plain").mkdir()
    assert "not a git repository" in await refusal(root, "plain")


@pytest.mark.parametrize("name", ["a\0b", "x" * 5000, "\ud800", "-C/etc", "--upload-pack=touch x"])
async def test_what_is_no_path_is_unknown(root: Path, name: str) -> None:
    assert repr(name) in await refusal(root, name)


async def test_a_loop_of_symlinks_is_unknown(root: Path) -> None:
    (root / "loop").symlink_to(root / "loop")
    await refusal(root, "loop")


async def test_a_refusal_names_the_root_and_the_remedy(root: Path) -> None:
    message = await refusal(root, "acme/nowhere")
    assert str(root) in message
    assert "HEDDLE_FORGE__ROOT" in message


async def test_a_folder_inside_a_repository_is_refused_with_the_name_to_use(root: Path, repository: GitRepository) -> None:
    repository.commit("one", {"src/shop/till.py": "x = 1\n"})
    assert "inside the repository 'acme/checkout'" in await refusal(root, "acme/checkout/src/shop")


async def test_a_root_inside_a_work_tree_does_not_open_what_contains_it(repository: GitRepository) -> None:
    repository.commit("one", {"src/till.py": "x = 1\n"})
    assert f"inside the repository '{repository.folder}'" in await refusal(repository.folder / "src", ".")


async def test_git_variables_of_the_worker_do_not_redirect(root: Path, repository: GitRepository, monkeypatch: pytest.MonkeyPatch) -> None:
    repository.commit("right")
    GitRepository(root / "other").commit("wrong")
    monkeypatch.setenv("GIT_DIR", str(root / "other" / ".git"))
    assert [change.title for change in await latest(root)] == ["right"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
async def test_a_repository_of_another_user_is_refused_with_gits_own_remedy(root: Path, repository: GitRepository) -> None:
    repository.commit("one")
    for path in (repository.folder, repository.folder / ".git"):
        os.chown(path, 4242, 4242)
    assert "safe.directory" in await refusal(root, "acme/checkout")


# What is read


async def test_an_empty_repository_has_no_changes(root: Path, repository: GitRepository) -> None:
    assert repository.day == 0
    assert await latest(root) == []


async def test_the_newest_change_comes_first(root: Path, repository: GitRepository) -> None:
    for title in ("one", "two", "three"):
        repository.commit(title)
    assert [change.title for change in await latest(root, count=2)] == ["three", "two"]


async def test_a_change_says_who_when_and_what(root: Path, repository: GitRepository) -> None:
    commit = repository.commit("one\n\nWhy\tand\n\nwherefore", {"a b.txt": "1\n2\n"})
    (change,) = await latest(root)
    expected = Change.model_validate(
        {
            "id": commit,
            "title": "one",
            "body": "Why\tand\n\nwherefore",
            "author": "Ada Lovelace",
            "date": "2026-03-01T12:00:00+01:00",
            "files": [{"path": "a b.txt", "added": 2}],
        }
    )
    assert change == expected


async def test_a_change_without_files_or_message_is_read(root: Path, repository: GitRepository) -> None:
    repository.commit("")
    repository.commit("two", {"a": "a\n"})
    assert [(change.title, len(change.files)) for change in await latest(root)] == [("two", 1), ("", 0)]


async def test_a_rename_names_both_paths(root: Path, repository: GitRepository) -> None:
    repository.commit("one", {"old\tname.py": "a\nb\nc\nd\n"})
    (repository.folder / "old\tname.py").rename(repository.folder / "näme.py")
    repository.commit("two")
    assert (await latest(root))[0].files == (FileChange(path="näme.py", old_path="old\tname.py"),)


async def test_a_binary_file_has_no_lines(root: Path, repository: GitRepository) -> None:
    repository.commit("one", {"logo.png": bytes(range(256))})
    assert (await latest(root))[0].files == (FileChange(path="logo.png", binary=True),)


async def test_a_merge_is_one_change_with_what_it_brought(root: Path, repository: GitRepository) -> None:
    repository.commit("one", {"a": "a\n"})
    repository.git("switch", "--quiet", "--create", "side")
    repository.commit("side work", {"b": "b\n"})
    repository.git("switch", "--quiet", "main")
    repository.git("merge", "--quiet", "--no-ff", "-m", "Merge pull request #7 from ada/side\n\nfeat: b", "side")
    merge, *rest = await latest(root, diffs=True)
    assert [change.title for change in rest] == ["one"]
    assert merge.headline == "feat: b"
    assert [file.path for file in merge.files] == ["b"]
    assert "+b" in merge.diff


async def test_a_message_that_is_not_utf8_is_read_with_replacements(root: Path, repository: GitRepository) -> None:
    raw = repository.git("cat-file", "commit", repository.commit("plain")).encode().replace(b"plain", b"caf\xe9")
    repository.git("update-ref", "HEAD", repository.git("hash-object", "-t", "commit", "-w", "--stdin", given=raw))
    assert (await latest(root))[0].title == "caf\ufffd"


async def test_a_diff_that_is_not_utf8_is_read_with_replacements(root: Path, repository: GitRepository) -> None:
    repository.commit("menu", {"menu.txt": b"caf\xe9\n"})
    assert "+caf\ufffd" in (await latest(root, diffs=True))[0].diff


async def test_a_message_in_a_declared_encoding_is_read(root: Path, repository: GitRepository) -> None:
    repository.git("config", "i18n.commitEncoding", "ISO-8859-1")
    repository.commit("café".encode("latin-1"))
    assert (await latest(root))[0].title == "café"


async def test_a_diff_stops_at_its_limit_and_says_so(root: Path, repository: GitRepository) -> None:
    repository.commit("large", {"large.txt": "0123456789\n" * 200_000})
    (change,) = await latest(root, diffs=True)
    assert (len(change.diff), change.partial, change.files[0].added) == (DIFF_BYTES, True, 200_000)


async def test_a_history_that_is_too_long_is_an_error(root: Path, repository: GitRepository, monkeypatch: pytest.MonkeyPatch) -> None:
    repository.commit("one " * 1000)
    monkeypatch.setattr(local_git, "OUTPUT_BYTES", 1000)
    monkeypatch.setattr(local_git._run, "__kwdefaults__", {"given": None, "at_most": 1000})
    with pytest.raises(ForgeError, match="ask for fewer"):
        await latest(root)


async def test_where_a_shallow_clone_ends_no_files_are_made_up(root: Path, repository: GitRepository) -> None:
    for title in ("one", "two", "three"):
        repository.commit(title, {f"{title}.txt": title})
    repository.clone(root / "shallow", "--depth=2")
    three, two = await latest(root, "shallow", diffs=True)
    assert ([file.path for file in three.files], three.partial) == (["three.txt"], False)
    assert (two.files, two.diff, two.partial) == ((), "", True)


async def test_a_repositorys_configuration_starts_no_program(root: Path, repository: GitRepository, tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    trap.write_text(f"#!/bin/sh\ntouch {tmp_path}/sprung\n")
    trap.chmod(0o755)
    repository.commit("one", {"a.txt": "a\n", ".gitattributes": "*.txt diff=trap\n"})
    for setting in ("diff.external", "diff.trap.command", "diff.trap.textconv", "core.fsmonitor", "core.pager", "gpg.program"):
        repository.git("config", setting, str(trap))
    repository.git("config", "log.showSignature", "true")
    signed = repository.git("cat-file", "commit", "HEAD").replace("\n\n", "\ngpgsig -----BEGIN PGP SIGNATURE-----\n x\n\n", 1)
    repository.git("update-ref", "HEAD", repository.git("hash-object", "-t", "commit", "-w", "--stdin", given=signed.encode()))
    (repository.folder / ".git" / "hooks" / "reference-transaction").symlink_to(trap)
    (change,) = await latest(root, diffs=True)
    await LocalGit(root).annotate("acme/checkout", {change.id: "note"})
    assert not (tmp_path / "sprung").exists()


async def test_the_users_configuration_does_not_change_what_is_read(root: Path, repository: GitRepository) -> None:
    repository.commit("one", {"ä.txt": "a\n"})
    for name, value in (("color.ui", "always"), ("diff.noprefix", "true"), ("log.showRoot", "false"), ("core.quotepath", "on")):
        repository.git("config", name, value)
    (change,) = await latest(root, diffs=True)
    assert (change.files, "\x1b" in change.diff) == ((FileChange(path="ä.txt", added=1),), False)


async def test_a_cancelled_read_leaves_no_process(root: Path, repository: GitRepository, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[asyncio.subprocess.Process] = []
    start = asyncio.create_subprocess_exec

    async def slow(*_: object, **options: object) -> asyncio.subprocess.Process:
        started.append(await start("sleep", "60", stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE))
        return started[-1]

    monkeypatch.setattr(asyncio, "create_subprocess_exec", slow)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(latest(root), 0.2)
    assert [process.returncode for process in started] == [-9]


async def test_without_git_the_error_says_so(root: Path, repository: GitRepository, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ForgeError, match="git must be installed"):
        await latest(root)


# Between two refs


@pytest.fixture
def tagged(repository: GitRepository) -> GitRepository:
    repository.commit("one")
    repository.git("tag", "v1")
    repository.commit("two")
    repository.git("tag", "--annotate", "-m", "second", "v2")
    repository.commit("three")
    return repository


async def test_since_is_left_out_and_until_is_in(root: Path, tagged: GitRepository) -> None:
    assert await titles(root, "v1", "v2") == ["two"]


async def test_without_since_all_of_history_is_read(root: Path, tagged: GitRepository) -> None:
    assert await titles(root, None) == ["three", "two", "one"]


async def test_the_limit_keeps_the_newest(root: Path, tagged: GitRepository) -> None:
    assert await titles(root, None, limit=2) == ["three", "two"]


async def test_between_a_ref_and_itself_there_is_nothing(root: Path, tagged: GitRepository) -> None:
    assert await titles(root, "v2", "v2") == []


async def test_merges_are_left_out(root: Path, tagged: GitRepository) -> None:
    tagged.git("switch", "--quiet", "--create", "side", "v2")
    tagged.commit("side work", {"b": "b\n"})
    tagged.git("switch", "--quiet", "main")
    tagged.git("merge", "--quiet", "--no-ff", "-m", "merge", "side")
    assert sorted(await titles(root, "v2")) == ["side work", "three"]


@pytest.mark.parametrize(
    "ref", ["v9", "", "-n1", "--all", "--output=stolen", "v1..v2", "^v1", "v1 v2", "v1\nv2", "v1\0", "\ud800", "HEAD:", "HEAD^{tree}"]
)
async def test_what_names_no_commit_is_an_unknown_ref(root: Path, tagged: GitRepository, ref: str) -> None:
    with pytest.raises(UnknownRef):
        await titles(root, ref)


async def test_a_ref_that_looks_like_an_option_never_reaches_git(tagged: GitRepository, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_git, "_run", None)
    assert await local_git._commit(tagged.folder, "--all") is None


async def test_an_option_in_place_of_a_ref_writes_no_file(root: Path, tagged: GitRepository) -> None:
    with pytest.raises(UnknownRef):
        await titles(root, "v1", "--output=stolen")
    assert not (tagged.folder / "stolen").exists()


async def test_an_empty_repository_knows_no_head(root: Path, repository: GitRepository) -> None:
    with pytest.raises(UnknownRef, match="'HEAD'"):
        await titles(root, None)


async def test_a_ref_that_a_shallow_clone_lacks_comes_with_the_remedy(root: Path, tagged: GitRepository) -> None:
    tagged.clone(root / "shallow", "--depth=1")
    with pytest.raises(UnknownRef, match="--unshallow"):
        await LocalGit(root).between("shallow", "v1", "HEAD", limit=10)


# Notes


async def test_notes_are_written_for_all_changes_at_once(root: Path, repository: GitRepository) -> None:
    one, two = repository.commit("one"), repository.commit("two")
    await LocalGit(root).annotate("acme/checkout", {one: "first\n", two: "zweit-ö\nline"})
    assert (repository.note(one), repository.note(two)) == ("first", "zweit-ö\nline")


async def test_the_same_note_is_not_written_again(root: Path, repository: GitRepository) -> None:
    one = repository.commit("one")
    for _ in range(2):
        await LocalGit(root).annotate("acme/checkout", {one: "first\n"})
    assert repository.git("rev-list", "--count", "refs/notes/heddle") == "1"


async def test_another_note_takes_the_place_of_the_old_and_spares_the_others(root: Path, repository: GitRepository) -> None:
    one, two = repository.commit("one"), repository.commit("two")
    await LocalGit(root).annotate("acme/checkout", {one: "first", two: "second"})
    await LocalGit(root).annotate("acme/checkout", {two: "changed"})
    assert (repository.note(one), repository.note(two)) == ("first", "changed")


async def test_nothing_to_write_makes_no_ref(root: Path, repository: GitRepository) -> None:
    repository.commit("one")
    await LocalGit(root).annotate("acme/checkout", {})
    assert not repository.has_notes_ref()


async def test_notes_need_no_identity_of_the_user(
    root: Path, repository: GitRepository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = repository.commit("one")
    monkeypatch.setenv("HOME", str(tmp_path / "nobody"))
    await LocalGit(root).annotate("acme/checkout", {one: "note"})
    assert repository.notes() == [one]


@pytest.mark.parametrize("change", ["HEAD", "main", "0" * 40, "-x", "0123abc", "HEAD\ndata 3"])
async def test_a_note_needs_the_whole_id_of_a_commit(root: Path, repository: GitRepository, change: str) -> None:
    repository.commit("one")
    with pytest.raises(UnknownRef):
        await LocalGit(root).annotate("acme/checkout", {change: "note"})


async def test_a_locked_ref_is_busy(root: Path, repository: GitRepository) -> None:
    one = repository.commit("one")
    lock = repository.folder / ".git" / "refs" / "notes" / "heddle.lock"
    lock.parent.mkdir(parents=True)
    lock.touch()
    with pytest.raises(ForgeBusy, match="File exists"):
        await LocalGit(root).annotate("acme/checkout", {one: "note"})


async def test_a_ref_that_moved_meanwhile_is_busy_and_keeps_what_came_first(
    root: Path, repository: GitRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = repository.commit("one"), repository.commit("two")
    make = local_git._notes_commit

    def overtaken(base: str | None, notes: dict[str, str]) -> bytes:
        repository.git("notes", "--ref=heddle", "add", "-m", "theirs", one)
        return make(base, notes)

    monkeypatch.setattr(local_git, "_notes_commit", overtaken)
    with pytest.raises(ForgeBusy, match="Not updating"):
        await LocalGit(root).annotate("acme/checkout", {two: "ours"})
    assert (repository.note(one), repository.notes()) == ("theirs", [one])


async def test_many_writers_lose_no_note(root: Path, repository: GitRepository) -> None:
    commits = [repository.commit(f"{number}") for number in range(4)]

    async def write(commit: str) -> None:
        for _ in range(100):
            try:
                return await LocalGit(root).annotate("acme/checkout", {commit: commit})
            except ForgeBusy:
                await asyncio.sleep(0.01)
        raise AssertionError("busy for ever")

    await asyncio.gather(*map(write, commits))
    assert sorted(repository.notes()) == sorted(commits)
