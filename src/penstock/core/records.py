"""The records of facts in the journal.

A record's first byte is its kind. Numbers are little-endian u64 unless said otherwise; texts are JSON.

    PUBLISHED, MOVED  | kind u8 | level u8 | 0 u16 | count u32 | queue | first offset | producer | first sequence
                      | published at ms | block ...                              (48 bytes, then the block verbatim)
    LEASED            | kind u8 | 0 x 7 | queue | group | first | end
    ACKED, DISCARDED, EXPIRED
                      | kind u8 | reason u8 | 0 u16 | ranges u32 | queue | group | ranges x (first, end)
    SCHEDULED,        | as PUBLISHED, the schedule id for the offset; then due ms, then the block
    SCHEDULED_MOVED
    DUE_MOVED         | as SCHEDULED, with the offset
    DUE               | kind u8 | 0 u8 | 0 u16 | ranges u32 | queue | first offset | ranges x (first id, end)
    UNSCHEDULED       | kind u8 | 0 x 7 | queue | first id | end | cancelled
    DEAD, HELD        | kind u8 | 0 x 7 | queue | group | offset | dead-letter queue | its offset
    RESUMED           | kind u8 | 0 x 7 | queue | group | offset | 0
    NOTED             | kind u8 | 0 x 7 | queue | first offset | time ms | digests x 15 bytes
    ASKED             | kind u8 | scheduled u8 | 0 u16 | runs u32 | queue | first offset | time ms
                      | runs x (ttl ms | count u32 | priority u8 | 0 x 3)
    REPEATED          | kind u8 | 0 u8 | 0 u16 | count u32 | queue | offset | producer | first sequence | time ms
    GROUP_STATE       | kind u8 | 0 u8 | 0 u16 | key bytes u32 | queue | group | version | key, UTF-8 | value
    OVERFLOWED        | kind u8 | 0 u8 | 0 u16 | count u32 | queue | producer | first sequence | time ms
    FAILED            | kind u8 | dying u8 | 0 u16 | 0 u32 | queue | group | first | end | due ms | JSON failure
    PUBLISHED_TO,     | kind u8 | level u8 | queues u16 | count u32 | exchange | block bytes u32, continues u32
    MOVED_TO          | producer | first sequence | published at ms | block ... | queues x (queue, first offset)
                      (the block is where PUBLISHED has it: readers of blocks need not know which of them it is)
    the others        | kind u8 | JSON
"""

from __future__ import annotations

import json
import struct
from typing import Any, Final

from penstock.core.exchange_settings import ExchangeSettings
from penstock.core.facts import (
    STORED,
    Acked,
    Altered,
    Asked,
    AskedRun,
    Bound,
    Dead,
    Declared,
    DefinitionFact,
    Deleted,
    Discarded,
    Due,
    DueMoved,
    ExchangeDeclared,
    ExchangeDeleted,
    Expired,
    Fact,
    Failed,
    Fired,
    GroupAltered,
    GroupDeclared,
    GroupDeleted,
    GroupStateSet,
    Held,
    Leased,
    Moved,
    MovedTo,
    NamespaceDeleted,
    NamespaceSet,
    Noted,
    Overflowed,
    Paused,
    ProducerOpened,
    ProducersExpired,
    Published,
    PublishedTo,
    RecurringAdded,
    RecurringPaused,
    RecurringRemoved,
    Repeated,
    Resumed,
    Scheduled,
    ScheduledMoved,
    Stored,
    Unbound,
    Unscheduled,
)
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
PUBLISHED_TO: Final = 10
MOVED_TO: Final = 11
ASKED: Final = 12
EXPIRED: Final = 13
OVERFLOWED: Final = 14
DECLARED: Final = 16
DELETED: Final = 17
PRODUCER_OPENED: Final = 18
PRODUCERS_EXPIRED: Final = 19
GROUP_DECLARED: Final = 20
GROUP_DELETED: Final = 21
PAUSED: Final = 22
EXCHANGE_DECLARED: Final = 24
EXCHANGE_DELETED: Final = 25
BOUND: Final = 26
UNBOUND: Final = 27
SCHEDULED: Final = 32
SCHEDULED_MOVED: Final = 33
DUE: Final = 34
UNSCHEDULED: Final = 35
DUE_MOVED: Final = 36
RECURRING_ADDED: Final = 37
RECURRING_REMOVED: Final = 38
RECURRING_PAUSED: Final = 39
FIRED: Final = 40
HELD: Final = 44
RESUMED: Final = 45
ALTERED: Final = 46
GROUP_ALTERED: Final = 47
GROUP_STATE: Final = 60
NAMESPACE_SET: Final = 64
NAMESPACE_DELETED: Final = 65

PUBLISHED_HEADER: Final = struct.Struct("<BBHIQQQQQ")
PUBLISHED_HEADER_BYTES: Final = PUBLISHED_HEADER.size
_DUE_MS: Final = struct.Struct("<Q")
SCHEDULED_HEADER: Final = struct.Struct("<BBHIQQQQQQ")
SCHEDULED_HEADER_BYTES: Final = SCHEDULED_HEADER.size
BLOCK_STARTS: Final = {
    PUBLISHED: PUBLISHED_HEADER_BYTES,
    MOVED: PUBLISHED_HEADER_BYTES,
    SCHEDULED: SCHEDULED_HEADER_BYTES,
    SCHEDULED_MOVED: SCHEDULED_HEADER_BYTES,
    DUE_MOVED: SCHEDULED_HEADER_BYTES,
}
"""The records that hold a block, and where in them it starts."""
_UNSCHEDULED: Final = struct.Struct("<B7xQQQQ")
_LEASED: Final = struct.Struct("<B7xQQQQ")
_RANGES: Final = struct.Struct("<BBHIQQ")
_RANGE: Final = struct.Struct("<QQ")
_DEAD: Final = struct.Struct("<B7xQQQQQ")
_NOTED: Final = struct.Struct("<B7xQQQ")
_OVERFLOWED: Final = struct.Struct("<BBHIQQQQ")
_ASKED: Final = struct.Struct("<BBHIQQQ")
_ASKED_RUN: Final = struct.Struct("<QIB3x")
_REPEATED: Final = struct.Struct("<BBHIQQQQQ")
_GROUP_STATE: Final = struct.Struct("<BBHIQQQ")
_FAILED: Final = struct.Struct("<BBHIQQQQQ")
_SHARED: Final = struct.Struct("<BBHIQIIQQQ")
_TARGET: Final = struct.Struct("<QQ")
_STORED_KINDS: Final[dict[type, int]] = {
    Published: PUBLISHED,
    Moved: MOVED,
    Scheduled: SCHEDULED,
    ScheduledMoved: SCHEDULED_MOVED,
    DueMoved: DUE_MOVED,
}


def shared_record(fact: PublishedTo | MovedTo) -> tuple[bytes, bytes, bytes]:
    """Return the 48 bytes before the block, the block, and the targets behind it."""
    kind = PUBLISHED_TO if type(fact) is PublishedTo else MOVED_TO
    exchange, count, producer, sequence, level, time_ms, targets, continues, block = fact
    header = _SHARED.pack(
        kind, level, len(targets), count, exchange, len(block), continues, producer, sequence, time_ms
    )
    return header, block, b"".join([_TARGET.pack(*target) for target in targets])


def decode_shared(payload: bytes | memoryview, *, with_block: bool = True) -> PublishedTo | MovedTo:
    """Return the fact of a PUBLISHED_TO or MOVED_TO record; recovery leaves the block where it is."""
    kind, level, _, count, exchange, size_bytes, continues, producer, sequence, time_ms = _SHARED.unpack_from(payload)
    end = _SHARED.size + size_bytes
    block = bytes(payload[_SHARED.size : end]) if with_block else b""
    targets = tuple(_TARGET.iter_unpack(payload[end:]))
    make = PublishedTo if kind == PUBLISHED_TO else MovedTo
    return make(exchange, count, producer, sequence, level, time_ms, targets, bool(continues), block)


def block_bytes_of(payload: bytes | memoryview) -> int:
    """Return the size of the block in a PUBLISHED_TO or MOVED_TO record."""
    return int(_SHARED.unpack_from(payload)[5])


_RANGES_FACTS: Final[dict[int, type[Acked | Expired | Due]]] = {ACKED: Acked, EXPIRED: Expired, DUE: Due}
_RANGES_KINDS: Final = {fact: kind for kind, fact in _RANGES_FACTS.items()}


def stored_header(fact: Stored) -> bytes:
    """Return what stands before the block in the record of a fact that holds one: 48 bytes, or 56."""
    kind = _STORED_KINDS[type(fact)]
    head = PUBLISHED_HEADER.pack(kind, fact[5], 0, fact[2], fact[0], fact[1], fact[3], fact[4], fact[6])
    return head + _DUE_MS.pack(fact[8]) if kind >= SCHEDULED else head  # type: ignore[misc]  # those have nine fields


def encode(fact: Fact) -> bytes:
    """Return the record of a fact."""
    if isinstance(fact, Leased):
        return _LEASED.pack(LEASED, *fact)
    if isinstance(fact, Acked):
        return _encode_ranges(ACKED, 0, fact.queue, fact.group, fact.ranges)
    if isinstance(fact, Discarded):
        return _encode_ranges(DISCARDED, fact.reason, fact.queue, fact.group, fact.ranges)
    if isinstance(fact, (Expired, Due)):
        return _encode_ranges(_RANGES_KINDS[type(fact)], 0, fact[0], fact[1], fact.ranges)
    if isinstance(fact, STORED):
        return stored_header(fact) + fact.block
    if isinstance(fact, Unscheduled):
        return _UNSCHEDULED.pack(UNSCHEDULED, *fact)
    if isinstance(fact, Failed):
        head = _FAILED.pack(FAILED, fact.dying, 0, 0, fact.queue, fact.group, fact.first, fact.end, fact.due_ms)
        return head + json.dumps(fact.failure).encode()
    if isinstance(fact, (Dead, Held)):
        return _DEAD.pack(DEAD if isinstance(fact, Dead) else HELD, *fact)
    if isinstance(fact, Resumed):
        return _LEASED.pack(RESUMED, *fact, 0)
    if isinstance(fact, (Noted, Asked, Repeated, Overflowed, GroupStateSet)):
        return _encode_note(fact)
    if isinstance(fact, (PublishedTo, MovedTo)):
        return b"".join(shared_record(fact))
    return _encode_json(fact)


def _encode_note(fact: Noted | Asked | Repeated | Overflowed | GroupStateSet) -> bytes:
    if isinstance(fact, Noted):
        return _NOTED.pack(NOTED, fact.queue, fact.first, fact.time_ms) + fact.digests
    if isinstance(fact, Asked):
        head = _ASKED.pack(ASKED, fact.scheduled, 0, len(fact.runs), fact.queue, fact.first, fact.time_ms)
        return head + b"".join([_ASKED_RUN.pack(*run) for run in fact.runs])
    if isinstance(fact, Repeated):
        queue, offset, count, producer, sequence, time_ms = fact
        return _REPEATED.pack(REPEATED, 0, 0, count, queue, offset, producer, sequence, time_ms)
    if isinstance(fact, Overflowed):
        queue, count, producer, sequence, time_ms = fact
        return _OVERFLOWED.pack(OVERFLOWED, 0, 0, count, queue, producer, sequence, time_ms)
    name = fact.key.encode()
    head = _GROUP_STATE.pack(GROUP_STATE, 0, 0, len(name), fact.queue, fact.group, fact.version)
    return head + name + fact.value


def _encode_ranges(kind: int, reason: int, queue: int, second: int, ranges: tuple[OffsetRange, ...]) -> bytes:
    head = _RANGES.pack(kind, reason, 0, len(ranges), queue, second)
    return head + b"".join([_RANGE.pack(first, end) for first, end in ranges])


def _encode_json(fact: DefinitionFact) -> bytes:
    fields: dict[str, Any] = fact._asdict()
    if isinstance(fact, (Declared, Altered, ExchangeDeclared)):
        fields["settings"] = fact.settings.as_map()
    elif isinstance(fact, (GroupDeclared, GroupAltered)):
        fields["settings"] = fact.settings.as_json()
    return bytes((_JSON_KINDS[type(fact)],)) + json.dumps(fields).encode()


def decode(payload: bytes | memoryview) -> Fact:
    """Return the fact of a record. Raises ValueError for what is not one (a newer version's journal, or a bug)."""
    kind = payload[0]
    if kind in BLOCK_STARTS:
        return _decode_stored(kind, payload)
    if kind == LEASED:
        return Leased(*_LEASED.unpack_from(payload)[1:])
    if kind in (ACKED, DISCARDED, EXPIRED, DUE):
        _, reason, _, _, queue, second = _RANGES.unpack_from(payload)
        ranges = tuple(_RANGE.iter_unpack(payload[_RANGES.size :]))
        if kind == DISCARDED:
            return Discarded(queue, second, reason, ranges)
        return _RANGES_FACTS[kind](queue, second, ranges)
    if kind == UNSCHEDULED:
        return Unscheduled(*_UNSCHEDULED.unpack_from(payload)[1:])
    if kind == FAILED:
        _, dying, _, _, queue, group, first, end, due_ms = _FAILED.unpack_from(payload)
        failure = Failure(*json.loads(bytes(payload[_FAILED.size :])))
        return Failed(queue, group, first, end, due_ms, bool(dying), failure)
    if kind in (DEAD, HELD):
        return (Dead if kind == DEAD else Held)(*_DEAD.unpack_from(payload)[1:])
    if kind == RESUMED:
        return Resumed(*_LEASED.unpack_from(payload)[1:4])
    if kind in (NOTED, ASKED, REPEATED, OVERFLOWED, GROUP_STATE):
        return _decode_note(kind, payload)
    if kind in (PUBLISHED_TO, MOVED_TO):
        return decode_shared(payload)
    return _decode_json(kind, bytes(payload[1:]))


def _decode_note(kind: int, payload: bytes | memoryview) -> Fact:
    if kind == NOTED:
        _, queue, first, time_ms = _NOTED.unpack_from(payload)
        return Noted(queue, first, time_ms, bytes(payload[_NOTED.size :]))
    if kind == ASKED:
        _, scheduled, _, _, queue, first, time_ms = _ASKED.unpack_from(payload)
        runs = tuple(AskedRun(*run) for run in _ASKED_RUN.iter_unpack(payload[_ASKED.size :]))
        return Asked(queue, first, time_ms, runs, bool(scheduled))
    if kind == REPEATED:
        _, _, _, count, queue, offset, producer, sequence, time_ms = _REPEATED.unpack_from(payload)
        return Repeated(queue, offset, count, producer, sequence, time_ms)
    if kind == OVERFLOWED:
        _, _, _, count, queue, producer, sequence, time_ms = _OVERFLOWED.unpack_from(payload)
        return Overflowed(queue, count, producer, sequence, time_ms)
    _, _, _, key_bytes, queue, group, version = _GROUP_STATE.unpack_from(payload)
    rest = bytes(payload[_GROUP_STATE.size :])
    return GroupStateSet(queue, group, version, rest[:key_bytes].decode(), rest[key_bytes:])


def _decode_stored(kind: int, payload: bytes | memoryview) -> Fact:
    _, level, _, count, queue, first, producer, sequence, time_ms = PUBLISHED_HEADER.unpack_from(payload)
    fields = (queue, first, count, producer, sequence, level, time_ms, bytes(payload[BLOCK_STARTS[kind] :]))
    if kind in (PUBLISHED, MOVED):
        return (Published if kind == PUBLISHED else Moved)(*fields)
    make = Scheduled if kind == SCHEDULED else ScheduledMoved if kind == SCHEDULED_MOVED else DueMoved
    return make(*fields, SCHEDULED_HEADER.unpack_from(payload)[9])


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
    EXCHANGE_DECLARED: ExchangeDeclared,
    EXCHANGE_DELETED: ExchangeDeleted,
    BOUND: Bound,
    UNBOUND: Unbound,
    RECURRING_ADDED: RecurringAdded,
    RECURRING_REMOVED: RecurringRemoved,
    RECURRING_PAUSED: RecurringPaused,
    FIRED: Fired,
    NAMESPACE_SET: NamespaceSet,
    NAMESPACE_DELETED: NamespaceDeleted,
}
_JSON_KINDS: Final = {fact: kind for kind, fact in _JSON_FACTS.items()}


def _decode_json(kind: int, payload: bytes) -> Fact:
    if kind not in _JSON_FACTS:
        raise ValueError(f"a journal record of unknown kind {kind}: written by a newer version?")
    fields: dict[str, Any] = json.loads(payload)
    if kind in (DECLARED, ALTERED):
        fields["settings"] = QueueSettings(**fields["settings"])
    elif kind in (GROUP_DECLARED, GROUP_ALTERED):
        fields["settings"] = GroupSettings.from_json(fields["settings"])
    elif kind == PRODUCERS_EXPIRED:
        fields["producers"] = tuple(fields["producers"])
    elif kind == EXCHANGE_DECLARED:
        fields["settings"] = ExchangeSettings(**fields["settings"])
    elif kind in (BOUND, UNBOUND):
        fields["destination"] = tuple(fields["destination"])
    return _JSON_FACTS[kind](**fields)
