"""Selectors at work on a group: a filtered group's (SEMANTICS 14), and those of single consumers (JMS 2.0, 3.8.1).

Messages are looked at in offset order, ahead of the group's cursor, by whoever can read them. What a group's selector
rejects is discarded, in runs and durably; what a consumer's rejects stays for the other consumers, and what it selects
may be handed to it ahead of the cursor. How far that has come is volatile: after a restart it begins anew.

Where messages have priorities, both go by them among what was looked at: a message of a high priority behind
AHEAD_MESSAGES others that are selected and wait is not known yet.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from operator import attrgetter
from typing import TYPE_CHECKING, Final

from penstock.core.facts import Discarded
from penstock.core.operands import PRIORITY_DEFAULT, Fields, columns_of
from penstock.core.priorities import Next
from penstock.core.ranges import OffsetRange, RangeSet
from penstock.core.selectors import Selector, compile_selector
from penstock.core.values import EXCEPTIONS_MAX, FILTERED

if TYPE_CHECKING:
    from penstock.core.broker import Broker
    from penstock.core.group import Group
    from penstock.core.priorities import Lanes

AHEAD_MESSAGES: Final = 2000
"""Selected messages that wait to be handed out: past it nothing more is looked at. A selector that takes every other
message leaves a run for each in memory."""


_TURN: Final = attrgetter("turn")


class Sieve:
    """A filtered group's selector, compiled. Messages below ``until`` were looked at."""

    __slots__ = ("columns", "group", "selects", "until")

    def __init__(self, group: Group, selector: Selector) -> None:
        self.group = group
        self.selects = compile_selector(selector.tree)
        self.columns = columns_of(selector.tree)
        self.until = 0

    def next_look(self) -> int | None:
        """Where to look on; None while there is nothing new, or enough."""
        group = self.group
        start = max(self.until, group.next_offset)
        if group.index is None:
            waiting = start - group.next_offset - group.passed.count
        else:  # what waits in line for its key holds up nobody else
            waiting = sum(end - first for first, end in group.untouched_ranges(group.index.next_look, start))
        enough = waiting >= AHEAD_MESSAGES or (start > group.next_offset and len(group.passed) > EXCEPTIONS_MAX)
        return None if enough or start >= group.queue.log.visible else start

    def look(self, broker: Broker, first: int, messages: list[Fields]) -> None:
        """Discard what is not selected of consecutive messages; the rest may be handed out."""
        group, end = self.group, first + len(messages)
        rejected = [gap for one in self.rejected(first, messages) for gap in group.untouched_ranges(*one)]
        if rejected:
            fact = Discarded(group.queue.number, group.number, FILTERED, tuple(rejected))
            broker.emit(group.durable, fact)
        self.until = end
        broker.look_again(group, first, end)
        broker.ready_groups[group] = None

    def rejected(self, first: int, messages: Iterable[Fields]) -> list[OffsetRange]:
        """Return which of consecutive messages from ``first`` on are not selected."""
        selects = self.selects
        ranges: list[OffsetRange] = []
        start = -1
        offset = first
        for offset, fields in enumerate(messages, first):
            if selects(fields):
                if start >= 0:
                    ranges.append((start, offset))
                    start = -1
            elif start < 0:
                start = offset
        if start >= 0:
            ranges.append((start, offset + 1))
        return ranges


class Choice:
    """One consumer's selector, compiled, and what it selected of the messages below ``until`` that are not done."""

    __slots__ = ("_ahead", "_barren_at", "columns", "group", "selected", "selects", "until")

    def __init__(self, group: Group, selector: Selector) -> None:
        self.group = group
        self.selects = compile_selector(selector.tree)
        self.columns = columns_of(selector.tree)
        self.until = 0
        self.selected = RangeSet()
        self._barren_at = -1
        """Nothing that is ready again was selected when so many messages had been given back."""
        self._ahead: dict[int, deque[int]] = {}
        """By priority: selected ones that nobody may have been handed yet."""

    def next_look(self) -> int | None:
        """Where to look on; None while there is nothing new, or enough."""
        group = self.group
        self.selected.cut_below(group.low_offset)
        start = max(self.until, group.low_offset)
        waiting = sum(map(len, self._ahead.values()))
        enough = waiting >= AHEAD_MESSAGES or len(self.selected) > EXCEPTIONS_MAX
        return None if enough or start >= group.queue.log.visible else start

    def look(self, broker: Broker, first: int, messages: list[Fields]) -> None:
        """Note what is selected of consecutive messages."""
        selects, lanes = self.selects, self.group.lanes
        for offset, fields in enumerate(messages, first):
            if selects(fields):
                self.selected.add(offset, offset + 1)
                priority = PRIORITY_DEFAULT if lanes is None else lanes.priority_of(offset)
                self._ahead.setdefault(priority, deque()).append(offset)
        self.until = first + len(messages)
        self._barren_at = -1
        broker.ready_groups[self.group] = None

    def next(self) -> Next | None:
        """Return what is to be handed out next: what is ready again first, or where there are lanes by their order."""
        lanes = self.group.lanes
        if lanes is None:
            returned = self.first_returned()
            return self._first_untouched() if returned is None else Next(PRIORITY_DEFAULT, returned[0], *returned, True)
        found = (self._first_of_lanes(lanes), self._first_untouched())
        return min((one for one in found if one is not None), key=_TURN, default=None)

    def first_returned(self) -> OffsetRange | None:
        """The lowest messages that are ready again and selected.

        All that is ready again is looked through unless the lowest fits; where nothing fits, not again before something
        more is.
        """
        group = self.group
        if self._barren_at == group.returned_total:
            return None
        lowest = group.first_returned()
        best = None if lowest is None else self.selected.first_part(*lowest)
        if best is not None and best[0] < best[1]:
            return best
        best = None
        for first, end in group.returned():
            if best is None or first < best[0]:
                part = self.selected.first_part(first, end)
                if part[0] < part[1]:
                    best = part
        if best is None:
            self._barren_at = group.returned_total
        return best

    def _first_of_lanes(self, lanes: Lanes) -> Next | None:
        if self._barren_at == self.group.returned_total:
            return None
        found: list[Next] = []
        for one in lanes.returned():
            first, end = self.selected.first_part(one.first, one.end)
            if first < end:
                place = first if one.place == one.first else one.place
                found.append(Next(one.priority, place, first, end, is_returned=True))
        if not found:
            self._barren_at = self.group.returned_total
        return min(found, key=_TURN, default=None)

    def _first_untouched(self) -> Next | None:
        """The first messages that are selected and were never handed out."""
        group, lanes = self.group, self.group.lanes
        visible = self.until if group.sieve is None else min(self.until, group.sieve.until)
        for priority in sorted(self._ahead, reverse=True):
            ahead = self._ahead[priority]
            while ahead and not group.is_untouched(ahead[0]):
                ahead.popleft()
            if not ahead:
                del self._ahead[priority]
            elif ahead[0] < visible:
                end = visible if lanes is None else min(visible, lanes.end_of(ahead[0]))
                first, end = group.untouched_ranges(*self.selected.first_part(ahead[0], end))[0]
                return Next(priority, first, first, end, is_returned=False)
        return None
