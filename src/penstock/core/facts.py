"""Facts: what happened, as values and as journal records. Replaying them rebuilds the durable state (I18).

A record's first byte is its kind. Numbers are little-endian u64 unless said otherwise; texts are JSON.

    PUBLISHED, MOVED  | kind u8 | level u8 | 0 u16 | count u32 | queue | first offset | producer | first sequence
                      | published at ms | block ...                              (48 bytes, then the block verbatim)
    LEASED            | kind u8 | 0 x 7 | queue | group | first | end
    ACKED, PURGED     | kind u8 | 0 u8 | 0 u16 | ranges u32 | queue | group | ranges x (first, end)
    DEAD              | kind u8 | 0 x 7 | queue | group | offset | dead-letter queue | its offset
    NOTED             | kind u8 | 0 x 7 | queue | first offset | time ms | digests x 15 bytes
    REPEATED          | kind u8 | 0 u8 | 0 u16 | count u32 | queue | offset | producer | first sequence | time ms
    FAILED            | kind u8 | dying u8 | 0 u16 | 0 u32 | queue | group | first | end | due ms | JSON failure
    the others        | kind u8 | JSON
"""

from __future__ import annotations

import json
import struct
from typing import Any, Final, NamedTuple

from penstock.core.values import Failure, QueueSettings

PUBLISHED: Final = 1
LEASED: Final = 2
ACKED: Final = 3
FAILED: Final = 4
DEAD: Final = 5
PURGED: Final = 6
MOVED: Final = 7
NOTED: Final = 8
REPEATED: Final = 9
DECLARED: Final = 16
DELETED: Final = 17
PRODUCER_OPENED: Final = 18
PRODUCERS_EXPIRED: Final = 19

PUBLISHED_HEADER: Final = struct.Struct("<BBHIQQQQQ")
PUBLISHED_HEADER_BYTES: Final = PUBLISHED_HEADER.size
_LEASED: Final = struct.Struct("<B7xQQQQ")
_RANGES: Final = struct.Struct("<BBHIQQ")
_RANGE: Final = struct.Struct("<QQ")
_DEAD: Final = struct.Struct("<B7xQQQQQ")
_NOTED: Final = struct.Struct("<B7xQQQ")
_REPEATED: Final = struct.Struct("<BBHIQQQQQ")
_FAILED: Final = struct.Struct("<BBHIQQQQQ")

OffsetRange = tuple[int, int]
"""(first, end): end is exclusive."""


class Published(NamedTuple):
    """A block entered a queue's log."""

    queue: int
    first: int
    message_count: int
    producer: int
    first_sequence: int
    level: int
    time_ms: int
    block: bytes


class Moved(NamedTuple):
    """Storage keeps a block at a new place: the same fields, the block copied."""

    queue: int
    first: int
    message_count: int
    producer: int
    first_sequence: int
    level: int
    time_ms: int
    block: bytes


class Leased(NamedTuple):
    """Messages were handed out: one attempt more each."""

    queue: int
    group: int
    first: int
    end: int


class Acked(NamedTuple):
    """Messages are done."""

    queue: int
    group: int
    ranges: tuple[OffsetRange, ...]


class Purged(NamedTuple):
    """Messages that were not leased are done, unprocessed, by an operator's word."""

    queue: int
    group: int
    ranges: tuple[OffsetRange, ...]


class Failed(NamedTuple):
    """Messages failed once more; due again at ``due_ms``, or on their way to the dead letters."""

    queue: int
    group: int
    first: int
    end: int
    due_ms: int
    dying: bool
    failure: Failure


class Dead(NamedTuple):
    """A message moved to a dead-letter queue; the copy is a Published in the same batch (I14)."""

    queue: int
    group: int
    offset: int
    target: int
    target_offset: int


class Noted(NamedTuple):
    """The queue remembers these messages' ids: ``digests`` are those of ``core.dedup``, joined, one a message.

    It follows the messages' Published in the same batch: what is stored twice because its id was lost is a duplicate.
    """

    queue: int
    first: int
    time_ms: int
    digests: bytes


class Repeated(NamedTuple):
    """Messages were published whose ids the queue knew, of messages from ``offset`` on: nothing was stored, their
    sequences are used up.
    """

    queue: int
    offset: int
    message_count: int
    producer: int
    first_sequence: int
    time_ms: int


class Declared(NamedTuple):
    """A queue came to be, with its default group."""

    queue: int
    group: int
    name: str
    settings: QueueSettings
    time_ms: int


class Deleted(NamedTuple):
    """A queue and everything in it is gone."""

    queue: int


class ProducerOpened(NamedTuple):
    """A producer id was given out."""

    producer: int
    time_ms: int


class ProducersExpired(NamedTuple):
    """Idle producers were forgotten."""

    producers: tuple[int, ...]


Fact = (
    Published
    | Moved
    | Leased
    | Acked
    | Purged
    | Failed
    | Dead
    | Noted
    | Repeated
    | Declared
    | Deleted
    | ProducerOpened
    | ProducersExpired
)


def published_header(fact: Published | Moved) -> bytes:
    """Return the 48 bytes before the block of a PUBLISHED or MOVED record."""
    kind = PUBLISHED if type(fact) is Published else MOVED
    return PUBLISHED_HEADER.pack(kind, fact[5], 0, fact[2], fact[0], fact[1], fact[3], fact[4], fact[6])


def encode(fact: Fact) -> bytes:
    """Return the record of a fact."""
    if isinstance(fact, Leased):
        return _LEASED.pack(LEASED, *fact)
    if isinstance(fact, (Acked, Purged)):
        kind = ACKED if isinstance(fact, Acked) else PURGED
        head = _RANGES.pack(kind, 0, 0, len(fact.ranges), fact.queue, fact.group)
        return head + b"".join([_RANGE.pack(first, end) for first, end in fact.ranges])
    if isinstance(fact, (Published, Moved)):
        return published_header(fact) + fact.block
    if isinstance(fact, Failed):
        head = _FAILED.pack(FAILED, fact.dying, 0, 0, fact.queue, fact.group, fact.first, fact.end, fact.due_ms)
        return head + json.dumps(fact.failure).encode()
    if isinstance(fact, Dead):
        return _DEAD.pack(DEAD, *fact)
    if isinstance(fact, Noted):
        return _NOTED.pack(NOTED, fact.queue, fact.first, fact.time_ms) + fact.digests
    if isinstance(fact, Repeated):
        queue, offset, count, producer, sequence, time_ms = fact
        return _REPEATED.pack(REPEATED, 0, 0, count, queue, offset, producer, sequence, time_ms)
    return _encode_json(fact)


def _encode_json(fact: Declared | Deleted | ProducerOpened | ProducersExpired) -> bytes:
    kind = _JSON_KINDS[type(fact)]
    fields: dict[str, Any] = fact._asdict()
    if isinstance(fact, Declared):
        fields["settings"] = fact.settings.as_map()
    return bytes((kind,)) + json.dumps(fields).encode()


def decode(payload: bytes | memoryview) -> Fact:
    """Return the fact of a record. Raises ValueError for what is not one (a newer version's journal, or a bug)."""
    kind = payload[0]
    if kind in (PUBLISHED, MOVED):
        _, level, _, count, queue, first, producer, sequence, time_ms = PUBLISHED_HEADER.unpack_from(payload)
        block = bytes(payload[PUBLISHED_HEADER_BYTES:])
        make = Published if kind == PUBLISHED else Moved
        return make(queue, first, count, producer, sequence, level, time_ms, block)
    if kind == LEASED:
        return Leased(*_LEASED.unpack_from(payload)[1:])
    if kind in (ACKED, PURGED):
        _, _, _, _, queue, group = _RANGES.unpack_from(payload)
        ranges = tuple(_RANGE.iter_unpack(payload[_RANGES.size :]))
        return (Acked if kind == ACKED else Purged)(queue, group, ranges)
    if kind == FAILED:
        _, dying, _, _, queue, group, first, end, due_ms = _FAILED.unpack_from(payload)
        failure = Failure(*json.loads(bytes(payload[_FAILED.size :])))
        return Failed(queue, group, first, end, due_ms, bool(dying), failure)
    if kind == DEAD:
        return Dead(*_DEAD.unpack_from(payload)[1:])
    if kind == NOTED:
        _, queue, first, time_ms = _NOTED.unpack_from(payload)
        return Noted(queue, first, time_ms, bytes(payload[_NOTED.size :]))
    if kind == REPEATED:
        _, _, _, count, queue, offset, producer, sequence, time_ms = _REPEATED.unpack_from(payload)
        return Repeated(queue, offset, count, producer, sequence, time_ms)
    return _decode_json(kind, bytes(payload[1:]))


_JSON_KINDS: Final[dict[type, int]] = {
    Declared: DECLARED,
    Deleted: DELETED,
    ProducerOpened: PRODUCER_OPENED,
    ProducersExpired: PRODUCERS_EXPIRED,
}


def _decode_json(kind: int, payload: bytes) -> Fact:
    if kind not in _JSON_KINDS.values():
        raise ValueError(f"a journal record of unknown kind {kind}: written by a newer version?")
    fields: dict[str, Any] = json.loads(payload)
    if kind == DECLARED:
        fields["settings"] = QueueSettings(**fields["settings"])
        return Declared(**fields)
    if kind == DELETED:
        return Deleted(**fields)
    if kind == PRODUCER_OPENED:
        return ProducerOpened(**fields)
    return ProducersExpired(tuple(fields["producers"]))
