"""Where a connection may go: with `egress: none` only to this machine and to private networks."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from urllib.parse import urlsplit

from heddle.errors import SettingsError
from heddle.settings import Settings


async def check_egress(settings: Settings, url: str, named: str) -> bool:
    """Whether the URL is private (see `is_private`), asked before anything is sent there.

    Args:
        settings: those in force.
        url: where a connection is to go.
        named: the variable or setting that names it, for the message.

    Raises:
        SettingsError: `egress: none` forbids it.
    """
    private = await asyncio.to_thread(is_private, url)
    if settings.egress == "none" and not private:
        raise SettingsError(f"egress is none, and {url} ({named}) is neither loopback nor private")
    return private


def is_private(url: str) -> bool:
    """Does every address of the URL's host lie on this machine or in a private network?"""
    host = urlsplit(url).hostname or ""
    try:
        found = {info[4][0] for info in socket.getaddrinfo(host, None)}
    except (OSError, UnicodeError):
        return False
    return all(ipaddress.ip_address(str(address).split("%", 1)[0]).is_private for address in found)
