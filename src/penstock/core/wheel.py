"""What is due when: a hierarchical timing wheel (Varghese and Lauck, 1987) over packed arrays.

    level   0     1      2     3        4        5         6
    bucket  1 ms  64 ms  4 s   4.4 min  4.7 h    12.4 d    2.2 years

An item is put into the finest level whose 64 buckets reach it, counted from ``base``, the time up to which the wheel
has turned. Shortly before a bucket's time begins its items are moved to finer ones, so each is moved at most six times
in its life, and there are some hundred buckets however many items there are: 16 bytes an item. A heap of tuples costs
136, and buckets of one fixed width are either too many or too coarse. When the wheel is behind (the broker was down),
it catches up bucket by bucket: items come out in the order of their times.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable
from heapq import heappop, heappush
from typing import Final

_BITS: Final = 6
_LEVELS: Final = 7
"""64**7 ms are 139 years."""
_LEAD_BITS: Final = 4
"""A bucket is emptied a sixteenth of its width before its time begins, so that a large one is done in time."""


class _Bucket:
    """Times and ids, in the order of adding; what stands before ``taken`` is gone."""

    __slots__ = ("dues", "ids", "ordered", "taken")

    def __init__(self) -> None:
        self.dues = array("Q")
        self.ids = array("Q")
        self.taken = 0
        self.ordered = True

    def add(self, due_ms: int, number: int) -> None:
        ids = self.ids
        if ids and number < ids[-1]:
            self.ordered = False
        ids.append(number)
        self.dues.append(due_ms)

    def take(self, count_max: int) -> tuple[array[int], array[int]]:
        """Take up to so many items out."""
        first, self.taken = self.taken, min(len(self.ids), self.taken + count_max)
        return self.dues[first : self.taken], self.ids[first : self.taken]

    def sort(self) -> None:
        """Bring the items, all due at the same time, into the order of their ids."""
        if not self.ordered:
            self.ids = array("Q", sorted(self.ids[self.taken :]))
            self.dues = self.dues[self.taken :]
            self.taken = 0
            self.ordered = True

    def remove(self, number: int) -> bool:
        """Take one item out; False when it is not here."""
        index = bisect_left(self.ids, number, self.taken) if self.ordered else self._search(number)
        if index >= len(self.ids) or self.ids[index] != number:
            return False
        del self.ids[index], self.dues[index]
        return True

    def _search(self, number: int) -> int:
        try:
            return self.ids.index(number, self.taken)
        except ValueError:
            return len(self.ids)


class Wheel:
    """Ids by the time they are due, ms since 1970."""

    __slots__ = ("_levels", "_wakes", "base_ms")

    def __init__(self, base_ms: int) -> None:
        """``base_ms`` is the time up to which it has turned: nothing that is added should be due earlier."""
        self.base_ms = base_ms
        self._levels: list[dict[int, _Bucket]] = [{} for _ in range(_LEVELS)]
        self._wakes: list[tuple[int, int, int]] = []

    def next_ms(self) -> int | None:
        """When to take again: the earliest item is due then or later. None: it is empty."""
        return self._wakes[0][0] if self._wakes else None

    def add(self, due_ms: int, number: int) -> None:
        """Add an item."""
        self._put(due_ms, number, _LEVELS - 1)

    def fill(self, dues_ms: Iterable[int], numbers: Iterable[int]) -> None:
        """Add many items, in the order of their ids: it is what a recovery does with a million of them."""
        base_ms, levels = self.base_ms, self._levels
        for due_ms, number in zip(dues_ms, numbers, strict=True):
            level = ((due_ms - base_ms).bit_length() - 1) // _BITS if due_ms > base_ms else 0
            bucket = levels[level].get(due_ms >> level * _BITS) if level < _LEVELS else None
            if bucket is not None and bucket.ids and bucket.ids[-1] < number:
                bucket.ids.append(number)
                bucket.dues.append(due_ms)
            else:
                self.add(due_ms, number)

    def remove(self, due_ms: int, number: int) -> None:
        """Take an item out that was added with this time."""
        for level, buckets in enumerate(self._levels):
            bucket = buckets.get(due_ms >> level * _BITS)
            if bucket is not None and bucket.remove(number):
                return
        raise AssertionError(f"{number}, due at {due_ms}, is not in the wheel")

    def take(self, now_ms: int, moves: int) -> tuple[list[int], int]:
        """Turn the wheel to ``now_ms``, in about so many moves at the most; return the ids that came due, in order, and
        how many moves are left. While ``next_ms`` is not above ``now_ms`` there is more to take.
        """
        due: list[int] = []
        wakes = self._wakes
        while wakes and wakes[0][0] <= now_ms and moves > 0:
            wake_ms, level, index = heappop(wakes)
            self.base_ms = max(self.base_ms, wake_ms)
            bucket = self._levels[level][index]
            if not level:
                bucket.sort()
            dues, ids = bucket.take(moves)
            moves -= len(ids) + 1
            if level:
                for due_ms, number in zip(dues, ids, strict=True):
                    self._put(due_ms, number, level - 1)
            else:
                due += ids
            if bucket.taken < len(bucket.ids):
                heappush(wakes, (wake_ms, level, index))
            else:
                del self._levels[level][index]
        return due, moves

    def _put(self, due_ms: int, number: int, level_max: int) -> None:
        ahead_ms = due_ms - self.base_ms
        level = min((ahead_ms.bit_length() - 1) // _BITS, level_max) if ahead_ms > 0 else 0
        index = due_ms >> level * _BITS
        bucket = self._levels[level].get(index)
        if bucket is None:
            bucket = self._levels[level][index] = _Bucket()
            lead_ms = 1 << level * _BITS >> _LEAD_BITS if level else 0
            heappush(self._wakes, ((index << level * _BITS) - lead_ms, level, index))
        bucket.add(due_ms, number)
