"""Names and the namespaces they are in: what is before the first "/" is the namespace, the rest is the local name.

Core, the journal and snapshots know full names. A name without "/", or with nothing before it, is in the root, "".
"""

from __future__ import annotations

from typing import Final

SEPARATOR: Final = "/"


def namespace_of(name: str) -> str:
    """Return the namespace that a full name is in."""
    return name.partition(SEPARATOR)[0] if SEPARATOR in name else ""


def local_name(name: str) -> str:
    """Return what a full name is called inside its namespace."""
    space, separator, rest = name.partition(SEPARATOR)
    return rest if separator and space else name


def full_name(space: str, name: str) -> str:
    """Return the full name of what is called so inside a namespace."""
    return f"{space}{SEPARATOR}{name}" if space else name
