"""T24, the broker's half: SIGTERM at random moments under load. It drains in time, and no publish is left in doubt."""

import asyncio
import os
import random
from pathlib import Path

import pytest
from tests.process.broker import BrokerProcess
from tests.process.campaign import OUTCOME_SECONDS_GUARD, Campaign
from tests.process.history import Confirmed, History, MessageId
from tests.process.load import QUEUE, Producer

from penstock_client import connect

ROUNDS = int(os.environ.get("PENSTOCK_TERMINATE_ROUNDS", "20"))
STOPS_EACH = 5


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", range(1, 1 + -(-ROUNDS // STOPS_EACH)))
async def test_a_broker_asked_to_stop_under_load_drains_and_every_publish_has_an_outcome(
    seed: int, tmp_path: Path
) -> None:
    campaign = Campaign(seed, tmp_path)
    await campaign.run(STOPS_EACH, kill=False)
    print(campaign.figures())
    assert campaign.violations == [], f"seed {seed}: {campaign.figures()}; {campaign.broker.log_tail()}"
    assert set(campaign.exit_codes) == {0}


@pytest.mark.parametrize("seed", range(4))
async def test_publishes_of_a_client_that_closes_while_the_broker_is_gone_are_confirmed_or_unknown(
    seed: int, tmp_path: Path
) -> None:
    history, broker = History(), BrokerProcess(tmp_path)
    moments = random.Random(f"{seed}/terminate")
    try:
        await broker.start()
        client = await connect(broker.url)
        await client.queue(QUEUE).declare()
        producers = [Producer(number, seed, history) for number in range(4)]
        stopping = asyncio.Event()
        producing = [asyncio.create_task(producer.run(client, stopping)) for producer in producers]
        await asyncio.sleep(moments.uniform(0.0, 0.5))
        assert await broker.terminate() == 0
        stopping.set()  # nobody consumes here: a producer may be waiting for the backlog to shrink
        async with asyncio.timeout(OUTCOME_SECONDS_GUARD):
            await client.close()
            await asyncio.gather(*producing)
        await broker.start()
        assert await missing(broker.url, history) == set()
    finally:
        await broker.kill()


async def missing(url: str, history: History) -> set[MessageId]:
    """Return what was confirmed and is not in the queue."""
    confirmed = {event.message for event in history.events if isinstance(event, Confirmed)}
    async with connect(url) as client:
        queue = client.queue(QUEUE)
        count = (await queue.info()).messages
        async for message in queue.peek(start=0, count=count):
            headers = message.headers
            confirmed.discard(MessageId(headers["producer"], headers["index"]))
    return confirmed
