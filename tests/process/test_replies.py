"""Requests across a killed broker: an answer, or an outcome that is not known; never somebody else's answer."""

import asyncio

import pytest
from tests.process.broker import MakeBroker

from penstock_client import ConnectionLost, ReplyOutcome, connect

HANG_GUARD_S = 60.0


async def test_requests_outlive_a_killed_broker_and_their_boxes_do_not(make_broker: MakeBroker) -> None:
    broker = make_broker()
    await broker.start()
    async with asyncio.timeout(HANG_GUARD_S), connect(broker.url) as asker, connect(broker.url) as worker:
        await asker.queue("prices").declare()
        asking = [asyncio.create_task(asker.request("prices", b"%d" % n, timeout=HANG_GUARD_S)) for n in range(20)]
        while (await worker.queue("prices").info()).messages < 20:
            pass
        await broker.kill()
        await broker.start()
        for one in asking:
            with pytest.raises(ConnectionLost, match="is not known"):
                await one
        later = asyncio.create_task(asker.request("prices", b"later", timeout=HANG_GUARD_S))
        outcomes: dict[bytes, ReplyOutcome] = {}
        async with worker.queue("prices").consume() as messages:
            while len(outcomes) < 21:
                message = await anext(messages)
                outcomes[message.body] = await message.reply(b"re: " + message.body)
                await message.ack(confirm=True)
        assert (await later).body == b"re: later"
        assert outcomes.pop(b"later") is ReplyOutcome.DELIVERED
        assert set(outcomes.values()) == {ReplyOutcome.GONE}
        assert asker.late_reply_count == 0
        status = await asker.status()
        assert (status["replies_delivered"], status["replies_gone"]) == (1, 20)
