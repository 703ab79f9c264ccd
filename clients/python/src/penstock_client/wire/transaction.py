"""TRANSACT: everything of one transaction in one frame. Little-endian fixed structs, names and blocks.

    | tag ranges u32 | blocks u32 | state writes u32 | 0 u32 |
    | tag ranges:    ranges x (first tag u64, last tag u64)                      what is acknowledged
    | blocks:        blocks x block entry                                        what is published
    | state writes:  writes x state entry                                        what is set in the state of groups

A block entry says where the block goes and has the block as in PUBLISH behind it:

    | exchange bytes u8 | routing key bytes u8 | 0 u16 | exchange | routing key |  block ...

A state entry names a group's key, the version that was read of it (0: it was not there; 2^64 - 1: whatever it is), and
the new value, one msgpack value; without a value the key is removed:

    | queue bytes u8 | group bytes u8 | key bytes u8 | 0 u8 | value bytes u32 | version u64
    | queue | group | key | value |

Names are UTF-8. Tag ranges ascend and do not overlap. It is a request: answered by OK once all of it is durable, or by
ERROR, and then nothing of it happened.
"""

import struct
from collections.abc import Sequence
from typing import Final, NamedTuple, NoReturn

from penstock_client.wire import structure
from penstock_client.wire.blocks import block_extent
from penstock_client.wire.entries import TAG_RANGE, TagRange
from penstock_client.wire.errors import ErrorCode, WireError
from penstock_client.wire.limits import (
    NAME_BYTES_MAX,
    PUBLISH_ENTRIES_MAX,
    SETTLE_RANGES_MAX,
    STATE_VALUE_BYTES_MAX,
    STATE_WRITES_MAX,
)

TRANSACTION_HEADER: Final = struct.Struct("<IIII")
BLOCK_ENTRY: Final = struct.Struct("<BBH")
STATE_ENTRY: Final = struct.Struct("<BBBBIQ")

VERSION_ABSENT: Final = 0
"""The version of a key that is not there."""
VERSION_ANY: Final = 0xFFFFFFFFFFFFFFFF
"""What a writer expects that has not read: whatever is there is replaced."""


class TransactedBlock(NamedTuple):
    """A block to publish, and where."""

    exchange: str
    routing_key: str
    count: int  # type: ignore[assignment] # the protocol's word; a tuple's own count() is not used
    block: bytes


class StateWrite(NamedTuple):
    """A key to set in the state of a group, if it still has this version. ``value`` is msgpack; empty removes it."""

    queue: str
    group: str
    key: str
    version: int
    value: bytes


class Transaction(NamedTuple):
    """A decoded TRANSACT frame."""

    acks: list[TagRange]
    blocks: list[TransactedBlock]
    writes: list[StateWrite]


def encode_transaction(
    acks: Sequence[TagRange], blocks: Sequence[tuple[str, str, bytes]], writes: Sequence[StateWrite]
) -> bytes:
    """Return a TRANSACT payload; blocks are (exchange, routing key, block). Raises ValueError for a name too long."""
    parts = [TRANSACTION_HEADER.pack(len(acks), len(blocks), len(writes), 0)]
    parts += [TAG_RANGE.pack(first, last) for first, last in acks]
    for exchange, routing_key, block in blocks:
        names = [_name(exchange), _name(routing_key)]
        parts += [BLOCK_ENTRY.pack(*map(len, names), 0), *names, block]
    for queue, group, key, version, value in writes:
        names = [_name(queue), _name(group), _name(key)]
        parts += [STATE_ENTRY.pack(*map(len, names), 0, len(value), version), *names, value]
    return b"".join(parts)


def _name(name: str) -> bytes:
    encoded = name.encode()
    if len(encoded) > NAME_BYTES_MAX:
        raise ValueError(f"a name of {len(encoded)} bytes; at most {NAME_BYTES_MAX} are allowed")
    return encoded


def decode_transaction(payload: bytes) -> Transaction:
    """Decode a TRANSACT payload. Raises WireError (MALFORMED_FRAME)."""
    if len(payload) < TRANSACTION_HEADER.size:
        _refuse("is shorter than its header")
    ranges, blocks, writes, reserved = TRANSACTION_HEADER.unpack_from(payload)
    if ranges > SETTLE_RANGES_MAX or blocks > PUBLISH_ENTRIES_MAX or writes > STATE_WRITES_MAX or reserved:
        _refuse("has more entries than allowed, or reserved bits set")
    start = TRANSACTION_HEADER.size
    end = start + ranges * TAG_RANGE.size
    acks = _decode_acks(payload[start:end], ranges)
    reader = _Reader(payload, end)
    transaction = Transaction(acks, [reader.block() for _ in range(blocks)], [reader.write() for _ in range(writes)])
    if reader.position != len(payload):
        _refuse("is longer than its entries")
    return transaction


def _decode_acks(data: bytes, count: int) -> list[TagRange]:
    if len(data) != count * TAG_RANGE.size:
        _refuse("ends inside its tag ranges")
    ranges = list(TAG_RANGE.iter_unpack(data))
    before = -1
    for first, last in ranges:
        if not before < first <= last:
            _refuse("has tag ranges that do not ascend")
        before = last
    return ranges


class _Reader:
    """Takes entries off a payload, one after the other."""

    __slots__ = ("payload", "position")

    def __init__(self, payload: bytes, position: int) -> None:
        self.payload = payload
        self.position = position

    def block(self) -> TransactedBlock:
        """Take a block entry."""
        exchange_bytes, key_bytes, reserved = self._fields(BLOCK_ENTRY)
        exchange, routing_key = self._text(exchange_bytes), self._text(key_bytes)
        if reserved:
            _refuse("has reserved bits set in a block entry")
        start = self.position
        self.position, count = block_extent(self.payload, start)
        return TransactedBlock(exchange, routing_key, count, self.payload[start : self.position])

    def write(self) -> StateWrite:
        """Take a state entry."""
        queue_bytes, group_bytes, key_bytes, reserved, value_bytes, version = self._fields(STATE_ENTRY)
        if reserved or value_bytes > STATE_VALUE_BYTES_MAX:
            _refuse("has reserved bits set in a state entry, or a value that is too large")
        queue, group, key = self._text(queue_bytes), self._text(group_bytes), self._text(key_bytes)
        return StateWrite(queue, group, key, version, self._value(value_bytes))

    def _fields(self, form: struct.Struct) -> tuple[int, ...]:
        if len(self.payload) - self.position < form.size:
            _refuse("ends inside an entry")
        fields = form.unpack_from(self.payload, self.position)
        self.position += form.size
        return fields

    def _bytes(self, size: int) -> bytes:
        end = self.position + size
        if end > len(self.payload):
            _refuse("ends inside an entry")
        taken = self.payload[self.position : end]
        self.position = end
        return taken

    def _text(self, size: int) -> str:
        try:
            return self._bytes(size).decode()
        except UnicodeDecodeError:
            _refuse("has a name that is not UTF-8")

    def _value(self, size: int) -> bytes:
        value = self._bytes(size)
        try:
            whole = not value or structure.value_ends(value) == [size]
        except ValueError:
            whole = False
        if not whole:
            _refuse("has a value that is not one msgpack value")
        return value


def _refuse(what: str) -> NoReturn:
    raise WireError(ErrorCode.MALFORMED_FRAME, f"a transact frame {what}")
