"""Request and reply on the real broker: who gets an answer, and what everyone is told when somebody is gone."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from penstock.testing import TestBroker
from penstock_client import (
    Client,
    ConnectionLost,
    Message,
    NoReply,
    NotARequest,
    PenstockError,
    ReceivedMessage,
    Reply,
    ReplyError,
    ReplyFailed,
    ReplyOutcome,
    UnknownQueue,
    Unroutable,
    connect,
)
from penstock_client.wire import control
from penstock_client.wire.frames import PREAMBLE, Frame, FrameReader, FrameType, encode_frame
from penstock_client.wire.replies import decode_replied

HANG_GUARD_S = 20.0
LONG = 15.0
"""A timeout that is not met."""

Handler = Callable[[ReceivedMessage], Coroutine[Any, Any, None]]


@pytest.fixture
def test_broker() -> Iterator[TestBroker]:
    """A broker in memory."""
    with TestBroker() as broker:
        yield broker


@pytest.fixture
async def client(test_broker: TestBroker) -> AsyncIterator[Client]:
    """A client of it, with a queue ``prices``."""
    async with asyncio.timeout(HANG_GUARD_S), connect(test_broker.url) as client:
        await client.queue("prices").declare(backoff=(0.0, 0.0))
        yield client


@asynccontextmanager
async def worker(url: str, handle: Handler, queue: str = "prices", group: str = "") -> AsyncIterator[Client]:
    """A connection of its own whose consumer hands every message to ``handle``, each in a task."""
    tasks: set[asyncio.Task[None]] = set()

    async def one(message: ReceivedMessage) -> None:
        async with message:
            await handle(message)

    async def consume(client: Client) -> None:
        async with client.queue(queue).consume(group=group) as messages:
            async for message in messages:
                task = asyncio.create_task(one(message))
                tasks.add(task)
                task.add_done_callback(tasks.discard)

    async with connect(url) as client:
        consuming = asyncio.create_task(consume(client))
        try:
            yield client
        finally:
            for task in (consuming, *tasks):
                task.cancel()
            await asyncio.wait([consuming, *tasks])


async def answer(message: ReceivedMessage) -> None:
    assert await message.reply(b"price of " + message.body) is ReplyOutcome.DELIVERED


async def until_waiting(client: Client, count: int) -> None:
    """Return when so many requests are in the queue."""
    while (await client.queue("prices").info()).messages < count:
        pass


async def counted(client: Client) -> tuple[int, int, int]:
    status = await client.status()
    return status["replies_delivered"], status["replies_gone"], status["replies_full"]


async def test_a_request_is_answered_and_its_message_is_done(client: Client, test_broker: TestBroker) -> None:
    async with worker(test_broker.url, answer):
        reply = await client.request("prices", Message(b"tea", headers={"currency": "EUR"}), timeout=LONG)
        assert reply.body == b"price of tea"
        assert await counted(client) == (1, 0, 0)
        info = await client.queue("prices").info()
        while info.acked < 1:
            info = await client.queue("prices").info()
        assert (info.published, info.messages) == (1, 0)


async def test_many_requests_of_many_askers_each_get_their_own_answer(client: Client, test_broker: TestBroker) -> None:
    async with (
        worker(test_broker.url, answer),
        worker(test_broker.url, answer),
        connect(test_broker.url) as other,
    ):
        askers = [client, other] * 150
        bodies = [b"%d" % number for number in range(len(askers))]
        asking = [one.request("prices", body, timeout=LONG) for one, body in zip(askers, bodies, strict=True)]
        replies = await asyncio.gather(*asking)
        assert [reply.body for reply in replies] == [b"price of " + body for body in bodies]
        assert await counted(client) == (300, 0, 0)
        assert (client.late_reply_count, other.late_reply_count) == (0, 0)


async def test_a_failed_request_raises_at_who_asked(client: Client, test_broker: TestBroker) -> None:
    async def fail(message: ReceivedMessage) -> None:
        await message.reply(error=ReplyError("no-such-item", f"{message.body.decode()} is not sold"))

    async with worker(test_broker.url, fail):
        with pytest.raises(ReplyFailed, match="coal is not sold") as caught:
            await client.request("prices", b"coal", timeout=LONG)
    assert caught.value.error.code == "no-such-item"


async def test_nobody_to_ask_is_an_error_at_once_and_nobody_answering_one_in_time(client: Client) -> None:
    with pytest.raises(UnknownQueue, match="nowhere"):
        await client.request("nowhere", b"?", timeout=LONG)
    with pytest.raises(NoReply, match="may still be carried out"):
        await client.request("prices", b"?", timeout=0.05)


async def test_a_request_that_nobody_waits_for_any_more_is_handed_to_nobody(
    client: Client, test_broker: TestBroker
) -> None:
    with pytest.raises(NoReply):
        await client.request("prices", b"stale", timeout=0.05)
    test_broker.clock.advance(1)

    async def answer(message: ReceivedMessage) -> None:
        await message.reply(message.body)

    async with worker(test_broker.url, answer):
        assert (await client.request("prices", b"fresh", timeout=LONG)).body == b"fresh"
    assert (await client.queue("prices").info()).raw["expired"] == 1
    assert client.late_reply_count == 0


async def test_a_reply_after_the_timeout_is_late_at_the_asker(client: Client, test_broker: TestBroker) -> None:
    with pytest.raises(NoReply):
        await client.request("prices", b"?", timeout=0.05)
    answered = asyncio.Event()

    async def answer_late(message: ReceivedMessage) -> None:
        assert await message.reply(b"late") is ReplyOutcome.DELIVERED, "the connection that asked is still there"
        answered.set()

    async with worker(test_broker.url, answer_late):
        await answered.wait()
        await client.status()
        assert client.late_reply_count == 1


async def test_the_replies_of_an_asker_that_is_gone_reach_nobody(client: Client, test_broker: TestBroker) -> None:
    outcomes: asyncio.Queue[ReplyOutcome] = asyncio.Queue()

    async def report(message: ReceivedMessage) -> None:
        outcomes.put_nowait(await message.reply(b"yes"))

    asker = await connect(test_broker.url)
    asking = asyncio.create_task(asker.request("prices", b"?", timeout=LONG))
    await until_waiting(client, 1)
    (await asker.link()).abort(ConnectionLost("the machine burned down"))
    await asker.close()
    with pytest.raises(PenstockError, match="is not known"):
        await asking
    await client.queue("quiet").declare()
    async with connect(test_broker.url) as successor, worker(test_broker.url, report):
        with pytest.raises(NoReply):
            await successor.request("quiet", b"?", timeout=0.05)
        assert await outcomes.get() is ReplyOutcome.GONE
        assert successor.late_reply_count == 0
    assert (await counted(client))[1] == 1


async def test_a_worker_that_dies_leaves_its_request_to_the_next(client: Client, test_broker: TestBroker) -> None:
    taken = asyncio.Event()

    async def hang(message: ReceivedMessage) -> None:
        taken.set()
        await asyncio.sleep(HANG_GUARD_S)

    async with worker(test_broker.url, hang) as dying:
        asking = asyncio.create_task(client.request("prices", b"tea", timeout=LONG))
        await taken.wait()
        (await dying.link()).abort(ConnectionLost("out of memory"))
    async with worker(test_broker.url, answer):
        assert (await asking).body == b"price of tea"


async def test_a_restart_in_between_ends_every_request_and_later_ones_work(
    client: Client, test_broker: TestBroker
) -> None:
    asking = [asyncio.create_task(client.request("prices", b"%d" % number, timeout=LONG)) for number in range(5)]
    await until_waiting(client, 5)
    await asyncio.to_thread(test_broker.restart)
    for one in asking:
        with pytest.raises(ConnectionLost, match="is not known"):
            await one
    outcomes: list[ReplyOutcome] = []

    async def report(message: ReceivedMessage) -> None:
        outcomes.append(await message.reply(b"r" + message.body))

    async with worker(test_broker.url, report):
        assert (await client.request("prices", b"now", timeout=LONG)).body == b"rnow"
        while len(outcomes) < 6:
            await client.status()
    assert sorted(outcomes) == ["delivered", *["gone"] * 5], "the requests outlived the restart, their box did not"
    assert client.late_reply_count == 0


async def test_connections_dropped_while_many_ask_give_each_its_answer_or_an_unknown_outcome(
    client: Client, test_broker: TestBroker
) -> None:
    async with worker(test_broker.url, _answer_anyhow):
        for _ in range(5):
            asking = [asyncio.create_task(client.request("prices", b"%d" % n, timeout=LONG)) for n in range(40)]
            await asyncio.sleep(0.005)
            test_broker.drop_connections()
            for number, outcome in enumerate(await asyncio.gather(*asking, return_exceptions=True)):
                if isinstance(outcome, BaseException):
                    assert isinstance(outcome, ConnectionLost), outcome
                else:
                    assert outcome.body == b"r%d" % number
        assert (await _ask_until_answered(client, b"last")).body == b"rlast"


async def _ask_until_answered(client: Client, body: bytes) -> Reply:
    """Ask again when the connection turns out to be gone: nothing here minds being asked twice."""
    while True:
        try:
            return await client.request("prices", body, timeout=LONG)
        except ConnectionLost:
            continue


async def _answer_anyhow(message: ReceivedMessage) -> None:
    try:
        await message.reply(b"r" + message.body)
    except PenstockError:
        pass  # the test cuts its connection too


async def test_a_reply_to_a_queue_is_stored_there(client: Client, test_broker: TestBroker) -> None:
    answers = client.queue("answers")
    await answers.declare()
    await client.queue("prices").publish(Message(b"tea", reply_to="answers", message_id="m-1"))

    async def store(message: ReceivedMessage) -> None:
        assert await message.reply(b"price of tea") is ReplyOutcome.STORED

    async with worker(test_broker.url, store), answers.consume() as messages:
        message = await anext(messages)
        await message.ack()
    assert (message.body, message.correlation_id) == (b"price of tea", "m-1")


async def test_only_a_leased_request_can_be_answered(client: Client) -> None:
    prices = client.queue("prices")
    await prices.publish_many([b"plain", Message(b"?", reply_to="$reply.1.99")])
    plain, request = [message async for message in prices.peek()]
    for message in (plain, request):
        with pytest.raises(TypeError, match="peeked at"):
            await message.reply(b"yes")
    async with prices.consume() as messages:
        with pytest.raises(NotARequest):
            await (await anext(messages)).reply(b"yes")
        assert await (await anext(messages)).reply(b"yes") is ReplyOutcome.GONE


async def test_every_answer_arrives_until_the_deadline(client: Client, test_broker: TestBroker) -> None:
    async def answer_thrice(message: ReceivedMessage) -> None:
        for number in range(3):
            await message.reply(b"%d" % number)

    async with worker(test_broker.url, answer_thrice):
        assert [reply.body async for reply in client.requests("prices", b"?", timeout=0.5)] == [b"0", b"1", b"2"]
        enough = [reply.body async for reply in client.requests("prices", b"?", timeout=LONG, count=2)]
        assert enough == [b"0", b"1"]


async def test_every_group_of_a_queue_answers_for_itself(client: Client, test_broker: TestBroker) -> None:
    shops = [b"north", b"south", b"west"]
    for shop in shops:
        await client.queue("prices").group(shop.decode()).declare()

    def answer_as(shop: bytes) -> Handler:
        async def handle(message: ReceivedMessage) -> None:
            error = ReplyError("closed", "on Mondays") if shop == b"west" else None
            await message.reply(shop, error=error)

        return handle

    async with AsyncExitStack() as stack:
        for shop in shops:
            await stack.enter_async_context(worker(test_broker.url, answer_as(shop), group=shop.decode()))
        answers = {reply.body: reply.error async for reply in client.requests("prices", b"tea", timeout=LONG, count=3)}
        assert answers == {b"north": None, b"south": None, b"west": ReplyError("closed", "on Mondays")}
        info = await client.queue("prices").info()
        while info.messages:
            info = await client.queue("prices").info()


async def test_every_queue_that_an_exchange_leads_to_answers(client: Client, test_broker: TestBroker) -> None:
    shops = client.exchange("shops", "topic")
    await shops.declare()
    for name in ("eu", "us"):
        await client.queue(name).declare()
        await shops.bind(name, f"*.{name}")
        await shops.bind(name, "*.all")

    def answer_as(name: str) -> Handler:
        async def handle(message: ReceivedMessage) -> None:
            await message.reply(name.encode())

        return handle

    async with (
        worker(test_broker.url, answer_as("eu"), queue="eu"),
        worker(test_broker.url, answer_as("us"), queue="us"),
    ):
        everyone = [reply.body async for reply in shops.requests("tea.all", b"?", timeout=LONG, count=2)]
        assert sorted(everyone) == [b"eu", b"us"]
        assert (await shops.request("tea.us", b"?", timeout=LONG)).body == b"us"
        with pytest.raises(Unroutable):
            await shops.request("tea.asia", b"?", timeout=LONG)
        with pytest.raises(Unroutable):
            await anext(shops.requests("tea.asia", b"?", timeout=LONG))


async def test_an_exchange_that_gets_no_reply_is_named(client: Client) -> None:
    shops = client.exchange("shops", "fanout")
    await shops.declare()
    await shops.bind("prices")
    with pytest.raises(NoReply, match=r"exchange 'shops', routing key 'tea': no reply within 0\.05 s"):
        await shops.request("tea", b"?", timeout=0.05)


# An asker that does not read


class RawAsker:
    """An asker of raw frames, which reads only when told to."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._frames = FrameReader(1 << 30)
        self._received: list[Frame] = []
        self.address = ""

    @classmethod
    async def connect(cls, port: int) -> "RawAsker":
        self = cls(*await asyncio.open_connection("127.0.0.1", port, limit=1024))
        self._writer.write(PREAMBLE)
        await self._call(FrameType.HELLO, {"client": "raw", "version": "0", "heartbeat_ms": 0})
        await self._call(FrameType.AUTH, {"mechanism": "ANONYMOUS", "response": b""})
        self.address = (await self._call(FrameType.REPLY_OPEN, {}))["address"]
        return self

    async def _call(self, frame_type: FrameType, arguments: dict[str, Any]) -> dict[str, Any]:
        self._writer.write(encode_frame(frame_type, control.pack(arguments), 1))
        return control.unpack((await self.read()).payload)

    async def read(self) -> Frame:
        """Read one frame."""
        while not self._received:
            self._received += self._frames.feed(await self._reader.read(1 << 16))
        return self._received.pop(0)

    def close(self) -> None:
        self._writer.transport.abort()


async def test_a_slow_asker_gets_what_its_box_holds_and_holds_up_nobody() -> None:
    settings = {"limits": {"reply_bytes_max": 1 << 20}}
    async with asyncio.timeout(HANG_GUARD_S * 2):
        with TestBroker(settings=settings) as broker:
            async with connect(broker.url) as client:
                slow = await RawAsker.connect(broker.port)
                try:
                    await _fill_a_slow_asker(client, broker, slow)
                finally:
                    slow.close()


async def _fill_a_slow_asker(client: Client, broker: TestBroker, slow: RawAsker) -> None:
    await client.queue("prices").declare()
    await client.queue("prices").publish(Message(b"?", reply_to=slow.address, correlation_id="c"))
    delivered = 0
    async with client.queue("prices").consume() as messages:
        request = await anext(messages)
        body = bytes(256 * 1024)
        while (outcome := await request.reply(body)) is ReplyOutcome.DELIVERED:
            delivered += 1
            assert delivered < 400, "100 MiB are more than a box and two socket buffers hold"
        assert outcome is ReplyOutcome.FULL
        assert delivered >= 4
        assert await counted(client) == (delivered, 0, 1)
        await client.queue("others").declare()
        async with worker(broker.url, answer, queue="others"):
            assert (await client.request("others", b"tea", timeout=LONG)).body == b"price of tea"
        for _ in range(delivered):
            (replied,) = decode_replied((await slow.read()).payload)
            assert len(replied.block) > len(body)
        assert await request.reply(body) is ReplyOutcome.DELIVERED, "it has read, so there is room"
