"""Publishers: streams of messages with backpressure, and every outcome accounted for."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from penstock_client.errors import PenstockError, PublishFailed
from penstock_client.gathering import BLOCK_MESSAGES, MESSAGE_BYTES, Run, level_of
from penstock_client.message import Publishable
from penstock_client.outgoing import Outgoing, body_bytes, prepare, size_bytes
from penstock_client.producer import too_large
from penstock_client.route import Part
from penstock_client.ways import Target
from penstock_client.wire.entries import DUPLICATES, ConfirmStatus

if TYPE_CHECKING:
    from penstock_client.client import Client

ERRORS_KEPT_MAX: Final = 100
"""Errors kept for the end of a publisher; more are counted."""


class BasePublisher:
    """What all publishers share: counting, flushing, and the end."""

    def __init__(self, client: Client, durability: str) -> None:
        self._client = client
        self._producer = client.producer
        self._gathering = client.gathering
        self._level = level_of(durability)
        self._runs: dict[Target, Run] = {}
        self._sealed_before = 0
        """By runs that were forgotten."""
        self._settled_count = 0
        self._entered = False
        self._waiters: deque[asyncio.Future[None]] = deque()
        self.errors: list[PenstockError] = []
        self.failed_count = 0
        self.confirmed_count = 0
        self.duplicate_count = 0
        """Of the confirmed ones: stored before, by this id or in an earlier sending."""
        self.dropped_count = 0
        """Not stored, because their queue was full and drops what is newest."""

    async def __aenter__(self) -> Self:
        await self._client.start_producing()
        self._entered = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is not None and not isinstance(error, Exception):  # cancelled: what is sent stays sent
            self._gathering.flush()
            self._entered = False
            return
        try:
            await self._settle()
        finally:
            self._entered = False
        if self.errors:
            failed = PublishFailed(self.errors, self.failed_count)
            if error is None:
                raise failed
            if not isinstance(error, PublishFailed):
                error.add_note(str(failed))

    def check_entered(self) -> None:
        """Raise RuntimeError outside of its block: nobody would learn what became of a message."""
        if not self._entered:
            raise RuntimeError("send inside `async with queue.publisher() as publisher` (`with`, in the blocking API)")

    async def flush(self) -> None:
        """Wait until everything sent so far has its outcome. Raises PublishFailed for what failed up to now."""
        await self._settle()
        self._raise_failures()

    async def _settle(self) -> None:
        self._gathering.flush()
        while self._settled_count < self._sealed_before + sum(run.sealed_count for run in self._runs.values()):
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters.append(future)
            await future

    def _raise_failures(self) -> None:
        if self.errors:
            raise PublishFailed(self.errors, self.failed_count)

    def _run(self, target: Target) -> Run:
        run = self._runs.get(target)
        if run is None:
            run = self._runs[target] = Run(self._producer.route(target), self._level, self)
        return run

    def _forget_idle_runs(self) -> None:
        idle = [target for target, run in self._runs.items() if not run.messages]
        for target in idle:
            self._sealed_before += self._runs.pop(target).sealed_count

    def prepare(self, message: Publishable) -> Outgoing:
        """Return a message ready to be sent. Raises what is wrong with it; may be called from any thread."""
        outgoing = prepare(message)
        if body_bytes(outgoing) > self._producer.body_bytes_max:
            raise too_large(body_bytes(outgoing), self._producer.body_bytes_max)
        return outgoing

    async def _gather(self, run: Run, message: Outgoing) -> None:
        """Take a message that begins a run's next block, or ends it, or is more than a body."""
        self._raise_failures()
        if self._put(run, message) and not run.route.has_room:
            await self._producer.room(run.route)

    def _put(self, run: Run, message: Outgoing) -> bool:
        """Gather a message; True when that filled something up and it was sent."""
        messages, gathering = run.messages, self._gathering
        if not messages:
            self.check_entered()
            gathering.begin(run)
        messages.append(message)
        gathering.room_bytes -= size_bytes(message) + MESSAGE_BYTES
        if gathering.room_bytes > 0 and len(messages) < BLOCK_MESSAGES:
            return False
        gathering.flush()
        return True

    def confirmed(self, part: Part, status: int, offset: int | None, level: int) -> None:
        """Messages are stored, or dropped as their queue was told to."""
        del offset, level
        count = part.end - part.first
        if status == ConfirmStatus.DROPPED:
            self.dropped_count += count
        else:
            self.confirmed_count += count
        if status in DUPLICATES:
            self.duplicate_count += count
        self._settled(count)

    def refused(self, part: Part, error: PenstockError) -> None:
        """Messages are not stored, or nobody knows."""
        self.failed_count += part.end - part.first
        if len(self.errors) < ERRORS_KEPT_MAX:
            self.errors.append(error)
        self._settled(part.end - part.first)

    def _settled(self, count: int) -> None:
        self._settled_count += count
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)


class ClientPublisher(BasePublisher):
    """Publishes to any queues of one client: ``await publisher.send(queue, body)``."""

    def __init__(self, client: Client, durability: str = "synced") -> None:
        super().__init__(client, durability)

    async def send(self, queue: str, message: Publishable) -> None:
        """Publish soon; suspends while the window is full.

        Raises PublishFailed as soon as it is known that something sent before failed, and at the end of the publisher.
        """
        run = self._runs.get(queue) or self._run(queue)
        messages, gathering = run.messages, self._gathering
        if type(message) is bytes and 0 < len(messages) < BLOCK_MESSAGES - 1:
            room_bytes = gathering.room_bytes - len(message) - MESSAGE_BYTES
            if room_bytes > 0:
                gathering.room_bytes = room_bytes
                messages.append(message)
                return
        await self._gather(run, self.prepare(message))


class Publisher(BasePublisher):
    """Publishes to one queue: ``await publisher.send(body)``."""

    def __init__(self, client: Client, queue: str, durability: str = "synced") -> None:
        super().__init__(client, durability)
        self._one = self._run(queue)

    async def send(self, message: Publishable) -> None:
        """Publish soon; suspends while the window is full.

        Raises PublishFailed as soon as it is known that something sent before failed, and at the end of the publisher.
        """
        run, gathering = self._one, self._gathering
        messages = run.messages
        if type(message) is bytes and 0 < len(messages) < BLOCK_MESSAGES - 1:
            room_bytes = gathering.room_bytes - len(message) - MESSAGE_BYTES
            if room_bytes > 0:
                gathering.room_bytes = room_bytes
                messages.append(message)
                return
        await self._gather(run, self.prepare(message))

    async def send_prepared(self, messages: Sequence[Outgoing]) -> None:
        """Publish soon what ``prepare`` returned; failures are left for later."""
        for message in messages:
            if self._put(self._one, message) and not self._one.route.has_room:
                await self._producer.room(self._one.route)
