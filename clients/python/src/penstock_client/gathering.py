"""Gathering messages into blocks. One for the client, so that whatever its publishers have at hand leaves together.

What is gathered is sent

- in the loop's next turn when nothing of its queue is unconfirmed: one message at a time waits for no timer;
- when the last confirm of these queues comes in: whatever came meanwhile makes the next blocks;
- when a queue has BLOCK_MESSAGES, or all of them together have filled the room;
- after FLUSH_S at the latest.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, Protocol

from penstock_client.message import Confirm
from penstock_client.outgoing import Outgoing, encode_parts
from penstock_client.producer import Block, Producer
from penstock_client.route import ConfirmSink, Part, Route
from penstock_client.wire.entries import DUPLICATES, ConfirmStatus, Level

if TYPE_CHECKING:
    from penstock_client.errors import PenstockError

BLOCK_MESSAGES: Final = 500
FLUSH_S: Final = 0.002

ROOM_BYTES: Final = 128 * 1024
"""What is gathered at the most for one queue: a block's worth."""

ROOM_BYTES_PER_QUEUE: Final = 4 * 1024
ROOM_BYTES_MAX: Final = 1024 * 1024
"""With messages for many queues the room grows, or each would get a block of its own."""

MESSAGE_BYTES: Final = 64
"""What a message takes of the room beside its body: bounds the count of empty ones."""

LEVELS: Final = {"synced": Level.SYNCED, "written": Level.WRITTEN}
_LEVEL_NAMES: Final = {int(level): level.name.lower() for level in Level}


def level_of(durability: str) -> int:
    """Return the wire's number of a durability; raises ValueError."""
    if durability not in LEVELS:
        raise ValueError(f"durability is 'synced' or 'written', not {durability!r}")
    return LEVELS[durability]


class Batch(Protocol):
    """Messages for one queue that make the next blocks."""

    messages: list[Outgoing]
    route: Route

    def seal(self) -> list[Block]:
        """Take the messages out, as blocks."""


class Gathering:
    """The batches that have messages, until they are sent."""

    def __init__(self, producer: Producer) -> None:
        self.room_bytes = ROOM_BYTES
        self._producer = producer
        self._batches: list[Batch] = []
        self._granted_bytes = ROOM_BYTES
        self._timer: asyncio.Handle | None = None
        producer.when_confirmed = self._confirmed

    def begin(self, batch: Batch) -> None:
        """A batch has its first message."""
        if self._batches and self._granted_bytes < ROOM_BYTES_MAX:
            self._granted_bytes += ROOM_BYTES_PER_QUEUE
            self.room_bytes += ROOM_BYTES_PER_QUEUE
        self._batches.append(batch)
        if self._timer is None:
            loop = asyncio.get_running_loop()
            idle = batch.route.is_idle
            self._timer = loop.call_soon(self.flush) if idle else loop.call_later(FLUSH_S, self.flush)

    def flush(self) -> None:
        """Send what is gathered."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._batches:
            batches, self._batches = self._batches, []
            self._producer.send([block for batch in batches for block in batch.seal()])
        self.room_bytes = self._granted_bytes = min(ROOM_BYTES, self._producer.body_bytes_max)

    def _confirmed(self) -> None:
        if self._batches and all(batch.route.is_idle for batch in self._batches):
            self.flush()


class Receipts:
    """The futures of single messages that share a block."""

    __slots__ = ("_futures",)

    def __init__(self, futures: Sequence[asyncio.Future[Confirm]]) -> None:
        self._futures = futures

    def confirmed(self, part: Part, status: int, offset: int | None, level: int) -> None:
        """Messages are stored, or scheduled, or dropped as their queue was told to."""
        queue, name, first_id = part.queue, _LEVEL_NAMES.get(level, str(level)), part.scheduled_id
        duplicate, dropped = status in DUPLICATES, status == ConfirmStatus.DROPPED
        for index, future in enumerate(self._futures[part.first : part.end]):
            if not future.done():
                scheduled_id = None if first_id is None else first_id + index
                confirm = Confirm(
                    queue, None if offset is None else offset + index, name, duplicate, scheduled_id, dropped
                )
                future.set_result(confirm)

    def refused(self, part: Part, error: PenstockError) -> None:
        """Messages are not stored, or nobody knows."""
        for future in self._futures[part.first : part.end]:
            if not future.done():
                future.set_exception(error)


class Singles:
    """Single publishes to one queue at one level: those that come together share blocks."""

    __slots__ = ("_futures", "_level", "messages", "route")

    def __init__(self, route: Route, level: int) -> None:
        self.messages: list[Outgoing] = []
        self._futures: list[asyncio.Future[Confirm]] = []
        self.route = route
        self._level = level

    def add(self, message: Outgoing) -> asyncio.Future[Confirm]:
        """Take a message; the future gets its confirm."""
        future: asyncio.Future[Confirm] = asyncio.get_running_loop().create_future()
        self.messages.append(message)
        self._futures.append(future)
        return future

    def seal(self) -> list[Block]:
        """Take the messages out, as blocks."""
        messages, self.messages = self.messages, []
        futures, self._futures = self._futures, []
        blocks, start = [], 0
        for data, count in encode_parts(messages, self.route.column):
            blocks.append(Block(self.route, self._level, data, count, Receipts(futures[start : start + count])))
            start += count
        return blocks


class Run:
    """The messages of one publisher for one queue."""

    __slots__ = ("_level", "_sink", "messages", "route", "sealed_count")

    def __init__(self, route: Route, level: int, sink: ConfirmSink) -> None:
        self.route = route
        self.messages: list[Outgoing] = []
        self.sealed_count = 0
        self._level = level
        self._sink = sink

    def seal(self) -> list[Block]:
        """Take the messages out, as blocks."""
        messages, self.messages = self.messages, []
        self.sealed_count += len(messages)
        return [
            Block(self.route, self._level, data, count, self._sink)
            for data, count in encode_parts(messages, self.route.column)
        ]
