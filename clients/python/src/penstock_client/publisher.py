"""Publishers: messages gathered into blocks, with backpressure, and every outcome accounted for.

A publisher sends what it has gathered when that is a block's worth, when nothing of the client is unconfirmed (so that
one message at a time goes at once), or after FLUSH_S.
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from penstock_client.errors import PenstockError, PublishFailed
from penstock_client.message import Confirm, Message, Publishable
from penstock_client.producer import ConfirmSink, Outbound, Route, encode_parts, plain_body
from penstock_client.wire.entries import Level

if TYPE_CHECKING:
    from penstock_client.client import Client

BLOCK_MESSAGES: Final = 500
BLOCK_BYTES: Final = 128 * 1024
"""A block is sent at either; a larger body travels alone."""
FLUSH_S: Final = 0.002
ERRORS_KEPT_MAX: Final = 100
"""Errors kept for the end of a publisher; more are counted."""

LEVELS: Final = {"synced": Level.SYNCED, "written": Level.WRITTEN}
_LEVEL_NAMES: Final = {int(level): level.name.lower() for level in Level}
_MULTI_BODY_MAX: Final = 200 * 1024


def level_of(durability: str) -> int:
    """Return the wire's number of a durability; raises ValueError."""
    if durability not in LEVELS:
        raise ValueError(f"durability is 'synced' or 'written', not {durability!r}")
    return LEVELS[durability]


class _Gathered:
    """Messages for one queue that make the next block."""

    __slots__ = ("messages", "nbytes", "plain", "route")

    def __init__(self, route: Route) -> None:
        self.route = route
        self.messages: list[bytes | Message] = []
        self.nbytes = 0
        self.plain = True


class ClientPublisher:
    """Publishes to any queues of one client: ``await publisher.send(queue, body)``."""

    def __init__(self, client: Client, durability: str = "synced") -> None:
        self._client = client
        self._producer = client.producer
        self._level = level_of(durability)
        self._gathered: dict[str, _Gathered] = {}
        self._count = 0
        self._nbytes = 0
        self._timer: asyncio.TimerHandle | asyncio.Handle | None = None
        self._open_count = 0
        self._done: asyncio.Future[None] | None = None
        self.errors: list[PenstockError] = []
        self.failed_count = 0
        self.confirmed_count = 0

    async def __aenter__(self) -> Self:
        await self._client.start_producing()
        self._producer.when_idle(self)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            await self.flush()
        finally:
            self._producer.forget_idle(self)
        if self.errors and error is None:
            raise PublishFailed(self.errors)

    async def send(self, queue: str, message: Publishable) -> None:
        """Publish soon; suspends while the window is full. What fails is raised at the end of the publisher."""
        gathered = self._gathered.get(queue)
        if gathered is None:
            gathered = self._gathered[queue] = _Gathered(self._producer.route(queue))
        body = plain_body(message)
        if isinstance(body, Message):
            gathered.plain = False
            nbytes = len(body.body) + 256
        else:
            nbytes = len(body)
        if nbytes > _MULTI_BODY_MAX:
            self._send_gathered()  # what came before goes ahead, so that a large body has a block of its own
            gathered.plain = not isinstance(body, Message)
        gathered.messages.append(body)
        gathered.nbytes += nbytes
        self._count += 1
        self._nbytes += nbytes
        if self._count >= BLOCK_MESSAGES or self._nbytes >= BLOCK_BYTES:
            self._send_gathered()
            if not self._producer.has_room:
                await self._producer.room()
            if self._client.is_congested:
                await self._client.uncongested()
        elif self._timer is None:
            self._schedule()

    async def flush(self) -> None:
        """Send what is gathered and wait until everything sent so far has its outcome."""
        self._send_gathered()
        while self._open_count:
            if self._done is None or self._done.done():
                self._done = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._done)

    def producer_idle(self) -> None:
        """Nothing is unconfirmed: do not wait for the timer."""
        if self._count:
            self._send_gathered()

    def confirmed(self, block: Outbound, offset: int | None, level: int, duplicate: bool) -> None:
        """A block is stored."""
        del offset, level, duplicate
        self.confirmed_count += block.count
        self._settled(block.count)

    def refused(self, block: Outbound, error: PenstockError) -> None:
        """A block is not stored, or nobody knows."""
        self.failed_count += block.count
        if len(self.errors) < ERRORS_KEPT_MAX:
            self.errors.append(error)
        self._settled(block.count)

    def _settled(self, count: int) -> None:
        self._open_count -= count
        if not self._open_count and self._done is not None and not self._done.done():
            self._done.set_result(None)

    def _schedule(self) -> None:
        loop = asyncio.get_running_loop()
        if self._producer.unconfirmed_messages:
            self._timer = loop.call_later(FLUSH_S, self._send_gathered)
        else:
            self._timer = loop.call_soon(self._send_gathered)

    def _send_gathered(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._count:
            return
        blocks: list[tuple[Route, bytes, int, ConfirmSink]] = []
        for gathered in self._gathered.values():
            count = len(gathered.messages)
            if count:
                for block, part_count in encode_parts(gathered.messages, gathered.plain):
                    blocks.append((gathered.route, block, part_count, self))
                gathered.messages = []
                gathered.nbytes = 0
                gathered.plain = True
                self._open_count += count
        self._count = self._nbytes = 0
        self._producer.send(blocks, self._level)


class Publisher(ClientPublisher):
    """Publishes to one queue: ``await publisher.send(body)``."""

    def __init__(self, client: Client, queue: str, durability: str = "synced") -> None:
        super().__init__(client, durability)
        self._queue = queue
        self._one = self._gathered[queue] = _Gathered(self._producer.route(queue))

    async def send(self, message: Publishable) -> None:  # type: ignore[override]
        """Publish soon; suspends while the window is full. What fails is raised at the end of the publisher."""
        if type(message) is not bytes or len(message) > _MULTI_BODY_MAX:
            await super().send(self._queue, message)
            return
        one = self._one
        messages = one.messages
        messages.append(message)
        self._nbytes += len(message)
        count = self._count = self._count + 1
        if count >= BLOCK_MESSAGES or self._nbytes >= BLOCK_BYTES:
            self._send_gathered()
            if not self._producer.has_room:
                await self._producer.room()
            if self._client.is_congested:
                await self._client.uncongested()
        elif self._timer is None:
            self._schedule()


class Receipts:
    """Outcomes of single messages, as futures: what ``queue.publish`` and ``publish_many`` wait for."""

    __slots__ = ("futures",)

    def __init__(self, futures: list[asyncio.Future[Confirm]]) -> None:
        self.futures = futures

    def confirmed(self, block: Outbound, offset: int | None, level: int, duplicate: bool) -> None:
        """A block is stored."""
        queue, name = block.route.queue, _LEVEL_NAMES.get(level, str(level))
        for index, future in enumerate(self.futures):
            if not future.done():
                future.set_result(Confirm(queue, None if offset is None else offset + index, name, duplicate))

    def refused(self, block: Outbound, error: PenstockError) -> None:
        """A block is not stored, or nobody knows."""
        del block
        for future in self.futures:
            if not future.done():
                future.set_exception(error)


class SinglePublishes:
    """``queue.publish``: calls of one loop turn share a block."""

    def __init__(self, client: Client, level: int) -> None:
        self._client = client
        self._level = level
        self._waiting: dict[str, list[tuple[bytes | Message, asyncio.Future[Confirm]]]] = {}
        self._handle: asyncio.Handle | None = None

    def add(self, queue: str, message: bytes | Message) -> asyncio.Future[Confirm]:
        """Send a message with what else is published in this turn; the future gets its confirm."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Confirm] = loop.create_future()
        self._waiting.setdefault(queue, []).append((message, future))
        if self._handle is None:
            self._handle = loop.call_soon(self._send)
        return future

    def _send(self) -> None:
        self._handle = None
        waiting, self._waiting = self._waiting, {}
        producer = self._client.producer
        blocks: list[tuple[Route, bytes, int, ConfirmSink]] = []
        for queue, messages in waiting.items():
            route = producer.route(queue)
            for part in split(messages):
                bodies = [message for message, _ in part]
                plain = not any(isinstance(body, Message) for body in bodies)
                futures = [future for _, future in part]
                for block, count in encode_parts(bodies, plain):
                    blocks.append((route, block, count, Receipts(futures[:count])))
                    futures = futures[count:]
        producer.send(blocks, self._level)


def split(
    messages: list[tuple[bytes | Message, asyncio.Future[Confirm]]],
) -> list[list[tuple[bytes | Message, asyncio.Future[Confirm]]]]:
    """Cut into blocks by count and bytes."""
    parts: list[list[tuple[bytes | Message, asyncio.Future[Confirm]]]] = [[]]
    nbytes = 0
    for pair in messages:
        message = pair[0]
        size = len(message.body) + 256 if isinstance(message, Message) else len(message)
        if parts[-1] and (nbytes + size > BLOCK_BYTES or len(parts[-1]) >= BLOCK_MESSAGES):
            parts.append([])
            nbytes = 0
        parts[-1].append(pair)
        nbytes += size
    return parts
