"""The driver when the disk is full or fails, when a thread breaks, and when it is to stop meanwhile."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from penstock.engine.driver import Driver
from penstock.engine.engine import Engine
from penstock.engine.housekeeping import Housekeeping
from penstock.engine.interface import EngineLimits
from penstock.net.codec import WireBlockCodec
from penstock.storage.errors import StorageFailed, StorageFull
from penstock.storage.journal import Journal
from penstock.storage.memory import MemoryFileSystem, Operation
from penstock.storage.snapshot import SnapshotStore
from penstock_client.wire.blocks import encode_block

HANG_GUARD_S = 8.0
SEGMENT_BYTES = 64 * 1024


class Peer:
    """A sink that keeps what it is told."""

    def __init__(self) -> None:
        self.confirms: list[tuple[Any, ...]] = []
        self.delivered: list[Any] = []
        self.peeks = 0
        self.aborted = False

    def confirm(self, entries: list[tuple[Any, ...]]) -> None:
        assert not self.aborted, "I2: no confirm leaves after a failure"
        self.confirms += entries

    def deliver(self, entries: list[Any]) -> None:
        self.delivered += entries

    def peeked(self, request: int, entries: list[Any]) -> None:
        self.peeks += 1

    def abort(self, refusal: object) -> None:
        self.aborted = True

    def reply(self, request: int, result: dict[str, Any]) -> None: ...

    def replied(self, replied_at_ms: int, blocks: object) -> None: ...

    def unsent_bytes(self) -> int:
        return 0

    def refuse(self, request: int, refusal: object) -> None:
        raise AssertionError(refusal)

    def stale(self, outcome: int, ranges: list[tuple[int, int]]) -> None: ...

    def cancelled(self, consumer: int, refusal: object) -> None: ...


class Disk(MemoryFileSystem):
    """A disk of ``room`` bytes, with a reserve on it."""

    def __init__(self) -> None:
        super().__init__(self._check)
        self.room = 1 << 40
        self.reserved = 0
        self.fail: Callable[[Operation], None] = lambda _operation: None

    def _check(self, operation: Operation) -> None:
        self.fail(operation)
        if operation.kind == "write" and self.used + operation.nbytes > self.room:
            raise StorageFull("no space left", path=operation.path)

    @property
    def used(self) -> int:
        return sum(map(len, self.files.values())) + self.reserved

    def keep_reserve(self, nbytes: int) -> bool:
        if not self.reserved and self.used + nbytes > self.room:
            return False
        self.reserved = nbytes
        return True

    def release_reserve(self) -> bool:
        had, self.reserved = self.reserved, 0
        return had > 0


class Running:
    """An engine under a driver, with one session that publishes to ``jobs``."""

    def __init__(self, disk: Disk, reserve_bytes: int, limits: EngineLimits) -> None:
        self.disk = disk
        self.failures: list[Exception] = []
        self.unhandled: list[dict[str, Any]] = []
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _loop, context: self.unhandled.append(context))
        self.journal = Journal.open(disk, "journal", boot_epoch=1, segment_bytes=SEGMENT_BYTES)
        assert not list(self.journal.replay())
        self.journal.accept()
        now_ms = [1_000_000]
        self.engine = Engine(self.journal, WireBlockCodec(), limits, 1, lambda: now_ms[0])
        if reserve_bytes:
            disk.keep_reserve(reserve_bytes)
        self.driver = Driver(
            self.engine,
            self.journal,
            loop,
            housekeeping=Housekeeping(self.engine, self.journal, SnapshotStore(disk, "snapshots"), SEGMENT_BYTES),
            reserve=disk if reserve_bytes else None,
            reserve_bytes=reserve_bytes,
            on_failure=self.failures.append,
        )
        self.peer = Peer()
        self.session = self.engine.open_session(self.peer, "peer")
        self.sequence = 1
        for command, arguments in (
            ("queue_declare", {"queue": "jobs"}),
            ("producer_open", {"producer": None}),
            ("route_open", {"route": 1, "routing_key": "jobs"}),
        ):
            self.engine.request(self.session, 1, command, arguments)

    def publish(self, *bodies: bytes) -> None:
        self.engine.publish(self.session, [(1, 0, self.sequence, len(bodies), encode_block(list(bodies)))])
        self.sequence += len(bodies)

    async def until(self, holds: Callable[[], object]) -> None:
        async with asyncio.timeout(HANG_GUARD_S):
            while not holds():  # noqa: ASYNC110  what it waits for has no event
                await asyncio.sleep(0.005)

    async def confirmed(self, *bodies: bytes) -> None:
        count = len(self.peer.confirms)
        self.publish(*bodies)
        await self.until(lambda: len(self.peer.confirms) > count)

    async def stop(self, **arguments: float) -> bool:
        return await asyncio.wait_for(self.driver.stop(**arguments), HANG_GUARD_S)


@asynccontextmanager
async def running(reserve_bytes: int = 0, limits: EngineLimits | None = None) -> AsyncIterator[Running]:
    broker = Running(Disk(), reserve_bytes, limits or EngineLimits())
    await broker.confirmed(b"first")
    yield broker


def failing(kind: str, path: str, error: Exception) -> Callable[[Operation], None]:
    def fail(operation: Operation) -> None:
        if operation.kind == kind and path in operation.path:
            raise error

    return fail


async def test_a_stop_whose_own_sync_fails_ends() -> None:
    async with running() as broker:
        broker.disk.fail = failing("sync", "journal", StorageFailed("the disk is gone"))
        broker.engine.wake = lambda: None  # so that the stop makes the commit, in place
        broker.publish(b"never confirmed")
        await broker.stop()
        assert broker.failures
        assert len(broker.peer.confirms) == 1


async def test_a_stop_on_a_full_disk_ends_and_says_that_it_did_not_finish() -> None:
    async with running() as broker:
        broker.disk.room = 0
        broker.publish(b"never confirmed")
        await broker.until(lambda: broker.engine.broker.storage_full)
        assert not await broker.stop(timeout_s=0.2)
        assert not broker.failures
        assert len(broker.peer.confirms) == 1


async def test_a_stop_says_that_all_was_finished() -> None:
    async with running() as broker:
        broker.publish(b"confirmed")
        assert await broker.stop()
        assert len(broker.peer.confirms) == 2


async def test_no_confirm_leaves_after_a_failure_elsewhere() -> None:
    """I2: a commit that was under way when a read or a snapshot failed is not confirmed any more."""
    async with running() as broker:
        broker.publish(b"x" * 100_000)  # to the thread
        broker.engine.turn()
        commit = broker.engine.begin()
        assert commit is not None
        broker.driver.fail(StorageFailed("a snapshot's sync failed"))
        broker.driver._committed(commit, 0.0)
        broker.driver._written(commit)
        assert len(broker.peer.confirms) == 1
        await broker.stop()


async def test_a_bug_on_a_thread_is_reported_and_nothing_waits_for_it() -> None:
    async with running() as broker:
        broker.disk.fail = failing("sync", "journal", ZeroDivisionError("a bug"))
        broker.publish(b"x" * 100_000)
        await broker.until(lambda: broker.unhandled)
        assert isinstance(broker.unhandled[0]["exception"], AssertionError)
        broker.disk.fail = lambda _operation: None
        assert not await broker.stop()


async def test_a_read_without_a_descriptor_is_tried_again() -> None:
    async with running(limits=EngineLimits(cache_bytes=0)) as broker:
        broker.disk.fail = failing("open", "journal", StorageFull("too many open files"))
        broker.engine.request(broker.session, 2, "peek", {"queue": "jobs"})
        await asyncio.sleep(0.1)
        broker.disk.fail = lambda _operation: None
        await broker.until(lambda: broker.peer.peeks)
        assert not broker.failures
        await broker.stop()


@pytest.mark.parametrize("failure_count", [1, 3])
async def test_what_only_housekeeping_can_free_is_freed_on_a_full_disk(failure_count: int) -> None:
    """Rule 9: a snapshot that met a full disk gets the reserve's room, and is tried until it is written."""
    failures = [StorageFull("no space left")] * failure_count

    def fail(operation: Operation) -> None:
        if operation.kind == "write" and "snapshots" in operation.path and failures:
            if len(failures) > 1 and broker.disk.reserved:
                broker.disk.room = broker.disk.used - SEGMENT_BYTES // 2  # another program takes what is there
            raise failures.pop()

    async with running(SEGMENT_BYTES, EngineLimits(snapshot_bytes=100_000)) as broker:
        for _ in range(20):
            await broker.confirmed(b"x" * 40_000)
        await broker.until(lambda: broker.driver._cycle is None)
        broker.disk.room = broker.disk.used + 2_000
        broker.disk.fail = fail
        broker.engine.request(broker.session, 2, "queue_purge", {"queue": "jobs"})
        await broker.until(lambda: broker.journal.total_bytes < 8 * SEGMENT_BYTES)
        assert not failures
        await broker.until(lambda: not broker.engine.broker.storage_full)
        assert broker.disk.reserved
        await broker.confirmed(b"there is room again")
        await broker.stop()


@pytest.mark.parametrize("bodies", [(b"x" * 30_000,), (b"x" * 90_000,)])
async def test_the_commit_that_met_a_full_disk_gets_the_reserve(bodies: tuple[bytes, ...]) -> None:
    async with running(2 * SEGMENT_BYTES) as broker:
        broker.disk.room = broker.disk.used + 10_000
        await broker.confirmed(*bodies)
        assert broker.engine.broker.storage_full
        await broker.stop()
