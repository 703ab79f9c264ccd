"""Where dead letters may go, and that they survive."""

from pathlib import Path

import pytest

from penstock.testing import TestBroker
from penstock_client import PenstockError, connect


async def test_a_durable_queue_may_not_bury_its_dead_in_memory() -> None:
    with TestBroker() as broker:
        async with connect(broker.url) as client:
            await client.queue("memory").declare(durable=False)
            with pytest.raises(PenstockError, match="kept in memory") as refused:
                await client.queue("jobs").declare(dead_letter="memory")
            assert refused.value.code == "bad-setting"


async def test_what_takes_a_durable_queues_dead_letters_may_not_be_declared_in_memory() -> None:
    with TestBroker() as broker:
        async with connect(broker.url) as client:
            await client.queue("jobs").declare()
            with pytest.raises(PenstockError, match="must be durable"):
                await client.queue("jobs.dead").declare(durable=False)


async def test_the_dead_letters_of_a_memory_queue_survive_a_restart(tmp_path: Path) -> None:
    with TestBroker(tmp_path) as broker:
        async with connect(broker.url) as client:
            jobs = client.queue("jobs")
            await jobs.declare(durable=False)
            await jobs.publish(b"poison")
            async with jobs.consume() as messages:
                async for message in messages:
                    await message.reject(reason="never works")
                    break
            while not (await jobs.info()).dead:  # it is moved when its block is at hand
                pass
        broker.restart()
        async with connect(broker.url) as client:
            dead = [message async for message in client.queue("jobs.dead").peek()]
            assert [message.body for message in dead] == [b"poison"]
            assert dead[0].dead is not None
            assert dead[0].dead.reason == "never works"


async def test_a_name_too_long_for_its_dead_letters_still_has_some() -> None:
    name = "q" * 255
    with TestBroker() as broker:
        async with connect(broker.url) as client:
            jobs = client.queue(name)
            await jobs.declare()
            await jobs.publish(b"poison")
            async with jobs.consume() as messages:
                async for message in messages:
                    await message.reject(reason="no")
                    break
            while not (await jobs.info()).dead:
                pass
            assert await jobs.redrive() == 1
            assert (await jobs.info()).ready == 1
