"""A worker at work: as many tasks as it has concurrency, on one subscription.

One task at a time waits for the broker; the others wait for it (``Feed``). Were they all to wait for the broker, each
message that comes to an idle worker would wake all of them.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import Final

from penstock_client.client import Client
from penstock_client.delivery import HANDED
from penstock_client.errors import ClientClosed, ConnectionLost, PenstockError
from penstock_client.message import Publishable
from penstock_client.messages import Messages
from penstock_client.received import ReceivedMessage, reason_of
from penstock_client.reply import ReplyOutcome
from penstock_client.wire.errors import WireError
from penstock_client.worker.outcomes import Answer, Outcome, Verdict
from penstock_client.worker.worker import Worker

CANCEL_WAIT_S: Final = 5.0
"""How long a cancelled handler may take to end: one that catches its cancellation is left behind."""

WOKEN_AT_ONCE: Final = 2
"""Waiting tasks that a task wakes which has waited and then found messages. Each of them does the same, so that all
have work after a few turns of the loop, and a lone message wakes two and not a hundred. A task that finds its next
message without waiting wakes nobody: handlers that never wait are as fast as a plain loop."""

_UNPUBLISHABLE: Final = (PenstockError, TypeError, ValueError, OverflowError)
"""What publishing raises: for what cannot be stored, and for values that msgpack has no form for."""

log: Final = logging.getLogger("penstock_client.worker")


class Feed:
    """Hands the messages of a subscription to the tasks of a crew."""

    def __init__(self, messages: Messages) -> None:
        self._messages = messages
        self._led = False
        self._followers: deque[asyncio.Future[None]] = deque()

    async def next(self) -> ReceivedMessage | None:
        """Return a message to work on; None when there will be none. Raises what ended the subscription."""
        messages = self._messages
        waited = False
        while (index := messages.index) >= messages.end:
            waited = True
            if self._led:
                await self._follow()
            elif not await self._lead():
                return None
        messages.index = index + 1
        delivery = messages.delivery
        delivery.marks[index] = HANDED
        if delivery.clean:
            delivery.holdings.touched(delivery)
        if waited:
            self._wake()
        return ReceivedMessage(delivery, index, delivery.bodies[index])

    async def _lead(self) -> bool:
        """Wait for the broker; False when the subscription is over."""
        self._led = True
        try:
            return await self._messages.next_run() is not None
        finally:
            self._led = False
            self._wake()

    async def _follow(self) -> None:
        follower: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._followers.append(follower)
        try:
            await follower
        except asyncio.CancelledError:
            self._wake()  # it may have been woken already: somebody has to lead
            raise

    def _wake(self) -> None:
        woken_count = 0
        while self._followers and woken_count < WOKEN_AT_ONCE:
            follower = self._followers.popleft()
            if not follower.done():
                follower.set_result(None)
                woken_count += 1


class Crew:
    """The tasks of one worker."""

    def __init__(self, client: Client, worker: Worker) -> None:
        self._client = client
        self._worker = worker
        settings = worker.settings
        queue = client.queue(worker.queue)
        self._messages = queue.consume(prefetch=settings.prefetch_messages, name=settings.name, group=settings.group)
        self._tasks: set[asyncio.Task[None]] = set()
        self._given_back_count = 0
        self._stopping = False
        self._stopped = False

    async def start(self) -> None:
        """Subscribe and begin. Raises UnknownQueue and what else the broker refuses."""
        await self._messages.__aenter__()
        feed = Feed(self._messages)
        loop = asyncio.get_running_loop()
        self._tasks = {loop.create_task(self._work(feed)) for _ in range(self._worker.settings.concurrency)}

    async def ended(self) -> None:
        """Return when the subscription is over; raises what ended it, if it was not ``stop``."""
        done, _ = await asyncio.wait(self._tasks, return_when=asyncio.FIRST_EXCEPTION)
        for task in done:
            task.result()

    async def stop(self, grace_s: float) -> int:
        """Take nothing more, let what runs finish for so long, give the rest back; return how many those were.

        A handler that does not end when it is cancelled is left behind; its message goes back with the connection.
        """
        self._stopping = True
        await self._messages.stop()
        pending = self._tasks
        if pending:
            _, pending = await asyncio.wait(pending, timeout=grace_s)
        for task in pending:
            task.cancel()
        stuck: set[asyncio.Task[None]] = set()
        if pending:
            _, stuck = await asyncio.wait(pending, timeout=CANCEL_WAIT_S)
        for task in self._tasks - pending:
            task.exception()  # said once, by ``ended``
        self._stopped = True
        await self._messages.__aexit__(None, None, None)
        self._worker.close()
        return self._given_back_count + len(stuck)

    async def _work(self, feed: Feed) -> None:
        handle = self._worker.handle
        while not self._stopped and (message := await feed.next()) is not None:
            try:
                outcome = await handle(message)
                if outcome.verdict is Verdict.ACKED and outcome.answer is None:
                    await message.ack()
                else:
                    await self._settle(message, outcome)
            except asyncio.CancelledError as error:
                if self._stopping:
                    self._given_back_count += 1
                    await message.release()
                    raise
                _uncancel()  # the handler cancelled the task that it runs in
                await self._settle(message, self._worker.ended(message, error))

    async def _settle(self, message: ReceivedMessage, outcome: Outcome) -> None:
        """Do what was decided. An answer is published before the message is acknowledged: at least once."""
        if outcome.answer is not None:
            outcome = await self._publish(message, outcome, outcome.answer)
        if outcome.verdict is Verdict.ACKED:
            await message.ack()
            return
        rejected = outcome.verdict is Verdict.REJECTED
        said, _, traceback = outcome.reason.partition("\n\n")
        fate = "goes to the dead letters" if rejected else "failed"
        log.warning(
            "%s: %r %s: %s",
            self._worker.handler.name,
            message,
            fate,
            said,
            exc_info=outcome.error if traceback else None,
        )
        if rejected:
            if _asks(message):
                await self._reply(message, b"", outcome.error)
            await message.reject(reason=outcome.reason)
        else:
            await message.nack(delay=outcome.delay, reason=outcome.reason)

    async def _publish(self, message: ReceivedMessage, outcome: Outcome, answer: Answer) -> Outcome:
        """Send an answer to whoever asked, or publish it; return what becomes of the message then."""
        if answer.queue == message.reply_to:
            await self._reply(message, answer.message, None)
            return outcome
        try:
            await self._client.queue(answer.queue).publish(answer.message)
        except (ConnectionLost, ClientClosed):
            raise  # the message was lost with it
        except _UNPUBLISHABLE as error:
            return Outcome(Verdict.RETRIED, reason=reason_of(error), error=error)
        return outcome

    async def _reply(self, message: ReceivedMessage, body: Publishable, error: BaseException | None) -> None:
        """Answer whoever asked. That nobody takes it changes nothing: doing it again would not bring them back."""
        try:
            told = await message.reply(body, error=error)
        except _UNPUBLISHABLE as raised:
            log.warning("the answer to %r cannot be sent to %r: %s", message, message.reply_to, raised)
            return
        if told not in (ReplyOutcome.DELIVERED, ReplyOutcome.STORED):
            log.warning("the answer to %r reached nobody: %s", message, told)


def _uncancel() -> None:
    task = asyncio.current_task()
    while task is not None and task.uncancel():
        pass


def _asks(message: ReceivedMessage) -> bool:
    """True when somebody waits for an answer; nobody does that cannot be read."""
    try:
        return bool(message.reply_to)
    except WireError:
        return False
