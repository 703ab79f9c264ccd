"""Workers on the real broker: retries, dead letters, answers, threads, and an end that loses nothing."""

import asyncio
import os
import signal
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import msgpack
import pytest

from penstock.testing import TestBroker
from penstock_client import Client, Message, ReceivedMessage, ReplyFailed, SettingsDiffer, UnknownQueue, connect
from penstock_client.worker import App, Reject, Retry

HANG_GUARD_S = 20.0


@dataclass
class Order:
    """What the handlers here take."""

    id: str
    amount: int


@dataclass
class Receipt:
    """What they return."""

    order: str


@pytest.fixture
def test_broker() -> Iterator[TestBroker]:
    """A broker in memory."""
    with TestBroker() as broker:
        yield broker


@pytest.fixture
async def client(test_broker: TestBroker) -> AsyncIterator[Client]:
    """A client of it."""
    async with asyncio.timeout(HANG_GUARD_S), connect(test_broker.url) as client:
        yield client


@asynccontextmanager
async def serving(app: App, broker: TestBroker) -> AsyncIterator[None]:
    stop = asyncio.Event()
    started = asyncio.Event()
    app.on_startup(started.set)
    running = asyncio.create_task(app.serve(stop, broker.url))
    try:
        await started.wait()
        yield
        stop.set()
        await running
    finally:
        running.cancel()
        await asyncio.wait([running])


async def taken(client: Client, queue: str, count: int = 1) -> list[ReceivedMessage]:
    """Wait for so many messages of a queue, take them and return them."""
    await client.queue(queue).declare(max_failures=0, dead_letter=queue) if queue.endswith(".dead") else None
    messages: list[ReceivedMessage] = []
    async with client.queue(queue).consume() as consumed:
        async for message in consumed:
            await message.ack()
            messages.append(message)
            if len(messages) == count:
                break
    return messages


async def test_a_failing_message_is_tried_again_and_dies_with_what_each_attempt_said(
    test_broker: TestBroker, client: Client
) -> None:
    app = App(name="shop")

    @app.worker("orders", retry=Retry(max_failures=3, backoff=(0, 0)))
    async def charge(order: Order, message: ReceivedMessage) -> None:
        raise ValueError(f"no stock, attempt {message.attempt}")

    async with serving(app, test_broker):
        await client.queue("orders").publish(Message(b'{"id":"a","amount":1}'))
        (dead,) = await taken(client, "orders.dead")
    assert dead.dead is not None
    assert [failure.attempt for failure in dead.dead.failures] == [1, 2, 3]
    assert all(failure.consumer.startswith("shop@") for failure in dead.dead.failures)
    reasons = [failure.reason for failure in dead.dead.failures]
    assert [reason.splitlines()[0] for reason in reasons] == [f"ValueError: no stock, attempt {n}" for n in (1, 2, 3)]
    assert all("in charge\n    raise ValueError(" in reason for reason in reasons)


async def test_what_is_not_worth_another_attempt_dies_at_once(test_broker: TestBroker, client: Client) -> None:
    app = App()

    @app.worker("orders", retry=Retry(never=KeyError), dead_letter="orders.bad")
    async def charge(order: Order) -> None:
        raise KeyError(order.id) if order.amount else Reject("nothing to pay")

    await client.queue("orders.bad").declare(max_failures=0, dead_letter="orders.bad")
    async with serving(app, test_broker):
        for body in (b'{"id":"a","amount":1}', b'{"id":"b","amount":0}', b'{"id":"c"}'):
            await client.queue("orders").publish(body)
        dead = {letter.body: letter.dead for letter in await taken(client, "orders.bad", 3)}
    reasons = [letter.reason.splitlines() for letter in dead.values() if letter is not None]
    assert sorted(lines[0] for lines in reasons) == [
        "KeyError: 'a'",
        "nothing to pay",
        "the body is not a valid Order",
    ]
    assert ["the body is not a valid Order", "amount: Field required"] in reasons


async def test_an_answer_comes_back_in_the_format_of_the_question(test_broker: TestBroker, client: Client) -> None:
    app = App()

    @app.worker("orders", results="receipts")
    def charge(order: Order) -> Receipt:
        assert threading.current_thread() is not threading.main_thread()
        return Receipt(order.id)

    await client.queue("answers").declare()
    await client.queue("receipts").declare(lease=7)  # it is there with settings of its own: they are left alone
    body = msgpack.packb({"id": "b", "amount": 2})
    async with serving(app, test_broker):
        orders = client.queue("orders")
        await orders.declare()
        await orders.publish(Message(b'{"id":"a","amount":1}', message_id="m-1"))
        await orders.publish(
            Message(body, content_type="application/msgpack", reply_to="answers", correlation_id="c-1")
        )
        (receipt,) = await taken(client, "receipts")
        (answer,) = await taken(client, "answers")
    assert (receipt.body, receipt.content_type, receipt.correlation_id) == (b'{"order":"a"}', "application/json", "m-1")
    assert (msgpack.unpackb(answer.body), answer.correlation_id) == ({"order": "b"}, "c-1")


async def test_whoever_asks_gets_the_answer_or_why_there_is_none(test_broker: TestBroker, client: Client) -> None:
    app = App()

    @app.worker("prices")
    async def price(order: Order) -> Receipt:
        if order.amount < 0:
            raise Reject("nothing is that cheap")
        return Receipt(order.id)

    async with serving(app, test_broker):
        await client.queue("prices").declare()
        reply = await client.request("prices", b'{"id":"a","amount":1}', timeout=HANG_GUARD_S)
        assert (reply.body, reply.content_type) == (b'{"order":"a"}', "application/json")
        with pytest.raises(ReplyFailed, match="nothing is that cheap"):
            await client.request("prices", b'{"id":"a","amount":-1}', timeout=HANG_GUARD_S)
        with pytest.raises(ReplyFailed, match="not a valid Order"):
            await client.request("prices", b"{}", timeout=HANG_GUARD_S)


async def test_a_queue_that_exists_keeps_what_the_worker_does_not_say(test_broker: TestBroker, client: Client) -> None:
    await client.queue("orders").declare(lease=77, max_failures=2)
    app = App()

    @app.worker("orders", retry=Retry(max_failures=2))
    async def charge(order: Order) -> None: ...

    async with serving(app, test_broker):
        pass
    info = await client.queue("orders").info()
    assert (info.lease, info.max_failures) == (77, 2)


async def test_a_queue_with_other_settings_than_the_worker_says_is_an_error(
    test_broker: TestBroker, client: Client
) -> None:
    await client.queue("orders").declare(lease=77, max_failures=2)
    app = App()

    @app.worker("orders", lease=60, retry=Retry(max_failures=2, backoff=(0.5, 60)))
    async def charge(order: Order) -> None: ...

    with pytest.raises(SettingsDiffer, match=r"charge asks for: lease is 77\.0, not 60; change one or the other"):
        await app.serve(asyncio.Event(), test_broker.url)


async def test_a_queue_that_is_not_to_be_declared_has_to_be_there(test_broker: TestBroker, client: Client) -> None:
    app = App()

    @app.worker("orders", declare=False)
    async def charge(order: Order) -> None: ...

    with pytest.raises(UnknownQueue):
        await app.serve(asyncio.Event(), test_broker.url)


async def test_stopping_loses_nothing(test_broker: TestBroker, client: Client) -> None:
    """What ran is done, what did not is back in the queue, and no failure is counted."""
    done: list[bytes] = []
    go_on = asyncio.Event()
    begun = asyncio.Event()
    app = App()

    @app.worker("orders", concurrency=3, prefetch=20)
    async def charge(body: bytes) -> None:
        begun.set()
        await go_on.wait()
        done.append(body)

    orders = client.queue("orders")
    await orders.declare()
    await orders.publish_many([b"%d" % number for number in range(50)])
    stop = asyncio.Event()
    running = asyncio.create_task(app.serve(stop, test_broker.url))
    await begun.wait()
    stop.set()
    go_on.set()
    await running
    left = [message async for message in orders.peek(count=100)]
    assert sorted([*done, *(message.body for message in left)]) == sorted(b"%d" % number for number in range(50))
    assert done
    assert {message.failures for message in left} == {0}
    assert (await orders.info()).leased == 0


def test_run_ends_at_a_signal_and_leaves_the_signal_as_it_was(test_broker: TestBroker) -> None:
    before = signal.getsignal(signal.SIGTERM)
    app = App(test_broker.url)

    @app.worker("orders")
    async def charge(order: Order) -> None: ...

    app.on_startup(lambda: os.kill(os.getpid(), signal.SIGTERM))
    app.run()
    app.run(grace=1)
    assert signal.getsignal(signal.SIGTERM) is before
