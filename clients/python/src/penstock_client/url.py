"""Where a broker is: ``penstock://host:port``, and in which of its namespaces: ``penstock://host:port/namespace``."""

from __future__ import annotations

from typing import Final, NamedTuple
from urllib.parse import unquote, urlsplit

DEFAULT_PORT: Final = 7419


class Address(NamedTuple):
    """A host, a port, and a namespace, "" being the root."""

    host: str
    port: int
    namespace: str = ""


def parse_url(url: str) -> Address:
    """Return the address in a URL; raises ValueError that says what is wrong with it."""
    parts = urlsplit(url)
    if parts.scheme != "penstock" or not parts.hostname:
        raise ValueError(f"{url!r} is no broker URL; it looks like penstock://127.0.0.1:{DEFAULT_PORT}")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError(f"{url!r} has more than a host, a port and a namespace, which is all this version understands")
    namespace = unquote(parts.path.removeprefix("/"))
    if "/" in namespace:
        raise ValueError(f"{url!r}: namespaces are not nested, its path may have one part")
    return Address(parts.hostname, parts.port or DEFAULT_PORT, namespace)
