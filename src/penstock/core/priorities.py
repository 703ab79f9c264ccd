"""Priorities: which messages of a log have which, and what a shared group hands out next by them.

Of a log, it is *known* which messages have another priority than the default: spans, durable, nothing for the others.

A shared group of such a log has a *lane* for each priority. What a lane hands out next is

    the first of what came back to it, or the first untouched message of its priority, whichever has the lower place

where a message's place is its offset, and for one that was requeued at the tail the offset behind the log's end at that
time. A higher lane goes before every lower one, so the group's cursor stays where the lowest untouched message is, and
what is handed out above it is *passed*, as whatever else is done early (``core.group``). Hence nothing of a lane is
durable: a restart finds in the cursor and in what was passed where each lane goes on (I18).

A lane that has nothing is not looked at again before the next dispatch: a set of bits says which may have something.
Lanes go when the log holds no message with a priority of its own any more; until then a group pays some microseconds
for each range it hands out, not for each message.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING, Final, NamedTuple

from penstock.core.operands import PRIORITY_DEFAULT
from penstock.core.spans import Spans

if TYPE_CHECKING:
    from collections.abc import Iterator

    from penstock.core.group import Group
    from penstock.core.ranges import OffsetRange, RangeSet

_UNBOUNDED: Final = 1 << 63


class Priorities:
    """Which messages of a log have which priority."""

    __slots__ = ("_starts", "spans")

    def __init__(self) -> None:
        self.spans = Spans("B", PRIORITY_DEFAULT)
        self._starts: dict[int, array[int]] = {PRIORITY_DEFAULT: array("Q", (0,))}
        """By priority: where its spans begin, in order."""

    def put(self, first: int, end: int, priority: int) -> None:
        """Messages at the end of the log have a priority."""
        if priority == PRIORITY_DEFAULT:
            return
        defaults = self._starts[PRIORITY_DEFAULT]
        if defaults[-1] == first:
            defaults.pop()
        if self.spans.put(first, end, priority):
            self._starts.setdefault(priority, array("Q")).append(first)
        defaults.append(end)

    def levels(self) -> Iterator[int]:
        """Every priority that some message has or had."""
        return iter(self._starts)

    def next_range(self, priority: int, offset: int) -> OffsetRange | None:
        """Return the first messages at or behind ``offset`` that have this priority, not yet published ones too."""
        if self.spans.at(offset) != priority:
            starts = self._starts[priority]
            index = bisect_left(starts, offset)
            if index == len(starts):
                return None
            offset = starts[index]
        return offset, self.end_of(offset)

    def end_of(self, offset: int) -> int:
        """Return where the messages end that have the same priority as this one and follow it."""
        return _UNBOUNDED if offset >= self.spans.end else self.spans.span_at(offset).end

    def trim(self, start: int) -> bool:
        """Forget what is below ``start``, in its own time; True when all that is left have the default."""
        before = len(self.spans)
        only_default = self.spans.trim(start)
        if len(self.spans) != before:
            self._find_starts()
        return only_default

    def restore(self, columns: tuple[bytes, bytes]) -> None:
        """Replace everything by the columns of a snapshot."""
        self.spans.restore(columns)
        self._find_starts()

    def _find_starts(self) -> None:
        self._starts = {PRIORITY_DEFAULT: array("Q")}
        for first, _, priority in self.spans.within(0, self.spans.end + 1):
            self._starts.setdefault(priority, array("Q")).append(first)


class _Lane:
    """Messages of one priority: what came back, as a heap of (place, first, end), and how far it was handed out."""

    __slots__ = ("cursor", "priority", "returned")

    def __init__(self, priority: int) -> None:
        self.priority = priority
        self.returned: list[tuple[int, int, int]] = []
        self.cursor = 0


class Next(NamedTuple):
    """Messages ``first`` to ``end`` of one lane are the next; ``is_returned``: they were handed out before."""

    priority: int
    place: int
    first: int
    end: int
    is_returned: bool

    @property
    def turn(self) -> tuple[int, int]:
        """What comes first has the lowest."""
        return -self.priority, self.place


class Lanes:
    """What a shared group has to hand out, by priority."""

    __slots__ = ("_active", "_lanes", "_priorities")

    def __init__(self, priorities: Priorities) -> None:
        self._priorities = priorities
        self._lanes: dict[int, _Lane] = {}
        self._active = 0
        """A bit for each lane that may have something."""

    def look_again(self) -> None:
        """At the start of a dispatch: any lane may have something."""
        for priority in self._priorities.levels():
            self._active |= 1 << priority

    def put(self, first: int, end: int, place: int | None = None) -> None:
        """Messages came back; to their own places, or all of them to one."""
        for start, stop, priority in self._priorities.spans.within(first, end):
            heappush(self._lane(priority).returned, (start if place is None else place, start, stop))
            self._active |= 1 << priority

    def next(self, group: Group) -> Next | None:
        """Return what is to be handed out next; None when nothing is ready."""
        visible = group.queue.log.visible
        if group.sieve is not None:
            visible = min(visible, group.sieve.until)
        while self._active:
            priority = self._active.bit_length() - 1
            lane = self._lane(priority)
            fresh = self._fresh(lane, group, visible)
            if lane.returned and (fresh is None or lane.returned[0][0] <= fresh[0]):
                return Next(priority, *lane.returned[0], True)
            if fresh is not None:
                return Next(priority, fresh[0], *fresh, False)
            self._active ^= 1 << priority
        return None

    def returned(self) -> list[Next]:
        """Return what came back, in no order."""
        return [Next(lane.priority, *one, True) for lane in self._lanes.values() for one in lane.returned]

    @property
    def returned_range_count(self) -> int:
        """In how many ranges that is."""
        return sum(len(lane.returned) for lane in self._lanes.values())

    def priority_of(self, offset: int) -> int:
        """Return which lane a message is in."""
        return self._priorities.spans.at(offset)

    def end_of(self, offset: int) -> int:
        """Return where the messages end that have the same priority as this one and follow it."""
        return self._priorities.end_of(offset)

    def take_fresh(self, priority: int, end: int) -> None:
        """What ``next`` found untouched in a lane was handed out, up to ``end``."""
        self._lanes[priority].cursor = end

    def take_returned(self, first: int, end: int) -> None:
        """Take messages that came back; those that are the first of their lane cost least."""
        returned = self._lanes[self.priority_of(first)].returned
        if returned[0][1] == first:
            place, low, last = heappop(returned)
        else:
            place, low, last = next(one for one in returned if one[1] <= first < one[2])
            returned.remove((place, low, last))
            heapify(returned)
            if low < first:
                heappush(returned, (place, low, first))
        if end < last:
            heappush(returned, (end if place == low else place, end, last))

    def take_all(self) -> list[tuple[int, int, int]]:
        """Empty what came back; return it as (place, first, end)."""
        taken = [one for lane in self._lanes.values() for one in lane.returned]
        for lane in self._lanes.values():
            lane.returned = []
        return taken

    def take_within(self, wanted: RangeSet) -> list[OffsetRange]:
        """Take what came back out of ``wanted``; return it."""
        taken: list[OffsetRange] = []
        for lane in self._lanes.values():
            kept: list[tuple[int, int, int]] = []
            for place, first, end in lane.returned:
                taken += wanted.within(first, end)
                gaps = wanted.gaps(first, end)
                kept += [(start if place == first else place, start, stop) for start, stop in gaps]
            lane.returned = sorted(kept)
        return taken

    def _lane(self, priority: int) -> _Lane:
        lane = self._lanes.get(priority)
        if lane is None:
            lane = self._lanes[priority] = _Lane(priority)
        return lane

    def _fresh(self, lane: _Lane, group: Group, visible: int) -> OffsetRange | None:
        """Return the next untouched messages of a lane that may be delivered."""
        offset = max(lane.cursor, group.next_offset)
        while (found := self._priorities.next_range(lane.priority, offset)) is not None and found[0] < visible:
            first, end = found[0], min(found[1], visible)
            lane.cursor = offset = end
            first, stop = group.passed.first_gap(first, end) if group.passed else (first, end)
            if first < stop:
                lane.cursor = first
                return first, stop
        return None
