"""The block format as the engine needs it: parts of blocks, and dead letters."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

from penstock.core.matching import MessageView
from penstock.engine.interface import BlockColumns
from penstock_client.wire import blocks
from penstock_client.wire.errors import WireError
from penstock_client.wire.limits import CONTROL_BYTES_MAX
from penstock_client.wire.slicing import BlockSlicer

_BITS: Final = {
    "bodies": blocks.COLUMN_BODIES,
    "keys": blocks.COLUMN_KEYS,
    "headers": blocks.COLUMN_HEADERS,
    "properties": blocks.COLUMN_PROPERTIES,
}


_LATER: Final = frozenset({"delay_ms", "deliver_at_ms"})
_NOTED: Final = ("dead", "redriven", "schedule")
"""Properties that brokers set: where a message came from."""

_routing_column: Final = lru_cache(1024)(blocks.encode_routing)
"""One route's blocks come one after the other."""


class WireBlockCodec:
    """Implements ``penstock.engine.interface.BlockCodec`` over the wire format. For one thread."""

    def __init__(self) -> None:
        self._slicer = BlockSlicer()

    def columns(self, block: bytes, wanted: frozenset[str]) -> BlockColumns:
        """Decode the wanted columns; one that its producer wrote wrongly is as if it were absent."""
        present = blocks.block_columns(block)
        decoded: dict[str, Any] = {}
        for name in wanted:
            if present & _BITS[name]:
                try:
                    decoded[name] = blocks.decode_column(block, _BITS[name])
                except WireError:
                    continue
        return BlockColumns(**decoded)

    def slice(self, block: bytes, start: int, stop: int) -> bytes:
        """Return a block of the messages ``start`` to ``stop`` (exclusive)."""
        return self._slicer.slice(block, start, stop)

    def edited(self, block: bytes, original: bytes, queue: str, offset: int) -> bytes:
        """Return a lone message as what replaces ``original``: what the broker noted with that one stays."""
        kept = {name: value for name, value in _properties(original).items() if name in _NOTED}
        properties = _properties(block) | kept | {"edited_from": {"queue": queue, "offset": offset}}
        routing = blocks.split_columns(original)[-1]
        if routing and not blocks.block_columns(block) & blocks.COLUMN_ROUTING:
            block = blocks.with_routing(block, routing)
        return blocks.replace_properties(block, [properties])

    def keys(self, block: bytes) -> Sequence[str | None]:
        """Return the key of each message; None where it has none, or one that cannot be decoded."""
        try:
            return blocks.decode_keys(block)
        except WireError:
            return [None] * blocks.block_count(block)

    def message_ids(self, block: bytes) -> Sequence[str | None]:
        """Return the property ``message_id`` of each message, None where there is no text; empty when none has one."""
        if not blocks.block_columns(block) & blocks.COLUMN_PROPERTIES:
            return ()
        try:
            columns = blocks.decode_properties(block) or ()
        except WireError:  # no consumer can read them either
            return ()
        ids = [properties and properties.get("message_id") for properties in columns]
        return [one if type(one) is str else None for one in ids]

    def views(self, block: bytes) -> list[MessageView] | None:
        """Return key and headers of each message, None when their columns cannot be decoded."""
        try:
            keys = blocks.decode_column(block, blocks.COLUMN_KEYS)
            headers = blocks.decode_column(block, blocks.COLUMN_HEADERS)
        except WireError:
            return None
        count = blocks.block_count(block)
        pairs = zip(keys or [None] * count, headers or [None] * count, strict=True)
        return [MessageView(key, found or {}) for key, found in pairs]

    def came_by(self, block: bytes, exchange: str, routing_key: str, kept_as: str) -> bytes | None:
        """Return the block with this routing column: as it is, or added; None when it names another way.

        In the stored block the exchange is ``kept_as``: what it is called in its namespace.
        """
        if kept_as != exchange:
            said = blocks.decode_routing(block) if blocks.block_columns(block) & blocks.COLUMN_ROUTING else None
            rightly = said in (None, (exchange, routing_key))
            return blocks.with_routing(block, _routing_column(kept_as, routing_key)) if rightly else None
        column = _routing_column(exchange, routing_key)
        if blocks.carries_routing(block, column):
            return block
        named = blocks.decode_routing(block) if blocks.block_columns(block) & blocks.COLUMN_ROUTING else None
        if named is None:
            return blocks.with_routing(block, column)
        return block if named == (exchange, routing_key) else None

    def properties(self, block: bytes) -> list[dict[Any, Any] | None] | None:
        """Return the properties of each message of a block that has any; None when they cannot be decoded."""
        try:
            return blocks.decode_properties(block)
        except WireError:
            return None

    def single_problem(self, block: Any) -> str:
        """Return why these are not the bytes of a block of one message for now; empty when they are."""
        if type(block) is not bytes:
            return f"it is a {type(block).__name__}, not bytes"
        try:
            if blocks.block_extent(block, 0) != (len(block), 1):
                return "it holds more than one message, or bytes follow it"
            blocks.BlockChecker(CONTROL_BYTES_MAX).check(block)
            properties = blocks.decode_block(block).properties
        except WireError as error:
            return error.message
        waits = properties is not None and not _LATER.isdisjoint(properties[0] or ())
        return "its message asks to be delivered later" if waits else ""

    def fired(self, block: bytes, provenance: dict[str, Any]) -> bytes:
        """Return the block of a recurring schedule's message, its firing in the property ``schedule``."""
        return blocks.replace_properties(block, [_properties(block) | {"schedule": provenance}])

    def dead_letter(self, block: bytes, index: int, provenance: dict[str, Any]) -> bytes:
        """Return message ``index`` alone, its provenance in the property ``dead``; an earlier life's is kept in it."""
        return _as_dead(self._slicer.slice(block, index, index + 1), provenance)

    def dead_letters(self, block: bytes, start: int, stop: int, provenance: dict[str, Any]) -> bytes:
        """Return the messages ``start`` to ``stop`` (exclusive) with one provenance, as ``dead_letter`` does."""
        return _as_dead(self._slicer.slice(block, start, stop), provenance)

    def redriven(self, block: bytes) -> tuple[bytes, str | None, str]:
        """Return a dead letter as the message it was, the queue and the group it came from; None: no dead letter."""
        properties = _properties(block)
        provenance = properties.pop("dead", None)
        if not isinstance(provenance, dict):
            return block, None, ""
        properties["redriven"] = provenance
        return blocks.replace_properties(block, [properties]), provenance.get("queue"), provenance.get("group", "")


def _as_dead(block: bytes, provenance: dict[str, Any]) -> bytes:
    count = blocks.block_count(block)
    try:
        found = blocks.decode_properties(block) or [None] * count
    except WireError:  # those of one message, which no consumer can read either: the others keep theirs
        found = [_properties(blocks.slice_block(block, index, index + 1)) for index in range(count)]
    whole = [_dead_properties(one or {}, provenance) for one in found]
    try:
        return blocks.replace_properties(block, whole)
    except ValueError:  # a producer nested them as deep as may be: a level more cannot be encoded
        return blocks.replace_properties(block, [one | {"dead": provenance} for one in whole])


def _dead_properties(properties: dict[str, Any], provenance: dict[str, Any]) -> dict[str, Any]:
    earlier = properties.get("redriven")
    if isinstance(earlier, dict):
        provenance = {**provenance, "earlier": {**earlier, "earlier": None}}
    return {name: value for name, value in properties.items() if name != "redriven"} | {"dead": provenance}


def _properties(block: bytes) -> dict[str, Any]:
    """Return the properties of a lone message; none where its producer wrote what cannot be decoded.

    The other columns are never decoded here: a message that no consumer can read must still reach the dead letters.
    """
    try:
        properties = blocks.decode_properties(block)
    except WireError:
        return {}
    return dict(properties[0] or {}) if properties else {}
