"""The whole decided state of a broker, and how facts change it.

Commands live beside this module, one per kind of thing: ``definitions`` (queues, producers), ``publishing``,
``delivery`` (hand-outs), ``settling``. Each decides, records its facts through the ``Recorder`` it was given and
applies them here; recovery calls ``apply`` with the same facts.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from contextlib import AbstractContextManager
from heapq import heappush
from typing import Any, Final, NamedTuple, Protocol

from penstock.core.asks import Asks
from penstock.core.exchanges import Exchanges
from penstock.core.facts import (
    Acked,
    Altered,
    Asked,
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
    Repeated,
    Resumed,
    Scheduled,
    ScheduledMoved,
    Unbound,
    Unscheduled,
)
from penstock.core.group import Group
from penstock.core.log import BlockRef, QueueLog
from penstock.core.matching import Destination, MessageView
from penstock.core.namespaces import Namespaces
from penstock.core.queue import SCHEDULED_MARK, Queue
from penstock.core.recurring import Recurrings
from penstock.core.schedule import Entry, Schedule
from penstock.core.session import Deadlines, Session
from penstock.core.sieve import Choice, Sieve
from penstock.core.timers import Timers
from penstock.core.usage import Usage
from penstock.core.values import EPHEMERAL_NUMBERS_FROM, QueueSettings, Refusal

DROP_BLOCKS_MAX: Final = 4096
"""Blocks dropped at once, about 8 ms: purging or deleting millions must not hold the loop."""
_ALL_BLOCKS: Final = 1 << 62


class Recorder(Protocol):
    """Takes facts for keeping. It must not fail and must not wait; it is how core stays free of storage."""

    def record(self, fact: Fact) -> int:
        """Keep a fact of a durable queue; return its opaque position."""
        ...

    def together(self) -> AbstractContextManager[None]:
        """What is recorded within becomes durable together, or not at all (I5, I14). May be nested."""
        ...

    def hold(self, fact: Published) -> int:
        """Keep a block of a memory queue; return its opaque position."""
        ...


class BlockReader(Protocol):
    """Looks into blocks for queues whose rules need it; how blocks are made is no concern of core."""

    def message_ids(self, block: bytes) -> Sequence[str | None]:
        """Return the id of each message; empty when none has one."""
        ...

    def slice(self, block: bytes, start: int, stop: int) -> bytes:
        """Return a block of the messages ``start`` to ``stop`` (exclusive)."""
        ...

    def views(self, block: bytes) -> list[MessageView] | None:
        """Return what routing may look at of each message, None when that cannot be decoded."""
        ...

    def came_by(self, block: bytes, exchange: str, routing_key: str, kept_as: str) -> bytes | None:
        """Return the block with the way it came in its routing column, None when it names another one. What its
        producer calls ``exchange`` is ``kept_as`` in its namespace.
        """
        ...

    def dead_letters(self, block: bytes, start: int, stop: int, provenance: dict[str, Any]) -> bytes:
        """Return the messages ``start`` to ``stop`` (exclusive) with their provenance added to their properties."""
        ...


class Confirm(NamedTuple):
    """The outcome of one published block, or of a part of it, to be released when its level holds."""

    session: int
    route: int
    status: int
    level: int
    code: str
    first_sequence: int
    message_count: int
    offset: int


class Delivery(NamedTuple):
    """Messages ``first`` to ``end`` of one block, handed out: ``block.first`` says where in it they begin."""

    session: int
    consumer: int
    attempt: int
    failures: int
    first_tag: int
    lease_ms: int
    queue: Queue
    first: int
    end: int
    block: BlockRef


class Dying(NamedTuple):
    """A message on its way to the dead letters; the caller loads its block and calls ``settling.bury``."""

    group: Group
    offset: int


class Overdue(NamedTuple):
    """Messages ``first`` to ``end`` of a group, of which some may be due: see ``expiring``."""

    group: Group
    first: int
    end: int


class Cancelled(NamedTuple):
    """A consumer that the broker ended."""

    session: int
    consumer: int
    refusal: Refusal


class Broker:
    """Queues, producers and sessions; and what the last commands decided, which their caller takes away."""

    dead_letter_settings: QueueSettings = QueueSettings()
    """Of dead-letter queues that nobody declared: their bounds and alarms; the rest follows from their sources."""
    watched_queues: dict[Queue, None]
    """Queues with an alarm: ``engine.alarms`` looks at them about once a second."""
    tripped_groups: dict[Group, None]
    """Groups whose breakers are not closed."""

    def __init__(self, recorder: Recorder, boot_epoch: int, block_reader: BlockReader) -> None:  # noqa: PLR0915  fields, one a line
        self.recorder, self.block_reader = recorder, block_reader
        self.boot_epoch = boot_epoch
        self.queues: dict[int, Queue] = {}
        self.names: dict[str, Queue] = {}
        self.exchanges, self.namespaces = Exchanges(), Namespaces()
        self.producers: dict[int, int] = {}
        """Producer id to the time of its last publish, ms."""
        self.next_number = self.next_producer = 1
        """Ids of queues, exchanges and groups; and of producers: never reused."""
        self.ephemeral_count = 0
        """Ephemeral queues and groups declared in this life, with the groups of those queues."""
        self.sessions: dict[int, Session] = {}
        self.deadlines, self.recurrings, self.timers = Deadlines(), Recurrings(), Timers()
        """The last: when which queue's schedule is to be looked at."""
        self.stops_producers = self._storage_full = self._disk_low = self._memory_full = False
        """The first: true while anything is refused that some queue would take, see ``stop_code``."""
        self.expirations = Timers()
        """When which queue's messages are due."""
        self.overdue: deque[Overdue] = deque()
        self.asks: Asks | None = None
        """While a block is published that asks for something: what."""

        self.ready_groups: dict[Group, None] = {}
        """Groups that may have something to hand out: looked at once per commit."""
        self.delayed_groups: dict[Group, None] = {}
        self.looking: dict[Group, None] = {}
        """Keyed groups that want the keys of more messages: the caller brings them to ``keyed.look_at``."""
        self.sifting: dict[Sieve | Choice, None] = {}
        """Selectors that may have something to look at."""
        self.published_queues: dict[Queue, None] = {}
        """Queues with blocks that are not visible yet."""
        self.confirms: list[Confirm] = []
        self.deliveries: list[Delivery] = []
        self.dying: list[Dying] = []
        self.orphans: list[tuple[Group, int]] = []
        """Held messages whose markers are gone: ``settling.skip_orphans``."""
        self.cancelled: list[Cancelled] = []
        self.dropped: list[BlockRef] = []
        """Blocks that no one needs any more."""
        self.full_queues: dict[Queue, None] = {}
        """Queues that were above their bound when they last took something in: confirms of theirs wait for room."""
        self.relieved_queues: dict[Queue, None] = {}
        """Those of them with something done since: they may have room again."""
        self.aging_queues: dict[Queue, None] = {}
        """Queues with new messages that may become too old: their time is set in the next turn."""
        self.age_deadlines: list[tuple[int, int, bool]] = []
        """A heap of (ms since 1970, queue number, whether it is a second look): when messages are too old. A queue has
        two of them at the most."""
        self.use_deadlines: list[tuple[int, int]] = []
        """A heap of (ms since 1970, queue number): when to look whether a queue is used. See ``lifetimes``."""
        self.overfull_queues: dict[Queue, None] = {}
        """Queues that hold what has to go to their dead letters: the caller does that, who has the blocks."""
        self.watched_queues, self.tripped_groups = {}, {}
        self.draining: dict[QueueLog | Schedule, None] = {}
        """Logs and schedules with more such blocks than were dropped at once: see ``drain``."""
        self._drop_blocks_max = _ALL_BLOCKS

    def emit(self, durable: bool, fact: Fact) -> None:
        """Apply a fact; record it too if what it is about is durable."""
        if durable:
            self.recorder.record(fact)
        self.apply(fact)

    def apply(self, fact: Fact) -> None:
        """Change the durable state as the fact says. PUBLISHED and MOVED carry a position: see their own methods."""
        match fact:
            case Acked():
                self._group(fact.queue, fact.group).apply_acked(fact)
                self._release_after(fact)
            case Leased():
                self._group(fact.queue, fact.group).apply_leased(fact)
            case Failed():
                self._group(fact.queue, fact.group).apply_failed(fact)
            case Expired():
                self._group(fact.queue, fact.group).apply_expired(fact)
            case Dead():
                self._group(fact.queue, fact.group).apply_dead(fact)
                self.release(self.queues[fact.queue])
            case Discarded():
                self._group(fact.queue, fact.group).apply_discarded(fact)
                self._release_after(fact)
            case Held() | Resumed():
                self._apply_held(fact)
            case GroupStateSet():
                self._group(fact.queue, fact.group).apply_state(fact)
            case Noted() | Asked() | Repeated() | Overflowed():
                self._apply_intake(fact)
            case Due() | Unscheduled():
                self._apply_to_schedule(self.queues[fact.queue], fact)
            case Published() | Moved() | PublishedTo() | MovedTo() | Scheduled() | ScheduledMoved() | DueMoved():
                raise TypeError("facts that hold a block need its position")
            case _:
                self._apply_definition(fact)

    def _apply_definition(self, fact: DefinitionFact) -> None:
        match fact:
            case Declared():
                self._apply_declared(fact)
            case Deleted():
                self._apply_deleted(fact)
            case GroupDeclared():
                queue = self.queues[fact.queue]
                queue.add_group(fact.group, fact.name, fact.settings).apply_declared(fact)
                self._relieve(queue)
                self._look_at_ages(queue)
                self._note_number(fact.group)
            case GroupDeleted():
                queue = self.queues[fact.queue]
                queue.remove_group(queue.groups[fact.group])
                self.release(queue)
                self._look_at_ages(queue)
            case Altered():
                queue = self.queues[fact.queue]
                was_used = queue.settings.expires_ms == fact.settings.expires_ms
                queue.take_settings(fact.settings, fact.time_ms)
                self._look_at_breaker(queue.group)
                self._watch(queue)
                self._relieve(queue)
                self._look_at_ages(queue)
                if not was_used:
                    self._watch_use(queue)
            case GroupAltered():
                group = self._group(fact.queue, fact.group)
                group.take_settings(fact.settings)
                self._look_at_breaker(group)
            case Paused():
                owner = self._group(fact.queue, fact.group) if fact.group else self.queues[fact.queue]
                owner.paused = fact.paused
            case ProducerOpened() | ProducersExpired():
                self._apply_producers(fact)
            case NamespaceSet() | NamespaceDeleted():
                self.namespaces.apply(fact, self.queues.values())
            case ExchangeDeclared() | ExchangeDeleted() | Bound() | Unbound():
                self.exchanges.apply(fact)
                self.next_number = max(self.next_number, fact.exchange + 1)
            case _:
                self.recurrings.apply(fact)
                self.next_number = max(self.next_number, fact.number + 1)

    def apply_published(
        self, queue: Queue, count: int, size_bytes: int, position: int, producer: int, first_sequence: int, time_ms: int
    ) -> None:
        """A block entered the log. ``producer`` 0 is the broker itself (dead letters, redrive)."""
        offset = queue.log.append(count, size_bytes, position)
        if queue.ages is not None:
            self.note_age(queue, offset, time_ms)
        if queue.terms is not None:
            queue.terms.arrived(offset, offset + count, time_ms)
        if producer:
            queue.stream_of(producer).advance(first_sequence, count, offset)
            self.producers[producer] = time_ms

    def _release_after(self, fact: Acked | Discarded) -> None:
        queue = self.queues[fact.queue]
        if queue.markers:
            for offset in [offset for offset in queue.markers if not queue.is_open(offset)]:
                self.orphans.append(queue.markers.pop(offset))
        self.release(queue)

    def _apply_held(self, fact: Held | Resumed) -> None:
        group = self._group(fact.queue, fact.group)
        if isinstance(fact, Held):
            group.apply_held(fact)
        else:
            group.apply_resumed(fact)
            self._look_at_ages(group.queue)

    def note_age(self, queue: Queue, offset: int, time_ms: int) -> None:
        """Messages from this offset on are of this time, in a queue that keeps none for ever."""
        assert queue.ages is not None, "only queues with a greatest age note ages"
        queue.ages.note(offset, time_ms)
        if not queue.ages.is_watched:
            self.aging_queues[queue] = None

    def apply_published_to(
        self, fact: PublishedTo, targets: tuple[tuple[int, int], ...], size_bytes: int, position: int
    ) -> None:
        """A block came through an exchange and entered the logs of its targets.

        ``size_bytes`` is the record's without its targets: what each queue reads. In recovery, ``targets`` are those of
        the fact's that do not have the block yet, and some of them may be gone.
        """
        for number, _ in targets:
            if (queue := self.queues.get(number)) is not None:
                offset = queue.log.append(fact.message_count, size_bytes, position)
                if queue.ages is not None:
                    self.note_age(queue, offset, fact.time_ms)
                if queue.terms is not None:
                    queue.terms.arrived(offset, offset + fact.message_count, fact.time_ms)
        self.exchanges.apply_published(fact)
        self.producers[fact.producer] = fact.time_ms

    def apply_scheduled(
        self, queue: Queue, entry: Entry, producer: int = 0, first_sequence: int = 0, time_ms: int = 0
    ) -> None:
        """A block entered a schedule. ``producer`` 0 is the broker itself: what a cancel left of an entry."""
        if queue.schedule is None:
            queue.schedule = Schedule()
        queue.schedule.add(entry)
        if producer:
            mark = entry.first_id | SCHEDULED_MARK
            queue.stream_of(producer).advance(first_sequence, entry.message_count, mark)
            self.producers[producer] = time_ms

    def _apply_to_schedule(self, queue: Queue, fact: Due | Unscheduled) -> None:
        schedule, append = queue.schedule, queue.log.append
        assert schedule is not None, "only what was scheduled can leave a schedule"
        if isinstance(fact, Due):
            for first, end in fact.ranges:
                for entry in schedule.take(first, end):
                    offset = append(entry[1], entry[3], entry[4])
                    if queue.ages is not None:
                        self.note_age(queue, offset, entry[2])
                    if queue.terms is not None or schedule.terms is not None:
                        queue.apply_due(entry, offset)
            if schedule.terms is not None:
                schedule.terms.trim(schedule.first_id)
            return
        schedule.cancelled_count += fact.cancelled
        if fact.cancelled == schedule.message_count:
            self._abandon(schedule)
        else:
            self.dropped += [entry.block() for entry in schedule.forget(fact.first, fact.end)]

    def _abandon(self, schedule: Schedule) -> None:
        schedule.abandon()
        self.draining[schedule] = None
        self.drain()

    @property
    def storage_full(self) -> bool:
        """True while the disk has no room for what is gathered."""
        return self._storage_full

    @storage_full.setter
    def storage_full(self, full: bool) -> None:
        self._storage_full = full
        self._look_whether_producers_stop()

    def set_watermarks(self, disk_low: bool, memory_full: bool) -> None:
        """Stop producers, or let them go on, before the disk or the memory has come to its end."""
        self._disk_low, self._memory_full = disk_low, memory_full
        self._look_whether_producers_stop()

    def _look_whether_producers_stop(self) -> None:
        self.stops_producers = self._storage_full or self._disk_low or self._memory_full

    def stop_code(self, durable: bool) -> str:
        """Why nothing new is published to any such queue now, though it has room itself; empty when it is."""
        if (self._storage_full or self._disk_low) and durable:
            return "disk-full"
        return "memory-full" if self._memory_full else ""

    def release(self, queue: Queue) -> None:
        """Drop the blocks that every group is done with."""
        if self.full_queues:
            self._relieve(queue)
        low = queue.low_offset
        if low > queue.log.start_offset:
            self._drop(queue.log, low)
            queue.begin_at(low)
            if queue.terms is not None:
                queue.trim_terms(low)

    def look_again(self, group: Group, first: int, end: int) -> None:
        """Messages came back, or came to be a group's: some may be due (``expiring``)."""
        if group.queue.terms is not None:
            self.overdue.append(Overdue(group, first, end))

    def _look_at_ages(self, queue: Queue) -> None:
        """What was out of reach or done with may wait now, and be too old."""
        if queue.ages is not None:
            self.aging_queues[queue] = None

    def _relieve(self, queue: Queue) -> None:
        """Less of it may be needed now."""
        if queue in self.full_queues:
            self.relieved_queues[queue] = None

    def drain(self) -> None:
        """Go on dropping what a purge or a deletion left."""
        one = next(iter(self.draining))
        del self.draining[one]
        self.relieved_queues.update(self.full_queues)
        if isinstance(one, QueueLog):
            self._drop(one, one.start_offset)
            return
        dropped = one.drain(self._drop_blocks_max)
        self.dropped += dropped
        if dropped:
            self.draining[one] = None

    def _drop(self, log: QueueLog, low: int) -> None:
        dropped = log.release(low, self._drop_blocks_max)
        self.dropped += dropped
        if len(dropped) == self._drop_blocks_max:
            self.draining[log] = None

    def reopen(self, now_ms: int = 0) -> None:
        """After recovery: everything stored is visible, nothing is leased, what is scheduled waits again."""
        while self.draining:  # what was given up in the past is no one's, and counted nowhere
            self.drain()
        self.dropped.clear()
        self._drop_blocks_max = DROP_BLOCKS_MAX
        for queue in self.queues.values():
            # A snapshot may have been taken while draining, or while an ephemeral group held back what it had not read.
            low = max(queue.log.start_offset, queue.low_offset)
            queue.log.release(low, _ALL_BLOCKS)
            queue.begin_at(low)
            if queue.terms is not None:
                queue.trim_terms(low)
                queue.terms.wake()
                self.expirations.set(queue.number, queue.terms)
            queue.log.visible = queue.log.next_offset
            if queue.schedule is not None:
                queue.schedule.awake(now_ms)
                self.timers.set(queue.number, queue.schedule)
            self._look_at_ages(queue)
            self._watch_use(queue)
            for group in queue.groups.values():
                self.dying += [Dying(group, offset) for offset in group.reopen()]
                if group.delayed_count:
                    self.delayed_groups[group] = None
        self._find_markers()

    def _find_markers(self) -> None:
        for queue in self.queues.values():
            for group in queue.groups.values():
                for offset, (target, marker) in group.held.items():
                    holder = self.queues.get(target)
                    if holder is not None and holder.is_open(marker):
                        holder.markers[marker] = (group, offset)
                    else:
                        self.orphans.append((group, offset))

    def _group(self, queue: int, group: int) -> Group:
        return self.queues[queue].groups[group]

    def _apply_declared(self, fact: Declared) -> None:
        # A memory queue starts empty in every life of the broker, at offsets no earlier life used (SEMANTICS 5).
        start = 0 if fact.settings.durable else self.boot_epoch << 40
        queue = Queue(fact.queue, fact.group, fact.name, fact.settings, fact.time_ms, start)
        self.queues[fact.queue] = queue
        self.names[fact.name] = queue
        self._watch(queue)
        self.namespaces.take_in(queue)
        self._note_number(max(fact.queue, fact.group))
        self._watch_use(queue)

    def new_ephemeral_number(self) -> int:
        """Return a number for what no journal remembers; none is used again either, for each life has its own."""
        self.ephemeral_count += 1
        return self.boot_epoch * EPHEMERAL_NUMBERS_FROM + self.ephemeral_count

    def _note_number(self, number: int) -> None:
        if number < EPHEMERAL_NUMBERS_FROM:
            self.next_number = max(self.next_number, number + 1)

    def _watch_use(self, queue: Queue) -> None:
        """Have it looked at, from the next turn on, whether a queue is used; or not, if it never expires."""
        queue.usage = Usage() if queue.settings.expires_ms else None
        if queue.usage is not None:
            heappush(self.use_deadlines, (queue.usage.due_ms, queue.number))

    def _look_at_breaker(self, group: Group) -> None:
        """With other settings it is a new one, and closed."""
        if not group.is_tripped:
            self.tripped_groups.pop(group, None)

    def _watch(self, queue: Queue) -> None:
        if queue.settings.has_alarms:
            self.watched_queues[queue] = None
        else:
            self.watched_queues.pop(queue, None)

    def _apply_deleted(self, fact: Deleted) -> None:
        queue = self.queues.pop(fact.queue)
        del self.names[queue.name]
        self.watched_queues.pop(queue, None)
        queue.deleted = True
        if queue.space is not None:
            queue.space.let_go(queue)
        for group in queue.groups.values():
            group.deleted = True
        self.orphans += queue.markers.values()
        self.exchanges.forget(Destination.to_queue(fact.queue))
        self._relieve(queue)
        self._drop(queue.log, queue.log.next_offset)
        if queue.schedule is not None:
            self._abandon(queue.schedule)

    def _apply_intake(self, fact: Noted | Asked | Repeated | Overflowed) -> None:
        queue = self.queues[fact.queue]
        if isinstance(fact, Noted):
            assert queue.dedup is not None, "ids are noted in queues that deduplicate"
            queue.dedup.note(fact.first, fact.digests, fact.time_ms)
            return
        if isinstance(fact, Asked):
            queue.apply_asked(fact)
            return
        stream = queue.stream_of(fact.producer)
        self.producers[fact.producer] = fact.time_ms
        if isinstance(fact, Repeated):
            stream.advance(fact.first_sequence, fact.message_count, fact.offset)
        else:
            stream.skip(fact.first_sequence, fact.message_count)
            queue.dropped_newest += fact.message_count

    def _apply_producers(self, fact: ProducerOpened | ProducersExpired) -> None:
        if isinstance(fact, ProducerOpened):
            self.producers[fact.producer] = fact.time_ms
            self.next_producer = max(self.next_producer, fact.producer + 1)
            return
        for producer in fact.producers:
            self.producers.pop(producer, None)
        gone = set(fact.producers)
        self.exchanges.expire_producers(gone)
        for queue in self.queues.values():
            for producer in gone.intersection(queue.streams):
                del queue.streams[producer]
