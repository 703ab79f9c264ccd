"""Transactions through the client library, on the real broker."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

import pytest

from penstock.testing import TestBroker
from penstock_client import (
    BodyTooLarge,
    Client,
    ConnectionLost,
    Message,
    PenstockError,
    Queue,
    ReceivedMessage,
    Transaction,
    TransactionConflict,
    TransactionFailed,
    TransactionStale,
    TransactionTooLarge,
    UnknownQueue,
    connect,
    sync,
)
from penstock_client.wire.entries import Outcome, encode_settle
from penstock_client.wire.frames import FrameType

HANG_GUARD_S = 20.0


@pytest.fixture
def test_broker() -> Iterator[TestBroker]:
    with TestBroker() as broker:
        yield broker


@pytest.fixture
async def client(test_broker: TestBroker) -> AsyncIterator[Client]:
    async with asyncio.timeout(HANG_GUARD_S), connect(test_broker.url, name="tester") as client:
        for name in ("orders", "invoices", "audit"):
            await client.queue(name).declare(backoff=(0, 0), max_failures=3)
        yield client


async def bodies(client: Client, queue: str) -> list[bytes]:
    return [message.body async for message in client.queue(queue).peek(count=1000)]


async def one(queue: Queue, **options: Any) -> ReceivedMessage:
    """Consume one message; its lease lives on with the client's connection."""
    messages = queue.consume(**options)
    await messages.__aenter__()
    return await anext(messages)


async def transact(
    client: Client,
    *,
    publish: Sequence[tuple[str, bytes]] = (),
    ack: Sequence[ReceivedMessage] = (),
    assign: dict[str, Any] | None = None,
) -> Transaction:
    async with client.transaction() as tx:
        for queue, body in publish:
            tx.publish(queue, body)
        tx.ack(*ack)
        tx.state.update(assign or {})
    return tx


async def test_what_is_published_and_acknowledged_together_happens_together(client: Client) -> None:
    orders = client.queue("orders")
    await orders.publish(b"order")
    message = await one(orders)
    async with client.transaction() as tx:
        tx.publish("invoices", Message(b"invoice", key="k", headers={"n": 1}))
        tx.publish(client.queue("audit"), b"first")
        tx.publish("audit", b"second")
        tx.ack(message)
        assert await bodies(client, "invoices") == []
    assert await bodies(client, "invoices") == [b"invoice"]
    assert await bodies(client, "audit") == [b"first", b"second"]
    info = await orders.info()
    assert (info.messages, info.acked) == (0, 1)
    assert [(confirm.queue, confirm.offset) for confirm in tx.confirms] == [("invoices", 0), ("audit", 0), ("audit", 1)]


async def test_an_exception_rolls_back_and_leaves_the_message_open(client: Client) -> None:
    orders = client.queue("orders")
    await orders.publish(b"order")

    async def handle(message: ReceivedMessage) -> None:
        async with message, client.transaction() as tx:
            tx.publish("invoices", b"invoice")
            tx.ack(message)
            raise ZeroDivisionError("the handler failed")

    async with orders.consume() as messages:
        with pytest.raises(ZeroDivisionError):
            await handle(await anext(messages))
        assert await bodies(client, "invoices") == []
        again = await anext(messages)
        assert (again.attempt, again.failures) == (2, 1)


async def test_it_can_be_rolled_back_without_an_exception(client: Client) -> None:
    async with client.transaction() as tx:
        tx.publish("invoices", b"invoice")
        tx.rollback()
    assert await bodies(client, "invoices") == []
    with pytest.raises(RuntimeError, match="over"):
        tx.publish("invoices", b"late")


async def test_one_that_names_a_stale_delivery_fails_whole(client: Client, test_broker: TestBroker) -> None:
    """The lease is taken away behind the client's back, as an expired one is."""
    orders = client.queue("orders")
    await orders.publish_many([b"held", b"stale"])
    held, stale = await one(orders, prefetch=1), await one(orders, prefetch=1)
    delivery = stale._delivery
    tags = [(delivery.first_tag, delivery.first_tag)]
    delivery.holdings.link.send(FrameType.SETTLE, encode_settle(Outcome.RELEASE, tags))
    with pytest.raises(TransactionStale, match="tags"):
        await transact(client, publish=[("invoices", b"invoice")], ack=[held, stale])
    assert await bodies(client, "invoices") == []
    await held.ack(confirm=True)


async def test_the_messages_of_a_refused_one_stay_open(client: Client) -> None:
    orders = client.queue("orders")
    await orders.publish(b"order")
    message = await one(orders)
    with pytest.raises(UnknownQueue):
        await transact(client, publish=[("nowhere", b"invoice")], ack=[message])
    await message.ack(confirm=True)
    assert (await orders.info()).acked == 1


async def test_a_message_in_a_transaction_is_not_settled_elsewhere(client: Client) -> None:
    orders = client.queue("orders")
    await orders.publish(b"order")
    message = await one(orders)
    async with client.transaction() as tx:
        tx.ack(message)
        await message.nack(reason="too late")
        await message.ack(confirm=True)
        with pytest.raises(ValueError, match="in a transaction"):
            tx.ack(message)
        assert (await orders.info()).leased == 1
    assert ((await orders.info()).acked, (await orders.info()).redelivered) == (1, 0)


async def test_a_message_that_is_settled_or_only_peeked_at_is_refused(client: Client) -> None:
    orders = client.queue("orders")
    await orders.publish_many([b"one", b"two"])
    message = await one(orders)
    await message.ack()
    peeked = [message async for message in orders.peek(start=1)]
    async with client.transaction() as tx:
        with pytest.raises(ValueError, match="outcome"):
            tx.ack(message)
        with pytest.raises(TypeError, match="peeked"):
            tx.ack(*peeked)
    assert tx.confirms == []


async def test_leases_are_extended_while_a_transaction_holds_them(client: Client) -> None:
    queue = client.queue("short")
    await queue.declare(lease=0.3, backoff=(0, 0))
    await queue.publish(b"order")
    message = await one(queue)
    async with client.transaction() as tx:
        tx.ack(message)
        await asyncio.sleep(0.9)
    assert ((await queue.info()).acked, (await queue.info()).redelivered) == (1, 0)


async def test_state_changes_with_the_transaction_and_survives(client: Client) -> None:
    orders = client.queue("orders")
    billing = orders.group("billing")
    await billing.declare()
    await orders.publish(b"order")
    message = await one(orders, group="billing")
    async with client.transaction() as tx:
        tx.ack(message)
        tx.state["seen"] = 7
        tx.state["cursor"] = b"\x00\xff"
    assert await billing.state() == {"cursor": b"\x00\xff", "seen": 7}
    async with client.transaction(group=billing) as tx:
        tx.state["seen"] += 1
        del tx.state["cursor"]
        assert dict(tx.state) == {"seen": 8}
    assert await billing.state() == {"seen": 8}


async def test_state_that_was_changed_meanwhile_is_a_conflict(client: Client) -> None:
    group = client.queue("orders").group()

    async def add_one() -> None:
        async with client.transaction(group=group) as tx:
            tx.publish("invoices", b"invoice")
            tx.state["total"] = tx.state.get("total", 0) + 1
            async with client.transaction(group=group) as other:
                other.state["total"] = 5

    with pytest.raises(TransactionConflict, match=r"'total'.*version"):
        await add_one()
    assert await group.state() == {"total": 5}
    assert await bodies(client, "invoices") == []


async def test_two_groups_states_change_together(client: Client) -> None:
    first, second = client.queue("orders").group(), client.queue("invoices").group()
    async with client.transaction() as tx:
        (await tx.state_of(first))["n"] = 1
        (await tx.state_of(second))["n"] = 2
    assert (await first.state(), await second.state()) == ({"n": 1}, {"n": 2})


async def test_state_that_was_not_read_says_how_to_read_it(client: Client) -> None:
    async with client.transaction() as tx:
        with pytest.raises(RuntimeError, match="group="):
            tx.state["seen"]
        with pytest.raises(ValueError, match="4096"):
            tx.state["large"] = "x" * 5000
        with pytest.raises(TypeError, match="cannot be kept"):
            tx.state["odd"] = object()
    assert tx.confirms == []


async def test_state_of_no_group_cannot_be_told(client: Client) -> None:
    with pytest.raises(ValueError, match="group="):
        await transact(client, publish=[("invoices", b"invoice")], assign={"seen": 1})
    assert await bodies(client, "invoices") == []


async def test_memory_queues_and_ephemeral_groups_are_no_part_of_it(client: Client) -> None:
    await client.queue("memory").declare(durable=False)
    with pytest.raises(PenstockError) as caught:
        await transact(client, publish=[("memory", b"x")])
    assert caught.value.code == "unsupported"
    orders = client.queue("orders")
    watch = orders.group("watch", ephemeral=True)
    await watch.declare()
    messages = watch.consume()
    await messages.__aenter__()
    await orders.publish(b"order")
    message = await anext(messages)
    with pytest.raises(PenstockError) as caught:
        await transact(client, ack=[message])
    assert caught.value.code == "unsupported"
    await message.ack(confirm=True)


async def test_messages_of_a_transaction_cannot_be_delayed(client: Client) -> None:
    async def later() -> None:
        async with client.transaction() as tx:
            tx.publish("invoices", Message(b"x", delay=5))

    with pytest.raises(PenstockError, match="ask for a delay") as caught:
        await later()
    assert caught.value.code == "unsupported"


async def test_one_that_is_too_large_is_refused_here_or_there(client: Client) -> None:
    with pytest.raises(TransactionTooLarge, match="10001 operations"):
        await transact(client, publish=[("invoices", b"")] * 10_001)
    with pytest.raises(TransactionTooLarge, match="one frame"):
        await transact(client, publish=[("invoices", b"x" * 100_000)] * 30)
    with pytest.raises(BodyTooLarge):
        await transact(client, publish=[("invoices", b"x" * 2_000_000)])
    assert await bodies(client, "invoices") == []


async def test_duplicates_by_their_ids_are_told_and_not_stored(client: Client) -> None:
    queue = client.queue("once")
    await queue.declare(dedup_window=60)
    await queue.publish(Message(b"a", message_id="a"))
    async with client.transaction() as tx:
        for name in ("a", "b", "b", "c"):
            tx.publish("once", Message(name.encode(), message_id=name))
    assert await bodies(client, "once") == [b"a", b"b", b"c"]
    assert [(confirm.offset, confirm.duplicate) for confirm in tx.confirms] == [
        (0, True),
        (1, False),
        (1, True),
        (2, False),
    ]


async def test_a_lost_connection_before_the_commit_is_stale(client: Client) -> None:
    orders = client.queue("orders")
    await orders.publish(b"order")
    message = await one(orders)

    async def cut_off() -> None:
        async with client.transaction() as tx:
            tx.publish("invoices", b"invoice")
            tx.ack(message)
            (await client.link()).abort(ConnectionLost("cut"))

    with pytest.raises(TransactionStale):
        await cut_off()
    assert await bodies(client, "invoices") == []
    with pytest.raises(TransactionFailed):
        await transact(client, ack=[message])


async def test_drain_waits_for_the_transaction(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    orders = client.queue("orders")
    await orders.publish(b"order")
    message = await one(orders)
    async with client.transaction() as tx:
        tx.ack(message)
        draining = asyncio.create_task(client.drain())
        await asyncio.sleep(0.05)
        assert not draining.done()
    await draining
    assert not caplog.records


def test_the_blocking_client_has_the_same(test_broker: TestBroker) -> None:
    with sync.connect(test_broker.url) as client:
        orders, invoices = client.queue("orders"), client.queue("invoices")
        orders.declare()
        invoices.declare()
        orders.publish(b"order")
        group = orders.group()
        with orders.consume() as messages:
            message = next(iter(messages))
            with client.transaction(group=group) as tx:
                tx.publish(invoices, b"invoice")
                tx.ack(message)
                tx.state["seen"] = tx.state.get("seen", 0) + 1
        assert tx.confirms[0].offset == 0
        assert group.state() == {"seen": 1}
        with client.transaction() as tx:
            tx.publish("invoices", b"never")
            tx.state_of(group)["seen"] = 9
            tx.rollback()
        assert (orders.info().acked, invoices.info().messages, group.state()) == (1, 1, {"seen": 1})
