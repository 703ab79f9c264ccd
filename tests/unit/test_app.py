"""The composition, in process: recovery over a restart, failures that stop a broker, and what the process is told."""

import asyncio
import io
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.unit.net.harness import HANG_GUARD_S, Peer

from penstock import app
from penstock.app import Broker
from penstock.engine.clock import BrokerClock
from penstock.engine.watermarks import Probes
from penstock.failures import Failure
from penstock.observe.logging import make_logger, make_silent_logger
from penstock.settings import LimitSettings, LogSettings, ServerSettings, Settings, StorageSettings
from penstock.storage.errors import DataDirectoryLocked, StorageFailed
from penstock.storage.memory import MemoryFileSystem, Operation
from penstock_client.wire import control
from penstock_client.wire.entries import Outcome, decode_confirm, encode_settle
from penstock_client.wire.errors import ErrorCode
from penstock_client.wire.frames import FrameType


def broker_on(fs: MemoryFileSystem, make_clock: Callable[[int], app.Clock] = BrokerClock) -> Broker:
    return Broker(Settings(), make_silent_logger(), fs=fs, make_clock=make_clock)


def names_in(directory: Path) -> list[str]:
    return [path.name for path in directory.iterdir()]


async def test_what_was_confirmed_is_there_after_a_restart_in_a_new_epoch() -> None:
    fs = MemoryFileSystem()
    first = broker_on(fs)
    peer = Peer(first).ready()
    await peer.route()
    peer.publish(1, b"kept")
    assert decode_confirm((await peer.next(FrameType.CONFIRM)).payload)[0].status == 0
    await first.stop()
    second = broker_on(fs)
    assert second.data.boot_epoch == first.data.boot_epoch + 1
    described = await Peer(second).ready().call(FrameType.QUEUE_DESCRIBE, queue="jobs")
    assert described["ready"] == 1
    await second.stop()


async def test_the_clock_starts_from_the_last_recovered_time() -> None:
    fs = MemoryFileSystem()
    first = broker_on(fs, lambda _last_ms: lambda: 5_000)
    await Peer(first).ready().call(FrameType.QUEUE_DECLARE, queue="jobs")
    await first.stop()
    second = broker_on(fs, lambda last_ms: lambda: last_ms)
    assert second.engine.clock_ms() == 5_000
    await second.stop()


async def test_a_directory_is_held_until_the_broker_stopped_and_after_a_failed_start_by_no_one() -> None:
    fs = MemoryFileSystem()
    first = broker_on(fs)
    with pytest.raises(DataDirectoryLocked):
        broker_on(fs)
    await first.stop()
    await first.stop()

    def fail_journal(operation: Operation) -> None:
        if operation.kind == "list_directory" or "journal" in operation.path:
            raise StorageFailed("the disk is gone", path=operation.path)

    fs.hook = fail_journal
    with pytest.raises(StorageFailed):
        broker_on(fs)
    fs.hook = None
    await broker_on(fs).stop()


async def test_a_failed_sync_tells_the_clients_confirms_nothing_and_stops_with_74() -> None:
    fs = MemoryFileSystem()
    broker = broker_on(fs)
    peer = Peer(broker).ready()
    await peer.route()

    def fail_syncs(operation: Operation) -> None:
        if operation.kind == "sync":
            raise StorageFailed("sync failed", path=operation.path)

    fs.hook = fail_syncs
    peer.publish(1, b"lost")
    async with asyncio.timeout(HANG_GUARD_S):
        await broker.wait()
    frames = peer.frames()
    assert [frame.type for frame in frames] == [FrameType.CLOSE]
    assert control.unpack(frames[0].payload)["error"] == "storage-failed"
    fs.hook = None
    await broker.stop()
    assert broker.failure is not None
    assert broker.failure.exit_code == 74


async def test_the_first_failure_is_the_one_that_counts() -> None:
    broker = broker_on(MemoryFileSystem())
    broker.fail(Failure(74, "first"))
    broker.fail(Failure(70, "second"))
    await broker.stop()
    assert broker.failure == Failure(74, "first")


@pytest.mark.parametrize(
    ("context", "stops"),
    [
        ({"message": "m", "exception": KeyError("x")}, True),
        ({"message": "m", "exception": KeyError("x"), "protocol": object()}, False),
        ({"message": "m", "exception": AssertionError("x"), "protocol": object()}, True),
        ({"message": "m", "exception": OSError("no descriptors")}, False),
        ({"message": "m"}, False),
    ],
)
async def test_a_bug_in_what_all_share_stops_the_broker(context: dict[str, object], stops: bool) -> None:
    broker = broker_on(MemoryFileSystem())
    app._on_unhandled(broker, asyncio.get_running_loop(), context)
    assert (broker.failure is not None) == stops
    await broker.stop()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_stops_the_broker_in_good_order(number: signal.Signals, tmp_path: Path) -> None:
    stream = io.StringIO()
    settings = Settings(server=ServerSettings(port=0), storage=StorageSettings(data_dir=tmp_path), log=LogSettings())

    class OnceListening(io.StringIO):
        def write(self, text: str) -> int:
            if '"listening"' in text:
                os.kill(os.getpid(), number)
            return stream.write(text)

    async with asyncio.timeout(HANG_GUARD_S):
        failure = await app.serve(settings, make_logger("json", "info", OnceListening()))
    assert failure is None
    assert [json.loads(line)["event"] for line in stream.getvalue().splitlines()] == [
        "listening",
        "stopping",
        "stopped",
    ]


async def test_a_refused_address_touches_no_data_directory(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    settings = Settings(server=ServerSettings(host="0.0.0.0"), storage=StorageSettings(data_dir=data_dir))
    failure = await app.serve(settings, make_silent_logger())
    assert failure is not None
    assert failure.exit_code == 78
    assert not names_in(tmp_path)


async def test_a_low_disk_stops_producers_says_why_and_lets_them_go_on() -> None:
    free = [10_000_000]
    probes = Probes(lambda: free[0], lambda: 0)
    settings = Settings(storage=StorageSettings(disk_free_bytes_min=1_000_000))
    broker = Broker(settings, make_silent_logger(), fs=MemoryFileSystem(), probes=probes)
    peer = Peer(broker).ready()
    await peer.route()
    outcomes = []
    for sequence, free_bytes in enumerate((500_000, 1_050_000, 2_000_000), 1):
        free[0] = free_bytes
        broker.watermarks.check()
        peer.publish(sequence, b"x")
        outcomes.append(decode_confirm((await peer.next(FrameType.CONFIRM)).payload)[0].code)
        status = await peer.call(FrameType.STATUS)
        outcomes.append(status["storage"])
    assert outcomes == [
        ErrorCode.DISK_FULL,
        "full (500.0 kB free, 1.0 MB wanted)",
        ErrorCode.DISK_FULL,
        "full (1.1 MB free, 1.0 MB wanted)",
        0,
        "ok",
    ]
    await broker.stop()


async def test_a_queue_that_expires_is_told_in_the_log() -> None:
    stream, now_ms = io.StringIO(), [1_000]
    log = make_logger("json", "info", stream)
    broker = Broker(Settings(), log, fs=MemoryFileSystem(), make_clock=lambda last_ms: lambda: now_ms[0])
    peer = Peer(broker).ready()
    await peer.call(FrameType.QUEUE_DECLARE, queue="jobs", expires_ms=8_000)
    for _ in range(9):
        now_ms[0] += 1_000
        broker.engine.turn()
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    told = [(line["event"], line["queue"], line["unused_s"], line["messages"]) for line in lines]
    assert told == [("queue expired", "jobs", 8.0, 0)]
    await broker.stop()


async def test_time_goes_on_after_a_start_though_nobody_connects() -> None:
    fs, now_ms = MemoryFileSystem(), 1_000_000
    settings = Settings(server=ServerSettings(port=0))
    for _ in range(2):
        broker = Broker(settings, make_silent_logger(), fs=fs, make_clock=lambda last_ms: lambda: now_ms)
        await broker.listen()
        await asyncio.sleep(0)
        if "jobs" in broker.engine.broker.names:
            assert broker.engine.next_due_ms() == now_ms + 1_000
        else:
            await Peer(broker).ready().call(FrameType.QUEUE_DECLARE, queue="jobs", expires_ms=8_000)
        await broker.stop()
    assert broker.engine.broker.names


async def test_memory_above_its_mark_stops_producers_of_every_queue() -> None:
    settings = Settings(limits=LimitSettings(memory_bytes_max=1_000_000))
    probes = Probes(lambda: 0, lambda: 2_000_000)
    broker = Broker(settings, make_silent_logger(), fs=MemoryFileSystem(), probes=probes)
    peer = Peer(broker).ready()
    await peer.route(durable=False)
    broker.watermarks.check()
    peer.publish(1, b"x")
    assert decode_confirm((await peer.next(FrameType.CONFIRM)).payload)[0].code == ErrorCode.MEMORY_FULL
    assert (await peer.call(FrameType.STATUS))["memory"] == "full (2.0 MB used, 1.0 MB at most)"
    await broker.stop()


async def test_the_log_warns_of_an_alarm_once_and_tells_when_it_is_over() -> None:
    stream = io.StringIO()
    broker = Broker(Settings(), make_logger("json", "info", stream), fs=MemoryFileSystem())
    peer = Peer(broker).ready()
    await peer.route(alarm_messages=1)
    peer.publish(1, b"x")
    await peer.next(FrameType.CONFIRM)
    for _ in range(3):
        broker.engine.alarms.check()
    await peer.call(FrameType.QUEUE_PURGE, queue="jobs")
    broker.engine.alarms.check()
    await broker.stop()
    logged = [json.loads(line) for line in stream.getvalue().splitlines()]
    named = {"queue": "jobs", "what": "messages", "value": 1, "limit": 1}
    assert [(one["level"], one["event"]) for one in logged] == [("warning", "alarm raised"), ("info", "alarm released")]
    assert all(named.items() <= one.items() for one in logged)


async def test_the_log_warns_when_a_breaker_opens_and_when_it_closes() -> None:
    stream = io.StringIO()
    broker = Broker(Settings(), make_logger("json", "info", stream), fs=MemoryFileSystem())
    peer = Peer(broker).ready()
    await peer.route(breaker_failures=1)
    await peer.call(FrameType.CONSUME, consumer=1, queue="jobs")
    peer.publish(1, b"x")
    await peer.next(FrameType.CONFIRM)
    await peer.next(FrameType.DELIVER)
    peer.send(FrameType.SETTLE, encode_settle(Outcome.NACK, [(1, 1)]), 99)
    await peer.next(FrameType.OK)
    broker.engine.alarms.check()
    peer.send(FrameType.QUEUE_PAUSE, {"queue": "jobs", "paused": False}, 100)
    await peer.next(FrameType.DELIVER)
    await peer.next(FrameType.OK)
    broker.engine.alarms.check()
    await broker.stop()
    logged = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [(one["level"], one["event"].partition(",")[0]) for one in logged] == [
        ("warning", "breaker opened"),
        ("warning", "breaker closed"),
    ]
    assert {(one["queue"], one["group"]) for one in logged} == {("jobs", "")}


async def test_the_machine_is_asked_where_no_probes_are_given(tmp_path: Path) -> None:
    settings = Settings(
        server=ServerSettings(port=0),
        storage=StorageSettings(data_dir=tmp_path, disk_free_bytes_min=1 << 60),
        limits=LimitSettings(memory_bytes_max=1),
    )
    broker = Broker(settings, make_silent_logger())
    await broker.listen()
    status = broker.watermarks.status()
    await broker.stop()
    assert status["storage"].startswith("full (")
    assert status["memory"].startswith("full (")
