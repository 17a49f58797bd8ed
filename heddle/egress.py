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
    try:
        return all(map(is_private_address, addresses_of(urlsplit(url).hostname or "")))
    except OSError:
        return False


def addresses_of(host: str) -> list[str]:
    """The IP addresses of a host, in the order in which to try them; its own if it is one.

    Raises:
        OSError: the name does not resolve.
    """
    try:
        return list(dict.fromkeys(str(info[4][0]) for info in socket.getaddrinfo(host, None)))
    except UnicodeError as error:
        raise OSError(f"{host!r} cannot be a host's name") from error


def is_private_address(address: str) -> bool:
    """Does the IP address lie on this machine or in a private network?"""
    return ipaddress.ip_address(address.split("%", 1)[0]).is_private
