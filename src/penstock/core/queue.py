"""Queues and their groups: the durable side of delivery.

A group is a cursor (``next_offset``: the first message never handed out) plus the outstanding runs below it. What is
below the cursor and in no run is done. ``apply_*`` methods are the only ones that change durable state; deciding and
recovery both go through them (I18).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import Final

from penstock.core.dedup import DedupWindow
from penstock.core.facts import Acked, Dead, Failed, Leased, OffsetRange, Purged
from penstock.core.log import QueueLog
from penstock.core.runs import OutstandingRuns
from penstock.core.session import Consumer
from penstock.core.values import FAILURES_KEPT_MAX, NAME_BYTES_MAX, OFFSET_UNKNOWN, Failure, QueueSettings

_STREAM_RUNS_MAX: Final = 64
"""Remembered (sequence, offset) runs per stream: what a re-send after a reconnect can be answered with exactly."""
_STREAM_GAPS_MAX: Final = 1024
"""Remembered ranges of refused sequences per stream. Refusals come in bursts (a full disk, a missing queue), and each
burst is one range."""


class Counters:
    """What a group has done since its queue was declared; durable (SEMANTICS 23)."""

    __slots__ = ("acked", "dead", "purged", "redelivered")

    def __init__(self) -> None:
        self.acked = 0
        self.dead = 0
        self.purged = 0
        self.redelivered = 0

    def values(self) -> tuple[int, int, int, int]:
        """All of them, for snapshots and fingerprints."""
        return self.acked, self.dead, self.purged, self.redelivered


class Group:
    """A named cursor over a queue with per-message delivery state; mode ``shared``."""

    __slots__ = (
        "_due",
        "_returned",
        "consumers",
        "counters",
        "delayed_count",
        "dying_count",
        "history",
        "next_offset",
        "number",
        "outstanding",
        "queue",
        "returned_count",
        "turn",
    )

    def __init__(self, queue: Queue, number: int) -> None:
        self.queue = queue
        self.number = number
        self.next_offset = queue.log.start_offset
        self.outstanding = OutstandingRuns()
        self.history: dict[int, list[Failure]] = {}
        self.counters = Counters()
        self.consumers: list[Consumer] = []
        self.turn = 0
        self._returned: list[OffsetRange] = []
        self._due: list[tuple[int, int, int]] = []
        self.returned_count = 0
        self.delayed_count = 0
        self.dying_count = 0

    # -- what is where -------------------------------------------------------------------------------------------------

    @property
    def ready_count(self) -> int:
        """Messages that a consumer could have now."""
        return self.queue.log.visible - self.next_offset + self.returned_count

    @property
    def leased_count(self) -> int:
        """Messages that consumers hold."""
        out = self.outstanding.message_count()
        return out - self.returned_count - self.delayed_count - self.dying_count

    @property
    def low_offset(self) -> int:
        """Everything below is done."""
        firsts = self.outstanding.firsts
        return firsts[0] if firsts else self.next_offset

    def is_open(self, offset: int) -> bool:
        """True unless this group is done with the message."""
        return offset >= self.next_offset or self.outstanding.find(offset) is not None

    # -- durable changes: each applies one fact ------------------------------------------------------------------------

    def apply_leased(self, fact: Leased) -> None:
        """Messages were handed out, for the first time or again."""
        if fact.first == self.next_offset:
            self.outstanding.append_fresh(fact.first, fact.end)
            self.next_offset = fact.end
        else:
            self.outstanding.handed_out(fact.first, fact.end)
            self.counters.redelivered += fact.end - fact.first

    def apply_acked(self, fact: Acked) -> None:
        """Messages are done."""
        remove = self.outstanding.remove
        for first, end in fact.ranges:
            self.counters.acked += remove(first, end)
        if self.history:
            self._forget(fact.ranges)

    def apply_failed(self, fact: Failed) -> None:
        """Messages failed once more."""
        self.outstanding.failed(fact.first, fact.end, fact.due_ms, fact.dying)
        for offset in range(fact.first, fact.end):
            failures = self.history.setdefault(offset, [])
            failures.append(fact.failure)
            if len(failures) > FAILURES_KEPT_MAX:
                del failures[1]

    def apply_dead(self, fact: Dead) -> None:
        """A message went to the dead letters."""
        self.counters.dead += self.outstanding.remove(fact.offset, fact.offset + 1)
        self.history.pop(fact.offset, None)

    def apply_purged(self, fact: Purged) -> None:
        """Messages are done by an operator's word; a range at the cursor moves it."""
        for first, end in fact.ranges:
            if first == self.next_offset:
                self.next_offset = end
                self.counters.purged += end - first
            else:
                self.counters.purged += self.outstanding.remove(first, end)
        self._forget(fact.ranges)

    def _forget(self, ranges: tuple[OffsetRange, ...]) -> None:
        history = self.history
        for first, end in ranges:
            if end - first < len(history):
                for offset in range(first, end):
                    history.pop(offset, None)
            else:
                for offset in [offset for offset in history if first <= offset < end]:
                    del history[offset]

    # -- volatile: what waits to be handed out again -------------------------------------------------------------------

    def give_back(self, first: int, end: int) -> None:
        """Make messages ready again, each in its own place (I8)."""
        heappush(self._returned, (first, end))
        self.returned_count += end - first

    def delay(self, first: int, end: int, due_ms: int) -> None:
        """Keep messages back until ``due_ms``."""
        heappush(self._due, (due_ms, first, end))
        self.delayed_count += end - first

    def wake(self, now_ms: int) -> bool:
        """Make ready what is due; True when anything was."""
        woke = False
        while self._due and self._due[0][0] <= now_ms:
            _, first, end = heappop(self._due)
            self.delayed_count -= end - first
            self.give_back(first, end)
            woke = True
        return woke

    def first_returned(self) -> OffsetRange | None:
        """The lowest range that is ready again."""
        return self._returned[0] if self._returned else None

    def take_returned(self, end: int) -> None:
        """Take the lowest ready-again range up to ``end``."""
        first, last = heappop(self._returned)
        self.returned_count -= end - first
        if end < last:
            heappush(self._returned, (end, last))

    def take_unleased(self) -> tuple[OffsetRange, ...]:
        """Empty what is ready or delayed; return its ranges, the untouched rest of the log included."""
        ranges = sorted([*self._returned, *((first, end) for _, first, end in self._due)])
        self._returned, self._due = [], []
        self.returned_count = self.delayed_count = 0
        if self.next_offset < self.queue.log.next_offset:
            ranges.append((self.next_offset, self.queue.log.next_offset))
        return tuple(ranges)

    def next_due_ms(self) -> int | None:
        """When the next delayed message is due."""
        return self._due[0][0] if self._due else None

    def reopen(self) -> list[int]:
        """After recovery nothing is leased: sort what is outstanding into ready and delayed; return what is dying."""
        dying: list[int] = []
        for run in self.outstanding:
            if run.dying:
                dying.extend(range(run.first, run.end))
            elif run.due_ms:
                self.delay(run.first, run.end, run.due_ms)
            else:
                self.give_back(run.first, run.end)
        self.dying_count = len(dying)
        return dying


@dataclass(slots=True)
class SequenceRun:
    """Sequences ``first`` to ``end`` (exclusive) of one stream were stored from ``offset`` on."""

    first: int
    end: int
    offset: int

    def values(self) -> tuple[int, int, int]:
        """All of it, for snapshots and fingerprints."""
        return self.first, self.end, self.offset


class Stream:
    """What one producer has published into one queue: enough to recognise a re-send (SEMANTICS 6)."""

    __slots__ = ("gaps", "last_sequence", "runs")

    def __init__(self) -> None:
        self.last_sequence = 0
        self.gaps: deque[OffsetRange] = deque(maxlen=_STREAM_GAPS_MAX)
        """Sequences below the last that were never stored: refusals, which use theirs up (I9)."""
        self.runs: deque[SequenceRun] = deque(maxlen=_STREAM_RUNS_MAX)

    def advance(self, first_sequence: int, count: int, offset: int) -> None:
        """Note a stored block."""
        end = first_sequence + count
        if first_sequence > self.last_sequence + 1:
            self.gaps.append((self.last_sequence + 1, first_sequence))
        self.last_sequence = end - 1
        runs = self.runs
        if runs:
            last = runs[-1]
            if last.end == first_sequence and last.offset + first_sequence - last.first == offset:
                last.end = end
                return
        runs.append(SequenceRun(first_sequence, end, offset))

    def offset_of(self, sequence: int) -> int:
        """Where a stored sequence went, or OFFSET_UNKNOWN when that is no longer remembered."""
        for run in reversed(self.runs):
            if run.first <= sequence < run.end:
                return run.offset + sequence - run.first
        return OFFSET_UNKNOWN

    def was_refused(self, sequence: int) -> bool:
        """True when a later sequence was stored and this one never: a re-send of it is no duplicate (I1)."""
        return any(first <= sequence < end for first, end in self.gaps)


class Queue:
    """A named log with its groups and the streams published into it."""

    __slots__ = (
        "created_at_ms",
        "dedup",
        "deleted",
        "group",
        "groups",
        "held",
        "log",
        "name",
        "number",
        "settings",
        "streams",
    )

    def __init__(
        self, number: int, group_number: int, name: str, settings: QueueSettings, created_at_ms: int, start_offset: int
    ) -> None:
        self.number = number
        self.name = name
        self.settings = settings
        self.created_at_ms = created_at_ms
        self.log = QueueLog(start_offset)
        self.group = Group(self, group_number)
        self.groups: dict[int, Group] = {group_number: self.group}
        self.streams: dict[int, Stream] = {}
        self.held: deque[object] | None = None
        self.deleted = False
        self.dedup: DedupWindow | None = None
        if settings.dedup_window_ms:
            self.dedup = DedupWindow(settings.dedup_window_ms, settings.dedup_count_max)

    @property
    def dead_letter_name(self) -> str:
        """The queue that its dead letters go to."""
        name = self.settings.dead_letter or f"{self.name}.dead"
        return name if len(name.encode()) <= NAME_BYTES_MAX else f"dead-letters-{self.number}"

    def stream_of(self, producer: int) -> Stream:
        """Return what this producer has published here; a stream begins with being asked for."""
        stream = self.streams.get(producer)
        if stream is None:
            stream = self.streams[producer] = Stream()
        return stream

    @property
    def low_offset(self) -> int:
        """Every group is done with everything below."""
        if len(self.groups) == 1:
            return self.group.low_offset
        return min(group.low_offset for group in self.groups.values())
