"""The blocking API's thread: whoever waits for it gets an outcome, however the client ends."""

import asyncio
import gc
import threading

import pytest
from tests.unit.client.peer import HANG_GUARD_S, ScriptedPeer, guarded

from penstock_client import ClientClosed
from penstock_client import client as asynchronous
from penstock_client.sync import Client, _LoopThread, connect
from penstock_client.wire.frames import FrameType


async def test_a_request_under_way_ends_with_the_client(peer: ScriptedPeer) -> None:
    peer.silent.add("queue_describe")
    client = await asyncio.to_thread(connect, peer.url)
    waiting = asyncio.ensure_future(asyncio.to_thread(client.queue("jobs").info))
    await peer.until(lambda: peer.last.count(FrameType.QUEUE_DESCRIBE))
    await guarded(asyncio.to_thread(client.close))
    with pytest.raises(ClientClosed):
        await guarded(waiting)


def test_what_waits_for_a_thread_that_ends_is_told() -> None:
    thread = _LoopThread()
    begun, outcomes = threading.Event(), list[BaseException]()

    async def endless() -> None:
        begun.set()
        await asyncio.Event().wait()

    def wait() -> None:
        try:
            thread.run(endless())
        except ClientClosed as error:
            outcomes.append(error)

    waiting = threading.Thread(target=wait, daemon=True)
    waiting.start()
    begun.wait(HANG_GUARD_S)
    thread.stop()
    thread.stop()
    waiting.join(HANG_GUARD_S)
    assert [type(outcome) for outcome in outcomes] == [ClientClosed]
    with pytest.raises(ClientClosed):
        thread.run(endless())
    thread.soon(begun.clear)
    assert begun.is_set()


@pytest.mark.parametrize("way", ["close", "drain"])
async def test_a_close_that_fails_ends_the_thread(peer: ScriptedPeer, way: str) -> None:
    client = await asyncio.to_thread(connect, peer.url)

    async def failing() -> None:
        await asynchronous.Client.close(client._client)
        raise LookupError

    setattr(client._client, way, failing)
    with pytest.raises(LookupError):
        await asyncio.to_thread(getattr(client, way))
    assert client._thread.loop.is_closed()


async def test_replies_that_nobody_iterates_any_more_may_be_collected_in_the_clients_own_thread(
    peer: ScriptedPeer,
) -> None:
    def begin(client: Client) -> None:
        replies = client.requests("prices", b"?", timeout=HANG_GUARD_S)
        next(replies)
        cycle: list[object] = [replies]
        cycle.append(cycle)

    async def collect() -> None:
        gc.collect()

    client = await asyncio.to_thread(connect, peer.url)
    beginning = asyncio.ensure_future(asyncio.to_thread(begin, client))
    await peer.until(lambda: peer.last.asked)
    gc.disable()
    try:
        peer.last.replied(peer.last.asked[0]["correlation_id"])
        await guarded(beginning)
        await guarded(asyncio.to_thread(client._thread.run, collect()))
    finally:
        gc.enable()
    await asyncio.to_thread(client.close)
