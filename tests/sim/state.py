"""The shadow's naive state: one object per message, one entry per delivery tag, nothing clever."""

from __future__ import annotations

from bisect import bisect_left, insort
from dataclasses import dataclass, field
from enum import Enum
from itertools import pairwise
from typing import NamedTuple

from penstock.core.values import QueueSettings


class Place(Enum):
    """Where an open message is."""

    READY = "ready"
    LEASED = "leased"
    DELAYED = "delayed"
    DYING = "dying"


@dataclass(slots=True)
class Message:
    """One open message of one queue."""

    uid: int
    offset: int
    unit_bytes: int
    block_first: int
    position: int
    attempts: int = 0
    failures: int = 0
    due_ms: int = 0
    due_until_ms: int = 0
    """Not 0: jitter was drawn, the due time lies between ``due_ms`` and this, and has not been looked up yet."""
    place: Place = Place.READY
    history: list[tuple[int, int, str, str]] = field(default_factory=list)


@dataclass(slots=True)
class Block:
    """A stored block: messages ``first`` to ``end``."""

    first: int
    end: int
    size_bytes: int


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
class ShadowQueue:
    """One queue with its default group."""

    number: int
    group: int
    name: str
    settings: QueueSettings
    first_offset: int
    next_offset: int
    cursor: int
    visible: int
    messages: dict[int, Message] = field(default_factory=dict)
    blocks: list[Block] = field(default_factory=list)
    streams: dict[int, Stream] = field(default_factory=dict)
    ids: list[NotedId] = field(default_factory=list)
    """Every one there ever was, in order."""
    ready: list[int] = field(default_factory=list)
    acked: int = 0
    dead: int = 0
    purged: int = 0
    redelivered: int = 0

    @property
    def dead_letter_name(self) -> str:
        """Where its dead letters go."""
        return self.settings.dead_letter or f"{self.name}.dead"

    def known_ids(self, now_ms: int) -> dict[bytes, int]:
        """Return the ids that count at this time, with their offsets."""
        latest = self.ids[-self.settings.dedup_count_max :]
        return {one.digest: one.offset for one in latest if one.time_ms > now_ms - self.settings.dedup_window_ms}

    @property
    def low_offset(self) -> int:
        """Everything below is done."""
        return min(self.messages, default=self.next_offset)

    def put(self, message: Message, place: Place) -> None:
        """Move a message to a place."""
        if message.place is Place.READY:
            self.unready(message.offset)
        message.place = place
        if place is Place.READY:
            insort(self.ready, message.offset)

    def unready(self, offset: int) -> None:
        """Take an offset out of the ready ones."""
        index = bisect_left(self.ready, offset)
        if index < len(self.ready) and self.ready[index] == offset:
            del self.ready[index]

    def finish(self, offset: int) -> None:
        """A message is done: blocks that no one needs any more go."""
        message = self.messages.pop(offset)
        if message.place is Place.READY:
            self.unready(offset)
        self.blocks = [block for block in self.blocks if block.end > self.low_offset]

    def count(self, place: Place) -> int:
        """How many messages are there."""
        return sum(message.place is place for message in self.messages.values())


@dataclass(slots=True)
class ShadowConsumer:
    """A consumer with its credit."""

    number: int
    queue: int
    prefetch_messages: int
    prefetch_bytes: int
    name: str
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

    queue: int
    offset: int
    consumer: ShadowConsumer
    deadline_ms: int
    attempt: int
    started: bool = False


@dataclass(slots=True)
class ShadowSession:
    """One connection."""

    number: int
    name: str
    producer: int = 0
    marks_started: bool = False
    next_tag: int = 1
    consumers: dict[int, ShadowConsumer] = field(default_factory=dict)
    routes: dict[int, tuple[str, int]] = field(default_factory=dict)
    """Route number to routing key and queue number."""
    tags: dict[int, Held] = field(default_factory=dict)
