"""A set of offsets as sorted, disjoint, never adjacent ranges: what a group has passed over above its cursor."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from heapq import heapify
from typing import TypeVar

OffsetRange = tuple[int, int]
"""(first, end): end is exclusive."""

Entry = TypeVar("Entry", bound=tuple[int, ...])


class RangeSet:
    """Offsets, kept as ranges. Empty ones are falsy, so that those who have none pay one test."""

    __slots__ = ("_ends", "_firsts", "count")

    def __init__(self, ranges: Iterable[OffsetRange] = ()) -> None:
        self._firsts: list[int] = []
        self._ends: list[int] = []
        self.count = 0
        """Offsets in the set."""
        for first, end in ranges:
            self.add(first, end)

    def __bool__(self) -> bool:
        return bool(self._firsts)

    def __len__(self) -> int:
        return len(self._firsts)

    def __iter__(self) -> Iterator[OffsetRange]:
        return zip(self._firsts, self._ends, strict=True)

    def __contains__(self, offset: int) -> bool:
        index = bisect_right(self._firsts, offset) - 1
        return index >= 0 and offset < self._ends[index]

    @property
    def first(self) -> int:
        """The lowest offset; the set must not be empty."""
        return self._firsts[0]

    def add(self, first: int, end: int) -> None:
        """Put offsets in; those that are there already stay."""
        low = bisect_left(self._ends, first)
        high = bisect_right(self._firsts, end)
        if low < high:
            first = min(first, self._firsts[low])
            end = max(end, self._ends[high - 1])
            self.count -= sum(self._ends[low:high]) - sum(self._firsts[low:high])
        self._firsts[low:high] = (first,)
        self._ends[low:high] = (end,)
        self.count += end - first

    def pop_below(self, offset: int) -> int:
        """Take out the ranges that begin at or below ``offset``; return the first offset behind all of them."""
        high = bisect_right(self._firsts, offset)
        if high:
            offset = max(offset, self._ends[high - 1])
            self.count -= sum(self._ends[:high]) - sum(self._firsts[:high])
            del self._firsts[:high], self._ends[:high]
        return offset

    def cut_below(self, offset: int) -> None:
        """Take out everything below ``offset``."""
        high = bisect_right(self._ends, offset)
        self.count -= sum(self._ends[:high]) - sum(self._firsts[:high])
        del self._firsts[:high], self._ends[:high]
        if self._firsts and self._firsts[0] < offset:
            self.count -= offset - self._firsts[0]
            self._firsts[0] = offset

    def first_gap(self, first: int, end: int) -> OffsetRange:
        """Return the first part of [first, end) that is not in the set; (end, end) when there is none."""
        index = bisect_right(self._ends, first)
        if index < len(self._firsts) and self._firsts[index] <= first:
            first = self._ends[index]
            index += 1
        stop = self._firsts[index] if index < len(self._firsts) else end
        return min(first, end), min(stop, end)

    def first_part(self, first: int, end: int) -> OffsetRange:
        """Return the first part of [first, end) that is in the set; (end, end) when there is none."""
        index = bisect_right(self._ends, first)
        if index == len(self._firsts):
            return end, end
        return min(max(first, self._firsts[index]), end), min(self._ends[index], end)

    def gaps(self, first: int, end: int) -> list[OffsetRange]:
        """Return the parts of [first, end) that are not in the set."""
        found: list[OffsetRange] = []
        index = bisect_right(self._ends, first)
        while first < end:
            if index == len(self._firsts) or self._firsts[index] >= end:
                found.append((first, end))
                break
            if first < self._firsts[index]:
                found.append((first, self._firsts[index]))
            first = self._ends[index]
            index += 1
        return found

    def count_below(self, end: int) -> int:
        """How many offsets in the set are below ``end``."""
        count = self.count
        for first, last in zip(reversed(self._firsts), reversed(self._ends), strict=True):
            if last <= end:
                break
            count -= last - max(first, end)
        return count


def cut_out(entries: list[Entry], first: int, end: int) -> tuple[list[Entry], list[OffsetRange]]:
    """Cut [first, end) out of a heap whose entries end with a range; return the heap of the rest, and what was cut."""
    kept: list[Entry] = []
    cut: list[OffsetRange] = []
    for entry in entries:
        *lead, low, high = entry
        start, stop = max(low, first), min(high, end)
        if start >= stop:
            kept.append(entry)
            continue
        cut.append((start, stop))
        rest = [(low, start), (stop, high)]
        kept += [(*lead, *part) for part in rest if part[0] < part[1]]  # type: ignore[misc]  # of the same length
    if cut:
        heapify(kept)
    return kept, cut
