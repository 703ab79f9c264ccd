"""Facts: what happened, as values and as journal records. Replaying them rebuilds the durable state (I18).

A record's first byte is its kind. Numbers are little-endian u64 unless said otherwise; texts are JSON.

    PUBLISHED, MOVED  | kind u8 | level u8 | 0 u16 | count u32 | queue | first offset | producer | first sequence
                      | published at ms | block ...                              (48 bytes, then the block verbatim)
    LEASED            | kind u8 | 0 x 7 | queue | group | first | end
    ACKED, DISCARDED  | kind u8 | reason u8 | 0 u16 | ranges u32 | queue | group | ranges x (first, end)
    DEAD, HELD        | kind u8 | 0 x 7 | queue | group | offset | dead-letter queue | its offset
    RESUMED           | kind u8 | 0 x 7 | queue | group | offset | 0
    NOTED             | kind u8 | 0 x 7 | queue | first offset | time ms | digests x 15 bytes
    REPEATED          | kind u8 | 0 u8 | 0 u16 | count u32 | queue | offset | producer | first sequence | time ms
    FAILED            | kind u8 | dying u8 | 0 u16 | 0 u32 | queue | group | first | end | due ms | JSON failure
    the others        | kind u8 | JSON
"""

from __future__ import annotations

import json
import struct
from typing import Any, Final, NamedTuple

from penstock.core.ranges import OffsetRange
from penstock.core.values import Failure, GroupSettings, QueueSettings

PUBLISHED: Final = 1
LEASED: Final = 2
ACKED: Final = 3
FAILED: Final = 4
DEAD: Final = 5
DISCARDED: Final = 6
MOVED: Final = 7
NOTED: Final = 8
REPEATED: Final = 9
HELD: Final = 44
RESUMED: Final = 45
DECLARED: Final = 16
DELETED: Final = 17
PRODUCER_OPENED: Final = 18
PRODUCERS_EXPIRED: Final = 19
GROUP_DECLARED: Final = 20
GROUP_DELETED: Final = 21
PAUSED: Final = 22
ALTERED: Final = 46
GROUP_ALTERED: Final = 47

PUBLISHED_HEADER: Final = struct.Struct("<BBHIQQQQQ")
PUBLISHED_HEADER_BYTES: Final = PUBLISHED_HEADER.size
_LEASED: Final = struct.Struct("<B7xQQQQ")
_RANGES: Final = struct.Struct("<BBHIQQ")
_RANGE: Final = struct.Struct("<QQ")
_DEAD: Final = struct.Struct("<B7xQQQQQ")
_NOTED: Final = struct.Struct("<B7xQQQ")
_REPEATED: Final = struct.Struct("<BBHIQQQQQ")
_FAILED: Final = struct.Struct("<BBHIQQQQQ")


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


class Discarded(NamedTuple):
    """Messages that were not leased are done, unprocessed: ``reason`` says why (values.DISCARD_REASONS)."""

    queue: int
    group: int
    reason: int
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


class Held(NamedTuple):
    """A message died and stays in its place: what is in the dead-letter queue is a marker, a copy that says so. It is a
    Published in the same batch (SEMANTICS 12).
    """

    queue: int
    group: int
    offset: int
    target: int
    target_offset: int


class Resumed(NamedTuple):
    """A held message is tried again, its failures counted from 0; its marker is acknowledged in the same batch."""

    queue: int
    group: int
    offset: int


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
    """A queue came to be; ``group`` is the number its default group has once that is declared too."""

    queue: int
    group: int
    name: str
    settings: QueueSettings
    time_ms: int


class Deleted(NamedTuple):
    """A queue and everything in it is gone."""

    queue: int


class GroupDeclared(NamedTuple):
    """A group came to be, before message ``start``."""

    queue: int
    group: int
    name: str
    settings: GroupSettings
    start: int
    time_ms: int


class GroupDeleted(NamedTuple):
    """A group and its state are gone."""

    queue: int
    group: int


class Altered(NamedTuple):
    """A queue has other settings from now on."""

    queue: int
    settings: QueueSettings


class GroupAltered(NamedTuple):
    """A group has other settings from now on."""

    queue: int
    group: int
    settings: GroupSettings


class Paused(NamedTuple):
    """Hand-outs of a queue (``group`` 0), or of one of its groups, stop or go on."""

    queue: int
    group: int
    paused: bool


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
    | Discarded
    | Failed
    | Dead
    | Held
    | Resumed
    | Noted
    | Repeated
    | Declared
    | Deleted
    | GroupDeclared
    | GroupDeleted
    | Altered
    | GroupAltered
    | Paused
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
    if isinstance(fact, (Acked, Discarded)):
        kind, reason = (ACKED, 0) if isinstance(fact, Acked) else (DISCARDED, fact.reason)
        head = _RANGES.pack(kind, reason, 0, len(fact.ranges), fact.queue, fact.group)
        return head + b"".join([_RANGE.pack(first, end) for first, end in fact.ranges])
    if isinstance(fact, (Published, Moved)):
        return published_header(fact) + fact.block
    if isinstance(fact, Failed):
        head = _FAILED.pack(FAILED, fact.dying, 0, 0, fact.queue, fact.group, fact.first, fact.end, fact.due_ms)
        return head + json.dumps(fact.failure).encode()
    if isinstance(fact, (Dead, Held)):
        return _DEAD.pack(DEAD if isinstance(fact, Dead) else HELD, *fact)
    if isinstance(fact, Resumed):
        return _LEASED.pack(RESUMED, *fact, 0)
    if isinstance(fact, Noted):
        return _NOTED.pack(NOTED, fact.queue, fact.first, fact.time_ms) + fact.digests
    if isinstance(fact, Repeated):
        queue, offset, count, producer, sequence, time_ms = fact
        return _REPEATED.pack(REPEATED, 0, 0, count, queue, offset, producer, sequence, time_ms)
    return _encode_json(fact)


def _encode_json(fact: DefinitionFact) -> bytes:
    fields: dict[str, Any] = fact._asdict()
    if isinstance(fact, (Declared, GroupDeclared, Altered, GroupAltered)):
        fields["settings"] = fact.settings.as_map()
    return bytes((_JSON_KINDS[type(fact)],)) + json.dumps(fields).encode()


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
    if kind in (ACKED, DISCARDED):
        _, reason, _, _, queue, group = _RANGES.unpack_from(payload)
        ranges = tuple(_RANGE.iter_unpack(payload[_RANGES.size :]))
        return Acked(queue, group, ranges) if kind == ACKED else Discarded(queue, group, reason, ranges)
    if kind == FAILED:
        _, dying, _, _, queue, group, first, end, due_ms = _FAILED.unpack_from(payload)
        failure = Failure(*json.loads(bytes(payload[_FAILED.size :])))
        return Failed(queue, group, first, end, due_ms, bool(dying), failure)
    if kind in (DEAD, HELD):
        return (Dead if kind == DEAD else Held)(*_DEAD.unpack_from(payload)[1:])
    if kind == RESUMED:
        return Resumed(*_LEASED.unpack_from(payload)[1:4])
    if kind == NOTED:
        _, queue, first, time_ms = _NOTED.unpack_from(payload)
        return Noted(queue, first, time_ms, bytes(payload[_NOTED.size :]))
    if kind == REPEATED:
        _, _, _, count, queue, offset, producer, sequence, time_ms = _REPEATED.unpack_from(payload)
        return Repeated(queue, offset, count, producer, sequence, time_ms)
    return _decode_json(kind, bytes(payload[1:]))


DefinitionFact = (
    Declared
    | Deleted
    | GroupDeclared
    | GroupDeleted
    | Altered
    | GroupAltered
    | Paused
    | ProducerOpened
    | ProducersExpired
)

_JSON_FACTS: Final[dict[int, type[DefinitionFact]]] = {
    DECLARED: Declared,
    DELETED: Deleted,
    GROUP_DECLARED: GroupDeclared,
    GROUP_DELETED: GroupDeleted,
    ALTERED: Altered,
    GROUP_ALTERED: GroupAltered,
    PAUSED: Paused,
    PRODUCER_OPENED: ProducerOpened,
    PRODUCERS_EXPIRED: ProducersExpired,
}
_JSON_KINDS: Final = {fact: kind for kind, fact in _JSON_FACTS.items()}


def _decode_json(kind: int, payload: bytes) -> Fact:
    if kind not in _JSON_FACTS:
        raise ValueError(f"a journal record of unknown kind {kind}: written by a newer version?")
    fields: dict[str, Any] = json.loads(payload)
    if kind in (DECLARED, ALTERED):
        fields["settings"] = QueueSettings(**fields["settings"])
    elif kind in (GROUP_DECLARED, GROUP_ALTERED):
        fields["settings"] = GroupSettings(**fields["settings"])
    elif kind == PRODUCERS_EXPIRED:
        fields["producers"] = tuple(fields["producers"])
    return _JSON_FACTS[kind](**fields)
