"""What the GitHub forge sends, what it makes of refusals and redirects, and where it sends nothing."""

from __future__ import annotations

import gzip
import json
import socket
from datetime import UTC, datetime
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heddle.errors import SettingsError
from heddle.settings import Settings
from tests.llm.http_server import Drops, Sends, Stays
from tests.workflows.github_server import BEGIN, HEAD, LIST, NOW, ROUND, TOKEN, GitHubServer, MakesForge, github_settings, moved, refused
from workflows import github_api
from workflows.forge import ForgeBusy, ForgeError, UnknownRepository
from workflows.github import GitHub, github
from workflows.github_api import retry_after
from workflows.local_git import LocalGit
from workflows.providers import forge as forge_provider


async def failure(forge: GitHub, kind: type[ForgeError] = ForgeError) -> ForgeError:
    """What `latest` fails with; of this very class."""
    with pytest.raises(kind) as caught:
        await forge.latest("acme/checkout", 3)
    assert type(caught.value) is kind
    return caught.value


async def busy(forge: GitHub) -> ForgeBusy:
    found = await failure(forge, ForgeBusy)
    assert isinstance(found, ForgeBusy)
    return found


# What is sent


async def test_few_requests_are_under_way_at_a_time(forge: GitHub, server: GitHubServer) -> None:
    ids = [f"{number:040x}" for number in range(40)]
    chain = [
        {"sha": one, "commit": {"message": one}, "parents": [{"sha": parent}] if parent else []}
        for one, parent in zip(ids, [*ids[1:], ""], strict=True)
    ]
    server.instead[f"{LIST}?"] = Sends(200, json.dumps(chain).encode())
    server.instead |= {f"{LIST}/{commit['sha']}": Sends(200, json.dumps(commit).encode()) for commit in chain}
    assert [change.id for change in await forge.latest("acme/checkout", 40, diffs=True)] == ids
    assert 1 < server.connections <= github_api.AT_ONCE


async def test_a_request_says_who_asks_which_version_and_for_whom(forge: GitHub, server: GitHubServer) -> None:
    await forge.latest("acme/checkout", 1)
    sent = server.requests[0].headers
    names = ("user-agent", "accept", "x-github-api-version", "authorization")
    assert [sent[name] for name in names] == ["heddle", "application/vnd.github+json", "2022-11-28", f"Bearer {TOKEN}"]


async def test_without_a_token_nobody_is_named(forge_at: MakesForge, server: GitHubServer) -> None:
    await (await forge_at(token=None)).latest("acme/checkout", 1)
    assert "authorization" not in server.requests[0].headers


async def test_the_path_of_an_enterprise_server_goes_before(forge_at: MakesForge, server: GitHubServer) -> None:
    with pytest.raises(UnknownRepository):
        await (await forge_at(url=f"{server.url}/api/v3/")).latest("acme/checkout", 1)
    assert server.asked == ["GET /api/v3/repos/acme/checkout/commits?per_page=100"]


# Refusals


@pytest.mark.parametrize("status", [429, 403])
async def test_a_limit_with_retry_after_says_how_long(forge: GitHub, server: GitHubServer, status: int) -> None:
    server.instead[LIST] = refused(status, "You have exceeded a secondary rate limit.", Retry_After="17")
    told = await busy(forge)
    assert told.retry_after == 17.0
    assert f"{status} You have exceeded a secondary rate limit.; the limit of GitHub's API is reached" in str(told)


async def test_retry_after_may_be_a_date(forge: GitHub, server: GitHubServer) -> None:
    until = format_datetime(datetime(2026, 3, 6, 12, 2, tzinfo=UTC), usegmt=True)
    server.instead[LIST] = refused(429, "Too many requests", Retry_After=until)
    assert (await busy(forge)).retry_after == 120.0


@pytest.mark.parametrize("status", [429, 403])
async def test_a_limit_of_the_hour_says_when_it_ends(forge: GitHub, server: GitHubServer, status: int) -> None:
    reset = str(int(NOW.timestamp()) + 600)
    server.instead[LIST] = refused(status, "API rate limit exceeded for user ID 1.", X_RateLimit_Remaining="0", X_RateLimit_Reset=reset)
    assert (await busy(forge)).retry_after == 600.0


@pytest.mark.parametrize(("status", "message"), [(429, "Slow down"), (403, "You have exceeded a secondary rate limit.")])
async def test_a_limit_that_does_not_say_how_long_is_a_minute(forge: GitHub, server: GitHubServer, status: int, message: str) -> None:
    server.instead[LIST] = refused(status, message, X_RateLimit_Remaining="4000", X_RateLimit_Reset="1")
    assert (await busy(forge)).retry_after == 60.0


async def test_a_limit_while_diffs_are_read_ends_the_other_requests(forge: GitHub, server: GitHubServer) -> None:
    server.instead[f"{LIST}/{HEAD}"] = refused(429, "Slow down", Retry_After="5")
    server.instead[f"{LIST}/{ROUND}"] = Stays()
    with pytest.raises(ForgeBusy):
        await forge.latest("acme/checkout", 3, diffs=True)


@pytest.mark.parametrize("status", [500, 502, 503, 504])
async def test_a_server_that_is_down_may_be_back_later(forge: GitHub, server: GitHubServer, status: int) -> None:
    server.instead[LIST] = Sends(status, b"<html>Unicorn!</html>", (("Content-Type", "text/html"),))
    told = await busy(forge)
    assert (told.retry_after, str(told)) == (None, f"GET {server.url}/repos/acme/checkout/commits?per_page=100: {status}")


async def test_a_server_in_repair_says_how_long(forge: GitHub, server: GitHubServer) -> None:
    server.instead[LIST] = refused(503, "Service unavailable", Retry_After="30")
    assert (await busy(forge)).retry_after == 30.0


async def test_a_token_that_is_not_accepted_is_told_with_its_setting(forge: GitHub, server: GitHubServer) -> None:
    server.instead[LIST] = refused(401, "Bad credentials")
    assert str(await failure(forge)).endswith("401 Bad credentials; set HEDDLE_FORGE__TOKEN to a token that is in force")


async def test_a_token_that_may_not_is_told_with_what_it_needs(forge: GitHub, server: GitHubServer) -> None:
    words = "Resource not accessible by personal access token"
    headers = {"X_RateLimit_Remaining": "4999", "X_Accepted_GitHub_Permissions": "contents=read"}
    server.instead[LIST] = refused(403, words, **headers)
    assert str(await failure(forge)).endswith(f"403 {words}; the token in HEDDLE_FORGE__TOKEN may not do that: it needs contents=read")


async def test_any_other_refusal_is_told_in_githubs_words(forge: GitHub, server: GitHubServer) -> None:
    server.instead[LIST] = refused(451, "Repository access\nblocked")
    assert str(await failure(forge)).endswith("451 Repository access blocked")


@pytest.mark.parametrize(
    "body",
    [
        b'[{"sha": "14091a',
        b"<html>it works</html>",
        b"",
        b'"\xff\xfe"',
        b"null",
        b'{"message": "ok"}',
        b"[1]",
        b'[{"sha": "../x", "parents": []}]',
    ],
)
async def test_an_answer_that_is_not_githubs_is_refused_with_its_url(forge: GitHub, server: GitHubServer, body: bytes) -> None:
    server.instead[LIST] = Sends(200, body)
    told = str(await failure(forge))
    assert told.startswith(f"GET {server.url}/repos/acme/checkout/commits?per_page=100 gives an answer that is not GitHub's: ")
    assert told.endswith("is HEDDLE_FORGE__URL right?")


async def test_an_answer_that_cannot_be_unpacked_is_refused(forge: GitHub, server: GitHubServer) -> None:
    server.instead[LIST] = Sends(200, b"no gzip", (("Content-Encoding", "gzip"),))
    assert "gives an answer that cannot be read" in str(await failure(forge))


async def test_an_answer_that_unpacks_to_too_much_is_not_read(forge: GitHub, server: GitHubServer) -> None:
    packed = gzip.compress(b" " * (github_api.ANSWER_BYTES + 1))
    server.instead[LIST] = Sends(200, packed, (("Content-Encoding", "gzip"),))
    assert "gives more than 16 MiB: ask for fewer changes" in str(await failure(forge))


@pytest.mark.parametrize("stays", [Stays(), Stays(drip=True)], ids=["silent", "a byte at a time"])
async def test_a_slow_answer_is_given_up(forge_at: MakesForge, server: GitHubServer, stays: Stays) -> None:
    server.instead[LIST] = stays
    assert "gave no whole answer within 0.2 s" in str(await busy(await forge_at(timeout=0.2)))


@pytest.mark.parametrize("drops", [Drops(), Drops(middle=False)], ids=["in the middle", "before the answer"])
async def test_a_connection_that_breaks_may_hold_the_next_time(forge: GitHub, server: GitHubServer, drops: Drops) -> None:
    server.instead[LIST] = drops
    assert f"GET {server.url}/repos/acme/checkout/commits?per_page=100 failed: " in str(await busy(forge))


async def test_a_server_that_is_not_there_may_be_later(forge_at: MakesForge) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        assert str(await busy(await forge_at(url=url))).startswith(f"GET {url}/repos/acme/checkout/commits?per_page=100 failed: ")


# Redirects


async def test_a_renamed_repository_is_followed(forge: GitHub, server: GitHubServer) -> None:
    assert [change.id for change in await forge.latest("acme/till", 5)] == [ROUND, BEGIN]
    assert server.requests[1].headers["authorization"] == f"Bearer {TOKEN}"


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_redirected_write_is_sent_again_as_it_was(forge: GitHub, server: GitHubServer, status: int) -> None:
    home = f"/repos/acme/checkout/commits/{ROUND}/comments"
    server.instead["POST /repos/acme/checkout/commits"] = moved(f"{server.url}/repositories/1/comments", status)
    server.instead["POST /repositories/1/comments"] = Sends(201, b"{}")
    await forge.annotate("acme/checkout", {ROUND: "labels: fix"})
    assert server.writes == [f"POST {home}", "POST /repositories/1/comments"]
    assert server.requests[-1].body == server.requests[-2].body


async def test_a_redirect_loop_is_given_up(forge: GitHub, server: GitHubServer) -> None:
    server.instead[LIST] = moved(f"{server.url}/repos/acme/checkout/commits")
    assert "is redirected more than 5 times" in str(await failure(forge))
    assert len(server.requests) == 1 + github_api.MOST_REDIRECTS


async def test_no_redirect_leads_to_another_host(forge: GitHub, server: GitHubServer, elsewhere: GitHubServer) -> None:
    server.instead[LIST] = moved(f"{elsewhere.url}/repos/acme/checkout/commits")
    assert f"points at another host, {elsewhere.url}/" in str(await failure(forge))
    assert elsewhere.connections == 0


async def test_no_page_is_on_another_host(forge: GitHub, server: GitHubServer, elsewhere: GitHubServer) -> None:
    server.instead[f"{LIST}?"] = Sends(200, b"[]", (("Link", f'<{elsewhere.url}/page>; rel="next"'),))
    with pytest.raises(ForgeError, match="points at another host"):
        await forge.between("acme/checkout", None, "HEAD", limit=9)
    assert elsewhere.connections == 0


@pytest.mark.parametrize("target", ["http://[", "https://127.0.0.1/x", "http://localhost/x"])
async def test_a_redirect_to_another_scheme_or_to_nowhere_is_refused(forge: GitHub, server: GitHubServer, target: str) -> None:
    server.instead[LIST] = moved(target)
    assert "points at" in str(await failure(forge))


async def test_a_redirect_that_names_no_target_is_refused(forge: GitHub, server: GitHubServer) -> None:
    server.instead[LIST] = refused(302, "Found")
    assert str(await failure(forge)).endswith("302 Found")


# How long to wait


@given(st.dictionaries(st.sampled_from(["retry-after", "x-ratelimit-remaining", "x-ratelimit-reset"]), st.text() | st.just("0")))
def test_whatever_the_headers_say_the_wait_is_a_day_at_most(headers: dict[str, str]) -> None:
    wait = retry_after(headers, NOW.timestamp())
    assert wait is None or 0 <= wait <= 86_400


@given(st.integers(0, 86_400))
def test_seconds_and_date_say_the_same(seconds: int) -> None:
    then = format_datetime(datetime.fromtimestamp(NOW.timestamp() + seconds, UTC), usegmt=True)
    given_as = [{"retry-after": str(seconds)}, {"retry-after": then}]
    assert [retry_after(headers, NOW.timestamp()) for headers in given_as] == [seconds, seconds]


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "9" * 400}, 86_400.0),
        ({"retry-after": "Fri, 06 Mar 2026 11:00:00 GMT"}, 0.0),
        ({"retry-after": "Fri, 06 Mar 2026 12:00:09 -0000"}, 9.0),
        ({"x-ratelimit-remaining": "1", "x-ratelimit-reset": "9999999999"}, None),
        ({"x-ratelimit-remaining": "0"}, None),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "1"}, 0.0),
        ({"retry-after": "3", "x-ratelimit-remaining": "0", "x-ratelimit-reset": "9999999999"}, 3.0),
    ],
)
def test_the_headers_decide(headers: dict[str, str], wait: float | None) -> None:
    assert retry_after(headers, NOW.timestamp()) == wait


def test_a_busy_forge_needs_no_words() -> None:
    assert (str(ForgeBusy()), ForgeBusy().retry_after, ForgeBusy("x", retry_after=1.5).retry_after) == ("", None, 1.5)


# Settings


@pytest.mark.parametrize("url", ["https://8.8.8.8", "http://8.8.8.8/api/v3"])
async def test_without_egress_a_public_forge_is_refused(url: str) -> None:
    with pytest.raises(SettingsError, match=r"egress is none, and http.*8.* \(HEDDLE_FORGE__URL\) is neither loopback nor private"):
        async with github(github_settings(url)):
            pass


async def test_with_egress_a_public_forge_is_accepted() -> None:
    async with github(github_settings("https://8.8.8.8", egress="any")) as forge:
        assert isinstance(forge, GitHub)


async def test_a_token_is_not_sent_in_the_clear() -> None:
    with pytest.raises(SettingsError, match="is not https: everybody on the way could read HEDDLE_FORGE__TOKEN"):
        async with github(github_settings("http://8.8.8.8", egress="any")):
            pass


@pytest.mark.parametrize("token", ["two words", "line\n", "grüezi"])
async def test_what_can_be_no_token_is_refused_without_showing_it(token: str) -> None:
    with pytest.raises(SettingsError, match="HEDDLE_FORGE__TOKEN has a space") as caught:
        async with github(github_settings("http://127.0.0.1", token)):
            pass
    assert token not in str(caught.value)


def test_settings_do_not_show_the_token() -> None:
    assert TOKEN not in repr(github_settings("https://api.github.com"))


async def test_a_proxy_in_the_environment_gets_nothing_that_is_for_this_machine(
    forge_at: MakesForge, elsewhere: GitHubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", elsewhere.url)
    await (await forge_at()).latest("acme/checkout", 1)
    assert elsewhere.connections == 0


async def test_the_setting_decides_which_forge_there_is(server: GitHubServer) -> None:
    for chosen, kind in ((Settings(), LocalGit), (github_settings(server.url), GitHub)):
        steps = forge_provider.make(settings=chosen)
        assert isinstance(await anext(steps), kind)
        assert await anext(steps, None) is None
