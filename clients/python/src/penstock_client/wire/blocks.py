"""Message blocks: batches of messages, stored and sent as they came.

    offset  0        4        8        10     12       16      20        24           28
            +--------+--------+--------+------+--------+-------+---------+------------+---------+
            | block  | count  | columns| 0    | bodies | keys  | headers | properties | routing |
            | bytes  |        | bits   |      | bytes  | bytes | bytes   | bytes      | bytes   |
            | u32    | u32    | u16    | u16  | u32    | u32   | u32     | u32        | u32     |
            +--------+--------+--------+------+--------+-------+---------+------------+---------+
       32   | bodies column | keys column | headers column | properties column | routing column |

Little-endian. ``block bytes`` counts everything, this header included. Each column that is present (bit set, bytes
above 0) is one msgpack array of ``count`` elements: bodies are bin, keys are str or nil, headers are map or nil,
properties are map or nil. The routing column is one array [exchange, routing key] for the whole block; absent means
the default exchange and the queue's own name.

Beside the column bits there is ASKS: the properties of some message may ask something of the broker (ASKING names
them), so it has to decode that column. Without the bit it never looks, whatever is in there.

Who checks what:

- ``block_extent``, on every block received: the lengths add up, the bits match the columns, there are bodies.
- ``BlockChecker``, on every published block: each column is one whole msgpack array of as many elements as the header
  says; sizes and counts are within the limits; the routing column is two names. What the elements are is not looked
  at, except the body of a single-message block: walking 500 bodies costs 3 us, building them to see their types 13.
- ``decode_bodies`` and ``decode_block``, in the reader: the elements have the types above and can be decoded. Where
  they are not (a producer that breaks the protocol wrote them) they raise BAD_BLOCK; the consumer rejects these
  deliveries and goes on, so that such a message ends as a dead letter.
- ``slice_block`` and ``replace_properties`` need no decoding: they work, byte for byte, on every block that
  ``BlockChecker`` let pass. What a broker does with a message must not hang on what its producer put in it.
"""

import struct
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import msgpack

from penstock_client.wire import structure
from penstock_client.wire.errors import ErrorCode, WireError
from penstock_client.wire.limits import BLOCK_BYTES_MULTI_MAX, BLOCK_COUNT_MAX, ENVELOPE_BYTES_MAX, NAME_BYTES_MAX

BLOCK_HEADER: Final = struct.Struct("<IIHHIIIII")
BLOCK_HEADER_BYTES: Final = BLOCK_HEADER.size
_SUMMARY: Final = struct.Struct("<IIHHI")
_SIZES: Final = struct.Struct("<12xIIIII")

COLUMN_BODIES: Final = 1
COLUMN_KEYS: Final = 2
COLUMN_HEADERS: Final = 4
COLUMN_PROPERTIES: Final = 8
COLUMN_ROUTING: Final = 16
ASKS: Final = 0x8000
ASKING: Final = frozenset({"delay_ms", "deliver_at_ms", "ttl_ms", "priority"})
"""The properties that ask something of the broker."""
_LOOK_AT: Final = COLUMN_ROUTING | ASKS
_COLUMN_NAMES: Final = ("bodies", "keys", "headers", "properties", "routing")
_KEYS: Final = 1
_PROPERTIES: Final = 3
_ROUTING: Final = 4
_COLUMN_BITS: Final = (COLUMN_BODIES, COLUMN_KEYS, COLUMN_HEADERS, COLUMN_PROPERTIES, COLUMN_ROUTING)

Properties = dict[str, Any]
Headers = dict[str, Any]


class Columns(NamedTuple):
    """A decoded block. ``keys``, ``headers`` and ``properties`` are None where no message of the block has any."""

    bodies: list[bytes]
    keys: list[str | None] | None = None
    headers: list[Headers | None] | None = None
    properties: list[Properties | None] | None = None
    routing: tuple[str, str] | None = None


_pack_bodies: Final = msgpack.Packer(use_bin_type=True, autoreset=True).pack


def encode_block(
    bodies: Sequence[bytes],
    keys: Sequence[str | None] | None = None,
    headers: Sequence[Headers | None] | None = None,
    properties: Sequence[Properties | None] | None = None,
    routing: tuple[str, str] | None = None,
) -> bytes:
    """Return the block of these messages. All sequences are lists or tuples of the length of ``bodies``.

    Raises what msgpack raises (TypeError, ValueError, OverflowError) for values it has no form for.
    """
    body_column: bytes = _pack_bodies(bodies)
    if keys is None and headers is None and properties is None and routing is None:
        body_bytes = len(body_column)
        size = BLOCK_HEADER_BYTES + body_bytes
        return BLOCK_HEADER.pack(size, len(bodies), COLUMN_BODIES, 0, body_bytes, 0, 0, 0, 0) + body_column
    columns = [b"" if column is None else _pack(column) for column in (keys, headers, properties, routing)]
    return assemble_block(len(bodies), [body_column, *columns], _asking(properties))


def _pack(column: object) -> bytes:
    return msgpack.packb(column, use_bin_type=True, unicode_errors="surrogateescape")  # type: ignore[no-any-return]


def _asking(properties: Sequence[Properties | None] | None) -> int:
    """ASKS where one of these maps asks something, else 0."""
    asks = properties is not None and any(one and not ASKING.isdisjoint(one) for one in properties)
    return ASKS if asks else 0


def assemble_block(count: int, columns: list[bytes], asks: int) -> bytes:
    """Return the block of these columns, all five in order, absent ones empty; ``asks`` is ASKS or 0."""
    bits = asks + sum(bit for bit, column in zip(_COLUMN_BITS, columns, strict=True) if column)
    sizes = [len(column) for column in columns]
    return b"".join([BLOCK_HEADER.pack(BLOCK_HEADER_BYTES + sum(sizes), count, bits, 0, *sizes), *columns])


def block_extent(data: bytes, offset: int) -> tuple[int, int]:
    """Return (end offset, message count) of the block that starts at ``offset``; checks the header's arithmetic."""
    if len(data) - offset < BLOCK_HEADER_BYTES:
        raise WireError(ErrorCode.MALFORMED_FRAME, "a frame ends inside a block header")
    size, count, bits, reserved, bodies, keys, headers, properties, routing = BLOCK_HEADER.unpack_from(data, offset)
    end = offset + size
    if size != BLOCK_HEADER_BYTES + bodies + keys + headers + properties + routing or end > len(data) or reserved:
        raise WireError(ErrorCode.MALFORMED_FRAME, "a block's lengths do not add up")
    present = COLUMN_BODIES
    if size - BLOCK_HEADER_BYTES != bodies:
        present |= (
            (COLUMN_KEYS if keys else 0)
            | (COLUMN_HEADERS if headers else 0)
            | (COLUMN_PROPERTIES if properties else 0)
            | (COLUMN_ROUTING if routing else 0)
        )
    if (bits != present and not (properties and bits == present | ASKS)) or not bodies or not count:
        raise WireError(ErrorCode.MALFORMED_FRAME, "a block's column bits do not match its columns")
    return end, count


class BlockChecker:
    """Checks published blocks for structure and limits, after ``block_extent`` delimited them.

    It walks the columns without building their objects. It holds no state beside the limit: any number of connections
    may share one.
    """

    def __init__(self, body_bytes_max: int) -> None:
        self.body_bytes_max = body_bytes_max

    def check(self, block: bytes) -> int:
        """Raise WireError (BAD_BLOCK, BODY_TOO_LARGE) unless ``block`` is well formed and within the limits.

        Returns what a receiver of it has to look at: COLUMN_ROUTING when it says by which exchange and routing key it
        comes, ASKS when it is marked so; 0 for most blocks.
        """
        size, count, bits, _, column_bytes = _SUMMARY.unpack_from(block)
        if count > 1:
            self._check_several(block, size, count, column_bytes)
            return bits & _LOOK_AT  # type: ignore[no-any-return]
        elements, header_bytes = structure.array_extent(block, BLOCK_HEADER_BYTES)
        start = BLOCK_HEADER_BYTES + header_bytes
        body_bytes = structure.bin_bytes(block, start, column_bytes - header_bytes) if elements == 1 else -1
        if body_bytes < 0:
            raise WireError(ErrorCode.BAD_BLOCK, "the bodies of a block of one message are not an array of one bin")
        if body_bytes > self.body_bytes_max:
            raise self._too_large(body_bytes)
        if bits != COLUMN_BODIES:
            envelope_bytes = size - BLOCK_HEADER_BYTES - column_bytes
            if envelope_bytes > ENVELOPE_BYTES_MAX:
                message = (
                    f"key, headers, properties and routing take {envelope_bytes} bytes; at most {ENVELOPE_BYTES_MAX}"
                )
                raise WireError(ErrorCode.BAD_BLOCK, message)
            _check_columns(block, 1, first=1)
        return bits & _LOOK_AT  # type: ignore[no-any-return]

    def _check_several(self, block: bytes, size: int, count: int, column_bytes: int) -> None:
        if size > BLOCK_BYTES_MULTI_MAX or count > BLOCK_COUNT_MAX:
            raise WireError(
                ErrorCode.BAD_BLOCK,
                f"a block of {count} messages and {size} bytes; several messages may take"
                f" {BLOCK_BYTES_MULTI_MAX} bytes and {BLOCK_COUNT_MAX} messages, send more blocks",
            )
        _check_columns(block, count, first=0)
        if column_bytes > self.body_bytes_max:
            largest = max(map(len, decode_bodies(block)))
            if largest > self.body_bytes_max:
                raise self._too_large(largest)

    def _too_large(self, body_bytes: int) -> WireError:
        message = f"a body of {body_bytes} bytes; the limit is {self.body_bytes_max} (limits.body_bytes_max)"
        return WireError(ErrorCode.BODY_TOO_LARGE, message)


def _check_columns(block: bytes, count: int, first: int) -> None:
    """Check that the columns from index ``first`` on are arrays of as many elements as the header says, end to end."""
    sizes = _SIZES.unpack_from(block)
    start = end = BLOCK_HEADER_BYTES + sum(sizes[:first])
    ends: list[int] = []
    for index in range(first, len(sizes)):
        if sizes[index]:
            if structure.array_extent(block, end)[0] != (2 if index == _ROUTING else count):
                raise WireError(
                    ErrorCode.BAD_BLOCK, f"the {_COLUMN_NAMES[index]} column does not hold {count} elements"
                )
            end += sizes[index]
            ends.append(end - start)
    try:
        whole = structure.value_ends(memoryview(block)[start:], len(ends)) == ends
    except ValueError:
        whole = False
    if not whole:
        raise WireError(ErrorCode.BAD_BLOCK, "a column is not one whole msgpack array")
    if sizes[_ROUTING]:
        _routing(block[-sizes[_ROUTING] :])


def decode_bodies(block: bytes) -> list[bytes]:
    """Return the bodies alone: the fast path of a consumer. Raises WireError (BAD_BLOCK) unless all are bin."""
    _, count, _, _, body_bytes = _SUMMARY.unpack_from(block)
    return _bodies(block[BLOCK_HEADER_BYTES : BLOCK_HEADER_BYTES + body_bytes], count)


def block_columns(block: bytes) -> int:
    """Return the bits of the columns that are present."""
    return _SUMMARY.unpack_from(block)[2] & ~ASKS  # type: ignore[no-any-return]


def block_count(block: bytes) -> int:
    """Return how many messages a block has."""
    return _SUMMARY.unpack_from(block)[1]  # type: ignore[no-any-return]


def decode_keys(block: bytes) -> list[str | None]:
    """Return the keys column alone, one each, None for a message without. Raises WireError (BAD_BLOCK)."""
    count = block_count(block)
    column = split_columns(block)[_KEYS]
    return _elements(column, count, str) if column else [None] * count


def decode_block(block: bytes) -> Columns:
    """Return every column of a block. Raises WireError (BAD_BLOCK) when a column cannot be decoded."""
    count = _SUMMARY.unpack_from(block)[1]
    bodies, keys, headers, properties, routing = split_columns(block)
    return Columns(
        _bodies(bodies, count),
        _elements(keys, count, str) if keys else None,
        _elements(headers, count, dict) if headers else None,
        _elements(properties, count, dict) if properties else None,
        _routing(routing) if routing else None,
    )


def slice_block(block: bytes, start: int, stop: int) -> bytes:
    """Return a block of the messages ``start`` to ``stop`` (exclusive) of ``block``, copied without decoding them.

    ASKS stays: whether it is one of these messages that asks would take decoding.
    """
    _, count, bits, _, _ = _SUMMARY.unpack_from(block)
    if start == 0 and stop == count:
        return block
    *columns, routing = split_columns(block)
    parts = [*(c and _slice_column(c, count, start, stop) for c in columns), routing]
    return assemble_block(stop - start, parts, bits & ASKS)


def _slice_column(column: bytes, count: int, start: int, stop: int) -> bytes:
    content = memoryview(column)[structure.array_extent(column, 0)[1] :]
    try:
        skipped = structure.elements_end(content, start) if start else 0
        rest = content[skipped:]
        taken = structure.elements_end(rest, stop - start) if stop < count else len(rest)
    except ValueError as error:
        raise WireError(ErrorCode.BAD_BLOCK, f"a column that does not hold {count} elements") from error
    return structure.array_header(stop - start) + rest[:taken]


def decode_routing(block: bytes) -> tuple[str, str] | None:
    """Return exchange and routing key, None where the block does not name them. Raises WireError (BAD_BLOCK)."""
    column = split_columns(block)[_ROUTING]
    return _routing(column) if column else None


def encode_routing(exchange: str, routing_key: str) -> bytes:
    """Return the routing column of blocks that come by this exchange and routing key."""
    return _pack((exchange, routing_key))


def carries_routing(block: bytes, column: bytes) -> bool:
    """True when this is the block's routing column, byte for byte."""
    return _SIZES.unpack_from(block)[_ROUTING] == len(column) and block.endswith(column)


def with_routing(block: bytes, column: bytes) -> bytes:
    """Return ``block`` with another routing column, everything else copied without decoding it."""
    *columns, _ = split_columns(block)
    _, count, bits, _, _ = _SUMMARY.unpack_from(block)
    return assemble_block(count, [*columns, column], bits & ASKS)


def decode_properties(block: bytes) -> list[Properties | None] | None:
    """Return the properties column alone, None where there is none. Raises WireError (BAD_BLOCK)."""
    count = _SUMMARY.unpack_from(block)[1]
    column = split_columns(block)[_PROPERTIES]
    return _elements(column, count, dict) if column else None


def decode_column(block: bytes, bit: int) -> list[Any] | None:
    """Return one column (not the routing) alone, None where there is none. Raises WireError (BAD_BLOCK)."""
    if bit == COLUMN_BODIES:
        return decode_bodies(block)
    count = _SUMMARY.unpack_from(block)[1]
    column = split_columns(block)[_COLUMN_BITS.index(bit)]
    return _elements(column, count, str if bit == COLUMN_KEYS else dict) if column else None


def replace_properties(block: bytes, properties: Sequence[Properties | None] | None) -> bytes:
    """Return ``block`` with other properties, everything else copied without decoding it."""
    count = _SUMMARY.unpack_from(block)[1]
    columns = split_columns(block)
    columns[_PROPERTIES] = b"" if properties is None else _pack(properties)
    return assemble_block(count, columns, _asking(properties))


def slice_columns(columns: Columns, start: int, stop: int) -> Columns:
    """Return the messages ``start`` to ``stop`` (exclusive) of decoded columns."""
    bodies, keys, headers, properties, routing = columns
    return Columns(
        bodies[start:stop],
        keys and keys[start:stop],
        headers and headers[start:stop],
        properties and properties[start:stop],
        routing,
    )


def column_sizes(block: bytes) -> tuple[int, ...]:
    """Return how many bytes each of the five columns has, in order; absent ones 0."""
    return _SIZES.unpack_from(block)


def split_columns(block: bytes) -> list[bytes]:
    """Return the five columns of a block as they are; absent ones are empty."""
    columns, start = [], BLOCK_HEADER_BYTES
    for size in column_sizes(block):
        columns.append(block[start : start + size])
        start += size
    return columns


def _bodies(column: bytes, count: int) -> list[bytes]:
    bodies = _elements(column, count)
    try:
        if count == 1:
            memoryview(bodies[0])
        else:
            b"".join(bodies)  # the cheapest look at every element's type
    except TypeError as error:
        raise WireError(ErrorCode.BAD_BLOCK, "a body that is not bin") from error
    return bodies


def _elements(column: bytes, count: int, kind: type | None = None) -> list[Any]:
    values = _build(column)
    if type(values) is not list or len(values) != count:
        raise WireError(ErrorCode.BAD_BLOCK, f"a column that is not an array of {count} elements")
    if kind is not None and not set(map(type, values)) <= {kind, type(None)}:
        raise WireError(ErrorCode.BAD_BLOCK, f"a column with elements that are neither nil nor {kind.__name__}")
    return values


def _routing(column: bytes) -> tuple[str, str]:
    names = _elements(column, 2)
    for name in names:
        if type(name) is not str or len(name.encode("utf-8", "surrogateescape")) > NAME_BYTES_MAX:
            raise WireError(ErrorCode.BAD_BLOCK, f"exchange and routing key are str of at most {NAME_BYTES_MAX} bytes")
    return names[0], names[1]


def _build(column: bytes) -> Any:
    try:
        return structure.build(column, unicode_errors="surrogateescape", strict_map_key=False)
    except ValueError as error:
        raise WireError(ErrorCode.BAD_BLOCK, f"a column that cannot be decoded: {error}") from error
