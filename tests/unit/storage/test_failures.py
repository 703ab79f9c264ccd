"""The n-th operation fails, for every n: promises are kept, failures say so, a full disk is survived (T10)."""

import itertools

import pytest
from tests.sim.disk import Loss, SimFileSystem
from tests.unit.storage.machine import Machine, Promises

from penstock.storage.errors import StorageError, StorageFailed, StorageFull
from penstock.storage.memory import FailNth, MemoryFileSystem, Operation, PartialWrite

SCRIPT = "bsBpsmnbBsndbs"
OPERATIONS_MAX = 500


def test_failure_of_any_operation_loses_nothing_that_was_promised() -> None:
    """EIO at the n-th operation: the process sees it, stops and starts again, with the power lost or not."""
    for nth, mode in itertools.product(range(1, OPERATIONS_MAX), (Loss.KILL, Loss.LOSE)):
        promises = Promises()
        hook = FailNth(nth, StorageFailed("the device failed"))
        fs = SimFileSystem(nth, hook)
        if live(fs, promises):
            assert hook.count < nth
            return
        after = fs.crash(mode)
        assert live(after, promises)
        assert live(after.crash(Loss.LOSE), promises)
    raise AssertionError("the script has more operations than were tried")


@pytest.mark.parametrize("partial_bytes", [0, 1, 63, 64, 65, 100])
def test_full_disk_at_any_operation_is_survived_without_a_restart(partial_bytes: int) -> None:
    """ENOSPC at the n-th operation, after a part of it was written: refused, repeated, and nothing is lost."""
    for nth in range(1, OPERATIONS_MAX):
        promises = Promises()
        hook = FailNth(nth, PartialWrite(partial_bytes, StorageFull("no room")))
        fs = SimFileSystem(nth, lambda operation, hook=hook: full(operation, hook))  # type: ignore[misc]
        ended = live(fs, promises)
        after = fs.crash(Loss.RANDOM)
        assert live(after, promises)
        if ended and hook.count < nth:
            return
    raise AssertionError("the script has more operations than were tried")


def full(operation: Operation, hook: FailNth) -> None:
    if operation.kind in {"write", "create"}:
        hook(operation)


def live(fs: SimFileSystem, promises: Promises) -> bool:
    """Run the script; a process that meets a failure ends there. True when it met none."""
    try:
        machine = Machine(fs, promises)
        for action in SCRIPT:
            machine.step(action)
    except StorageError:
        return False
    return True


def test_failed_sync_poisons_the_journal_for_good() -> None:
    fs = MemoryFileSystem()
    machine = Machine(fs, Promises())
    machine.step("b")
    fs.hook = FailNth(1, StorageFailed("sync failed"))
    with pytest.raises(StorageFailed, match="sync failed"):
        machine.journal.sync()
    durable = machine.journal.durable_position
    fs.hook = None
    for _ in range(2):
        with pytest.raises(StorageFailed, match="an earlier failure is final"):
            machine.journal.sync()
        with pytest.raises(StorageFailed, match="an earlier failure is final"):
            machine.batch(10)
    assert machine.journal.durable_position == durable, "I2: nothing is durable after a failed sync"
    machine.journal.close()


def test_failed_write_poisons_the_journal_for_good() -> None:
    fs = MemoryFileSystem()
    machine = Machine(fs, Promises())
    machine.step("bs")
    fs.hook = FailNth(1, PartialWrite(10, StorageFailed("device failed")))
    with pytest.raises(StorageFailed, match="device failed"):
        machine.batch(10)
    fs.hook = None
    with pytest.raises(StorageFailed, match="final"):
        machine.journal.sync()


def test_full_disk_goes_on_when_there_is_room_again() -> None:
    promises = Promises()
    fs = SimFileSystem(1, capacity_bytes=1500)
    machine = Machine(fs, promises)
    taken = None
    while taken is None:
        machine.journal.stage([b"x" * 100], 100)
        batch = machine.journal.take(1)
        assert batch is not None
        try:
            machine.journal.write(batch)
        except StorageFull:
            taken = batch
    for _ in range(3):
        with pytest.raises(StorageFull):
            machine.journal.write(taken)
    assert sum(len(content) for content in fs.files().values()) <= 1500
    assert 0 < machine.journal.sync() < taken.position, "what was written before is durable"
    fs.capacity_bytes = None
    machine.journal.write(taken)
    assert machine.journal.sync() == taken.end


def test_mark_that_found_no_room_is_written_before_the_next_batch() -> None:
    promises = Promises()
    fs = MemoryFileSystem()
    machine = Machine(fs, promises)
    machine.step("b")
    machine.sync()
    fs.hook = FailNth(1, PartialWrite(5, StorageFull("no room")))
    machine.journal.mark(5)
    after_mark = machine.journal.next_position
    machine.journal.mark(5)
    assert machine.journal.next_position == after_mark, "a mark owed is not claimed twice"
    machine.step("b")
    machine.sync()
    assert machine.journal.durable_position == machine.journal.next_position
    machine.journal.close()
    Machine(fs, promises)


def test_torn_part_of_a_write_without_room_is_cut_off() -> None:
    fs = MemoryFileSystem()
    machine = Machine(fs, Promises())
    machine.step("b")
    machine.journal.stage([b"x" * 100], 100)
    batch = machine.journal.take(1)
    assert batch is not None
    fs.hook = FailNth(1, PartialWrite(80, StorageFull("no room")))
    with pytest.raises(StorageFull):
        machine.journal.write(batch)
    assert [len(content) for content in fs.files.values()] == [machine.journal.total_bytes]
