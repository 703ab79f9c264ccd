"""FIND: looks through a queue for messages by state, selector, text, key and time, a slice a turn.

A request looks at no more than ``SCAN_BYTES_MAX`` and answers with where to go on, so that neither its reply nor
anyone else waits for a backlog to be read through. What comes in meanwhile is no part of it: on a busy queue, or where
what is found is put back, a search would never end. Searches of all connections take turns, one slice of one search in
each turn of the engine: many of them are slower, and hold the loop no longer than one.

A search for what is leased, scheduled or dying goes from run to run and reads their blocks alone; what nobody was
handed is read through. Dead letters are looked for in the dead-letter queue, by where they say they come from.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from penstock.core import finding
from penstock.core.group import Group
from penstock.core.groups import find_group
from penstock.core.log import BlockRef
from penstock.core.selectors import Predicate, compile_selector
from penstock.core.values import Refusal
from penstock.engine.arguments import U64_MAX
from penstock.engine.interface import BlockColumns, StoredBlock
from penstock.engine.queries import DEAD, Origin, Query, read_query
from penstock.engine.rows import rows_of

if TYPE_CHECKING:
    from penstock.engine.arguments import Call
    from penstock.engine.engine import Engine

SCAN_BYTES_MAX: Final = 8 * 1024 * 1024
"""Blocks that one request looks at."""
SLICE_BYTES: Final = 256 * 1024
SLICE_MESSAGES: Final = 1000
SLICE_SPANS: Final = 1000
"""Looked at in one turn, about 3 ms: a block is at most 4,096 messages and is not cut."""
FIND_COUNT_MAX: Final = 1000
FIND_BYTES_MAX: Final = 1024 * 1024
"""Messages, and bytes of their blocks, in one reply; one message always fits."""


def find(call: Call) -> None:
    """Answer FIND, now or some turns later."""
    engine, arguments = call.engine, call.arguments
    query = read_query(arguments)
    stretch = (arguments.number("offset", 0), arguments.number("end", U64_MAX))
    count = arguments.number("count", 100, 1, FIND_COUNT_MAX)
    bytes_max = min(arguments.number("bytes_max", FIND_BYTES_MAX, 1), FIND_BYTES_MAX)
    name = arguments.optional("group")
    queue = call.queue()
    group = find_group(queue, name or "")
    if query.state == DEAD:
        letters = engine.broker.names.get(queue.dead_letter_name)
        if letters is None:
            nothing: list[Any] = []
            reply = {"queue": queue.dead_letter_name, "found": nothing, "next_offset": None, "end_offset": 0}
            engine.sinks[call.session.number].reply(call.request, reply)
            return
        came_from = Origin(None if letters is queue else queue.local_name, name, query.reason)
        query = query._replace(state=None, came_from=came_from)
        group = letters.group
    engine.finder.add(Find(engine, (call.session.number, call.request), group, query, stretch, count, bytes_max))


class Finder:
    """All searches under way. One slice of one of them a turn."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._waiting: deque[Find] = deque()
        self._scheduled = False

    def add(self, find: Find) -> None:
        """Have a search go on."""
        self._waiting.append(find)
        if not self._scheduled:
            self._scheduled = True
            self._engine.jobs.append(self._step)
        self._engine.wake()

    def _step(self) -> bool:
        """Called every turn; True when no search wants one."""
        self._waiting.popleft().step()
        self._scheduled = bool(self._waiting)
        if self._scheduled:
            self._engine.wake()
        return not self._scheduled


class Find:
    """One request."""

    def __init__(
        self,
        engine: Engine,
        asker: tuple[int, int],
        group: Group,
        query: Query,
        stretch: tuple[int, int],
        count: int,
        bytes_max: int,
    ) -> None:
        self._engine = engine
        self._asker = asker
        self._group = group
        self._queue = group.queue
        self._query = query
        self._columns = query.columns | (group.sieve.columns if group.sieve else frozenset())
        self._predicate: Predicate | None = compile_selector(query.where.tree) if query.where else None
        self._offset = max(stretch[0], group.queue.log.start_offset)
        self._end = min(stretch[1], group.queue.log.visible)
        self._count = count
        self._bytes_left = bytes_max
        self._scan_bytes_left = SCAN_BYTES_MAX
        self._found: list[dict[str, Any]] = []

    def step(self) -> None:
        """Look at the next slice; its blocks may have to be read first."""
        if self._asker[0] not in self._engine.sinks:
            return
        if self._queue.deleted or self._group.deleted:
            self._refuse(Refusal("queue-deleted", f"queue {self._queue.name!r} was deleted during the search"))
            return
        slice_ = self._next_slice()
        missing = {
            block.position: block for block, _ in slice_.parts if self._engine.blocks.get(block.position) is None
        }
        at_hand = {
            block.position: stored
            for block, _ in slice_.parts
            if (stored := self._engine.blocks.get(block.position)) is not None
        }

        def arrived(loaded: dict[int, StoredBlock]) -> None:
            self._look_at(slice_, {**at_hand, **loaded})

        if missing:
            self._engine.load(list(missing.values()), arrived)
        else:
            arrived({})

    def _next_slice(self) -> Slice:
        """Plan what to look at: parts of blocks that each hold one span, or a part of one."""
        engine, query = self._engine, self._query
        group, log = self._group, self._queue.log
        held, now_ms = finding.holdings(engine.broker, group), engine.clock_ms()
        parts: list[tuple[BlockRef, finding.Span]] = []
        offset, size_bytes, messages = self._offset, 0, 0
        for _ in range(SLICE_SPANS):
            span = finding.next_span(group, offset, held, now_ms)
            if span is None or span.first >= self._end:
                return Slice(parts, None, size_bytes)
            if query.state not in (None, span.state):
                offset = span.end
                continue
            block = log.block_at(span.first)
            offset = min(span.end, block.end, self._end)
            if not parts or parts[-1][0].position != block.position:
                size_bytes += block.size_bytes
                messages += block.end - block.first
            parts.append((block, span._replace(end=offset)))
            if size_bytes >= SLICE_BYTES or messages >= SLICE_MESSAGES:
                break
        return Slice(parts, offset, size_bytes)

    def _look_at(self, slice_: Slice, stored: dict[int, StoredBlock]) -> None:
        self._scan_bytes_left -= slice_.size_bytes
        decoded: dict[int, BlockColumns] = {}
        for block, span in slice_.parts:
            time_ms, data = stored[block.position]
            for offset in self._matches(block, span, time_ms, data, decoded):
                one = self._engine.codec.slice(data, offset - block.first, offset - block.first + 1)
                if self._found and len(one) > self._bytes_left:
                    self._answer(offset)
                    return
                self._bytes_left -= len(one)
                self._found.append(self._entry(span, offset, time_ms, one))
                if len(self._found) == self._count:
                    self._answer(offset + 1)
                    return
        if slice_.next_offset is None or self._scan_bytes_left <= 0:
            self._answer(slice_.next_offset)
        else:
            self._offset = slice_.next_offset
            self._engine.finder.add(self)

    def _matches(
        self, block: BlockRef, span: finding.Span, time_ms: int, data: bytes, decoded: dict[int, BlockColumns]
    ) -> Sequence[int]:
        """Return the offsets of a part that are looked for: the cheapest conditions first, each over what is left."""
        query, first = self._query, block.first
        if not query.since_ms <= time_ms < query.until_ms:
            return ()
        columns = decoded.get(block.position)
        if columns is None:
            columns = decoded[block.position] = self._engine.codec.columns(data, self._columns)
        bodies, keys, _, properties = columns
        left: Sequence[int] = range(span.first, span.end)
        if query.key is not None:
            left = [offset for offset in left if keys[offset - first] == query.key] if keys else ()
        if query.text:
            left = [offset for offset in left if query.text in bodies[offset - first]] if bodies else ()
        if query.came_from is not None:
            left = (
                [offset for offset in left if _came_from(properties[offset - first], query.came_from)]
                if properties
                else ()
            )
        for selects in self._predicates(span) if left else ():
            rows = rows_of(columns, block.end - first, span.attempts or None, time_ms, self._queue.durable)
            left = [offset for offset in left if selects(rows[offset - first])]
        return left

    def _predicates(self, span: finding.Span) -> list[Predicate]:
        """The selector that was asked for, and the group's own for what it may not have looked at yet."""
        sieve = self._group.sieve
        found = [] if sieve is None or span.attempts else [sieve.selects]
        return found if self._predicate is None else [*found, self._predicate]

    def _entry(self, span: finding.Span, offset: int, time_ms: int, block: bytes) -> dict[str, Any]:
        failures = self._group.history.get(offset)
        return {
            "offset": offset,
            "state": span.state if self._query.came_from is None else DEAD,
            "attempts": span.attempts,
            "failures": span.failures,
            "consumer": span.consumer,
            "until_ms": span.until_ms,
            "reason": failures[-1].reason if failures and span.state != finding.EXPIRED else "",
            "published_at_ms": time_ms,
            "block": block,
        }

    def _answer(self, next_offset: int | None) -> None:
        """Reply, with where a further request goes on; None: everything was looked at."""
        sink = self._engine.sinks.get(self._asker[0])
        if sink is not None:
            found: dict[str, Any] = {"queue": self._queue.name, "found": self._found}
            sink.reply(self._asker[1], found | {"next_offset": next_offset, "end_offset": self._end})

    def _refuse(self, refusal: Refusal) -> None:
        self._engine.sinks[self._asker[0]].refuse(self._asker[1], refusal)


class Slice(NamedTuple):
    """What one turn looks at: blocks, each with the span of it that is meant, and where the next slice begins."""

    parts: list[tuple[BlockRef, finding.Span]]
    next_offset: int | None
    size_bytes: int


def _came_from(properties: dict[str, Any] | None, origin: Origin) -> bool:
    dead = properties and properties.get("dead")
    if not isinstance(dead, dict):
        return False
    said = (dead.get("queue"), dead.get("group", ""), dead.get("reason"))
    return all(wanted in (None, one) for wanted, one in zip(origin, said, strict=True))
