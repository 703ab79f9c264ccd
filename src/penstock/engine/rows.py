"""From the columns of a block to messages as selectors see them."""

from __future__ import annotations

from typing import Any, Final

from penstock.core.operands import Fields
from penstock.engine.interface import BlockColumns

_NOTHING: Final[dict[str, Any]] = {}
_new: Final = tuple.__new__
"""Builds a NamedTuple in a third of the time that calling its class takes; for what is built per message."""


def rows_of(columns: BlockColumns, count: int, attempts: int | None, time_ms: int, persistent: bool) -> list[Fields]:
    """Return what a selector sees of each message of a block."""
    nothing = [None] * count
    _, keys, headers, properties = columns
    return [
        _new(Fields, (header or _NOTHING, values or _NOTHING, key, attempts, time_ms, persistent))
        for header, values, key in zip(headers or nothing, properties or nothing, keys or nothing, strict=True)
    ]
