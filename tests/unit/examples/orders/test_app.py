"""How handlers are tested: one message at a time without a broker, and once through the real one."""

import asyncio

import pytest
from examples.orders.app import Bank, Order, Receipt, app, charge

from penstock.testing import TestBroker
from penstock_client import connect
from penstock_client.worker import Verdict
from penstock_client.worker.testing import run


class ClosedBank(Bank):
    async def charge(self, order: Order) -> None:
        raise ConnectionError("no route")


@pytest.fixture(autouse=True)
def bank() -> None:
    app.state.bank = Bank()


async def test_an_order_is_charged_and_its_receipt_published() -> None:
    outcome = await run(charge, Order(id="o-1", amount=5), message_id="m-1")
    assert (outcome.verdict, outcome.result) == (Verdict.ACKED, Receipt(order="o-1", amount=5))
    assert outcome.answer is not None
    assert (outcome.answer.queue, outcome.answer.message.correlation_id) == ("receipts", "m-1")


async def test_a_declined_order_is_not_tried_again() -> None:
    outcome = await run(charge, Order(id="o-1", amount=5000))
    assert (outcome.verdict, outcome.reason) == (Verdict.REJECTED, "declined: 5000 is above the limit of 1000")


async def test_while_the_bank_is_closed_an_order_waits_longer_each_time() -> None:
    app.state.bank = ClosedBank()
    assert [(await run(charge, Order(id="o-1", amount=5), attempt=n)).delay for n in (1, 2, 3)] == [10, 20, 30]


async def test_what_is_no_order_is_not_tried_again() -> None:
    outcome = await run(charge, b'{"id": "o-1", "amount": 0}')
    assert outcome.verdict is Verdict.REJECTED
    assert outcome.reason == "the body is not a valid Order\namount: Input should be greater than 0"


async def test_the_app_works_on_the_real_broker() -> None:
    async with asyncio.timeout(20), TestBroker() as broker, connect(broker.url) as client:
        stop = asyncio.Event()
        running = asyncio.create_task(app.serve(stop, broker.url))
        await client.queue("receipts").declare()
        await client.queue("orders").declare(max_failures=5, backoff=(1, 60))
        await client.queue("orders").publish(b'{"id": "o-1", "amount": 5}')
        async with client.queue("receipts").consume() as receipts:
            async for receipt in receipts:
                assert receipt.body == b'{"order":"o-1","amount":5}'
                await receipt.ack()
                break
        stop.set()
        await running
