"""The data frames: PUBLISH, CONFIRM, DELIVER (and PEEKED), SETTLE, STALE. Little-endian fixed structs and blocks.

PUBLISH is a run of entries, each for one route (AMQP: exchange and routing key) the client opened before:

    | route u32 | level u8 | 0 u8 | 0 u16 | first sequence u64 |  block ...

CONFIRM is a run of entries of 40 bytes, one per published block:

    | route u32 | status u8 | level u8 | code u16 | first sequence u64
    | count u32 | partition u32 | 0 u64 | offset u64 |

DELIVER is a run of entries, each a run of consecutive messages of one queue for one consumer:

    | consumer u32 | attempt u32 | failures u32 | partition u32 | first tag u64 | offset u64
    | published at, ms since 1970 u64 | lease ms u32 | 0 u32 |  block ...

PEEKED has the same entries; where it answers SCHEDULED_PEEK, the due time (ms since 1970) is in the place of the first
tag and the schedule id in that of the offset.

SETTLE names ranges of delivery tags of this session:

    | outcome u8 | 0 u8 | 0 u16 | duration ms u32 | ranges u32 | reason bytes u32
    | ranges x (first tag u64, last tag u64) | reason, UTF-8 |

STALE answers a settle that named tags this session does not hold:

    | outcome u8 | 0 u8 | 0 u16 | ranges u32 | ranges x (first tag u64, last tag u64) |

Receivers check what would change their reading: lengths, levels, outcomes, and the zeros of what a client sends.
"""

import struct
from collections.abc import Iterable, Sequence
from enum import IntEnum
from typing import Final, NamedTuple

from penstock_client.wire.blocks import block_extent
from penstock_client.wire.errors import ErrorCode, WireError
from penstock_client.wire.limits import PUBLISH_ENTRIES_MAX, REASON_BYTES_MAX, SETTLE_RANGES_MAX

PUBLISH_ENTRY: Final = struct.Struct("<IBBHQ")
CONFIRM_ENTRY: Final = struct.Struct("<IBBHQIIQQ")
DELIVER_ENTRY: Final = struct.Struct("<IIIIQQQII")
SETTLE_HEADER: Final = struct.Struct("<BBHIII")
STALE_HEADER: Final = struct.Struct("<BBHI")
TAG_RANGE: Final = struct.Struct("<QQ")

TagRange = tuple[int, int]
"""(first tag, last tag), both included."""


class Level(IntEnum):
    """What a confirm promises. SYNCED: on disk. WRITTEN: handed to the operating system. MEMORY: held in memory."""

    SYNCED = 0
    WRITTEN = 1
    MEMORY = 2


class ConfirmStatus(IntEnum):
    """Outcome of a published block. With the last two, the offset is the schedule id of the block's first message."""

    STORED = 0
    DUPLICATE = 1
    REFUSED = 2
    SCHEDULED = 3
    DUPLICATE_SCHEDULED = 4
    DROPPED = 5


DUPLICATES: Final = frozenset({int(ConfirmStatus.DUPLICATE), int(ConfirmStatus.DUPLICATE_SCHEDULED)})
"""What was published again, and is what it was the first time."""
TO_COME: Final = frozenset({int(ConfirmStatus.SCHEDULED), int(ConfirmStatus.DUPLICATE_SCHEDULED)})
"""What is known by a schedule id and has no offset yet."""


class Outcome(IntEnum):
    """What a settle does with its deliveries. EXTEND and STARTED leave them leased."""

    ACK = 1
    NACK = 2
    RELEASE = 3
    REJECT = 4
    EXTEND = 5
    STARTED = 6
    REQUEUE = 7


NO_DELAY: Final = 0xFFFFFFFF
"""A nack's duration when the queue's own backoff shall apply."""

OFFSET_UNKNOWN: Final = 0xFFFFFFFFFFFFFFFF
"""A duplicate whose original offset is no longer remembered, and the offset of a refusal."""


class Publication(NamedTuple):
    """One entry of a PUBLISH frame."""

    route: int
    level: int
    first_sequence: int
    count: int  # type: ignore[assignment] # the protocol's word; a tuple's own count() is not used
    block: bytes


class Confirmation(NamedTuple):
    """One entry of a CONFIRM frame. ``code`` is an ErrorCode when refused, else 0."""

    route: int
    status: int
    level: int
    code: int
    first_sequence: int
    count: int  # type: ignore[assignment] # the protocol's word; a tuple's own count() is not used
    partition: int
    reserved: int
    offset: int


class Delivery(NamedTuple):
    """One entry of a DELIVER or PEEKED frame: ``count`` messages from ``offset`` on, tags from ``first_tag`` on."""

    consumer: int
    attempt: int
    failures: int
    partition: int
    first_tag: int
    offset: int
    published_at_ms: int
    lease_ms: int
    count: int  # type: ignore[assignment] # the protocol's word; a tuple's own count() is not used
    block: bytes


class Settlement(NamedTuple):
    """A decoded SETTLE frame."""

    outcome: int
    duration_ms: int
    reason: str
    ranges: list[TagRange]


_LEVEL_MAX: Final = int(Level.WRITTEN)
_new: Final = tuple.__new__
"""Builds a NamedTuple in a third of the time that calling its class takes; for what is built per block."""


def decode_publish(payload: bytes) -> list[Publication]:
    """Split a PUBLISH payload, at most PUBLISH_ENTRIES_MAX entries. Raises WireError (MALFORMED_FRAME) otherwise."""
    entries: list[Publication] = []
    start, size, header = 0, len(payload), PUBLISH_ENTRY.size
    while start < size:
        if size - start < header:
            raise WireError(ErrorCode.MALFORMED_FRAME, "a publish frame ends inside an entry")
        route, level, zero, zeros, sequence = PUBLISH_ENTRY.unpack_from(payload, start)
        if level > _LEVEL_MAX or zero or zeros:
            raise WireError(ErrorCode.MALFORMED_FRAME, "a publish entry has an unknown level or reserved bits set")
        if len(entries) == PUBLISH_ENTRIES_MAX:
            raise WireError(ErrorCode.MALFORMED_FRAME, f"a publish frame of more than {PUBLISH_ENTRIES_MAX} entries")
        end, count = block_extent(payload, start + header)
        entries.append(_new(Publication, (route, level, sequence, count, payload[start + header : end])))
        start = end
    return entries


def encode_publish_entry(route: int, level: int, first_sequence: int) -> bytes:
    """Return an entry's header; the block follows it."""
    return PUBLISH_ENTRY.pack(route, level, 0, 0, first_sequence)


def decode_confirm(payload: bytes) -> list[Confirmation]:
    """Split a CONFIRM payload."""
    if len(payload) % CONFIRM_ENTRY.size:
        raise WireError(ErrorCode.MALFORMED_FRAME, "a confirm frame is not whole entries")
    return [Confirmation(*fields) for fields in CONFIRM_ENTRY.iter_unpack(payload)]


def decode_deliver(payload: bytes) -> list[Delivery]:
    """Split a DELIVER or PEEKED payload."""
    entries: list[Delivery] = []
    start, size, header = 0, len(payload), DELIVER_ENTRY.size
    while start < size:
        if size - start < header:
            raise WireError(ErrorCode.MALFORMED_FRAME, "a deliver frame ends inside an entry")
        *fields, _ = DELIVER_ENTRY.unpack_from(payload, start)
        end, count = block_extent(payload, start + header)
        entries.append(Delivery._make((*fields, count, payload[start + header : end])))
        start = end
    return entries


def encode_settle(outcome: int, ranges: Sequence[TagRange], duration_ms: int = 0, reason: str = "") -> bytes:
    """Return a SETTLE payload of at most SETTLE_RANGES_MAX ranges. Ask for a reply by the frame's request id."""
    text = cut_reason(reason)
    packed = [TAG_RANGE.pack(first, last) for first, last in ranges]
    return b"".join([SETTLE_HEADER.pack(outcome, 0, 0, duration_ms, len(ranges), len(text)), *packed, text])


def decode_settle(payload: bytes) -> Settlement:
    """Decode a SETTLE payload. Raises WireError (MALFORMED_FRAME)."""
    if len(payload) < SETTLE_HEADER.size:
        raise WireError(ErrorCode.MALFORMED_FRAME, "a settle frame is shorter than its header")
    outcome, flags, zero, duration_ms, count, reason_bytes = SETTLE_HEADER.unpack_from(payload)
    end = SETTLE_HEADER.size + count * TAG_RANGE.size
    whole = len(payload) == end + reason_bytes and not flags and not zero
    if not whole or count > SETTLE_RANGES_MAX or not 1 <= outcome <= Outcome.REQUEUE or reason_bytes > REASON_BYTES_MAX:
        raise WireError(ErrorCode.MALFORMED_FRAME, "a settle frame's lengths or outcome are wrong")
    ranges = _decode_ranges(payload[SETTLE_HEADER.size : end])
    reason = cut_reason(payload[end:].decode("utf-8", "replace")).decode() if reason_bytes else ""
    return Settlement(outcome, duration_ms, reason, ranges)


def encode_stale(outcome: int, ranges: Iterable[TagRange]) -> bytes:
    """Return a STALE payload."""
    packed = [TAG_RANGE.pack(first, last) for first, last in ranges]
    return b"".join([STALE_HEADER.pack(outcome, 0, 0, len(packed)), *packed])


def decode_stale(payload: bytes) -> tuple[int, list[TagRange]]:
    """Return (outcome, ranges) of a STALE payload."""
    if len(payload) < STALE_HEADER.size:
        raise WireError(ErrorCode.MALFORMED_FRAME, "a stale frame is shorter than its header")
    outcome, _, _, count = STALE_HEADER.unpack_from(payload)
    if len(payload) != STALE_HEADER.size + count * TAG_RANGE.size:
        raise WireError(ErrorCode.MALFORMED_FRAME, "a stale frame's lengths are wrong")
    return outcome, _decode_ranges(payload[STALE_HEADER.size :])


def _decode_ranges(data: bytes) -> list[TagRange]:
    ranges = list(TAG_RANGE.iter_unpack(data))
    for first, last in ranges:
        if first > last:
            raise WireError(ErrorCode.MALFORMED_FRAME, "a tag range ends before it begins")
    return ranges


def cut_reason(reason: str) -> bytes:
    """Return the reason as UTF-8 of at most REASON_BYTES_MAX bytes, an ellipsis marking a cut."""
    text = reason.encode("utf-8", "replace")
    if len(text) <= REASON_BYTES_MAX:
        return text
    return text[: REASON_BYTES_MAX - 3].decode("utf-8", "ignore").encode() + "…".encode()
