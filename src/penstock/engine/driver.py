"""Runs an engine under asyncio: turns when commands arrive or time is due, commits without a timer, reads in a thread.

Batching emerges from load: while one commit is on the disk, the next one gathers. A small commit of a quiet moment is
written and synced in place, because handing it to a thread and back costs more than the disk (170 us against 130);
a busy one goes to the I/O thread, so that the loop parses while the disk works. Batches that nobody waits for
(hand-outs, plain acks) are written after ``LAZY_COMMIT_S`` at the latest.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from time import perf_counter
from typing import Final, Protocol

from penstock.engine.engine import Commit, Engine
from penstock.engine.housekeeping import AwaitDurable, Housekeeping, Io
from penstock.engine.interface import Load, StoredBlock
from penstock.storage.errors import StorageError, StorageFull
from penstock.storage.journal import Journal

LAZY_COMMIT_S: Final = 0.02
LAZY_COMMIT_BYTES: Final = 1024 * 1024
IN_PLACE_BYTES_MAX: Final = 64 * 1024
IN_PLACE_SYNC_S_MAX: Final = 0.002
"""In place only while the disk has lately answered within this: the loop waits for it."""
PRESSURE_BYTES: Final = 64 * 1024 * 1024
"""Staged bytes above which sockets are not read: the disk is slower than the producers."""
FULL_RETRY_S: Final = 0.5
"""How often a full disk is tried again."""
IDLE_MARK_S: Final = 1.0
FINISH_S: Final = 3.0
"""How long a stop waits for what is gathered: a full disk or a long redrive must not keep it."""


class Reserve(Protocol):
    """Disk space kept back, so that a full disk still takes acks and deletes."""

    def keep_reserve(self, nbytes: int) -> bool:
        """Keep it back (again); False when there is no room for it."""
        ...

    def release_reserve(self) -> bool:
        """Give it to the journal; False when that was done before."""
        ...


class Driver:
    """The one place where the engine meets time and threads."""

    def __init__(
        self,
        engine: Engine,
        journal: Journal,
        loop: asyncio.AbstractEventLoop,
        *,
        housekeeping: Housekeeping | None = None,
        reserve: Reserve | None = None,
        reserve_bytes: int = 0,
        on_failure: Callable[[Exception], None],
        on_pressure: Callable[[bool], None] = lambda _paused: None,
        on_effects: Callable[[], None] = lambda: None,
    ) -> None:
        self._engine = engine
        self._journal = journal
        self._loop = loop
        self._on_failure = on_failure
        self._on_pressure = on_pressure
        self._on_effects = on_effects
        self._io = ThreadPoolExecutor(1, "penstock-io")
        self._reader = ThreadPoolExecutor(1, "penstock-read")
        self._woken = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_ms = 0
        self._lazy: asyncio.TimerHandle | None = None
        self._mark: asyncio.TimerHandle | None = None
        self._commit: Commit | None = None
        self._commit_waits = False
        self._stopped = False
        self._idle = asyncio.Event()
        self._sync_s = 0.0
        self.paused = False
        self._housekeeping = housekeeping
        self._reserve = reserve
        self._reserve_bytes = reserve_bytes
        self._cycle: asyncio.Task[None] | None = None
        engine.wake = self.wake

    @property
    def last_sync_us(self) -> int:
        """A smoothed duration of write and sync, microseconds."""
        return int(self._sync_s * 1e6)

    def wake(self) -> None:
        """Have a turn soon: once for all commands of this pass of the loop."""
        if not self._woken:
            self._woken = True
            self._loop.call_soon(self._turn)

    async def stop(self, timeout_s: float = FINISH_S) -> bool:
        """Finish what is gathered, mark the journal and close it. Again: nothing.

        False when not all of it was on disk within ``timeout_s``: that is confirmed to no one.
        """
        if timeout_s > 0:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._finish(), timeout_s)
        finished = not self._unfinished
        self._stopped = True
        self._idle.set()
        if self._cycle:
            await asyncio.wait([self._cycle])
        for timer in (self._timer, self._lazy, self._mark):
            if timer:
                timer.cancel()
        self._reader.shutdown(wait=True, cancel_futures=True)
        if self._engine.failure is None:
            await self._loop.run_in_executor(self._io, self._journal.close)
        self._io.shutdown(wait=True)
        return finished

    @property
    def _unfinished(self) -> bool:
        return bool(self._commit or self._engine.gathered_bytes or self._engine.urgent)

    async def _finish(self) -> None:
        while not self._stopped and self._unfinished:
            self._engine.turn()
            self._idle.clear()
            self._start_commit()
            if self._commit:
                await self._idle.wait()
            else:
                await asyncio.sleep(0)

    def _turn(self) -> None:
        self._woken = False
        if self._stopped:
            return
        self._engine.turn()
        self._after_turn()
        self._on_effects()

    def _after_turn(self) -> None:
        engine, journal = self._engine, self._journal
        if engine.loads:
            loads, engine.loads = engine.loads, []
            for load in loads:
                self._submit(self._reader, self._read, load)
        if self._commit is None:
            if engine.urgent or journal.staged_bytes > LAZY_COMMIT_BYTES:
                self._start_commit()
            elif journal.staged_bytes and self._lazy is None:
                self._lazy = self._loop.call_later(LAZY_COMMIT_S, self._lazy_commit)
        self._set_pressure(engine.gathered_bytes > PRESSURE_BYTES)
        self._set_timer()

    # -- commits -------------------------------------------------------------------------------------------------------

    def _lazy_commit(self) -> None:
        self._lazy = None
        if not self._stopped and self._commit is None:
            self._start_commit()

    def _start_commit(self) -> None:
        commit = self._engine.begin()
        if commit is None:
            return
        self._commit = commit
        if self._lazy:
            self._lazy.cancel()
            self._lazy = None
        if commit.batch.nbytes <= IN_PLACE_BYTES_MAX and self._sync_s < IN_PLACE_SYNC_S_MAX and self._is_lone(commit):
            self._commit_in_place(commit)
        else:
            self._submit(self._io, self._commit_in_thread, commit)

    def _is_lone(self, commit: Commit) -> bool:
        """True when few wait for this commit: overlapping it with other work would gain nothing."""
        return len(commit.pending.confirms) + len(commit.pending.replies) <= 4

    def _commit_in_place(self, commit: Commit) -> None:
        started = perf_counter()
        try:
            self._journal.write(commit.batch)
            self._journal.sync()
        except StorageError as error:
            self._commit_failed(commit, error)
            return
        self._committed(commit, perf_counter() - started)

    def _commit_in_thread(self, commit: Commit) -> None:
        started = perf_counter()
        call = self._loop.call_soon_threadsafe
        try:
            self._journal.write(commit.batch)
            if commit.pending.has_written:
                call(self._written, commit)
            self._journal.sync()
        except StorageError as error:
            call(self._commit_failed, commit, error)
            return
        call(self._committed_in_thread, commit, perf_counter() - started)

    def _committed_in_thread(self, commit: Commit, duration_s: float) -> None:
        self._committed(commit, duration_s)
        self._on_effects()

    def _written(self, commit: Commit) -> None:
        if not self._stopped:
            self._engine.written(commit)

    def _committed(self, commit: Commit, duration_s: float) -> None:
        if self._stopped:  # it failed meanwhile (a snapshot's sync, a read): no confirm leaves any more (I2)
            return
        self._commit_waits = False
        self._sync_s += (duration_s - self._sync_s) / 8
        self._commit = None
        self._engine.committed(commit)
        self._idle.set()
        self._consider_housekeeping(idle=False)
        if self._mark is None:
            self._mark = self._loop.call_later(IDLE_MARK_S, self._mark_idle)
        self._after_turn()

    def _commit_failed(self, commit: Commit, error: StorageError) -> None:
        if isinstance(error, StorageFull):
            if self._stopped:
                return
            # The batch is whole in memory and its torn part was cut off: it is tried again, publishes are refused.
            self._commit_waits = True
            self._loop.call_later(0 if self._disk_is_full() else FULL_RETRY_S, self._retry, commit)
            return
        self.fail(error)

    def _retry(self, commit: Commit) -> None:
        if not self._stopped:
            self._submit(self._io, self._commit_in_thread, commit)

    def _disk_is_full(self) -> bool:
        """Refuse publishes; give the reserve to acks and deletes; look for room from now on (storage rule 9).

        True when that gave room.
        """
        if self._engine.broker.storage_full:
            return False
        self._engine.broker.storage_full = True
        self._loop.call_later(FULL_RETRY_S, self._look_for_room)
        try:
            return self._reserve is not None and self._reserve.release_reserve()
        except StorageError as error:
            self.fail(error)
            return False

    def _look_for_room(self) -> None:
        if self._stopped:
            return
        if self._commit_waits or self._cycle:  # the reserve was given up for these: not to be taken from them again
            self._loop.call_later(FULL_RETRY_S, self._look_for_room)
        else:
            self._submit(self._io, self._try_for_room)

    def _try_for_room(self) -> None:
        try:
            found = self._reserve is None or self._reserve.keep_reserve(self._reserve_bytes)
        except StorageError:
            found = False
        self._loop.call_soon_threadsafe(self._room, found)

    def _room(self, found: bool) -> None:
        if self._stopped:
            return
        if found:
            self._engine.broker.storage_full = False
            self.wake()
        else:
            self._loop.call_later(FULL_RETRY_S, self._look_for_room)
            self._consider_housekeeping(idle=True)

    def fail(self, error: StorageError) -> None:
        """Stop for good: a failed sync is never tried again (storage rule 1)."""
        if self._engine.failure is None:
            self._stopped = True
            self._engine.failed(error, "storage-failed")
            self._idle.set()
            self._on_failure(error)

    def _submit(self, executor: ThreadPoolExecutor, call: Callable[..., None], *arguments: object) -> None:
        executor.submit(call, *arguments).add_done_callback(self._called)

    def _called(self, future: Future[None]) -> None:
        """On the thread: what is no storage error is a bug, and whoever waits would wait for ever."""
        if not future.cancelled() and (error := future.exception()) is not None:
            self._loop.call_soon_threadsafe(self._break, error)

    def _break(self, error: BaseException) -> None:
        self._stopped = True
        self._idle.set()
        raise AssertionError(f"an I/O thread failed: {error!r}") from error

    def _consider_housekeeping(self, *, idle: bool) -> None:
        if self._housekeeping and self._cycle is None and self._housekeeping.is_due(idle=idle):
            self._cycle = self._loop.create_task(self._keep_house(self._housekeeping))

    async def _keep_house(self, housekeeping: Housekeeping) -> None:
        cycle = housekeeping.cycle()
        result = None
        again = False
        try:
            while not self._stopped:
                step = cycle.send(result)
                result = None
                if isinstance(step, Io):
                    result = await self._loop.run_in_executor(self._io, step.call)
                elif isinstance(step, AwaitDurable):
                    await self._durable(step.position)
                else:
                    await asyncio.sleep(0)
        except StopIteration:
            pass
        except StorageFull:
            again = self._disk_is_full()
        except StorageError as error:
            self.fail(error)
        finally:
            self._cycle = None
        if again:  # what was kept back may be the room that it needs to free more
            self._consider_housekeeping(idle=True)

    async def _durable(self, position: int) -> None:
        while not self._stopped and self._engine.blocks.durable_position < position:
            self._idle.clear()
            self._start_commit()
            if self._commit is None:
                return
            await self._idle.wait()

    def _mark_idle(self) -> None:
        """After a quiet second, write the mark that says how far the journal is known durable (storage rule 4)."""
        self._mark = None
        if not self._stopped and self._commit is None and not self._journal.staged_bytes:
            self._submit(self._io, self._write_mark, self._engine.clock_ms())
            self._consider_housekeeping(idle=True)

    def _write_mark(self, now_ms: int) -> None:
        try:
            self._journal.mark(now_ms)
        except StorageFull:
            return
        except StorageError as error:
            self._loop.call_soon_threadsafe(self.fail, error)

    # -- reads ---------------------------------------------------------------------------------------------------------

    def _read(self, load: Load) -> None:
        blocks: dict[int, StoredBlock] = {}
        try:
            for ref in load.blocks:
                blocks[ref.position] = load.parse(self._journal.read(ref.position, ref.size_bytes))
        except StorageFull:  # no descriptor now
            self._loop.call_soon_threadsafe(self._loop.call_later, FULL_RETRY_S, self._read_again, load)
            return
        except StorageError as error:
            self._loop.call_soon_threadsafe(self.fail, error)
            return
        self._loop.call_soon_threadsafe(self._loaded, load, blocks)

    def _read_again(self, load: Load) -> None:
        if not self._stopped:
            self._submit(self._reader, self._read, load)

    def _loaded(self, load: Load, blocks: dict[int, StoredBlock]) -> None:
        if not self._stopped:
            load.done(blocks)
            self.wake()

    # -- time and pressure ---------------------------------------------------------------------------------------------

    def _set_timer(self) -> None:
        due_ms = self._engine.next_due_ms()
        if due_ms is None or (self._timer is not None and self._timer_ms <= due_ms):
            return
        if self._timer:
            self._timer.cancel()
        self._timer_ms = due_ms
        wait_s = max(0.0, (due_ms - self._engine.clock_ms()) / 1000)
        self._timer = self._loop.call_later(wait_s, self._time_is_due)

    def _time_is_due(self) -> None:
        self._timer = None
        self.wake()

    def _set_pressure(self, paused: bool) -> None:
        if paused != self.paused:
            self.paused = paused
            self._on_pressure(paused)
