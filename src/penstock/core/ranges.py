"""A set of offsets as sorted, disjoint, never adjacent ranges: what a group has passed over above its cursor.

Messages that expire here and there, or that are handed out early by their priority, make ranges by the hundred
thousand. They are packed numbers (16 bytes a range) in chunks, so that adding one in the middle moves a few KiB,
however many there are.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Final

OffsetRange = tuple[int, int]
"""(first, end): end is exclusive."""

CHUNK_RANGES_MAX: Final = 1024
"""A chunk is split in two beyond this: 8 KiB to move in each of its columns."""


class _Chunk:
    """Consecutive ranges of a set, as two columns; never empty."""

    __slots__ = ("ends", "firsts")

    def __init__(self, firsts: array[int], ends: array[int]) -> None:
        self.firsts = firsts
        self.ends = ends

    def count(self, start: int, stop: int) -> int:
        """Offsets in the ranges from index ``start`` to ``stop``."""
        return sum(self.ends[start:stop]) - sum(self.firsts[start:stop])

    def delete(self, start: int, stop: int) -> None:
        del self.firsts[start:stop], self.ends[start:stop]

    def insert(self, index: int, first: int, end: int) -> None:
        self.firsts.insert(index, first)
        self.ends.insert(index, end)

    def split(self) -> _Chunk:
        """Keep the first half; return a chunk of the other."""
        half = len(self.firsts) // 2
        rest = _Chunk(self.firsts[half:], self.ends[half:])
        self.delete(half, len(self.firsts))
        return rest


class RangeSet:
    """Offsets, kept as ranges. Empty ones are falsy, so that those who have none pay one test."""

    __slots__ = ("_chunks", "_heads", "count")

    def __init__(self, ranges: Iterable[OffsetRange] = ()) -> None:
        self._chunks: list[_Chunk] = []
        self._heads: list[int] = []
        """Where each chunk begins."""
        self.count = 0
        """Offsets in the set."""
        for first, end in ranges:
            self.add(first, end)

    def __bool__(self) -> bool:
        return bool(self._chunks)

    def __len__(self) -> int:
        return sum(len(chunk.firsts) for chunk in self._chunks)

    def __iter__(self) -> Iterator[OffsetRange]:
        return chain.from_iterable(zip(chunk.firsts, chunk.ends, strict=True) for chunk in self._chunks)

    def __contains__(self, offset: int) -> bool:
        number = bisect_right(self._heads, offset) - 1
        if number < 0:
            return False
        chunk = self._chunks[number]
        return offset < chunk.ends[bisect_right(chunk.firsts, offset) - 1]

    def columns(self) -> tuple[bytes, bytes]:
        """The ranges as bytes (native u64 firsts, ends), for a snapshot."""
        return b"".join(chunk.firsts for chunk in self._chunks), b"".join(chunk.ends for chunk in self._chunks)

    def restore(self, columns: tuple[bytes, bytes]) -> None:
        """Replace everything by the columns of a snapshot."""
        firsts, ends = array("Q", columns[0]), array("Q", columns[1])
        starts = range(0, len(firsts), CHUNK_RANGES_MAX)
        self._chunks = [_Chunk(firsts[at : at + CHUNK_RANGES_MAX], ends[at : at + CHUNK_RANGES_MAX]) for at in starts]
        self._heads = [chunk.firsts[0] for chunk in self._chunks]
        self.count = sum(ends) - sum(firsts)

    @property
    def first(self) -> int:
        """The lowest offset; the set must not be empty."""
        return self._heads[0]

    def add(self, first: int, end: int) -> None:
        """Put offsets in; those that are there already stay."""
        number = max(0, bisect_right(self._heads, first) - 1)
        if not self._chunks:
            self._chunks.append(_Chunk(array("Q"), array("Q")))
            self._heads.append(first)
        chunk = self._chunks[number]
        low = bisect_left(chunk.ends, first)
        high = bisect_right(chunk.firsts, end, low)
        while high == len(chunk.firsts) and number + 1 < len(self._heads) and self._heads[number + 1] <= end:
            self._append_next(number)  # rare: the offsets reach into the next chunk
            high = bisect_right(chunk.firsts, end, low)
        if low < high:
            first = min(first, chunk.firsts[low])
            end = max(end, chunk.ends[high - 1])
            self.count -= chunk.count(low, high)
            chunk.delete(low + 1, high)
            chunk.firsts[low], chunk.ends[low] = first, end
        else:
            chunk.insert(low, first, end)
        self.count += end - first
        self._heads[number] = chunk.firsts[0]
        self._balance(number)

    def _append_next(self, number: int) -> None:
        rest = self._chunks.pop(number + 1)
        del self._heads[number + 1]
        self._chunks[number].firsts.extend(rest.firsts)
        self._chunks[number].ends.extend(rest.ends)

    def _balance(self, number: int) -> None:
        chunk = self._chunks[number]
        if len(chunk.firsts) > CHUNK_RANGES_MAX:
            rest = chunk.split()
            self._chunks.insert(number + 1, rest)
            self._heads.insert(number + 1, rest.firsts[0])

    def pop_below(self, offset: int) -> int:
        """Take out the ranges that begin at or below ``offset``; return the first offset behind all of them."""
        whole = bisect_right(self._heads, offset)
        if not whole:
            return offset
        for chunk in self._chunks[: whole - 1]:
            self.count -= chunk.count(0, len(chunk.firsts))
        chunk = self._chunks[whole - 1]
        high = bisect_right(chunk.firsts, offset)
        offset = max(offset, chunk.ends[high - 1])
        self.count -= chunk.count(0, high)
        chunk.delete(0, high)
        gone = whole - 1 if chunk.firsts else whole
        del self._chunks[:gone], self._heads[:gone]
        if gone < whole:
            self._heads[0] = chunk.firsts[0]
        return offset

    def cut_below(self, offset: int) -> None:
        """Take out everything below ``offset``."""
        behind = self.pop_below(offset - 1)
        if behind > offset:
            self.add(offset, behind)

    def first_gap(self, first: int, end: int) -> OffsetRange:
        """Return the first part of [first, end) that is not in the set; (end, end) when there is none."""
        stop = end
        for low, high in self._from(first):
            if low > first:
                stop = low
                break
            first = high
        return min(first, end), min(stop, end)

    def first_part(self, first: int, end: int) -> OffsetRange:
        """Return the first part of [first, end) that is in the set; (end, end) when there is none."""
        low, high = next(self._from(first), (end, end))
        return min(max(first, low), end), min(high, end)

    def gaps(self, first: int, end: int) -> list[OffsetRange]:
        """Return the parts of [first, end) that are not in the set."""
        found: list[OffsetRange] = []
        for low, high in self._from(first):
            if low >= end or first >= end:
                break
            if first < low:
                found.append((first, low))
            first = high
        if first < end:
            found.append((first, end))
        return found

    def within(self, first: int, end: int) -> list[OffsetRange]:
        """Return the parts of [first, end) that are in the set."""
        found: list[OffsetRange] = []
        for low, high in self._from(first):
            if low >= end:
                break
            found.append((max(first, low), min(high, end)))
        return found

    def _from(self, offset: int) -> Iterator[OffsetRange]:
        """The ranges that end behind ``offset``, in order."""
        number = max(0, bisect_right(self._heads, offset) - 1)
        for chunk in self._chunks[number:]:
            for index in range(bisect_right(chunk.ends, offset), len(chunk.ends)):
                yield chunk.firsts[index], chunk.ends[index]

    def count_below(self, end: int) -> int:
        """How many offsets in the set are below ``end``."""
        count = self.count
        for chunk in reversed(self._chunks):
            for index in range(len(chunk.ends) - 1, -1, -1):
                if chunk.ends[index] <= end:
                    return count
                count -= chunk.ends[index] - max(chunk.firsts[index], end)
        return count
