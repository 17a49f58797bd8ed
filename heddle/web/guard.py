"""Who may talk to the dashboard, and what a browser may do with its pages.

- The `Host` header must name this machine: a stranger's name that was made to lead here (DNS rebinding) is turned away.
- Beyond loopback a person says the token once; a cookie remembers it until the browser or the dashboard ends.
- A request that changes something is a POST from a page of our own: by `Sec-Fetch-Site` and `Origin`, and by a form token that only
  the holder of the cookie was given. The cookie is `SameSite=Lax` and unreadable to scripts.
- The pages run no script but the one that is served beside them, and load nothing from elsewhere.

Source of the checks: OWASP, Cross-Site Request Forgery Prevention (signed double-submit cookie, Fetch Metadata).
"""

from __future__ import annotations

import hmac
import ipaddress
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from typing import Any, Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_CONTENT_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS: Final[Mapping[str, str]] = {
    "Content-Security-Policy": _CONTENT_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


@dataclass(frozen=True, slots=True)
class Guard:
    """What a dashboard demands.

    Attributes:
        names: host names by which it may be called, besides addresses and localhost.
        token: what a person must know; None on loopback.
        cookie: the session cookie's name; one of its own for each port, since ports share cookies.
        key: signs sessions and form tokens; another for each process.
    """

    names: frozenset[str]
    token: str | None
    cookie: str = "heddle"
    key: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)

    def knows(self, token: str) -> bool:
        """Is this the token?"""
        return self.token is not None and hmac.compare_digest(token.encode(), self.token.encode())

    def session(self, *, member: bool) -> str:
        """A new session: of a member, who knew the token if there is one, or of a visitor."""
        nonce = secrets.token_urlsafe(18)
        return f"{nonce}.{self._signed('member' if member else 'visitor', nonce)}"

    def is_member(self, session: str) -> bool:
        """Was this session made for a member?"""
        return self._is_signed("member", session)

    def lets_in(self, session: str) -> bool:
        """May its holder see more than the login?"""
        return self.token is None or self.is_member(session)

    def is_session(self, session: str) -> bool:
        """Was this session made by this process?"""
        return self._is_signed("member", session) or self._is_signed("visitor", session)

    def form_token(self, session: str) -> str:
        """What a form of this session carries."""
        return self._signed("form", session)

    def is_form_token(self, token: str, session: str) -> bool:
        """Was this token given to this session?"""
        return hmac.compare_digest(token.encode(), self.form_token(session).encode())

    def _is_signed(self, purpose: str, session: str) -> bool:
        nonce, _, signature = session.partition(".")
        return hmac.compare_digest(signature.encode(), self._signed(purpose, nonce).encode())

    def _signed(self, purpose: str, text: str) -> str:
        return hmac.new(self.key, f"{purpose} {text}".encode(), "sha256").hexdigest()


def host_name(header: str) -> str:
    """The name in a `Host` header, without the port and in lower case; empty if there is none."""
    name = header.strip().lower()
    if name.startswith("["):
        return name[1:].partition("]")[0]
    return name.partition(":")[0].rstrip(".")


def is_address(name: str) -> bool:
    """Is it an IP address? It cannot be made to lead anywhere else."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """Does only this machine reach what listens there?"""
    return host == "localhost" or (is_address(host) and ipaddress.ip_address(host).is_loopback)


def is_ours(host: str, names: frozenset[str]) -> bool:
    """May the dashboard be called by this `Host` header?"""
    name = host_name(host)
    return name == "localhost" or name in names or is_address(name)


def from_our_page(headers: Mapping[str, str]) -> bool:
    """Does a browser say that the request comes from a page of this very origin? Who is no browser says nothing."""
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if site is not None and site != "same-origin":
        return False
    return origin is None or origin.partition("://")[2] == headers.get("host", "")


@dataclass(frozen=True, slots=True)
class Guarded:
    """The middleware: lets a request through or answers it, and tells the browser what pages may do."""

    app: ASGIApp
    guard: Guard

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        session = _cookie(headers, self.guard.cookie)
        fresh = None
        if not self.guard.is_session(session):
            session = fresh = self.guard.session(member=self.guard.token is None)
        scope["session"] = session

        async def guarded_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                answer = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    answer[name] = value
                answer.setdefault("Cache-Control", "no-store")
                if fresh is not None and not scope["path"].startswith("/static/"):
                    answer.append("Set-Cookie", cookie(self.guard, fresh, secure=scope["scheme"] == "https"))
            await send(message)

        refusal = self._refusal(scope, headers, session)
        await (refusal or self.app)(scope, receive, guarded_send)

    def _refusal(self, scope: Scope, headers: Headers, session: str) -> Response | None:
        if not is_ours(headers.get("host", ""), self.guard.names):
            told = "This name does not belong to this dashboard. If it should: add it to the setting dashboard.names (HEDDLE_DASHBOARD__NAMES)."
            return PlainTextResponse(told, 421)
        if scope["method"] not in {"GET", "HEAD"} and not from_our_page(headers):
            return PlainTextResponse("Refused: the request comes from another site's page.", 403)
        if scope["path"] == "/login" or scope["path"].startswith("/static/") or self.guard.lets_in(session):
            return None
        if scope["method"] == "GET" and "text/html" in headers.get("accept", ""):
            return RedirectResponse("/login", 303)
        return PlainTextResponse("Log in first, at /login.", 401)


def cookie(guard: Guard, session: str, *, secure: bool) -> str:
    """The header that gives a browser its session."""
    return f"{guard.cookie}={session}; Path=/; HttpOnly; SameSite=Lax" + ("; Secure" if secure else "")


def _cookie(headers: Headers, name: str) -> str:
    try:
        found: Any = SimpleCookie(headers.get("cookie", "")).get(name)
    except CookieError:
        return ""
    return found.value if found is not None else ""
