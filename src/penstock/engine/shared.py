"""Blocks of the journal that several queues have: how many of them still need each.

A block that came through an exchange is in the journal once. It is alive until the last queue is done with it, so each
such block has a count, in two columns of ``array`` (12 bytes a block) ordered by position: new blocks come at the end.
What fell to one queue or none is swept out when that is half of all.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from typing import Final

_SWEEP_ENTRIES_MIN: Final = 512
"""Not worth sweeping below."""


class SharedBlocks:
    """Positions with the number of queues that need what is there; positions that are not here have one."""

    __slots__ = ("_counts", "_dead", "_positions")

    def __init__(self) -> None:
        self._positions = array("Q")
        self._counts = array("I")
        self._dead = 0

    def __len__(self) -> int:
        return len(self._positions) - self._dead

    def add(self, position: int, queues: int) -> None:
        """Note a block of several queues, behind all others."""
        assert not self._positions or self._positions[-1] < position, "the journal grows at its end"
        self._positions.append(position)
        self._counts.append(queues)

    def release(self, position: int) -> bool:
        """One queue is done with the block; True when none needs it any more."""
        index = self._index(position)
        if index is None:
            return True
        assert self._counts[index], "as many queues are done with a block as have it"
        self._counts[index] -= 1
        if self._counts[index]:
            return False
        self._dead += 1
        if self._dead > _SWEEP_ENTRIES_MIN and self._dead * 2 > len(self._positions):
            self._keep([index for index, count in enumerate(self._counts) if count])
        return True

    def positions(self) -> bytes:
        """The positions as bytes (native u64), for a snapshot."""
        return self._positions.tobytes()

    # -- recovery ------------------------------------------------------------------------------------------------------

    def restore(self, positions: bytes) -> None:
        """Take the positions of a snapshot; what needs them is counted later."""
        self._positions.frombytes(positions)
        self._counts.extend([0] * (len(self._positions) - len(self._counts)))

    def claim(self, position: int) -> bool:
        """A recovered queue has this block; True when it is the first to say so, shared or not."""
        index = self._index(position)
        if index is None:
            return True
        self._counts[index] += 1
        return self._counts[index] == 1

    def settle(self) -> None:
        """Every queue has claimed its blocks: forget what is not shared any more."""
        self._keep([index for index, count in enumerate(self._counts) if count > 1])

    def _index(self, position: int) -> int | None:
        index = bisect_left(self._positions, position)
        return index if index < len(self._positions) and self._positions[index] == position else None

    def _keep(self, indexes: list[int]) -> None:
        self._positions = array("Q", [self._positions[index] for index in indexes])
        self._counts = array("I", [self._counts[index] for index in indexes])
        self._dead = 0
