"""The shadow's naive state: one object per message, one entry per delivery tag, nothing clever."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Container, Iterable
from dataclasses import dataclass, field
from enum import Enum
from itertools import pairwise
from typing import NamedTuple

from tests.sim.bodies import key_of
from tests.sim.breakers import ShadowBreaker
from tests.sim.exchanges import Way
from tests.sim.terms import Asked

from penstock.core.ages import Ages
from penstock.core.operands import PRIORITY_DEFAULT
from penstock.core.values import DEAD_LETTER, DISCARD_REASONS, GroupSettings, QueueSettings

SCHEDULED_MARK = 1 << 62

Failed = tuple[int, int, str, str, int]
"""One failure: when, on which attempt, whose, why, and since when it had the message."""


class Place(Enum):
    """Where an open message is."""

    READY = "ready"
    LEASED = "leased"
    DELAYED = "delayed"
    DYING = "dying"
    TAIL = "tail"
    HELD = "held"


@dataclass(slots=True)
class Stored:
    """One message of a log."""

    uid: int
    offset: int
    unit_bytes: int
    block_first: int
    position: int
    time_ms: int = 0
    over_ms: int = 0
    """Its time is over then; 0: never."""
    priority: int = PRIORITY_DEFAULT
    path: tuple[int, ...] = ()
    """Of a dead letter: the groups in which it died, one after the other."""


@dataclass(slots=True)
class Message:
    """One message that a group is not done with."""

    stored: Stored
    offset: int
    attempts: int = 0
    failures: int = 0
    due_ms: int = 0
    due_until_ms: int = 0
    """Not 0: jitter was drawn, the due time lies between ``due_ms`` and this, and has not been looked up yet."""
    place: Place = Place.READY
    held_until_ms: int = 0
    """Given back with a delay: ready then. A restart forgets it."""
    tail_at: int = 0
    """At the tail: ready when the cursor is there."""
    history: list[Failed] = field(default_factory=list)
    expired: bool = False
    """It is dying because its time is over."""

    def is_over(self, now_ms: int) -> bool:
        """True when it may not be handed out any more."""
        return 0 < self.stored.over_ms <= now_ms

    @property
    def turn(self) -> tuple[int, int, int]:
        """Where it stands among the others that are ready, by priority."""
        place = self.tail_at if self.place is Place.TAIL else self.offset
        return -self.stored.priority, place, self.offset


@dataclass(slots=True)
class Block:
    """A stored block: messages ``first`` to ``end``."""

    first: int
    end: int
    size_bytes: int


@dataclass(slots=True)
class Waiting:
    """One scheduled message."""

    uid: int
    due_ms: int
    position: int
    entry: int
    """The id of the first message of its block."""
    entry_bytes: int
    unit_bytes: int
    asked: Asked


@dataclass(slots=True)
class Stream:
    """What one producer published into one queue, sequence by sequence."""

    last: int = 0
    offsets: dict[int, int] = field(default_factory=dict)

    def breaks_since(self, sequence: int) -> int:
        """How many runs of consecutive (sequence, offset) pairs there are from ``sequence`` on."""
        known = sorted(one for one in self.offsets if one >= sequence)
        return 1 + sum(b != a + 1 or self.offsets[b] != self.offsets[a] + 1 for a, b in pairwise(known))


class NotedId(NamedTuple):
    """A message id that a queue which deduplicates has seen."""

    digest: bytes
    offset: int
    time_ms: int


@dataclass(slots=True)
class ShadowGroup:
    """One group of one queue."""

    queue: ShadowQueue
    number: int
    name: str
    settings: GroupSettings
    cursor: int
    declared: bool = False
    paused: bool = False
    passed: set[int] = field(default_factory=set)
    """Offsets at or above the cursor that are not untouched."""
    messages: dict[int, Message] = field(default_factory=dict)
    ready: list[int] = field(default_factory=list)
    active: ShadowConsumer | None = None
    tokens: float = float("inf")
    """Of a rate: what may be left at the most; the burst at first, because nobody knows when it began to fill."""
    tokens_ms: int = 0
    state: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    """Key to version and value."""
    state_version: int = 0
    """The latest that was given."""
    acked: int = 0
    dead: int = 0
    redelivered: int = 0
    breaker: ShadowBreaker | None = None
    """Of this life of the broker; None until something failed."""
    sifted_until: int = 0
    """Its selector was applied to what is below; told by the broker."""
    discarded: list[int] = field(default_factory=lambda: [0] * len(DISCARD_REASONS))

    @property
    def label(self) -> str:
        """How violations call it."""
        return f"{self.queue.name}/{self.name}"

    @property
    def rate(self) -> tuple[float, int] | None:
        """Messages a second and the burst, if it has a rate."""
        rated = self.settings if self.name else self.queue.settings
        return None if rated.rate_per_s is None else (rated.rate_per_s, rated.rate_burst or 1)

    def breaker_for_failures(self) -> ShadowBreaker | None:
        """Its breaker, if it has one; it begins to count with the first failure."""
        paced = self.settings if self.name else self.queue.settings
        if paced.breaker_failures and self.breaker is None:
            self.breaker = ShadowBreaker(paced.breaker_failures, paced.breaker_wait_ms)
        return self.breaker

    @property
    def is_tripped(self) -> bool:
        """Its breaker is open, or tries."""
        return self.breaker is not None and not self.breaker.is_closed

    def spend(self, now_ms: int) -> bool:
        """One message is handed out; False when its rate does not allow that."""
        if self.rate is None:
            return True
        per_s, burst = self.rate
        self.tokens = min(burst, self.tokens + per_s * (now_ms - self.tokens_ms) / 1000) - 1
        self.tokens_ms = now_ms
        return self.tokens > -0.001

    @property
    def low_offset(self) -> int:
        """Everything below is done."""
        return min(self.messages, default=self.queue.next_offset)

    def begin(self, start: int) -> None:
        """It is declared, before message ``start``."""
        self.declared = True
        self.skip(start, {Place.DYING})

    def skip(self, start: int, kept: Container[Place] = ()) -> None:
        """What is below is not for it, but for what is in these places."""
        for offset in [m.offset for m in self.messages.values() if m.offset < start and m.place not in kept]:
            del self.messages[offset]
        self.ready = [offset for offset in self.ready if offset >= start]
        self.passed -= {offset for offset in self.passed if offset < start}
        self.cursor = max(self.cursor, start)
        self.passed = {offset for offset in self.passed if offset >= self.cursor}
        self.advance()

    def before(self, message: Message) -> int | None:
        """Mode keyed: the first message of the same key that is not done and comes before this one.

        What expired and waits for its burial holds nobody up.
        """
        key = key_of(message.stored.uid)
        if key is None:
            return None
        same = (one.offset for one in self.messages.values() if key_of(one.stored.uid) == key and not one.expired)
        return min((offset for offset in same if offset < message.offset), default=None)

    @property
    def by_priority(self) -> bool:
        """True while a stored message has a priority of its own."""
        shared = self.settings.mode == "shared"
        return shared and any(one.priority != PRIORITY_DEFAULT for one in self.queue.stored.values())

    def candidates(self) -> list[Message]:
        """What may be handed out, as far as it does not depend on the consumer; in no order."""
        if self.by_priority:
            return [one for one in self.messages.values() if one.place in (Place.READY, Place.TAIL)]
        return [self.messages[offset] for offset in self.ready]

    def is_unsifted(self, message: Message) -> bool:
        """True where a message would become a dead letter, and its selector was not applied to it: it has to wait."""
        waits = self.settings.where and self.queue.settings.on_expired == DEAD_LETTER
        return bool(waits) and not message.attempts and message.offset >= self.sifted_until

    def add(self, stored: Stored) -> None:
        """A message is there for it."""
        self.messages[stored.offset] = Message(stored, stored.offset)
        self.ready.append(stored.offset)

    def put(self, message: Message, place: Place) -> None:
        """Move a message to a place."""
        if message.place is Place.READY:
            self._unready(message.offset)
        message.place = place
        if place is Place.READY:
            insort(self.ready, message.offset)

    def take(self, offset: int) -> None:
        """A message is handed out: the cursor passes it, or notes that it is not untouched any more."""
        if offset < self.cursor or offset in self.passed:
            self.redelivered += 1
        else:
            self.passed.add(offset)
            self.advance()

    def advance(self) -> None:
        """Move the cursor on to the first untouched message; what waited for that is ready."""
        while self.cursor in self.passed:
            self.passed.remove(self.cursor)
            self.cursor += 1
        if self.by_priority:
            return
        for message in self.messages.values():
            if message.place is Place.TAIL and message.tail_at <= self.cursor:
                self.put(message, Place.READY)

    def discard(self, offsets: Iterable[int], reason: int) -> None:
        """Messages are done unprocessed."""
        for offset in offsets:
            self.finish(offset)
            self.discarded[reason] += 1
            if offset >= self.cursor:
                self.passed.add(offset)
        self.advance()

    def condemn(self, offsets: Iterable[int]) -> None:
        """The time of messages is over: they are on their way to the dead letters."""
        for offset in offsets:
            message = self.messages[offset]
            self.put(message, Place.DYING)
            message.due_ms = message.due_until_ms = 0
            message.expired = True
            if offset >= self.cursor:
                self.passed.add(offset)
        self.advance()

    def finish(self, offset: int) -> None:
        """A message is done: blocks that no one needs any more go."""
        message = self.messages.pop(offset)
        if message.place is Place.READY:
            self._unready(offset)
        self.queue.trim()

    def resume(self, message: Message) -> None:
        """What was held is tried again, its failures counted from 0."""
        message.failures = message.due_ms = 0
        self.put(message, Place.READY)

    def count(self, place: Place) -> int:
        """How many messages are there."""
        return sum(message.place is place for message in self.messages.values())

    def _unready(self, offset: int) -> None:
        index = bisect_left(self.ready, offset)
        if index < len(self.ready) and self.ready[index] == offset:
            del self.ready[index]


@dataclass(slots=True)
class ShadowQueue:
    """One queue with its groups; ``default`` is the number of the one named ""."""

    number: int
    default: int
    name: str
    settings: QueueSettings
    first_offset: int
    next_offset: int
    start_offset: int
    visible: int
    paused: bool = False
    groups: dict[int, ShadowGroup] = field(default_factory=dict)
    stored: dict[int, Stored] = field(default_factory=dict)
    blocks: list[Block] = field(default_factory=list)
    streams: dict[int, Stream] = field(default_factory=dict)
    ids: list[NotedId] = field(default_factory=list)
    """Every one there ever was, in order."""
    scheduled: dict[int, Waiting] = field(default_factory=dict)
    next_id: int = 1
    released: int = 0
    unscheduled: int = 0
    newest_ms: int = 0
    """The time of the latest message: what came due late is no older than what it is behind."""
    dropped_newest: int = 0
    used_ms: int = 0
    """When it was used last: declared, left by a consumer, or something was put in."""
    idle_ms: int = 0
    found_idle_ms: int = 0
    turned_ms: int = 0
    declarer: int = 0
    """The session that declared it."""
    filled_otherwise: bool = False
    """True once more was needed of it than was published while there was room: something was put in that no bound
    applies to, or a group begins, or goes on after another ended, that needs what the others are done with."""

    ids_ms: int = 0
    """When its window of message ids was last altered."""
    aging_since_ms: int = 0
    """Before it no message had a greatest age here."""
    age_step_ms: int = 0
    """The coarsest step in which its messages' ages were ever noted."""

    def take_settings(self, settings: QueueSettings, time_ms: int) -> None:
        """It was altered."""
        before, self.settings = self.settings, settings
        bounds = (settings.max_messages, settings.overflow, settings.overflow_dead_letter)
        if (settings.dedup_window_ms, settings.dedup_count_max) != (before.dedup_window_ms, before.dedup_count_max):
            self._keep_ids(before, time_ms)
            self._keep_ids(settings, time_ms)
        if bounds != (before.max_messages, before.overflow, before.overflow_dead_letter):
            self.filled_otherwise = True
        if settings.max_age_ms:
            self.age_step_ms = max(self.age_step_ms, Ages(settings.max_age_ms).step_ms)
            if not before.max_age_ms:
                self.aging_since_ms = time_ms

    def __post_init__(self) -> None:
        self.add_group(self.default, "", GroupSettings(), self.next_offset)

    @property
    def dead_letter_name(self) -> str:
        """Where its dead letters go."""
        return self.settings.dead_letter or f"{self.name}.dead"

    def _keep_ids(self, settings: QueueSettings, now_ms: int) -> None:
        """Another window begins: what counts in it of those that counted until now."""
        latest = self.ids[-settings.dedup_count_max :]
        self.ids = [one for one in latest if one.time_ms > now_ms - settings.dedup_window_ms]
        self.ids_ms = now_ms

    def known_ids(self, now_ms: int) -> dict[bytes, int]:
        """Return the ids that count at this time, with their offsets."""
        latest = self.ids[-self.settings.dedup_count_max :]
        return {one.digest: one.offset for one in latest if one.time_ms > now_ms - self.settings.dedup_window_ms}

    def add_group(self, number: int, name: str, settings: GroupSettings, start: int) -> ShadowGroup:
        """A group begins with what is stored from ``start`` on."""
        group = self.groups[number] = ShadowGroup(self, number, name, settings, start)
        for offset in sorted(self.stored):
            if offset >= start:
                group.add(self.stored[offset])
        return group

    def keepers(self) -> list[ShadowGroup]:
        """The groups that messages are kept for."""
        ephemeral = [g for g in self.groups.values() if g.declared and g.settings.ephemeral]
        return (self.lasting() or [self.groups[self.default]]) + ephemeral

    def lasting(self) -> list[ShadowGroup]:
        """The groups that decide what is kept."""
        return [g for g in self.groups.values() if g.declared and not g.settings.ephemeral]

    def durable_low_offset(self) -> int:
        """What a restart keeps."""
        return min(group.low_offset for group in self.lasting() or [self.groups[self.default]])

    def trim(self) -> None:
        """Blocks that no group needs any more go."""
        low = min(group.low_offset for group in self.keepers())
        self.start_offset = max(self.start_offset, low)
        self.blocks = [block for block in self.blocks if block.end > self.start_offset]
        for offset in [offset for offset in self.stored if offset < self.start_offset]:
            del self.stored[offset]
        unused = self.groups[self.default]
        if not unused.declared:
            unused.skip(self.start_offset)
        for group in self.groups.values():
            group.advance()

    def needed(self) -> set[int]:
        """Messages that some group is not done with."""
        return {offset for group in self.keepers() for offset in group.messages}

    def open_count(self) -> int:
        """Messages that its groups are not done with, counted for each."""
        return sum(len(group.messages) for group in self.keepers())


@dataclass(slots=True)
class ShadowConsumer:
    """A consumer with its credit."""

    number: int
    group: ShadowGroup
    prefetch_messages: int
    prefetch_bytes: int
    name: str
    priority: int = 0
    exclusive: bool = False
    choosy: bool = False
    """It has a selector."""
    chosen_until: int = 0
    """Its selector has looked at what is below; told by the broker."""
    arrival: int = 0
    leased_messages: int = 0
    leased_bytes: int = 0

    def can_take(self, unit_bytes: int) -> bool:
        """True when it has credit for a message of this size; one of any size when it holds nothing (I13)."""
        if self.leased_messages >= self.prefetch_messages or self.leased_bytes >= self.prefetch_bytes:
            return False
        return self.leased_bytes + unit_bytes <= self.prefetch_bytes or not self.leased_messages


@dataclass(slots=True)
class Held:
    """A message under one delivery tag."""

    group: ShadowGroup
    offset: int
    consumer: ShadowConsumer
    deadline_ms: int
    attempt: int
    leased_at_ms: int
    started: bool = False


@dataclass(slots=True)
class ShadowSession:
    """One connection."""

    number: int
    name: str
    namespace: str = ""
    producer: int = 0
    marks_started: bool = False
    next_tag: int = 1
    consumers: dict[int, ShadowConsumer] = field(default_factory=dict)
    routes: dict[int, tuple[str, int]] = field(default_factory=dict)
    """Route number to routing key and queue number."""
    ways: dict[int, Way] = field(default_factory=dict)
    """Route number to exchange and routing key."""
    tags: dict[int, Held] = field(default_factory=dict)
