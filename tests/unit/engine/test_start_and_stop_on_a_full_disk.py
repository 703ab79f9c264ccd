"""A broker that is started on, and stopped on, a disk without room; and one that stops because of a bug."""

import asyncio

from tests.unit.net.harness import Peer

from penstock.app import Broker
from penstock.failures import EXIT_SOFTWARE, Failure
from penstock.observe.logging import make_silent_logger
from penstock.settings import Settings
from penstock.storage.errors import StorageFull
from penstock.storage.memory import MemoryFileSystem, Operation
from penstock_client.wire.frames import FrameType

STOP_S = 10.0


def broker_on(fs: MemoryFileSystem) -> Broker:
    return Broker(Settings(), make_silent_logger(), fs=fs)


def no_room(operation: Operation) -> None:
    if operation.kind in ("write", "allocate") and "journal" in operation.path:
        raise StorageFull("no space left", path=operation.path)


async def test_the_reserve_lets_a_broker_start_on_a_full_disk() -> None:
    fs = MemoryFileSystem()
    first = broker_on(fs)
    await Peer(first).ready().call(FrameType.QUEUE_DECLARE, queue="jobs")
    crashed = MemoryFileSystem()
    crashed.files = {path: bytearray(content) for path, content in fs.files.items()}
    crashed._directories = set(fs._directories)
    await first.stop()

    def no_room_beside_the_reserve(operation: Operation) -> None:
        if any(path.endswith("/reserve") for path in crashed.files):
            no_room(operation)

    crashed.hook = no_room_beside_the_reserve
    second = broker_on(crashed)
    described = await Peer(second).ready().call(FrameType.QUEUE_DESCRIBE, queue="jobs")
    assert described["ready"] == 0
    await second.stop()


async def test_a_broker_with_a_full_disk_stops_in_time_without_a_failure() -> None:
    fs = MemoryFileSystem()
    broker = broker_on(fs)
    peer = Peer(broker).ready()
    await peer.route()
    fs.hook = no_room
    peer.publish(1, b"not confirmed")
    async with asyncio.timeout(STOP_S):
        await broker.stop()
    assert broker.failure is None
    assert [frame.type for frame in peer.frames()] == [FrameType.CLOSE]


async def test_a_broker_that_met_a_bug_stops_and_writes_nothing_more() -> None:
    fs = MemoryFileSystem()
    broker = broker_on(fs)
    peer = Peer(broker).ready()
    await peer.route()

    def turn() -> None:
        raise AssertionError("a broken invariant")

    broker.engine.turn = turn  # type: ignore[method-assign]
    broker.engine.wake = lambda: None
    peer.publish(1, b"not confirmed")
    broker.fail(Failure(EXIT_SOFTWARE, "internal error"))
    async with asyncio.timeout(STOP_S):
        await broker.stop()
    assert [frame.type for frame in peer.frames()] == [FrameType.CLOSE]
