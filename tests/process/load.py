"""Producers and consumers on the client library, writing down what they do and see."""

import asyncio
import random
from collections.abc import Awaitable
from typing import Final

from tests.process.bodies import body_of, checksum
from tests.process.history import (
    AckConfirmed,
    Acked,
    AckRefused,
    Confirmed,
    Delivered,
    History,
    MessageId,
    Published,
    Unknown,
)

from penstock_client import (
    Client,
    ConnectionLost,
    Message,
    PenstockError,
    Queue,
    ReceivedMessage,
    StaleDelivery,
    connect,
)

QUEUE: Final = "load"
BACKLOG_MAX: Final = 1_500
"""Messages published and not yet acknowledged, past which producers wait: bounds a round's time."""
BATCH_MAX: Final = 40
PREFETCH: Final = 64
CONFIRMS_MAX: Final = 32
"""Acknowledgements of one consumer that await their confirm at once."""


class Producer:
    """Publishes one by one, in batches, and pipelined, as its seed has it, and writes down each publish's outcome."""

    def __init__(self, number: int, seed: int, history: History) -> None:
        self._number = number
        self._seed = seed
        self._random = random.Random(f"{seed}/producer/{number}")
        self._history = history
        self._next = 0

    async def run(self, client: Client, stopping: asyncio.Event) -> None:
        """Publish until told to stop or refused, and return once every publish has its outcome."""
        queue = client.queue(QUEUE)
        ways = (self._one, self._many, self._pipelined)
        while not stopping.is_set():
            if self._history.published - self._history.settled > BACKLOG_MAX:
                await asyncio.sleep(0.005)
            elif not await self._publish(*self._random.choice(ways)(queue)):
                return

    def _one(self, queue: Queue) -> tuple[list[MessageId], Awaitable[list[int | None]]]:
        async def publish() -> list[int | None]:
            return [(await queue.publish(messages[0])).offset]

        names, messages = self._take(1)
        return names, publish()

    def _many(self, queue: Queue) -> tuple[list[MessageId], Awaitable[list[int | None]]]:
        async def publish() -> list[int | None]:
            return [confirm.offset for confirm in await queue.publish_many(messages)]

        names, messages = self._take(self._random.randint(1, BATCH_MAX))
        return names, publish()

    def _pipelined(self, queue: Queue) -> tuple[list[MessageId], Awaitable[list[int | None]]]:
        async def publish() -> list[int | None]:
            async with queue.publisher() as publisher:
                for message in messages:
                    await publisher.send(message)
            return [None] * len(messages)

        names, messages = self._take(self._random.randint(1, BATCH_MAX))
        return names, publish()

    def _take(self, count: int) -> tuple[list[MessageId], list[Message]]:
        names = [MessageId(self._number, self._next + position) for position in range(count)]
        self._next += count
        messages: list[Message] = []
        for name in names:
            body = body_of(self._seed, name)
            self._history.record(Published(name, checksum(body)))
            messages.append(Message(body, headers={"producer": name.producer, "index": name.number}))
        return names, messages

    async def _publish(self, names: list[MessageId], publishing: Awaitable[list[int | None]]) -> bool:
        try:
            offsets = await publishing
        except (PenstockError, asyncio.CancelledError) as error:
            for name in names:
                self._history.record(Unknown(name, repr(error)))
            if isinstance(error, asyncio.CancelledError):
                raise
            return False
        for name, offset in zip(names, offsets, strict=True):
            self._history.record(Confirmed(name, offset))
        return True


class Consumer:
    """Settles what it is given, in every way there is; now and then it leaves with its hands full and comes back."""

    def __init__(self, number: int, seed: int, history: History) -> None:
        self._number = number
        self._random = random.Random(f"{seed}/consumer/{number}")
        self._history = history
        self._visits = 0
        self._settling: set[asyncio.Task[None]] = set()
        self.draining = False
        """Set for the last phase: everything is acknowledged, each with its confirm."""

    @property
    def busy(self) -> int:
        """How many acknowledgements await their confirm."""
        return len(self._settling)

    async def run(self, url: str) -> None:
        """Consume until cancelled, over several connections."""
        while True:
            self._visits += 1
            try:
                await self._visit(url, messages_max=self._random.randint(200, 5_000))
            except ConnectionLost:
                await asyncio.sleep(0.02)  # it came while there was no broker

    async def _visit(self, url: str, messages_max: int) -> None:
        taken = 0
        async with connect(url) as client, client.queue(QUEUE).consume(prefetch=PREFETCH) as messages:
            async for message in messages:
                taken += 1
                await self._handle(message)
                if taken >= messages_max and not self.draining:
                    break
            await asyncio.gather(*self._settling)

    async def _handle(self, message: ReceivedMessage) -> None:
        delivery = self._note(message)
        chance = self._random.random()
        if self.draining or chance < 0.3:
            await self._room()
            task = asyncio.create_task(self._ack_with_confirm(message, delivery))
            self._settling.add(task)
            task.add_done_callback(self._settling.discard)
        elif chance < 0.9:
            await self._ack(message, delivery)
        elif chance < 0.95:
            await self._settle(message.nack(delay=0.02, reason="not now"))
        else:
            await self._settle(message.release())

    def _note(self, message: ReceivedMessage) -> Delivered:
        headers = message.headers
        name = MessageId(int(headers["producer"]), int(headers["index"]))
        consumer = f"{self._number}.{self._visits}"
        delivery = Delivered(
            consumer, self._history.life, name, message.offset, message.attempt, checksum(message.body)
        )
        self._history.record(delivery)
        return delivery

    async def _room(self) -> None:
        if len(self._settling) >= CONFIRMS_MAX:
            await asyncio.wait(self._settling, return_when=asyncio.FIRST_COMPLETED)

    async def _ack(self, message: ReceivedMessage, delivery: Delivered) -> None:
        self._history.record(Acked(delivery))
        try:
            await message.ack()
        except StaleDelivery:
            self._history.record(AckRefused(delivery))

    async def _ack_with_confirm(self, message: ReceivedMessage, delivery: Delivered) -> None:
        self._history.record(Acked(delivery))
        try:
            await message.ack(confirm=True)
        except StaleDelivery:
            self._history.record(AckRefused(delivery))
        except PenstockError:
            return  # lost with its connection: it counted or it did not
        else:
            self._history.record(AckConfirmed(delivery))

    async def _settle(self, settling: Awaitable[None]) -> None:
        try:
            await settling
        except PenstockError:
            return  # stale: the message is another delivery's by now
