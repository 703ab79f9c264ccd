"""A number for every offset of a log, packed: what few messages have, and neighbours often share.

Neighbours with the same number are one span, kept as its first offset; it reaches to the next one's. What was never put
has the default. Spans are put at the end and leave from the front, as a log grows and is released: two ``array``
columns, 9 to 16 bytes a span, nothing per message.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from typing import Final, NamedTuple

_TRIM_SPANS: Final = 512
"""The front is cut once this many spans, and half of all, are gone: amortised constant time."""


class Span(NamedTuple):
    """Offsets ``first`` to ``end`` (exclusive) have this value."""

    first: int
    end: int
    value: int


class Spans:
    """Values by offset; ``default`` where nothing was put."""

    __slots__ = ("_firsts", "_values", "default")

    def __init__(self, typecode: str, default: int) -> None:
        """``typecode`` is that of the ``array`` of values."""
        self.default = default
        self._firsts = array("Q", (0,))
        self._values = array(typecode, (default,))

    def __len__(self) -> int:
        return len(self._firsts)

    @property
    def start(self) -> int:
        """What is below was trimmed."""
        return self._firsts[0]

    @property
    def end(self) -> int:
        """From here on everything has the default."""
        return self._firsts[-1]

    def put(self, first: int, end: int, value: int) -> bool:
        """Give offsets at the end a value: they, and all behind them, had the default or are overwritten.

        True when a span begins at ``first`` now that was not there before.
        """
        firsts, values = self._firsts, self._values
        keep = bisect_left(firsts, first)
        known = keep < len(firsts) and firsts[keep] == first and values[keep] == value
        del firsts[keep:], values[keep:]
        begins = not values or values[-1] != value
        if begins:
            firsts.append(first)
            values.append(value)
        if value != self.default:
            firsts.append(end)
            values.append(self.default)
        return begins and not known

    def at(self, offset: int) -> int:
        """Return the value of an offset that is not trimmed."""
        return self._values[bisect_right(self._firsts, offset) - 1]

    def span_at(self, offset: int) -> Span:
        """Return the span that holds an offset, before the end."""
        index = bisect_right(self._firsts, offset) - 1
        return Span(self._firsts[index], self._firsts[index + 1], self._values[index])

    def within(self, first: int, end: int) -> Iterator[Span]:
        """The spans of [first, end), cut to it. The set must not change meanwhile."""
        firsts, values = self._firsts, self._values
        index = bisect_right(firsts, first) - 1
        while first < end:
            stop = min(firsts[index + 1], end) if index + 1 < len(firsts) else end
            yield Span(first, stop, values[index])
            first = stop
            index += 1

    def lowest(self, first: int, end: int) -> int:
        """Return the lowest value of [first, end), which must not be empty."""
        index = bisect_right(self._firsts, first) - 1
        return min(self._values[index : bisect_left(self._firsts, end, index)])

    def trim(self, start: int) -> bool:
        """Forget what is below ``start``, in its own time; True when only the default is left."""
        gone = bisect_right(self._firsts, start) - 1
        if gone > _TRIM_SPANS and gone * 2 > len(self._firsts):
            del self._firsts[:gone], self._values[:gone]
        return gone == len(self._firsts) - 1

    def columns(self, start: int) -> tuple[bytes, bytes]:
        """The spans from offset ``start`` on as bytes (native firsts, values), for a snapshot."""
        low = bisect_right(self._firsts, start) - 1
        firsts = self._firsts[low:]
        firsts[0] = max(firsts[0], start)
        return firsts.tobytes(), self._values[low:].tobytes()

    def restore(self, columns: tuple[bytes, bytes]) -> None:
        """Replace everything by the columns of a snapshot."""
        for column, data in zip((self._firsts, self._values), columns, strict=True):
            del column[:]
            column.frombytes(data)
        self._firsts[0] = 0
