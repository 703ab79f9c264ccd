"""Consistent hashing: each message goes to one of the bound destinations, and keeps it as others come and go.

Every destination has points on a ring of 64-bit numbers, as many as its weight says; a value belongs to the first point
at or after its hash. Adding a destination therefore takes values from the others in proportion, and moves none between
them. Points and hashes are the same in every process and after every restart.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Hashable, Iterable
from hashlib import blake2b
from typing import Final, Generic, TypeVar

POINTS_PER_WEIGHT: Final = 64
"""Of one unit of weight: with ten destinations the fullest gets about a quarter more than its share."""
WEIGHT_MAX: Final = 100
"""6,400 points, 75 KB: enough for shares of one percent, and a bound on what a binding takes."""

Item = TypeVar("Item", bound=Hashable)


class HashRing(Generic[Item]):
    """Weighted items on a ring. It is laid out again when asked after a change."""

    __slots__ = ("_items", "_owners", "_points", "_weights")

    def __init__(self) -> None:
        self._weights: dict[tuple[Item, str], int] = {}
        self._items: list[Item] = []
        self._points = array("Q")
        self._owners = array("I")

    def add(self, item: Item, label: str, weight: int) -> None:
        """Put an item on the ring; ``label`` names this entry of it, for an item may have several."""
        self._weights[item, label] = weight
        self._items = []

    def remove(self, item: Item, label: str) -> None:
        """Take an entry off the ring."""
        del self._weights[item, label]
        self._items = []

    def find(self, value: str) -> Item | None:
        """Return the item that a value belongs to; None while the ring is empty."""
        if not self._weights:
            return None
        if not self._items:
            self._lay_out()
        index = bisect_left(self._points, hash_of(value))
        return self._items[self._owners[index % len(self._points)]]

    def _lay_out(self) -> None:
        self._items = [item for item, _ in self._weights]
        placed = sorted(
            (hash_of(f"{item!r} {label} {number}"), index)
            for index, ((item, label), weight) in enumerate(self._weights.items())
            for number in range(weight * POINTS_PER_WEIGHT)
        )
        self._points = array("Q", _column(placed, 0))
        self._owners = array("I", _column(placed, 1))


def _column(rows: Iterable[tuple[int, int]], index: int) -> list[int]:
    return [row[index] for row in rows]


def hash_of(value: str) -> int:
    """Return 64 bits that depend on every bit of a text."""
    return int.from_bytes(blake2b(value.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")
