"""The log of one queue: which stored block holds which offsets.

Offsets are consecutive, so a block is its first offset, its size and the opaque position where storage keeps it: three
``array`` columns, 20 bytes a block, nothing per message. Blocks leave from the front, lazily.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from typing import Final, NamedTuple

_TRIM_BLOCKS: Final = 512
"""The front is cut once this many blocks, and half of all, are gone: amortised constant time."""


class BlockRef(NamedTuple):
    """One stored block: messages ``first`` to ``end`` (exclusive), ``size_bytes`` at ``position``."""

    first: int
    end: int
    size_bytes: int
    position: int


class QueueLog:
    """Blocks of one queue in offset order. ``visible`` is the end of what may be delivered (its level holds)."""

    __slots__ = ("_firsts", "_head", "_positions", "_sizes", "live_bytes", "next_offset", "start_offset", "visible")

    def __init__(self, start_offset: int = 0) -> None:
        self.start_offset = start_offset
        self.next_offset = start_offset
        self.visible = start_offset
        self.live_bytes = 0
        self._firsts = array("Q")
        self._sizes = array("I")
        self._positions = array("Q")
        self._head = 0

    @property
    def block_count(self) -> int:
        """Blocks still stored."""
        return len(self._firsts) - self._head

    def append(self, count: int, size_bytes: int, position: int) -> int:
        """Add a block; return its first offset."""
        first = self.next_offset
        self._firsts.append(first)
        self._sizes.append(size_bytes)
        self._positions.append(position)
        self.next_offset = first + count
        self.live_bytes += size_bytes
        return first

    def index_of(self, offset: int) -> int:
        """Return the index of the block that holds ``offset`` (which must be stored)."""
        return bisect_right(self._firsts, offset, self._head) - 1

    def block(self, index: int) -> BlockRef:
        """Return the block at ``index``."""
        firsts = self._firsts
        end = firsts[index + 1] if index + 1 < len(firsts) else self.next_offset
        return BlockRef(firsts[index], end, self._sizes[index], self._positions[index])

    def block_at(self, offset: int) -> BlockRef:
        """Return the block that holds ``offset``."""
        return self.block(bisect_right(self._firsts, offset, self._head) - 1)

    def blocks_from(self, offset: int, size_bytes_max: int) -> list[BlockRef]:
        """Return the blocks from the one that holds ``offset`` on: at least one, up to ``size_bytes_max``."""
        found: list[BlockRef] = []
        total = 0
        for index in range(self.index_of(offset), len(self._firsts)):
            block = self.block(index)
            total += block.size_bytes
            if found and total > size_bytes_max:
                break
            found.append(block)
        return found

    def release(self, low: int, blocks_max: int) -> list[BlockRef]:
        """Everything below ``low`` is done: drop up to ``blocks_max`` blocks that end there; return them."""
        self.start_offset = low
        firsts, head = self._firsts, self._head
        count = len(firsts)
        stop = min(count, head + blocks_max)
        dropped: list[BlockRef] = []
        while head < stop and (firsts[head + 1] if head + 1 < count else self.next_offset) <= low:
            block = self.block(head)
            self.live_bytes -= block.size_bytes
            dropped.append(block)
            head += 1
        self._head = head
        if head == count or (head > _TRIM_BLOCKS and head * 2 > count):
            del self._firsts[:head], self._sizes[:head], self._positions[:head]
            self._head = 0
        return dropped

    def position_of(self, first: int) -> int | None:
        """Return where the block that starts at ``first`` is kept, None if there is none any more."""
        index = bisect_right(self._firsts, first, self._head) - 1
        return self._positions[index] if index >= self._head and self._firsts[index] == first else None

    def kept_within(self, offset: int, low: int, end: int, blocks_max: int) -> tuple[dict[int, int], int]:
        """Look at up to ``blocks_max`` blocks from ``offset`` on for those kept at positions from ``low`` to below
        ``end``; return position to first offset of each, and the offset to go on from.
        """
        start = max(self._head, bisect_right(self._firsts, offset, self._head) - 1)
        stop = min(len(self._firsts), start + blocks_max)
        firsts = self._firsts
        found = {
            position: firsts[index]
            for index, position in enumerate(self._positions[start:stop], start)
            if low <= position < end
        }
        return found, firsts[stop] if stop < len(firsts) else self.next_offset

    def relocate(self, first: int, position: int) -> None:
        """Note that storage keeps the block that starts at ``first``, if it is still needed, elsewhere now."""
        index = bisect_right(self._firsts, first, self._head) - 1
        if index >= self._head and self._firsts[index] == first:
            self._positions[index] = position

    def columns(self) -> tuple[bytes, bytes, bytes]:
        """The block columns as bytes (native u64 firsts, u32 sizes, u64 positions), for a snapshot."""
        head = self._head
        with (
            memoryview(self._firsts) as firsts,
            memoryview(self._sizes) as sizes,
            memoryview(self._positions) as places,
        ):
            return firsts[head:].tobytes(), sizes[head:].tobytes(), places[head:].tobytes()

    def restore(self, start: int, next_offset: int, columns: tuple[bytes, bytes, bytes]) -> None:
        """Replace everything by the columns of a snapshot; all of it is durable, hence visible."""
        self.start_offset, self.next_offset, self.visible = start, next_offset, next_offset
        self._head = 0
        for array_column, data in zip((self._firsts, self._sizes, self._positions), columns, strict=True):
            del array_column[:]
            array_column.frombytes(data)
        self.live_bytes = sum(self._sizes)

    def all_blocks(self) -> list[BlockRef]:
        """Every stored block: for recounts and cleaning, not for hot paths."""
        return [self.block(index) for index in range(self._head, len(self._firsts))]
