"""Facts: what happened, as values and as journal records. Replaying them rebuilds the durable state (I18).

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
from typing import Any, Final, NamedTuple

from penstock.core.exchange_settings import ExchangeSettings
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
GROUP_STATE: Final = 60
NAMESPACE_SET: Final = 64
NAMESPACE_DELETED: Final = 65
ALTERED: Final = 46
GROUP_ALTERED: Final = 47

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


class PublishedTo(NamedTuple):
    """A block came through an exchange and entered the logs of its durable targets: (queue, first offset) each.

    All of them, or after a crash none (I5). Without targets the exchange's stream alone goes on: nothing but memory
    took it (``level`` says memory), or no queue did. ``continues``: it is of the same publish as the fact before it.
    """

    exchange: int
    message_count: int
    producer: int
    first_sequence: int
    level: int
    time_ms: int
    targets: tuple[tuple[int, int], ...]
    continues: bool
    block: bytes


class MovedTo(NamedTuple):
    """Storage keeps a block that several queues need at a new place: the same fields, the block copied."""

    exchange: int
    message_count: int
    producer: int
    first_sequence: int
    level: int
    time_ms: int
    targets: tuple[tuple[int, int], ...]
    continues: bool
    block: bytes


class Scheduled(NamedTuple):
    """A block entered a queue's schedule: its messages wait until ``due_ms`` (ms since 1970) for their offsets."""

    queue: int
    first: int
    message_count: int
    producer: int
    first_sequence: int
    level: int
    time_ms: int
    block: bytes
    due_ms: int


class ScheduledMoved(NamedTuple):
    """Storage keeps a waiting block at a new place: the same fields, the block copied."""

    queue: int
    first: int
    message_count: int
    producer: int
    first_sequence: int
    level: int
    time_ms: int
    block: bytes
    due_ms: int


class DueMoved(NamedTuple):
    """Storage keeps a block that was scheduled, and is in the log now, at a new place; ``first`` is its offset."""

    queue: int
    first: int
    message_count: int
    producer: int
    first_sequence: int
    level: int
    time_ms: int
    block: bytes
    due_ms: int


class Due(NamedTuple):
    """Messages' time has come: in the order of these ranges of schedule ids they are in the log from ``first`` on."""

    queue: int
    first: int
    ranges: tuple[OffsetRange, ...]


class Unscheduled(NamedTuple):
    """The entries that begin within these schedule ids left the schedule, ``cancelled`` of their messages for good; the
    others follow as entries of their own in the same batch.
    """

    queue: int
    first: int
    end: int
    cancelled: int


class RecurringAdded(NamedTuple):
    """A recurring schedule came to be; ``block64`` is its message's block in base64."""

    number: int
    name: str
    cron: str
    zone: str
    queue: str
    block64: str
    missed: str
    next_ms: int
    created_at_ms: int


class RecurringRemoved(NamedTuple):
    """A recurring schedule is gone."""

    number: int


class RecurringPaused(NamedTuple):
    """A recurring schedule stopped firing, or goes on with the firing of ``next_ms``."""

    number: int
    paused: bool
    next_ms: int


class Fired(NamedTuple):
    """A recurring schedule fired for the time ``at_ms``; its message, if there was one, is in the same batch."""

    number: int
    at_ms: int
    next_ms: int
    published: bool


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


class Expired(NamedTuple):
    """The time of messages is over that no consumer holds: they are on their way to the dead letters."""

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


class AskedRun(NamedTuple):
    """What so many messages asked for: a time to live (0: none) and a priority."""

    ttl_ms: int
    message_count: int
    priority: int


class Asked(NamedTuple):
    """The messages from ``first`` on, which entered the log at ``time_ms``, asked for something; ``runs`` cover their
    whole block. ``scheduled``: they are scheduled, ``first`` is an id, and what they asked for is for later.

    It follows the messages' Published or Scheduled in the same batch.
    """

    queue: int
    first: int
    time_ms: int
    runs: tuple[AskedRun, ...]
    scheduled: bool = False


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


class GroupStateSet(NamedTuple):
    """A key in a group's state has a new value; none any more when ``value`` is empty."""

    queue: int
    group: int
    version: int
    key: str
    value: bytes


class Overflowed(NamedTuple):
    """Messages were published that found the queue full and were dropped: their sequences are used up."""

    queue: int
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
    time_ms: int


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


class ExchangeDeclared(NamedTuple):
    """An exchange came to be."""

    exchange: int
    name: str
    settings: ExchangeSettings
    time_ms: int


class ExchangeDeleted(NamedTuple):
    """An exchange is gone, with the bindings from it and to it."""

    exchange: int


class Bound(NamedTuple):
    """A binding came to be. ``destination`` is (kind, number), ``arguments`` canonical JSON."""

    exchange: int
    destination: tuple[str, int]
    routing_key: str
    arguments: str


class Unbound(NamedTuple):
    """A binding is gone."""

    exchange: int
    destination: tuple[str, int]
    routing_key: str
    arguments: str


class NamespaceSet(NamedTuple):
    """A namespace has these limits from now on; it came to be if it was not there."""

    name: str
    max_queues: int
    max_connections: int
    max_bytes: int
    created_at_ms: int


class NamespaceDeleted(NamedTuple):
    """A namespace is gone; nothing was in it."""

    name: str


ExchangeFact = ExchangeDeclared | ExchangeDeleted | Bound | Unbound
Stored = Published | Moved | Scheduled | ScheduledMoved | DueMoved
"""The facts that hold a block of one queue."""
Fact = (
    Stored
    | PublishedTo
    | MovedTo
    | Due
    | Unscheduled
    | Leased
    | Acked
    | Discarded
    | Expired
    | Failed
    | Dead
    | Held
    | Resumed
    | Noted
    | Asked
    | Repeated
    | GroupStateSet
    | Overflowed
    | Declared
    | Deleted
    | GroupDeclared
    | GroupDeleted
    | Altered
    | GroupAltered
    | Paused
    | RecurringAdded
    | RecurringRemoved
    | RecurringPaused
    | Fired
    | ProducerOpened
    | ProducersExpired
    | NamespaceSet
    | NamespaceDeleted
    | ExchangeFact
)
STORED: Final = (Published, Moved, Scheduled, ScheduledMoved, DueMoved)
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


RecurringFact = RecurringAdded | RecurringRemoved | RecurringPaused | Fired
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
    | NamespaceSet
    | NamespaceDeleted
    | ExchangeFact
    | RecurringFact
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
