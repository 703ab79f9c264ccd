"""Asking: requests that go into a queue, and their replies, which come straight to this connection.

One reply box per connection, opened by the first request. A request carries the box's address in ``reply_to`` and in
``correlation_id`` a number of its own after a random prefix, so that a reply meant for another client, or for this one
before a broker was restored from a copy, is recognised as nobody's.

    expected --reply--> the caller has it        --timeout, or enough replies--> not expected: later ones are late
       |
       +--connection lost--> failed: its box is gone with it, and what became of the request is not known

A request's timeout is its time to live in the queue as well: one that nobody was handed in time expires there, so a
worker that was away does not work through what nobody waits for any more.

What RabbitMQ calls direct reply-to, and what JMS 2.0 does with a TemporaryQueue; here nothing is declared, and nothing
is left behind.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import deque
from collections.abc import AsyncGenerator
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

from penstock_client.delivery import Run
from penstock_client.errors import ConnectionLost, LimitReached, NoReply, PenstockError, ReplyFailed, again
from penstock_client.message import Confirm, Message, Publishable
from penstock_client.outgoing import as_bytes, prepare
from penstock_client.reply import Reply
from penstock_client.ways import Target, label_of
from penstock_client.wire.errors import WireError
from penstock_client.wire.frames import FrameType
from penstock_client.wire.replies import decode_replied

if TYPE_CHECKING:
    from penstock_client.client import Client
    from penstock_client.link import Link

UNREAD_REPLIES_MAX: Final = 10_000
"""Replies to one request that arrived and were not iterated over: what a caller may fall behind."""

LEAST_LEFT_S: Final = 0.001
"""A time to live is at least this; whoever has less left will not wait for the reply either."""
TTL_S_MAX: Final = 10 * 366 * 24 * 3600
"""The longest time to live that a message may ask for; who waits longer asks for none."""

log: Final = logging.getLogger("penstock_client")


class Box(NamedTuple):
    """Where replies come to, as long as a connection lasts."""

    link: Link
    address: str


class Expected:
    """The replies to one request."""

    __slots__ = ("_waiter", "correlation_id", "error", "replies", "sent", "target")

    def __init__(self, target: Target, correlation_id: str) -> None:
        self.target = target
        self.correlation_id = correlation_id
        self.sent = False
        self.error: PenstockError | None = None
        self.replies: deque[Reply] = deque()
        self._waiter: asyncio.Future[None] | None = None

    def take(self, reply: Reply) -> None:
        """A reply arrived."""
        if len(self.replies) >= UNREAD_REPLIES_MAX:
            self.fail(
                LimitReached(
                    f"{UNREAD_REPLIES_MAX} replies from {label_of(self.target)} wait unread; later ones are lost"
                )
            )
        else:
            self.replies.append(reply)
            self._wake()

    def fail(self, error: PenstockError) -> None:
        """No more replies come; what arrived is still there to be taken."""
        if self.error is None:
            self.error = error
        self._wake()

    def confirmed(self, confirm: asyncio.Future[Confirm]) -> None:
        """The request's own publish has its outcome: one that was refused gets no reply."""
        if not confirm.cancelled() and isinstance(error := confirm.exception(), PenstockError):
            self.fail(error)

    def check(self) -> None:
        """Raise what ended the waiting."""
        if self.error is not None:
            raise again(self.error)

    async def next(self) -> Reply:
        """Wait for the next reply."""
        while not self.replies:
            self.check()
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        return self.replies.popleft()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class Asker:
    """The requests of one client. All of it happens on the loop."""

    def __init__(self, client: Client) -> None:
        self.late_count = 0
        """Replies that nobody waited for any more."""
        self._client = client
        self._box: Box | None = None
        self._prefix = secrets.token_hex(8)
        self._asked_count = 0
        self._expected: dict[str, Expected] = {}

    async def request(self, target: Target, message: Publishable, timeout_s: float, level: int) -> Reply:
        """Ask, and return the first reply. Raises NoReply, ReplyFailed, ConnectionLost, or why it was not published."""
        deadline_s = asyncio.get_running_loop().time() + timeout_s
        expected = self._expect(target)
        try:
            async with asyncio.timeout_at(deadline_s):
                await self._send(deadline_s, expected, message, level)
                reply = await expected.next()
        except TimeoutError as error:
            raise _no_reply(expected, timeout_s) from error
        finally:
            self._forget(expected)
        if reply.error is not None:
            raise ReplyFailed(label_of(target), reply, reply.error)
        return reply

    async def requests(
        self, target: Target, message: Publishable, timeout_s: float, count: int | None, level: int
    ) -> AsyncGenerator[Reply, None]:
        """Ask, and yield every reply until the deadline, or until there were ``count`` of them."""
        deadline_s = asyncio.get_running_loop().time() + timeout_s
        expected = self._expect(target)
        left = count
        try:
            await self._send_until(deadline_s, expected, message, timeout_s, level)
            while left is None or left > 0:
                try:
                    async with asyncio.timeout_at(deadline_s):
                        reply = await expected.next()
                except TimeoutError:
                    return
                left = None if left is None else left - 1
                yield reply
        finally:
            self._forget(expected)

    async def _send_until(
        self, deadline_s: float, expected: Expected, message: Publishable, timeout_s: float, level: int
    ) -> None:
        try:
            async with asyncio.timeout_at(deadline_s):
                await self._send(deadline_s, expected, message, level)
        except TimeoutError as error:
            raise _no_reply(expected, timeout_s) from error

    def _expect(self, target: Target) -> Expected:
        self._asked_count += 1
        expected = Expected(target, f"{self._prefix}.{self._asked_count}")
        self._expected[expected.correlation_id] = expected
        return expected

    def _forget(self, expected: Expected) -> None:
        self._expected.pop(expected.correlation_id, None)

    async def _send(self, deadline_s: float, expected: Expected, message: Publishable, level: int) -> None:
        """Publish a request, once there is a connection. Once: if that is lost later, that is the request's outcome."""
        asked = message if isinstance(message, Message) else Message(as_bytes(message))
        if asked.reply_to is not None or asked.correlation_id is not None:
            raise ValueError("a request sets reply_to and correlation_id itself; publish a message that brings its own")
        box = None
        while box is None or box is not self._box:  # waiting for room may take longer than a connection lasts
            box = await self._opened_box()
            left_s = deadline_s - asyncio.get_running_loop().time()
            outgoing = prepare(
                replace(
                    asked,
                    reply_to=box.address,
                    correlation_id=expected.correlation_id,
                    ttl=_shorter(asked.ttl, left_s),
                )
            )
            await self._client.room_for(expected.target, [outgoing])
        expected.sent = True
        self._client.enqueue(expected.target, outgoing, level).add_done_callback(expected.confirmed)

    async def _opened_box(self) -> Box:
        """Return the box of the connection there is, waiting for one to be won back."""
        while self._box is None:
            link = await self._client.link()
            try:
                reply = await link.request(FrameType.REPLY_OPEN, {})
            except ConnectionLost:
                continue  # nothing was asked yet: the next connection's box will do
            if link.error is None:
                self._box = Box(link, str(reply["address"]))
        return self._box

    def detach(self, error: PenstockError) -> None:
        """The connection is gone, and the box with it: what was sent has an unknown outcome."""
        self._box = None
        for expected in self._expected.values():
            if expected.sent:
                expected.fail(_unknown_outcome(expected, error))

    def take(self, payload: bytes) -> None:
        """Hand the replies of a REPLIED frame to those who wait. Raises WireError when it is not one."""
        for replied_at_ms, _, block in decode_replied(payload):
            try:
                run = Run(block)
                replies = [Reply(run, index, replied_at_ms) for index in range(len(run.bodies))]
                correlation_ids = [reply.correlation_id for reply in replies]
            except WireError as error:
                log.warning("a reply that cannot be read was dropped: %s", error)
                continue
            for correlation_id, reply in zip(correlation_ids, replies, strict=True):
                self._hand_over(correlation_id, reply)

    def _hand_over(self, correlation_id: str | None, reply: Reply) -> None:
        expected = self._expected.get(correlation_id or "")
        if expected is None:
            self.late_count += 1
            log.debug("late: %r; nobody waits for it any more", reply)
        else:
            expected.take(reply)


def _shorter(ttl: float | timedelta | None, left_s: float) -> float | None:
    """Return how long a request may wait in its queue: until its sender waits no more, or less if it says so."""
    own_s = ttl.total_seconds() if isinstance(ttl, timedelta) else ttl
    left_s = max(LEAST_LEFT_S, left_s)
    if own_s is None:
        return left_s if left_s <= TTL_S_MAX else None
    return min(own_s, left_s)


def _no_reply(expected: Expected, timeout_s: float) -> NoReply:
    state = "the request may still be carried out" if expected.sent else "the request was not sent"
    return NoReply(f"{label_of(expected.target)}: no reply within {timeout_s:g} s; {state}")


def _unknown_outcome(expected: Expected, error: PenstockError) -> PenstockError:
    text = f"{label_of(expected.target)}: {error}; whether the request was carried out is not known"
    return ConnectionLost(text) if isinstance(error, ConnectionLost) else type(error)(text)
