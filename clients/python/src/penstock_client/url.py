"""Where a broker is: ``penstock://host:port``."""

from __future__ import annotations

from typing import Final, NamedTuple
from urllib.parse import urlsplit

DEFAULT_PORT: Final = 7419


class Address(NamedTuple):
    """A host and a port."""

    host: str
    port: int


def parse_url(url: str) -> Address:
    """Return the address in a URL; raises ValueError that says what is wrong with it."""
    parts = urlsplit(url)
    if parts.scheme != "penstock" or not parts.hostname:
        raise ValueError(f"{url!r} is no broker URL; it looks like penstock://127.0.0.1:{DEFAULT_PORT}")
    if parts.username or parts.password or parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ValueError(f"{url!r} has more than a host and a port, which is all this version understands")
    return Address(parts.hostname, parts.port or DEFAULT_PORT)
