"""Facts: what happened, as values. Replaying them rebuilds the durable state (I18); ``records`` has their layout."""

from __future__ import annotations

from typing import Final, NamedTuple

from penstock.core.exchange_settings import ExchangeSettings
from penstock.core.ranges import OffsetRange
from penstock.core.values import Failure, GroupSettings, QueueSettings


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
