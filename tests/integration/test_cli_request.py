"""`penstock request` against a real broker."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.integration.commands import SECONDS_GUARD, Broker, Completed

from penstock_client import ReceivedMessage, ReplyError, ReplyOutcome, connect


@asynccontextmanager
async def answering(broker: Broker, queue: str) -> AsyncIterator[None]:
    """Somebody who answers: echoes, answers "twice" two times, and knows nothing of "coal"."""

    async def answer(message: ReceivedMessage) -> None:
        if message.body == b"coal":
            await message.reply(error=ReplyError("no-such-item", "coal is not sold"))
            return
        for _ in range(2 if message.body == b"twice" else 1):
            await message.reply(b"re: " + message.body)

    async def consume() -> None:
        async with connect(broker.url) as client, client.queue(queue).consume() as messages:
            async for message in messages:
                async with message:
                    await answer(message)

    task = asyncio.create_task(consume())
    try:
        async with asyncio.timeout(SECONDS_GUARD):
            yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def run(broker: Broker, *arguments: str) -> Completed:
    return await asyncio.to_thread(broker.run, "request", *arguments)


async def test_the_reply_is_printed(broker: Broker, queue: str) -> None:
    async with answering(broker, queue):
        done = await run(broker, queue, "größe", "--timeout", "20", "--header", "a=1", "--content-type", "text/plain")
    assert (done.exit_code, done.stderr) == (0, "")
    (shown,) = [json.loads(line) for line in done.stdout.splitlines()]
    assert shown.pop("replied_at").startswith("20")
    assert shown == {"body": "re: größe"}


async def test_all_replies_until_the_deadline_are_printed(broker: Broker, queue: str) -> None:
    async with answering(broker, queue):
        done = await run(broker, queue, "twice", "--all", "--timeout", "1")
        failed = await run(broker, queue, "coal", "--all", "--timeout", "1")
    assert [json.loads(line)["body"] for line in done.stdout.splitlines()] == ["re: twice", "re: twice"]
    assert json.loads(failed.stdout)["error"] == {"code": "no-such-item", "message": "coal is not sold"}
    assert (done.exit_code, failed.exit_code) == (0, 0)


async def test_a_failed_request_ends_with_what_the_answer_says(broker: Broker, queue: str) -> None:
    async with answering(broker, queue):
        done = await run(broker, queue, "coal", "--timeout", "20")
    assert (done.exit_code, done.stdout) == (69, b"")
    assert "coal is not sold (no-such-item)" in done.stderr


async def test_without_a_reply_it_says_so(broker: Broker, queue: str) -> None:
    for arguments in ([], ["--all"]):
        done = await run(broker, queue, "?", "--timeout", "0.05", *arguments)
        assert (done.exit_code, done.stdout) == (69, b"")
        assert "no reply within 0.05 s" in done.stderr
        assert "consume" in done.stderr


async def test_a_queue_that_does_not_exist_is_named(broker: Broker) -> None:
    done = await run(broker, "nowhere", "?", "--timeout", "20")
    assert done.exit_code == 66
    assert "nowhere" in done.stderr


async def test_arguments_that_make_no_sense_are_refused(broker: Broker, queue: str) -> None:
    assert (await run(broker, queue, "?", "--timeout", "0")).exit_code == 64
    assert (await run(broker, queue)).exit_code == 64


async def test_status_counts_replies_and_a_killed_asker_gets_none(broker: Broker, queue: str) -> None:
    async with asyncio.timeout(SECONDS_GUARD), connect(broker.url) as client, client.queue(queue).consume() as messages:
        before = await client.status()
        with broker.started("request", queue, "?", "--timeout", "60") as asker:
            request = await anext(messages)
            asker.kill()
            asker.wait()
            while (await client.status())["connections"] > before["connections"]:
                pass  # until the broker has noticed
            assert await request.reply(b"too late") is ReplyOutcome.GONE
            await request.ack()
        after = broker.json("status")
        assert after["replies_gone"] == before["replies_gone"] + 1
