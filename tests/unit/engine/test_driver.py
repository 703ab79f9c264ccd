"""The driver under asyncio with the real journal in memory: when it turns, commits and reads, without a timer."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tests.unit.engine.harness import Bench, Peer

from penstock.core.values import ACK, SYNCED, WRITTEN
from penstock.engine import driver as driver_module
from penstock.engine.driver import Driver
from penstock.storage.errors import StorageFailed
from penstock.storage.memory import Operation

HANG_GUARD_S = 10.0


class Stage:
    """A bench whose steps a driver takes."""

    def __init__(self, bench: Bench, **options: Any) -> None:
        self.bench = bench
        self.failures: list[Exception] = []
        self.pressure: list[bool] = []
        self.effects = 0
        self.driver = Driver(
            bench.engine,
            bench.journal,
            asyncio.get_running_loop(),
            on_failure=self.failures.append,
            on_pressure=self.pressure.append,
            on_effects=self._count_effects,
            **options,
        )

    def _count_effects(self) -> None:
        self.effects += 1

    def peer(self, *queues: str) -> Peer:
        return self.bench.peer().open(*queues)

    async def until(self, condition: Callable[[], object]) -> None:
        """Let the driver work until a condition holds."""
        async with asyncio.timeout(HANG_GUARD_S):
            while not condition():  # noqa: ASYNC110  what is waited for sets no event
                await asyncio.sleep(0)


@asynccontextmanager
async def stage(bench: Bench, **options: Any) -> AsyncIterator[Stage]:
    one = Stage(bench, **options)
    yield one
    await one.driver.stop()


@pytest.fixture
def commits_in_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver_module, "IN_PLACE_BYTES_MAX", -1)


@pytest.mark.parametrize("in_place_bytes_max", [1 << 20, -1], ids=["in place", "in a thread"])
async def test_a_publish_is_confirmed_and_delivered(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, in_place_bytes_max: int
) -> None:
    monkeypatch.setattr(driver_module, "IN_PLACE_BYTES_MAX", in_place_bytes_max)
    bench.declare()
    async with stage(bench) as on:
        peer = on.peer("jobs").consume("jobs")
        peer.publish(1, b"one")
        await on.until(lambda: peer.bodies() == [b"one"])
        assert [entry[2] for entry in peer.confirms] == [SYNCED]
        assert on.effects > 0
        assert on.driver.last_sync_us >= 0


async def test_written_confirms_leave_before_the_sync(bench: Bench, commits_in_threads: None) -> None:
    """I2."""
    bench.declare()
    async with stage(bench) as on:
        peer = on.peer("jobs")
        await on.until(lambda: len(peer.replies) == 2)
        order: list[str] = []
        loop = asyncio.get_running_loop()
        confirmed = asyncio.Event()

        def confirm(entries: list[Any]) -> None:
            order.append("confirm")
            confirmed.set()

        peer.confirm = confirm  # type: ignore[method-assign]

        def hook(operation: Operation) -> None:
            if operation.kind == "sync":
                asyncio.run_coroutine_threadsafe(confirmed.wait(), loop).result(HANG_GUARD_S)
                order.append("sync")

        bench.fs.hook = hook
        peer.publish(1, b"one", level=WRITTEN)
        await on.until(lambda: "sync" in order)
        bench.fs.hook = None
        assert order == ["confirm", "sync"]


async def test_commands_of_one_pass_share_a_commit(bench: Bench) -> None:
    bench.declare()
    async with stage(bench) as on:
        peers = [on.peer("jobs") for _ in range(20)]
        await on.until(lambda: all(len(peer.replies) == 2 for peer in peers))
        commits = bench.engine.commits
        for peer in peers:
            peer.publish(1, b"one")
        await on.until(lambda: all(peer.confirms for peer in peers))
        assert bench.engine.commits == commits + 1


async def test_what_no_one_waits_for_is_written_soon(bench: Bench) -> None:
    """Hand-outs and plain acks."""
    bench.declare()
    async with stage(bench) as on:
        peer = on.peer("jobs").consume("jobs")
        peer.publish(1, b"one")
        await on.until(lambda: peer.deliveries)
        peer.settle(ACK, (1, 1))
        await on.until(lambda: not bench.engine.gathered_bytes and bench.engine.commits >= 2)
    bench.start()
    assert bench.engine.broker.names["jobs"].group.counters.acked == 1


async def test_time_alone_makes_things_happen(bench: Bench) -> None:
    """I20: a lease ends though no command comes."""
    bench.declare(lease_ms=100, backoff_min_ms=0, backoff_max_ms=0, max_failures=0)
    async with stage(bench) as on:
        loop = asyncio.get_running_loop()
        started = loop.time()
        bench.engine.clock_ms = lambda: bench.now_ms + int((loop.time() - started) * 1000)
        peer = on.peer("jobs").consume("jobs")
        peer.publish(1, b"one")
        await on.until(lambda: len(peer.deliveries) == 3)
        assert [one.attempt for one in peer.deliveries] == [1, 2, 3]


async def test_a_backlog_is_read_in_a_thread(bench: Bench) -> None:
    bench.declare()
    bench.peer().open("jobs").publish(1, b"one", b"two")
    bench.work()
    bench.start()
    async with stage(bench) as on:
        peer = on.peer().consume("jobs")
        await on.until(lambda: peer.bodies() == [b"one", b"two"])


async def test_damage_that_a_read_meets_stops_the_broker(bench: Bench) -> None:
    """I19."""
    bench.declare()
    bench.peer().open("jobs").publish(1, b"one" * 100)
    bench.work()
    bench.start()
    path = next(name for name in sorted(bench.fs.files) if name.endswith(".segment"))
    bench.fs.files[path][-100] ^= 1
    async with stage(bench) as on:
        peer = on.peer().consume("jobs")
        await on.until(lambda: on.failures)
        assert peer.deliveries == []
        assert peer.aborts


async def test_a_failed_sync_stops_the_broker_and_confirms_nothing(bench: Bench, commits_in_threads: None) -> None:
    """I2, storage rule 1."""
    bench.declare()
    async with stage(bench) as on:
        peer = on.peer("jobs")
        await on.until(lambda: len(peer.replies) == 2)

        def hook(operation: Operation) -> None:
            if operation.kind == "sync":
                raise StorageFailed("the sync failed", path=operation.path)

        bench.fs.hook = hook
        peer.publish(1, b"one")
        await on.until(lambda: on.failures)
        bench.fs.hook = None
        peer.publish(2, b"two")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert peer.confirms == []
        assert [refusal.code for refusal in peer.aborts] == ["storage-failed"]


async def test_sockets_are_not_read_while_the_disk_is_behind(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, commits_in_threads: None
) -> None:
    """I13."""
    monkeypatch.setattr(driver_module, "PRESSURE_BYTES", 1000)
    bench.declare()
    async with stage(bench) as on:
        peer = on.peer("jobs")
        await on.until(lambda: len(peer.replies) == 2)
        reached, gate = threading.Event(), threading.Event()

        def hook(operation: Operation) -> None:
            reached.set()
            assert gate.wait(HANG_GUARD_S)

        bench.fs.hook = hook
        peer.publish(1, b"x")
        await on.until(reached.is_set)
        peer.publish(2, b"x" * 2000)
        await on.until(lambda: on.driver.paused)
        gate.set()
        await on.until(lambda: on.pressure == [True, False])
        await on.until(lambda: len(peer.confirms) == 2)


async def test_large_lazy_batches_do_not_wait_for_their_timer(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver_module, "LAZY_COMMIT_BYTES", 10)
    monkeypatch.setattr(driver_module, "LAZY_COMMIT_S", 3600)
    bench.declare()
    async with stage(bench) as on:
        peer = on.peer("jobs").consume("jobs")
        peer.publish(1, b"one")
        await on.until(lambda: peer.deliveries and not bench.engine.gathered_bytes)
        assert bench.engine.commits > 1


async def test_a_quiet_broker_marks_its_journal(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Storage rule 4."""
    monkeypatch.setattr(driver_module, "IDLE_MARK_S", 0)
    bench.declare()
    async with stage(bench) as on:
        peer = on.peer("jobs")
        peer.publish(1, b"one")
        await on.until(lambda: peer.confirms)
        size = bench.journal.total_bytes
        await on.until(lambda: bench.journal.total_bytes > size)


async def test_housekeeping_runs_beside_the_work() -> None:
    bench = Bench(snapshot_bytes=2000)
    bench.declare()
    async with stage(bench, housekeeping=bench.housekeeping) as on:
        peer = on.peer("jobs").consume("jobs")
        for sequence in range(1, 12):
            peer.publish(sequence, b"x" * 500)
            await on.until(lambda: len(peer.confirms) == sequence)  # noqa: B023  awaited within this round
        await on.until(lambda: any("snapshot" in path for path in bench.fs.files))
    bench.start()
    assert bench.engine.broker.names["jobs"].log.next_offset == 11


async def test_a_stop_finishes_what_is_gathered(bench: Bench) -> None:
    bench.declare()
    on = Stage(bench)
    peer = on.peer("jobs")
    peer.publish(1, b"one")
    assert await on.driver.stop()
    assert peer.confirms[0][2] == SYNCED
    bench.start()
    assert bench.engine.broker.names["jobs"].log.next_offset == 1


async def test_after_a_stop_nothing_is_done(bench: Bench) -> None:
    bench.declare()
    on = Stage(bench)
    peer = on.peer("jobs")
    await on.driver.stop()
    peer.publish(1, b"one")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert peer.confirms == []
