"""Blocks in memory: what is not yet durable, what was just published, and memory queues.

The cache is first in, first out within ``cache_bytes``; what left it is read back from the journal. A block that is not
durable yet never leaves: it could not be read back. Live bytes are counted per journal segment, so that cleaning knows
what a segment still holds: a block of several queues (``shared.py``) once, until the last of them is done with it.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from typing import Final

from penstock.core.log import BlockRef
from penstock.core.records import (
    BLOCK_STARTS,
    PUBLISHED_HEADER,
    PUBLISHED_HEADER_BYTES,
)
from penstock.engine.interface import StoredBlock
from penstock.engine.shared import SharedBlocks
from penstock.storage.format import OFFSET_BITS, segment_of

MEMORY_POSITION: Final = 1 << 63
"""Positions of memory queues have this bit; they name no place in the journal."""
_ENTRY_BYTES: Final = 300
"""What a cached block costs beside its bytes (tuple, dict entry, bytes header): counted, so that small ones are bounded
too."""


class BlockStore:
    """Blocks by position."""

    def __init__(self, cache_bytes_max: int) -> None:
        self.cache_bytes_max = cache_bytes_max
        self.cache_bytes = 0
        self.durable_position = 0
        self.live_bytes_by_segment: Counter[int] = Counter()
        self.shared = SharedBlocks()
        self._cache: OrderedDict[int, StoredBlock] = OrderedDict()  # a dict finds its first entry ever more slowly
        self._memory: dict[int, StoredBlock] = {}
        self._next_memory = MEMORY_POSITION

    def add(self, position: int, time_ms: int, block: bytes, header_bytes: int = PUBLISHED_HEADER_BYTES) -> None:
        """Remember a block that was just staged into the journal, and count it as live."""
        self._cache[position] = (time_ms, block)
        nbytes = len(block)
        self.cache_bytes += nbytes + _ENTRY_BYTES
        self.live_bytes_by_segment[position >> OFFSET_BITS] += nbytes + header_bytes
        if self.cache_bytes > self.cache_bytes_max:
            self._evict()

    def count_live(self, position: int, size_bytes: int) -> None:
        """Count a recovered block as live."""
        self.live_bytes_by_segment[segment_of(position)] += size_bytes

    def keep(self, position: int, stored: StoredBlock) -> None:
        """Remember a block that was read back."""
        if position not in self._cache:
            self._cache[position] = stored
            self.cache_bytes += len(stored[1]) + _ENTRY_BYTES
            if self.cache_bytes > self.cache_bytes_max:
                self._evict()

    def hold(self, time_ms: int, block: bytes) -> int:
        """Keep a memory queue's block; return its position."""
        position = self._next_memory
        self._next_memory += 1
        self._memory[position] = (time_ms, block)
        return position

    def get(self, position: int) -> StoredBlock | None:
        """Return a block if it is in memory."""
        return self._cache.get(position) or self._memory.get(position)

    def drop(self, blocks: list[BlockRef]) -> None:
        """Forget blocks that no group needs any more."""
        shared = self.shared if len(self.shared) else None
        for block in blocks:
            position = block.position
            if position & MEMORY_POSITION:
                del self._memory[position]
                continue
            if shared is not None and not shared.release(position):
                continue
            self.forget_live(position, block.size_bytes)
            stored = self._cache.pop(position, None)
            if stored is not None:
                self.cache_bytes -= len(stored[1]) + _ENTRY_BYTES

    def forget_live(self, position: int, size_bytes: int) -> None:
        """A block at this position is not needed any more."""
        segment = segment_of(position)
        self.live_bytes_by_segment[segment] -= size_bytes
        if not self.live_bytes_by_segment[segment]:
            del self.live_bytes_by_segment[segment]

    @property
    def live_bytes(self) -> int:
        """Bytes of the journal that some queue still needs."""
        return sum(self.live_bytes_by_segment.values())

    def _evict(self) -> None:
        cache = self._cache
        while self.cache_bytes > self.cache_bytes_max and cache:
            position = next(iter(cache))
            if position >= self.durable_position:
                break
            self.cache_bytes -= len(cache.popitem(last=False)[1][1]) + _ENTRY_BYTES


def parse_stored(payload: bytes | memoryview) -> StoredBlock:
    """Return the block and time of a record that holds a block, or of the part before the targets of a shared one."""
    time_ms = PUBLISHED_HEADER.unpack_from(payload)[8]
    return time_ms, bytes(payload[BLOCK_STARTS.get(payload[0], PUBLISHED_HEADER_BYTES) :])
