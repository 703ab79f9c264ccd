"""Queues: a log, the groups that read it, and the streams published into it."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from penstock.core.ages import Ages
from penstock.core.dedup import DedupWindow
from penstock.core.facts import Asked
from penstock.core.group import Group
from penstock.core.groupstate import GroupState
from penstock.core.log import QueueLog
from penstock.core.names import full_name, local_name, namespace_of
from penstock.core.operands import PRIORITY_DEFAULT
from penstock.core.ranges import OffsetRange
from penstock.core.schedule import Entry, Schedule
from penstock.core.terms import ScheduledTerms, Terms
from penstock.core.usage import Usage
from penstock.core.values import NAME_BYTES_MAX, OFFSET_UNKNOWN, GroupSettings, QueueSettings

if TYPE_CHECKING:
    from penstock.core.namespaces import Namespace

_STREAM_RUNS_MAX: Final = 64
"""Remembered (sequence, offset) runs per stream: what a re-send after a reconnect can be answered with exactly."""
SCHEDULED_MARK: Final = 1 << 62
"""What a stream remembers is an offset, or with this bit a schedule id: offsets do not come that far."""
_STREAM_GAPS_MAX: Final = 1024
"""Remembered ranges of refused sequences per stream. Refusals come in bursts (a full disk, a missing queue), and each
burst is one range."""


@dataclass(slots=True)
class SequenceRun:
    """Sequences ``first`` to ``end`` (exclusive) of one stream were stored from ``offset`` on: see SCHEDULED_MARK."""

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
            self._note_gap(first_sequence)
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

    def skip(self, first_sequence: int, count: int) -> None:
        """Note a block that was not stored and has used up its sequences."""
        self._note_gap(first_sequence + count)
        self.last_sequence = first_sequence + count - 1

    def _note_gap(self, end: int) -> None:
        first = self.last_sequence + 1
        if self.gaps and self.gaps[-1][1] == first:
            first = self.gaps.pop()[0]
        self.gaps.append((first, end))

    def was_refused(self, sequence: int, count: int = 1) -> bool:
        """True when a later sequence was stored and one of these never: a re-send of it is no duplicate (I1).

        What is older than all the gaps that are remembered may have been in one that is not any more.
        """
        if len(self.gaps) == _STREAM_GAPS_MAX and sequence < self.gaps[0][0]:
            return True
        return any(first < sequence + count and sequence < end for first, end in self.gaps)


class Queue:
    """A named log with its groups and the streams published into it.

    ``group`` is the default group, "". It exists from the start and is *declared* by its first consumer; until then it
    keeps messages only while no other group does, so that a queue without a group keeps everything (SEMANTICS 9).
    """

    __slots__ = (
        "ages",
        "created_at_ms",
        "dedup",
        "deleted",
        "dropped_newest",
        "durable",
        "group",
        "group_names",
        "groups",
        "is_judged",
        "log",
        "markers",
        "name",
        "number",
        "paused",
        "schedule",
        "settings",
        "space",
        "streams",
        "terms",
        "usage",
    )

    def __init__(
        self, number: int, group_number: int, name: str, settings: QueueSettings, created_at_ms: int, start_offset: int
    ) -> None:
        self.number = number
        self.name = name
        self.settings = settings
        self.durable = settings.durable
        self.created_at_ms = created_at_ms
        self.log = QueueLog(start_offset)
        self.terms = Terms(settings.ttl_ms) if settings.ttl_ms else None
        """Due times and priorities, where any of its messages may have them."""
        self.group = Group(self, group_number)
        self.groups: dict[int, Group] = {group_number: self.group}
        self.group_names: dict[str, Group] = {"": self.group}
        self.streams: dict[int, Stream] = {}
        self.markers: dict[int, tuple[Group, int]] = {}
        """Of a dead-letter queue: offsets of markers, with the group and the offset of the message that is held. Not
        recorded: the groups know.
        """
        self.paused = False
        self.schedule: Schedule | None = None
        """None until a message was scheduled here."""
        self.deleted = False
        self.dedup: DedupWindow | None = None
        self._take_window(settings, created_at_ms)
        self.ages = Ages(settings.max_age_ms) if settings.max_age_ms else None
        self.dropped_newest = 0
        """Messages that found it full, since it was declared."""
        self.is_judged = settings.judges
        """True when what is published is looked at before it is stored: see ``core.intake``."""
        self.space: Namespace | None = None
        """The namespace it is in; None in the root."""
        self.usage: Usage | None = None
        """Not None: it ends when nobody uses it."""

    def take_settings(self, settings: QueueSettings, time_ms: int) -> None:
        """Have other settings from now on: those that may be altered."""
        before, self.settings = self.settings, settings
        self.look_whether_judged()
        self.group.take_pace()
        self._take_window(settings, time_ms)
        self.take_ttl()
        if settings.max_age_ms != before.max_age_ms:
            ages, self.ages = self.ages, Ages(settings.max_age_ms) if settings.max_age_ms else None
            if self.ages is not None and ages is not None:
                self.ages.take_over(ages)
            elif self.ages is not None:  # nobody noted how old these are
                self.ages.note(self.log.start_offset, time_ms)

    def _take_window(self, settings: QueueSettings, time_ms: int) -> None:
        window = (settings.dedup_window_ms, settings.dedup_count_max)
        if not settings.dedup_window_ms:
            self.dedup = None
        elif self.dedup is None:
            self.dedup = DedupWindow(*window)
        elif window != (self.dedup.window_ms, self.dedup.count_max):
            self.dedup.alter(*window, time_ms)

    def look_whether_judged(self) -> None:
        """Its settings, or its namespace, are others now."""
        self.is_judged = self.settings.judges or (self.space is not None and self.space.settings.max_bytes > 0)

    @property
    def dead_letter_name(self) -> str:
        """The queue that its dead letters go to."""
        name = self.settings.dead_letter or f"{self.name}.dead"
        if len(name.encode()) <= NAME_BYTES_MAX:
            return name
        return full_name(namespace_of(self.name), f"dead-letters-{self.number}")

    @property
    def local_name(self) -> str:
        """What it is called inside its namespace, and in the properties of messages."""
        return local_name(self.name)

    def touch(self) -> None:
        """It was used, in a way that leaves no other trace."""
        if self.usage is not None:
            self.usage.touches += 1

    def stream_of(self, producer: int) -> Stream:
        """Return what this producer has published here; a stream begins with being asked for."""
        stream = self.streams.get(producer)
        if stream is None:
            stream = self.streams[producer] = Stream()
        return stream

    @property
    def low_offset(self) -> int:
        """Every group is done with everything below.

        A queue without a durable group keeps everything: what an ephemeral one has read stays for those that come.
        """
        if len(self.groups) == 1:
            return self.group.low_offset
        return min(group.low_offset for group in self.keepers())

    @property
    def durable_low_offset(self) -> int:
        """What a restart keeps: where a new durable group begins at the earliest."""
        lasting = [group for group in self.groups.values() if group.declared and not group.settings.ephemeral]
        return min(group.low_offset for group in lasting or (self.group,))

    def is_open(self, offset: int) -> bool:
        """True while some group is not done with the message."""
        return offset < self.log.next_offset and any(group.is_open(offset) for group in self.keepers())

    def keepers(self) -> list[Group]:
        """The groups that messages are kept for."""
        found = [group for group in self.groups.values() if group.declared]
        if all(group.settings.ephemeral for group in found):
            found.append(self.group)
        return found

    def begin_at(self, low: int) -> None:
        """Everything below is gone: a default group that nobody uses yet will begin behind it."""
        group = self.group
        firsts = group.outstanding.firsts
        if group.next_offset < low or (firsts and firsts[0] < low):
            group.begin_at(low)

    def apply_asked(self, fact: Asked) -> None:
        """Messages asked for times to live or priorities, which count once they enter the log: now or later."""
        if fact.scheduled:
            assert self.schedule is not None, "what asks was scheduled"
            terms_later = self.schedule.terms = self.schedule.terms or ScheduledTerms()
            terms_later.note(fact.first, fact.runs)
            return
        terms = self.terms = self.terms or Terms(self.settings.ttl_ms)
        first = fact.first
        for ttl_ms, count, priority in fact.runs:
            terms.arrived(first, first + count, fact.time_ms, ttl_ms)
            if priority != PRIORITY_DEFAULT:
                terms.prioritise(first, first + count, priority)
            first += count
        self.choose_lanes()

    def apply_due(self, entry: Entry, offset: int) -> None:
        """Scheduled messages entered the log there: from the time they were due on, their terms count."""
        end = offset + entry.message_count
        if self.terms is not None:
            self.terms.arrived(offset, end, entry.due_ms)
        later = self.schedule.terms if self.schedule is not None else None
        runs = later.runs(entry.first_id, entry.end_id) if later is not None else ()
        if runs:
            self.apply_asked(Asked(self.number, offset, entry.due_ms, runs))

    def take_ttl(self) -> None:
        """The queue's own time to live was altered: it counts for what enters the log from now on."""
        if self.terms is not None:
            self.terms.ttl_ms = self.settings.ttl_ms
        elif self.settings.ttl_ms:
            self.terms = Terms(self.settings.ttl_ms)

    def choose_lanes(self) -> None:
        """Its groups go by priority from the first message on that has one of its own, until the last one is gone."""
        priorities = self.terms.priorities if self.terms is not None else None
        for group in self.groups.values():
            group.go_by(priorities)

    def trim_terms(self, low: int) -> None:
        """Everything below ``low`` is gone."""
        if self.terms is not None and self.terms.trim(low):
            self.choose_lanes()

    def add_group(self, number: int, name: str, settings: GroupSettings) -> Group:
        """Return a new named group, or the default one under its name."""
        group = self.group if not name else Group(self, number, name, settings)
        self.groups[number] = self.group_names[name] = group
        self.choose_lanes()
        return group

    def remove_group(self, group: Group) -> None:
        """Take a group away; the default one begins anew, at what a restart would have kept before: an ephemeral group
        that holds back more may not show in what survives.
        """
        low = self.durable_low_offset
        group.deleted = True
        del self.groups[group.number], self.group_names[group.name]
        if group is self.group:
            self.group = Group(self, group.number)
            if group.state is not None:  # the number is the same: what was read before must not match what comes now
                self.group.state = GroupState(group.state.version)
            self.groups[group.number] = self.group_names[""] = self.group
        if not self.group.declared:
            self.begin_at(low)
            self.choose_lanes()
