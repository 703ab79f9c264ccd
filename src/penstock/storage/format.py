"""The bytes of a journal segment, drawn. Integers are little-endian and unsigned; offsets and lengths are in bytes.

A segment is a file: one segment header, then batches back to back. Nothing is padded, nothing is preallocated; the end
of a segment is the end of its last whole batch, or what the next segment's header says.

Segment header, 64 bytes::

    0       4       8         10          16          24          32          40           48          56          64
    +-------+-------+---------+-----------+-----------+-----------+-----------+------------+-----------+-----------+
    | magic | CRC   | version | reserved  | segment   | journal   | previous  | boot       | created   | reserved  |
    | F0PNS | u32   | u16     | 6 x 0     | id u64    | id u64    | end u64   | epoch u64  | ms u64    | 8 x 0     |
    +-------+-------+---------+-----------+-----------+-----------+-----------+------------+-----------+-----------+

``previous end`` is the position where the journal's preceding segment ends (0 for the first). A segment is created only
after everything before it was synced, so ``previous end`` is also a durable position.

Batch header, 64 bytes, then the body::

    0       4       8         9       10     12       16         24        32        40       48     52      56      64
    +-------+-------+---------+-------+------+--------+----------+---------+---------+--------+------+-------+-------+
    | magic | CRC   | version | flags | 0    | body   | position | segment | durable | time   | body | count | boot  |
    | F0PNB | u32   | u8      | u8    | u16  | length | u64      | id u64  | u64     | ms u64 | CRC  | u32   | epoch |
    |       |       |         |       |      | u32    |          |         |         |        | u32  |       | u64   |
    +-------+-------+---------+-------+------+--------+----------+---------+---------+--------+------+-------+-------+

``position`` is that of the header's own first byte. ``durable`` is the highest position known to be durable when the
header was written. Flag bit 0 marks a batch without records that exists for its ``durable`` field; bit 1 marks zeros
that a repair put in the place of a damaged range.

Body: ``count`` records, each a u32 length and that many payload bytes, with nothing after the last.

Every CRC is CRC32C. The headers' is taken over the journal id (8 bytes) followed by the header from byte 8 on. The
journal id is random per data directory and never leaves it: bytes in a message body can not pass for a header, and a
segment from another directory is recognised.
"""

import struct
from collections.abc import Iterable
from typing import Final, NamedTuple

import google_crc32c

from penstock.storage.errors import Damaged, UnsupportedFormat

KIB: Final = 1024
MIB: Final = 1024 * KIB

SEGMENT_MAGIC: Final = b"\xf0PNS"
BATCH_MAGIC: Final = b"\xf0PNB"
FORMAT_VERSION: Final = 1

SEGMENT_HEADER_BYTES: Final = 64
BATCH_HEADER_BYTES: Final = 64
LENGTH_BYTES: Final = 4
"""The length before each record's payload."""

BATCH_BODY_BYTES_MAX: Final = 80 * MIB
"""Checked before anything is allocated: a frame of 64 MiB (the largest configurable body) and its facts must fit."""

OFFSET_BITS: Final = 40
"""A segment holds up to 1 TiB; 24 bits are left for 16 million segments."""
OFFSET_MASK: Final = (1 << OFFSET_BITS) - 1

SEGMENT_BYTES_DEFAULT: Final = 64 * MIB
SEGMENT_BYTES_MAX: Final = (1 << OFFSET_BITS) - 2 * BATCH_BODY_BYTES_MAX
"""A segment takes batches until it is this long, and the last one may run over."""

FLAG_MARK: Final = 1
FLAG_CUT: Final = 2

_SEGMENT: Final = struct.Struct("<H6xQQQQQ8x")
_BATCH: Final = struct.Struct("<BBHIQQQQIIQ")
_PREFIX: Final = struct.Struct("<4sI")
_LENGTH: Final = struct.Struct("<I")

pack_length: Final = _LENGTH.pack
unpack_length: Final = _LENGTH.unpack_from


class SegmentHeader(NamedTuple):
    """What the head of a segment says."""

    segment_id: int
    journal_id: int
    previous_end: int
    boot_epoch: int
    created_ms: int


class BatchHeader(NamedTuple):
    """What the head of a batch says. All of it is covered by the header's own CRC."""

    flags: int
    body_bytes: int
    position: int
    durable: int
    time_ms: int
    body_crc: int
    record_count: int
    boot_epoch: int

    @property
    def end(self) -> int:
        """The position after the batch."""
        return self.position + BATCH_HEADER_BYTES + self.body_bytes


def position_of(segment_id: int, offset: int) -> int:
    """Return the journal position of a byte of a segment."""
    return segment_id << OFFSET_BITS | offset


def segment_of(position: int) -> int:
    """Return the id of the segment that holds a position."""
    return position >> OFFSET_BITS


def offset_of(position: int) -> int:
    """Return the offset of a position in its segment's file."""
    return position & OFFSET_MASK


def crc_of(data: bytes) -> int:
    """Return the CRC32C of ``data``."""
    return int(google_crc32c.value(data))


def crc_of_parts(parts: Iterable[bytes]) -> int:
    """Return the CRC32C of the parts one after the other."""
    crc = 0
    for part in parts:
        crc = google_crc32c.extend(crc, part)
    return crc


def header_seed(journal_id: int) -> int:
    """Return what the headers' CRCs of a journal start from."""
    return crc_of(journal_id.to_bytes(8, "little"))


def pack_segment_header(header: SegmentHeader) -> bytes:
    """Return the 64 bytes of a segment header."""
    fields = _SEGMENT.pack(FORMAT_VERSION, *header)
    return _PREFIX.pack(SEGMENT_MAGIC, google_crc32c.extend(header_seed(header.journal_id), fields)) + fields


def unpack_segment_header(data: bytes, path: str) -> SegmentHeader | None:
    """Return the segment header in ``data``, or None when it is not whole.

    Raises ``UnsupportedFormat`` when it is whole but of a later version.
    """
    if len(data) < SEGMENT_HEADER_BYTES:
        return None
    magic, crc = _PREFIX.unpack_from(data)
    fields = data[8:SEGMENT_HEADER_BYTES]
    version, segment_id, journal_id, previous_end, boot_epoch, created_ms = _SEGMENT.unpack(fields)
    if magic != SEGMENT_MAGIC or google_crc32c.extend(header_seed(journal_id), fields) != crc:
        return None
    _check_version(version, path, 0)
    return SegmentHeader(segment_id, journal_id, previous_end, boot_epoch, created_ms)


def pack_batch_header(header: BatchHeader, seed: int) -> bytes:
    """Return the 64 bytes of a batch header; ``seed`` from ``header_seed``."""
    fields = _BATCH.pack(
        FORMAT_VERSION,
        header.flags,
        0,
        header.body_bytes,
        header.position,
        segment_of(header.position),
        header.durable,
        header.time_ms,
        header.body_crc,
        header.record_count,
        header.boot_epoch,
    )
    return _PREFIX.pack(BATCH_MAGIC, google_crc32c.extend(seed, fields)) + fields


def unpack_batch_header(data: bytes | memoryview, position: int, seed: int, path: str) -> BatchHeader | None:
    """Return the batch header in the first 64 bytes of ``data``, or None when it is not whole or not of this position.

    Raises ``UnsupportedFormat`` when it is whole but of a later version.
    """
    if len(data) < BATCH_HEADER_BYTES:
        return None
    magic, crc = _PREFIX.unpack_from(data)
    fields = bytes(data[8:BATCH_HEADER_BYTES])
    if magic != BATCH_MAGIC or google_crc32c.extend(seed, fields) != crc:
        return None
    version, flags, _, body_bytes, own, segment, durable, time_ms, body_crc, count, epoch = _BATCH.unpack(fields)
    if own != position or segment != segment_of(position):
        return None
    _check_version(version, path, offset_of(position))
    if body_bytes > BATCH_BODY_BYTES_MAX:
        return None
    return BatchHeader(flags, body_bytes, own, durable, time_ms, body_crc, count, epoch)


def unpack_records(header: BatchHeader, body: bytes, path: str) -> list[tuple[int, memoryview]]:
    """Return (position of the payload, payload) of every record in a body whose CRC was right."""
    view = memoryview(body)
    base = header.position + BATCH_HEADER_BYTES
    records: list[tuple[int, memoryview]] = []
    append, length_at, offset = records.append, unpack_length, 0
    try:
        for _ in range(header.record_count):
            start = offset + 4
            offset = start + length_at(body, offset)[0]
            append((base + start, view[start:offset]))
    except struct.error:
        offset = -1
    if offset != header.body_bytes:
        raise Damaged(
            "the records do not fill the batch",
            path=path,
            offset=offset_of(header.position),
            position=header.position,
        )
    return records


def _check_version(version: int, path: str, offset: int) -> None:
    if version != FORMAT_VERSION:
        raise UnsupportedFormat(
            f"format version {version}, this Penstock reads version {FORMAT_VERSION}", path=path, offset=offset
        )
