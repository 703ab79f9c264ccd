"""Consistent hashing: each message goes to one of the bound destinations, and keeps it as others come and go.

Every destination has points on a ring of 64-bit numbers, as many as its weight says; a value belongs to the first point
at or after its hash. Adding a destination therefore takes values from the others in proportion, and moves none between
them. Points and hashes are the same in every process and after every restart.
"""

from __future__ import annotations

import struct
from bisect import bisect_left
from collections.abc import Hashable, Iterable
from hashlib import blake2b
from typing import Final, Generic, TypeVar

POINTS_PER_WEIGHT: Final = 64
"""Of one unit of weight: with ten destinations the fullest gets about a quarter more than its share."""
WEIGHT_MAX: Final = 100
"""6,400 points, 280 KB: enough for shares of one percent, and a bound on what a binding takes."""

WEIGHTS_MAX: Final = 10_000
"""Of one ring together: 640,000 points are 30 MB, and 0.4 s of the loop when they are laid out at once, after a start.
More destinations are led to by way of a second exchange."""

_NUMBER_BITS: Final = 32
_NUMBER_MASK: Final = (1 << _NUMBER_BITS) - 1

Item = TypeVar("Item", bound=Hashable)


class HashRing(Generic[Item]):
    """Weighted items on a ring. What changed is put on or taken off when it is next asked, not all laid out again."""

    __slots__ = ("_added", "_items", "_next", "_numbers", "_points", "_removed")

    def __init__(self) -> None:
        self._numbers: dict[tuple[Item, str], int] = {}
        self._items: dict[int, Item] = {}
        """By the number of the entry."""
        self._points: list[int] = []
        """Hashes with their entries' numbers in the lower bits, ascending."""
        self._added: dict[int, tuple[str, int]] = {}
        self._removed: set[int] = set()
        self._next = 0

    def add(self, item: Item, label: str, weight: int) -> None:
        """Put an item on the ring; ``label`` names this entry of it, for an item may have several."""
        number, self._next = self._next, self._next + 1
        self._numbers[item, label] = number
        self._items[number] = item
        self._added[number] = (f"{item!r} {label}", weight)

    def remove(self, item: Item, label: str) -> None:
        """Take an entry off the ring."""
        number = self._numbers.pop((item, label))
        del self._items[number]
        if self._added.pop(number, None) is None:
            self._removed.add(number)

    def find(self, value: str) -> Item | None:
        """Return the item that a value belongs to; None while the ring is empty."""
        if self._added or self._removed:
            self._lay_out()
        points = self._points
        if not points:
            return None
        index = bisect_left(points, hash_of(value) << _NUMBER_BITS)
        return self._items[points[index % len(points)] & _NUMBER_MASK]

    def _lay_out(self) -> None:
        if self._removed:
            self._points = [point for point in self._points if point & _NUMBER_MASK not in self._removed]
        for number, (name, weight) in self._added.items():
            self._points += [point << _NUMBER_BITS | number for point in _points_of(name, weight)]
        self._points.sort()
        self._removed.clear()
        self._added.clear()


def _points_of(name: str, weight: int) -> Iterable[int]:
    """Return the points of an entry: each hash gives eight of them."""
    digests = [blake2b(f"{name} {number}".encode()).digest() for number in range(weight * POINTS_PER_WEIGHT // 8)]
    return struct.unpack(f"<{weight * POINTS_PER_WEIGHT}Q", b"".join(digests))


def hash_of(value: str) -> int:
    """Return 64 bits that depend on every bit of a text."""
    return int.from_bytes(blake2b(value.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")
