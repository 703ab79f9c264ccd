"""Keyed groups: messages of one key in order and never two at once, keys in parallel (mode ``keyed``).

The keys of a group's messages are read a stretch ahead of what is handed out, and each message is sorted into one of
two places. A key is *in play* while one of its messages is: ready, leased, waiting for its next attempt, or on its way
to the dead letters. What comes behind with the same key waits *in line*; it gets into play when the one before is done.

    looked at --its key is not in play--> ready, in the order they were looked at --> handed out
              --its key is in play------> in line --the one before is done--> ready, behind the other keys

So a key in backoff stalls only itself, and a key with a long line takes one place among the others. A message without a
key waits for nobody.

All of this is volatile: what survives is the group's own state. After a restart everything from the group's low offset
on is looked at again; what was handed out before is then put into play.

Memory: a set entry a key in play, 8 bytes a message in line, and the keys of blocks that are not done. LINE_MAX bounds
the line; where it is reached nothing more is looked at until some of it is done.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Final

from penstock.core.ranges import OffsetRange
from penstock.core.values import DYING_EXPIRED

if TYPE_CHECKING:
    from penstock.core.group import Group
    from penstock.core.runs import OutstandingRuns

LINE_MAX: Final = 1_000_000
"""Messages in line in one group, 8 MB. A backlog of busy keys longer than that holds up what is behind it."""
READY_AHEAD: Final = 500
"""Looking goes on while fewer messages are ready: what is looked at too early finds more keys in play."""
SPARSE_FRACTION: Final = 8
"""Where at most 1 of so many messages of a block is left, only the keys of those are kept ..."""
THIN_OUT_BLOCKS: Final = 256
"""... looked for each time so many blocks more are known: most are done long before."""
FORGET_MAX: Final = 1_000
"""Up to so many discarded messages are taken out one by one; for more the index begins anew."""
_LINE_HEAD_MAX: Final = 64

Keys = Sequence[str | None]
"""The keys of consecutive messages."""


class Line:
    """Messages of one key that wait, lowest offset first."""

    __slots__ = ("_head", "_offsets")

    def __init__(self, offset: int) -> None:
        self._offsets = array("Q", (offset,))
        self._head = 0

    def __len__(self) -> int:
        return len(self._offsets) - self._head

    def append(self, offset: int) -> None:
        """Add a message behind the others."""
        self._offsets.append(offset)

    def pop(self) -> int:
        """Take the first message."""
        offset = self._offsets[self._head]
        self._head += 1
        if self._head > _LINE_HEAD_MAX and self._head * 2 > len(self._offsets):
            del self._offsets[: self._head]
            self._head = 0
        return offset

    def remove(self, offset: int) -> bool:
        """Take a message out; False when it does not wait here."""
        try:
            self._offsets.pop(self._offsets.index(offset, self._head))
        except ValueError:
            return False
        return True


class KnownKeys:
    """The keys of one block, until all its messages are done."""

    __slots__ = ("_keys", "_singles", "end", "first", "left")

    def __init__(self, first: int, keys: Keys, left: int) -> None:
        self.first = first
        self.end = first + len(keys)
        self.left = left
        """Messages that the group is not done with."""
        self._keys: Keys | None = keys
        self._singles: dict[int, str | None] = {}

    def of(self, first: int, end: int) -> Keys:
        """The keys of messages that are, or were just now, not done."""
        if self._keys is not None:
            return self._keys[first - self.first : end - self.first]
        return [self._singles.get(offset) for offset in range(first, end)]

    def thin_out(self, group: Group) -> None:
        """Keep single keys where little is left."""
        if self._keys is not None and self.left * SPARSE_FRACTION <= len(self._keys):
            open_keys = enumerate(self._keys, self.first)
            self._singles = {offset: key for offset, key in open_keys if group.is_open(offset)}
            self._keys = None


class KeyIndex:
    """Which keys are in play in one group, what is ready and what is in line."""

    __slots__ = (
        "_firsts",
        "_known",
        "in_play",
        "line_count",
        "lines",
        "loading",
        "next_look",
        "ready",
        "ready_count",
        "recovered_end",
        "unseen_count",
    )

    def __init__(self, next_look: int, recovered_end: int = 0, unseen_count: int = 0) -> None:
        self.next_look = next_look
        """Everything below was looked at."""
        self.recovered_end = recovered_end
        """After a restart: what was handed out before is below."""
        self.unseen_count = unseen_count
        """After a restart: messages handed out before that were not looked at yet."""
        self.loading = False
        """True while blocks to look at are on their way from the disk."""
        self.in_play: set[str | None] = set()
        self.ready: deque[OffsetRange] = deque()
        self.ready_count = 0
        self.lines: dict[str, Line] = {}
        self.line_count = 0
        self._firsts: list[int] = []
        self._known: list[KnownKeys] = []

    # -- looking -------------------------------------------------------------------------------------------------------

    def know(self, group: Group, first: int, keys: Keys, left: int) -> None:
        """Remember the keys of a block, of which ``left`` messages are not done."""
        if not left:
            return
        index = bisect_right(self._firsts, first)
        if index and self._firsts[index - 1] == first:
            self._known[index - 1].left = left
            return
        self._firsts.insert(index, first)
        self._known.insert(index, KnownKeys(first, keys, left))
        if len(self._known) % THIN_OUT_BLOCKS == 0:
            for known in self._known:
                known.thin_out(group)

    def sort_in(self, first: int, keys: Keys) -> None:
        """Sort untouched messages into ready and in line."""
        distinct = set(keys)
        if len(distinct) == len(keys) and None not in distinct and self.in_play.isdisjoint(distinct):
            self.in_play |= distinct
            self.add_ready(first, first + len(keys))
            return
        in_play = self.in_play
        free_from = first
        for offset, key in enumerate(keys, first):
            if key in in_play:
                if offset > free_from:
                    self.add_ready(free_from, offset)
                free_from = offset + 1
                self._line_up(offset, key)
            elif key is not None:
                in_play.add(key)
        if free_from < first + len(keys):
            self.add_ready(free_from, first + len(keys))

    def _line_up(self, offset: int, key: str | None) -> None:
        assert key is not None, "no key, no line"
        self.line_count += 1
        line = self.lines.get(key)
        if line is None:
            self.lines[key] = Line(offset)
        else:
            line.append(offset)

    def add_ready(self, first: int, end: int) -> None:
        """Messages may be handed out, behind those that were ready before."""
        ready = self.ready
        if ready and ready[-1][1] == first:
            ready[-1] = (ready[-1][0], end)
        else:
            ready.append((first, end))
        self.ready_count += end - first

    def take_ready(self, end: int) -> None:
        """Take the first ready range up to ``end``."""
        first, last = self.ready[0]
        if end < last:
            self.ready[0] = (end, last)
        else:
            self.ready.popleft()
        self.ready_count -= end - first

    # -- ending --------------------------------------------------------------------------------------------------------

    def finish(self, ranges: Iterable[OffsetRange]) -> None:
        """Messages that were in play are done: the next in line of their keys are ready."""
        parts = [(known, known.of(first, end)) for first, end, known in self._blocks_of(ranges)]
        for _, keys in parts:
            self._release(keys)
        for known, keys in parts:
            self._count_down(known, len(keys))

    def _release(self, keys: Keys) -> None:
        lines = self.lines
        if not lines:
            self.in_play.difference_update(keys)
            return
        for key in keys:
            line = lines.get(key) if key is not None else None
            if line is None:
                self.in_play.discard(key)
                continue
            offset = line.pop()
            self.line_count -= 1
            self.add_ready(offset, offset + 1)
            if not line:
                del lines[key]  # type: ignore[arg-type]  # a line has a key

    def forget(self, group: Group, ranges: Iterable[OffsetRange]) -> None:
        """Messages that were not leased are done unprocessed, whether they were in play or in line."""
        parts = [(first, known, known.of(first, end)) for first, end, known in self._blocks_of(ranges)]
        if sum(len(keys) for _, _, keys in parts) > FORGET_MAX:
            self.begin_anew(group)
            return
        for first, _, keys in parts:
            for offset, key in enumerate(keys, first):
                self._forget_one(offset, key)
        for _, known, keys in parts:
            self._count_down(known, len(keys))

    def _forget_one(self, offset: int, key: str | None) -> None:
        line = self.lines.get(key) if key is not None else None
        if line is not None and line.remove(offset):
            self.line_count -= 1
            if not line:
                del self.lines[key]  # type: ignore[arg-type]  # a line has a key
        else:
            self._drop_ready(offset)
            self._release((key,))

    def unseen(self, outstanding: OutstandingRuns, ranges: Iterable[OffsetRange]) -> list[OffsetRange]:
        """After a restart: what of these ranges was handed out before and not looked at yet."""
        found: list[OffsetRange] = []
        for first, end in ranges:
            runs = outstanding.within(max(first, self.next_look), end) if end > self.next_look else []
            found += [(max(run.first, first, self.next_look), min(run.end, end)) for run in runs if not run.dying]
        return found

    def _drop_ready(self, offset: int) -> None:
        for index, (first, end) in enumerate(self.ready):
            if first <= offset < end:
                parts = [part for part in ((first, offset), (offset + 1, end)) if part[0] < part[1]]
                del self.ready[index]
                for part in reversed(parts):
                    self.ready.insert(index, part)
                self.ready_count -= 1
                return

    def begin_anew(self, group: Group) -> None:
        """Only what was handed out is in play; what is untouched is looked at again."""
        self.ready.clear()
        self.lines.clear()
        self.in_play.clear()
        self.ready_count = self.line_count = 0
        outstanding = group.outstanding
        for first, end, known in self._blocks_of(outstanding.holding_keys(group.low_offset, outstanding.end)):
            self.in_play.update(known.of(first, end))
        self.in_play.discard(None)
        for known in list(self._known):
            self._count_down(known, known.left - outstanding.count_within(known.first, known.end))
        self.next_look = max(group.low_offset if self.unseen_count else 0, min(self.next_look, group.next_offset))

    def _blocks_of(self, ranges: Iterable[OffsetRange]) -> Iterator[tuple[int, int, KnownKeys]]:
        """Cut ranges at the blocks whose keys are known; leave out what was not looked at."""
        for range_first, range_end in ranges:
            first, end = range_first, min(range_end, self.next_look)
            index = max(bisect_right(self._firsts, first) - 1, 0)
            while first < end and index < len(self._known):
                known = self._known[index]
                start, stop = max(first, known.first), min(end, known.end)
                if start < stop:
                    yield start, stop, known
                    first = stop
                if index < len(self._known) and self._known[index] is known:
                    index += 1

    def _count_down(self, known: KnownKeys, count: int) -> None:
        known.left -= count
        if known.left <= 0:
            index = bisect_right(self._firsts, known.first) - 1
            del self._firsts[index], self._known[index]


def wants_to_look(group: Group) -> bool:
    """True when more should be looked at: little is ready, and there is room for what has to wait in line."""
    index = group.index
    if index is None or index.loading:
        return False
    index.next_look = max(index.next_look, group.low_offset)  # what was purged may be gone
    return (
        _may_be_looked_at(group, index.next_look)
        and index.ready_count < READY_AHEAD
        and index.line_count < LINE_MAX
        and group.may_grow
    )


def _may_be_looked_at(group: Group, offset: int) -> bool:
    """Its block is durable, and the group's selector has let through what it lets through of it."""
    log = group.queue.log
    if offset >= log.visible:
        return False
    return group.sieve is None or log.block_at(offset).end <= group.sieve.until


def look_at(group: Group, first: int, keys: Keys) -> bool:
    """Sort in the messages of the block that begins at ``first``; True when something waits for its next attempt."""
    index = group.index
    assert index is not None, "only keyed groups look at keys"
    end = first + len(keys)
    fresh = group.untouched_ranges(max(first, index.next_look), end)
    seen = max(first, index.next_look)
    left = sum(last - start for start, last in group.untouched_ranges(first, end))
    index.know(group, first, keys, left + group.outstanding.count_within(first, end))
    delayed = seen < index.recovered_end and _put_into_play(group, index, seen, end, keys[seen - first :])
    index.next_look = end
    for start, last in fresh:
        index.sort_in(start, keys[start - first : last - first])
    return delayed


def _put_into_play(group: Group, index: KeyIndex, first: int, end: int, keys: Keys) -> bool:
    """After a restart: what was handed out before goes back to its place, its key is in play."""
    delayed = False
    for run in group.outstanding.within(first, end):
        if run.dying == DYING_EXPIRED:
            continue
        start, stop = max(run.first, first), min(run.end, end)
        index.in_play.update(keys[start - first : stop - first])
        index.in_play.discard(None)
        if run.dying:
            continue
        index.unseen_count -= stop - start
        if run.due_ms:
            group.delay(start, stop, run.due_ms)
            delayed = True
        else:
            group.give_back(start, stop)
    return delayed
