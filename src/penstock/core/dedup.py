"""The message ids a queue has seen lately: what makes a second publish of one a duplicate (SEMANTICS 7).

An id is kept as a digest of 15 bytes, with the offset of its message. The window is one of time *and* count: an id
counts while it was noted less than ``window_ms`` ago and fewer than ``count_max`` others were noted since. Offsets
increase in the order of noting, so the time of an id follows from its offset: one mark (time, first offset) for each
millisecond in which ids were noted, nothing more per id.

    _digests   | d0 | d1 | d2 | ...    in the order of noting; the oldest leaves at the front
    _noted     | o0 | o1 | o2 | ...    their offsets
    _marks     (t0, o0)    (t1, o2)    ids at or above o0 and below o2 were noted at t0

Ids leave when another is noted, by the times in the facts and never by the clock, so that a replay arrives at the same
window (I18). Those that are too old by then do not count any more: ``live_from`` says which do.

Two different ids have the same digest with a probability of 2^-120: among a million ids in the window, one publish in
10^30 would be taken for a duplicate wrongly. Whoever wants to force that has to find a collision of BLAKE2b cut to 120
bits, about 2^60 attempts.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Sequence
from hashlib import blake2b
from typing import Final

DIGEST_BYTES: Final = 15
"""As an object of its own, one byte less than what would cost another 16 bytes of memory for each id."""
NO_ID: Final = bytes(DIGEST_BYTES)
"""Stands for a message without an id."""
_NO_OFFSET: Final = 1 << 64
"""Above every offset."""
_TRIM_IDS: Final = 512
"""The front of the columns is cut once this many ids, and half of all, are gone: amortised constant time."""

WindowColumns = tuple[bytes, bytes, bytes, bytes]
"""Digests, their offsets (native u64), the times and the first offsets of the marks (native u64), for a snapshot."""


def digest_of(message_id: str) -> bytes:
    """Return what is kept of an id."""
    return blake2b(message_id.encode("utf-8", "surrogatepass"), digest_size=DIGEST_BYTES).digest()


def split_digests(joined: bytes) -> list[bytes]:
    """Return the digests that were joined."""
    return [joined[start : start + DIGEST_BYTES] for start in range(0, len(joined), DIGEST_BYTES)]


class DedupWindow:
    """The ids of one queue. About 160 bytes of memory each."""

    __slots__ = (
        "_digests",
        "_gone",
        "_mark_firsts",
        "_mark_times",
        "_marks_gone",
        "_noted",
        "_offsets",
        "count_max",
        "window_ms",
    )

    def __init__(self, window_ms: int, count_max: int) -> None:
        self.window_ms = window_ms
        self.count_max = count_max
        self._offsets: dict[bytes, int] = {}
        self._digests = bytearray()
        self._noted = array("Q")
        self._gone = 0
        """Ids at the front of ``_noted`` that have left."""
        self._mark_times = array("Q")
        self._mark_firsts = array("Q")
        self._marks_gone = 0

    def __len__(self) -> int:
        return len(self._offsets)

    def is_new(self, digests: Sequence[bytes]) -> bool:
        """True when none of these ids is in the window, however old, and no two are the same."""
        ids = [digest for digest in digests if digest is not NO_ID]
        return self._offsets.keys().isdisjoint(ids) and len(set(ids)) == len(ids)

    def live_from(self, now_ms: int) -> int:
        """Return the lowest offset whose id still counts at this time."""
        index = bisect_right(self._mark_times, now_ms - self.window_ms, self._marks_gone)
        return self._mark_firsts[index] if index < len(self._mark_firsts) else _NO_OFFSET

    def find(self, digest: bytes, live_from: int) -> int | None:
        """Return the offset of the message that has this id, None when there is none that counts."""
        offset = self._offsets.get(digest)
        return offset if offset is not None and offset >= live_from else None

    def note(self, first: int, joined: bytes, time_ms: int) -> None:
        """Remember the ids of messages from offset ``first`` on; none of them counts in the window at this time."""
        self._forget_before(self.live_from(time_ms))
        if len(self._mark_times) == self._marks_gone or self._mark_times[-1] != time_ms:
            self._mark_times.append(time_ms)
            self._mark_firsts.append(first)
        digests = split_digests(joined)
        offsets: Sequence[int] = range(first, first + len(digests))
        if NO_ID in digests:
            offsets = [offset for offset, digest in zip(offsets, digests, strict=True) if digest != NO_ID]
            digests = [digest for digest in digests if digest != NO_ID]
            joined = b"".join(digests)
        self._offsets.update(zip(digests, offsets, strict=True))
        self._digests += joined
        self._noted.extend(offsets)
        over = len(self._offsets) - self.count_max
        if over > 0:
            self._forget(over)

    def alter(self, window_ms: int, count_max: int, time_ms: int) -> None:
        """Look at another window from now on: an id that counts in both counts on."""
        self._forget_before(self.live_from(time_ms))
        self.window_ms, self.count_max = window_ms, count_max
        self._forget_before(self.live_from(time_ms))
        self._forget(max(0, len(self._offsets) - count_max))

    def _forget_before(self, offset: int) -> None:
        self._forget(bisect_right(self._noted, offset - 1, self._gone) - self._gone)

    def _forget(self, count: int) -> None:
        if not count:
            return
        end = count * DIGEST_BYTES
        for digest in split_digests(bytes(self._digests[:end])):
            del self._offsets[digest]
        del self._digests[:end]
        self._gone += count
        if self._offsets:
            oldest = self._noted[self._gone]
            self._marks_gone = bisect_right(self._mark_firsts, oldest, self._marks_gone) - 1
        else:
            self._marks_gone = len(self._mark_firsts)
        self._trim()

    def _trim(self) -> None:
        if self._gone > _TRIM_IDS and self._gone * 2 > len(self._noted):
            del self._noted[: self._gone]
            self._gone = 0
        if self._marks_gone > _TRIM_IDS and self._marks_gone * 2 > len(self._mark_times):
            del self._mark_times[: self._marks_gone], self._mark_firsts[: self._marks_gone]
            self._marks_gone = 0

    def columns(self) -> WindowColumns:
        """Return everything as bytes, copied without a loop over the ids."""
        gone, marks = self._gone, self._marks_gone
        with (
            memoryview(self._noted) as noted,
            memoryview(self._mark_times) as times,
            memoryview(self._mark_firsts) as firsts,
        ):
            return bytes(self._digests), noted[gone:].tobytes(), times[marks:].tobytes(), firsts[marks:].tobytes()

    def restore(self, columns: WindowColumns) -> None:
        """Replace everything by the columns of a snapshot."""
        digests, noted, times, firsts = columns
        self._gone = self._marks_gone = 0
        self._digests = bytearray(digests)
        for column, data in ((self._noted, noted), (self._mark_times, times), (self._mark_firsts, firsts)):
            del column[:]
            column.frombytes(data)
        self._offsets = dict(zip(split_digests(digests), self._noted, strict=True))
