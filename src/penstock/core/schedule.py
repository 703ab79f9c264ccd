"""The schedule store of one queue: messages that wait for their time, before they have an offset (SEMANTICS 8).

An *entry* is one stored block whose messages are due together. Its messages have consecutive schedule ids; ids are
given in the order of publishing and never reused. Entries are kept in the order of their ids, in chunks of packed
columns (32 bytes an entry), and by time in a ``Wheel`` (16 more): a million are 48 MB, whatever their times. When an
entry is due, the queue's log points at the block where it lies: nothing is copied.

    published --> waiting --due--> in the log, with offsets
                     +----cancelled--> gone, counted
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Final, NamedTuple

from penstock.core.log import BlockRef
from penstock.core.terms import ScheduledTerms
from penstock.core.wheel import Wheel

CHUNK_ENTRIES: Final = 1024
"""Small enough that taking one entry out of the middle moves 32 KiB, large enough that chunks cost nothing."""
_TYPES: Final = "QIQIQ"
SCHEDULE_COLUMNS: Final = len(_TYPES)

IdRange = tuple[int, int]
"""(first id, end): end is exclusive."""


class Entry(NamedTuple):
    """A block that waits: its first message's id, how many there are, when they are due, where it is stored."""

    first_id: int
    message_count: int
    due_ms: int
    size_bytes: int
    position: int

    @property
    def end_id(self) -> int:
        """The id behind its last message's."""
        return self.first_id + self.message_count

    def block(self) -> BlockRef:
        """The block as something to read or to drop."""
        return BlockRef(self.first_id, self.first_id + self.message_count, self.size_bytes, self.position)


class _Chunk:
    """Some consecutive entries as columns: ids, message counts, due times, sizes, positions."""

    __slots__ = ("columns", "ids")

    def __init__(self, columns: list[array[int]]) -> None:
        self.columns = columns
        self.ids = columns[0]

    def entry(self, index: int) -> Entry:
        return Entry(*[column[index] for column in self.columns])

    def entries(self, start: int = 0) -> Iterator[Entry]:
        return map(Entry._make, zip(*[column[start:] for column in self.columns], strict=True))

    def append(self, entry: Entry) -> None:
        ids, counts, dues_ms, sizes_bytes, positions = self.columns
        ids.append(entry[0])
        counts.append(entry[1])
        dues_ms.append(entry[2])
        sizes_bytes.append(entry[3])
        positions.append(entry[4])

    def insert(self, index: int, entry: Entry) -> None:
        for column, value in zip(self.columns, entry, strict=True):
            column.insert(index, value)

    def delete(self, start: int, stop: int) -> None:
        for column in self.columns:
            del column[start:stop]

    def split(self) -> _Chunk:
        """Keep the first half; return a chunk of the other."""
        half = len(self.ids) // 2
        rest = _Chunk([column[half:] for column in self.columns])
        self.delete(half, len(self.ids))
        return rest


def _empty_columns() -> list[array[int]]:
    return [array(kind) for kind in _TYPES]


class Schedule:
    """Entries of one queue. Until it is ``awake`` (during recovery) it does not know what is due when."""

    __slots__ = (
        "_abandoned",
        "_chunks",
        "_firsts",
        "_wheel",
        "cancelled_count",
        "live_bytes",
        "message_count",
        "next_id",
        "terms",
        "timer_ms",
    )

    def __init__(self, now_ms: int | None = None) -> None:
        """With a time it is awake from the start."""
        self.next_id = 1
        self.message_count = 0
        self.cancelled_count = 0
        self.terms: ScheduledTerms | None = None
        """What its messages asked for beside a time, where some did."""
        self.live_bytes = 0
        self.timer_ms: int | None = None
        """When this queue wants to be looked at, as ``Timers`` has it."""
        self._chunks: list[_Chunk] = []
        self._firsts: list[int] = []
        self._wheel = None if now_ms is None else Wheel(now_ms)
        self._abandoned: list[_Chunk] = []

    # -- what is there -------------------------------------------------------------------------------------------------

    def find(self, number: int) -> Entry | None:
        """Return the entry that holds the message with this id."""
        place = self._place(number)
        if place is None:
            return None
        entry = place[0].entry(place[1])
        return entry if number < entry.end_id else None

    def position_of(self, first_id: int) -> int | None:
        """Return where the block of the entry that begins with this id is kept, None if none waits."""
        entry = self.find(first_id)
        return entry.position if entry is not None and entry.first_id == first_id else None

    def entries(self, number: int = 0) -> Iterator[Entry]:
        """Every entry with messages of this id or above, by id. The schedule must not change meanwhile."""
        for chunk in self._chunks[max(0, bisect_right(self._firsts, number) - 1) :]:
            for entry in chunk.entries(max(0, bisect_right(chunk.ids, number) - 1)):
                if entry.end_id > number:
                    yield entry

    def _place(self, number: int) -> tuple[_Chunk, int] | None:
        """Where the last entry that begins at or below this id is."""
        chunk_index = bisect_right(self._firsts, number) - 1
        if chunk_index < 0:
            return None
        chunk = self._chunks[chunk_index]
        index = bisect_right(chunk.ids, number) - 1
        return (chunk, index) if index >= 0 else None

    def ranges(self, first_ids: Iterable[int]) -> tuple[IdRange, ...]:
        """Return the id ranges of these entries in this order, neighbours joined."""
        ranges: list[IdRange] = []
        for first_id in first_ids:
            place = self._place(first_id)
            assert place is not None, "what is due is waiting"
            end = first_id + place[0].columns[1][place[1]]
            if ranges and ranges[-1][1] == first_id:
                ranges[-1] = (ranges[-1][0], end)
            else:
                ranges.append((first_id, end))
        return tuple(ranges)

    @property
    def first_id(self) -> int:
        """The lowest id that waits; the next one to be given when none does."""
        return self._chunks[0].ids[0] if self._chunks else self.next_id

    # -- changes -------------------------------------------------------------------------------------------------------

    def add(self, entry: Entry) -> None:
        """Take an entry: the next ids, or the rest of one of which a part was cancelled."""
        chunks = self._chunks
        if entry.first_id >= self.next_id:
            self.next_id = entry.first_id + entry.message_count
            if not chunks or len(chunks[-1].ids) >= CHUNK_ENTRIES:
                chunks.append(_Chunk(_empty_columns()))
                self._firsts.append(entry.first_id)
            chunks[-1].append(entry)
        else:
            self._insert(entry)
        self.message_count += entry.message_count
        self.live_bytes += entry.size_bytes
        if self._wheel is not None:
            self._wheel.add(entry.due_ms, entry.first_id)

    def _insert(self, entry: Entry) -> None:
        if not self._chunks:
            self._chunks.append(_Chunk(_empty_columns()))
            self._firsts.append(entry.first_id)
        number = max(0, bisect_right(self._firsts, entry.first_id) - 1)
        chunk = self._chunks[number]
        chunk.insert(bisect_right(chunk.ids, entry.first_id), entry)
        self._firsts[number] = min(self._firsts[number], entry.first_id)
        if len(chunk.ids) > 2 * CHUNK_ENTRIES:
            rest = chunk.split()
            self._chunks.insert(number + 1, rest)
            self._firsts.insert(number + 1, rest.ids[0])

    def take(self, first: int, end: int) -> list[Entry]:
        """Take out the entries that begin within these ids; return them by id. The wheel has let go of them before."""
        taken: list[Entry] = []
        number = max(0, bisect_right(self._firsts, first) - 1)
        while number < len(self._chunks) and self._firsts[number] < end:
            chunk = self._chunks[number]
            start, stop = bisect_right(chunk.ids, first - 1), bisect_right(chunk.ids, end - 1)
            taken += map(Entry._make, zip(*[column[start:stop] for column in chunk.columns], strict=True))
            chunk.delete(start, stop)
            if chunk.ids:
                number += 1
            else:
                del self._chunks[number], self._firsts[number]
        self.message_count -= sum([entry[1] for entry in taken])
        self.live_bytes -= sum([entry[3] for entry in taken])
        return taken

    def forget(self, first: int, end: int) -> list[Entry]:
        """Take entries out that are not due: of the wheel as well."""
        taken = self.take(first, end)
        if self._wheel is not None:
            for entry in taken:
                self._wheel.remove(entry.due_ms, entry.first_id)
        return taken

    def relocate(self, first_id: int, position: int) -> None:
        """Note that storage keeps the block of the entry that begins here, if it still waits, elsewhere now."""
        place = self._place(first_id)
        if place is not None and place[0].ids[place[1]] == first_id:
            place[0].columns[4][place[1]] = position

    def abandon(self) -> None:
        """Nothing waits any more; ``drain`` gives the blocks up."""
        self._abandoned += self._chunks
        self._chunks, self._firsts = [], []
        self.message_count = self.live_bytes = 0
        if self._wheel is not None:
            self._wheel = Wheel(self._wheel.base_ms)

    def drain(self, blocks_max: int) -> list[BlockRef]:
        """Return up to about so many abandoned blocks; they are no one's now."""
        dropped: list[BlockRef] = []
        while self._abandoned and len(dropped) < blocks_max:
            dropped += [entry.block() for entry in self._abandoned.pop().entries()]
        return dropped

    # -- time ----------------------------------------------------------------------------------------------------------

    def awake(self, now_ms: int) -> None:
        """After recovery: find out what is due when."""
        wheel = self._wheel = Wheel(min([now_ms, *[min(chunk.columns[2]) for chunk in self._chunks]]))
        for chunk in self._chunks:
            wheel.fill(chunk.columns[2], chunk.ids)

    def next_ms(self) -> int | None:
        """When to look at it again; None when nothing waits."""
        return self._wheel.next_ms() if self._wheel is not None else None

    def due(self, now_ms: int, moves: int) -> tuple[list[int], int]:
        """Let go of what is due; return its entries' first ids, in order. See ``Wheel.take``."""
        return self._wheel.take(now_ms, moves) if self._wheel is not None else ([], moves)

    # -- snapshots -----------------------------------------------------------------------------------------------------

    def kept(self) -> Iterator[tuple[int, int]]:
        """Return (position, size) of every block: for recounts."""
        return chain.from_iterable(zip(chunk.columns[4], chunk.columns[3], strict=True) for chunk in self._chunks)

    def columns(self) -> tuple[bytes, ...]:
        """The columns as bytes (native u64 ids, u32 counts, u64 due times, u32 sizes, u64 positions)."""
        return tuple(b"".join([chunk.columns[index] for chunk in self._chunks]) for index in range(len(_TYPES)))

    def restore(self, next_id: int, cancelled_count: int, columns: Iterable[bytes]) -> None:
        """Replace everything by what a snapshot holds."""
        whole = _empty_columns()
        for column, data in zip(whole, columns, strict=True):
            column.frombytes(data)
        self.next_id, self.cancelled_count = next_id, cancelled_count
        self.message_count, self.live_bytes = sum(whole[1]), sum(whole[3])
        starts = range(0, len(whole[0]), CHUNK_ENTRIES)
        self._chunks = [_Chunk([column[start : start + CHUNK_ENTRIES] for column in whole]) for start in starts]
        self._firsts = [chunk.ids[0] for chunk in self._chunks]
