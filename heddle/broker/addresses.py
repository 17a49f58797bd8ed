"""Addresses of NATS servers: what they say, what of them may be told, and what they demand."""

from __future__ import annotations

import asyncio
import json
import os
from typing import Final
from urllib.parse import urlsplit

from heddle.errors import NoServer, SettingsError

_PORT: Final = 4222
_GREETING_WITHIN: Final = 2.0
"""Seconds that a server may take to introduce itself."""


def without_credentials(url: str) -> str:
    """The servers' addresses, fit for logs and errors."""
    parts = (part.strip().rpartition("://") for part in url.split(","))
    return ",".join(f"{scheme}{mark}{rest.rpartition('@')[2]}" for scheme, mark, rest in parts)


def credentials_file() -> str | None:
    """The file of credentials that NATS_CREDS names; a server that asks for none would never have it read."""
    file = os.environ.get("NATS_CREDS") or None
    if file is not None and not os.access(file, os.R_OK):
        raise SettingsError(f"NATS_CREDS names {file}, which cannot be read")
    return file


def servers_of(url: str) -> list[str]:
    """The addresses in a list with commas.

    Raises:
        NoServer: one of them cannot be read.
    """
    servers = [part.strip() for part in url.split(",") if part.strip()]
    try:
        read = [urlsplit(server if "://" in server else f"nats://{server}") for server in servers]
        good = bool(read) and all(one.hostname and one.port != 0 for one in read)
    except ValueError:  # its words may have a part of a password in them
        good = False
    if not good:
        told = (
            "write nats://host:4222, several with commas; a password with / # ? or a comma does not fit into it, a file for NATS_CREDS does"
        )
        raise NoServer(f"{without_credentials(url)!r} is no address of a NATS server: {told}")
    return servers


async def demand_encryption(server: str) -> None:
    """Refuse a server that asks for no TLS: nats-py speaks with it in the open, passwords too, though the address says `tls://`.

    Raises:
        NoServer: it asks for none.
    """
    parts = urlsplit(server)
    try:
        async with asyncio.timeout(_GREETING_WITHIN):
            reader, writer = await asyncio.open_connection(parts.hostname, parts.port or _PORT)
            greeting = json.loads((await reader.readline()).removeprefix(b"INFO "))
            writer.close()
    except (OSError, ValueError, TimeoutError):
        return  # the connection itself will say what is wrong
    if isinstance(greeting, dict) and not greeting.get("tls_required"):
        shown = without_credentials(server)
        raise NoServer(f"the server at {shown} does not ask for TLS: give it a certificate, or write nats:// to speak with it unencrypted")
