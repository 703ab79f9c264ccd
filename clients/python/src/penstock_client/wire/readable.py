"""Making blocks readable that a producer wrote wrongly, for those who look at messages instead of working on them.

A consumer refuses what it cannot decode (``decode_block`` raises), and so it ends as a dead letter. Who looks through
dead letters must see it there: a column that cannot be decoded is as if it were absent, and a body that is no bin is
shown as the msgpack it is. The routing column was decoded when the block was published.
"""

from typing import Any

from penstock_client.wire import structure
from penstock_client.wire.blocks import (
    BLOCK_HEADER_BYTES,
    Columns,
    block_count,
    column_sizes,
    decode_block,
    decode_column,
    decode_routing,
    encode_block,
)
from penstock_client.wire.blocks import COLUMN_HEADERS as HEADERS
from penstock_client.wire.blocks import COLUMN_KEYS as KEYS
from penstock_client.wire.blocks import COLUMN_PROPERTIES as PROPERTIES
from penstock_client.wire.errors import WireError


def readable_block(block: bytes) -> bytes:
    """Return the block as it is if ``decode_block`` can decode it, else with what can be decoded."""
    try:
        decode_block(block)
    except WireError:
        return encode_block(*_readable_columns(block))
    return block


def _readable_columns(block: bytes) -> Columns:
    keys, headers, properties = (_readable_column(block, bit) for bit in (KEYS, HEADERS, PROPERTIES))
    return Columns(_readable_bodies(block), keys, headers, properties, decode_routing(block))


def _readable_column(block: bytes, bit: int) -> list[Any] | None:
    try:
        return decode_column(block, bit)
    except WireError:
        return None


def _readable_bodies(block: bytes) -> list[bytes]:
    start = BLOCK_HEADER_BYTES + structure.array_extent(block, BLOCK_HEADER_BYTES)[1]
    content = block[start : BLOCK_HEADER_BYTES + column_sizes(block)[0]]
    ends = structure.value_ends(content, block_count(block))
    return [_readable_body(content[first:end]) for first, end in zip([0, *ends], ends, strict=False)]


def _readable_body(value: bytes) -> bytes:
    try:
        body = structure.build(value)
    except ValueError:
        return value
    return body if isinstance(body, bytes) else value
