"""The block format as the engine needs it: parts of blocks, and dead letters."""

from __future__ import annotations

from typing import Any

from penstock_client.wire import blocks


class WireBlockCodec:
    """Implements ``penstock.engine.interface.BlockCodec`` over the wire format."""

    def slice(self, block: bytes, start: int, stop: int) -> bytes:
        """Return a block of the messages ``start`` to ``stop`` (exclusive)."""
        return blocks.slice_block(block, start, stop)

    def dead_letter(self, block: bytes, index: int, provenance: dict[str, Any]) -> bytes:
        """Return message ``index`` alone, its provenance in the property ``dead``; an earlier life's is kept in it."""
        columns = blocks.decode_block(blocks.slice_block(block, index, index + 1))
        properties = dict(columns.properties[0] or {}) if columns.properties else {}
        earlier = properties.pop("redriven", None)
        if isinstance(earlier, dict):
            provenance = {**provenance, "earlier": {**earlier, "earlier": None}}
        properties["dead"] = provenance
        return blocks.encode_block(*columns._replace(properties=[properties]))

    def redriven(self, block: bytes) -> tuple[bytes, str | None]:
        """Return a dead letter as the message it was, and the queue it came from; None for what is no dead letter."""
        columns = blocks.decode_block(block)
        properties = dict(columns.properties[0] or {}) if columns.properties else {}
        provenance = properties.pop("dead", None)
        if not isinstance(provenance, dict):
            return block, None
        properties["redriven"] = provenance
        return blocks.encode_block(*columns._replace(properties=[properties])), provenance.get("queue")
