"""The two formats that bodies of workers have, and the one place that looks for pydantic."""

from __future__ import annotations

from enum import StrEnum
from functools import cache
from types import ModuleType
from typing import Final

from penstock_client.worker.errors import InvalidPayload

_MSGPACK_KINDS: Final = frozenset({"application/msgpack", "application/x-msgpack", "application/vnd.msgpack"})


class Format(StrEnum):
    """How a body is written, by its content type."""

    JSON = "application/json"
    MSGPACK = "application/msgpack"


def format_of(content_type: str | None) -> Format:
    """Return the format that a content type names; JSON when there is none. Raises InvalidPayload for another."""
    if content_type is None or content_type == Format.JSON:
        return Format.JSON
    kind = content_type.partition(";")[0].strip().lower()
    if kind == Format.JSON or kind.endswith("+json"):
        return Format.JSON
    if kind in _MSGPACK_KINDS:
        return Format.MSGPACK
    raise InvalidPayload(
        f"the body has the content type {content_type!r}, and the handler takes {Format.JSON} or {Format.MSGPACK}"
    )


@cache
def find_pydantic() -> ModuleType | None:
    """Return pydantic where it is installed. It is looked for when something needs it and not before: the import takes
    a tenth of a second.
    """
    try:
        import pydantic
    except ImportError:
        return None
    return pydantic
