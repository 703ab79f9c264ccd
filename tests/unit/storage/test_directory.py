"""The data directory: one broker at a time, an identity, a counter of starts, a reserve."""

import pytest
from tests.sim.disk import Loss, SimFileSystem

from penstock.storage.directory import BOOT_EPOCH_JUMP, DataDirectory
from penstock.storage.errors import (
    Damaged,
    DataDirectoryLocked,
    DirectoryNotUsable,
    StorageFailed,
    StorageFull,
    UnsupportedFormat,
)
from penstock.storage.format import crc_of
from penstock.storage.journal import Journal
from penstock.storage.memory import FailNth, MemoryFileSystem


def opened(fs: MemoryFileSystem | SimFileSystem, journal_id: int = 0xABC) -> DataDirectory:
    return DataDirectory.open(fs, "data", holder="process 1 on host h", new_journal_id=journal_id)


def write_text(fs: MemoryFileSystem, name: str, content: str) -> None:
    fs.files[f"data/{name}"] = bytearray(f"{content} {crc_of(content.encode()):08x}\n".encode())


def with_journal(fs: MemoryFileSystem, directory: DataDirectory) -> None:
    journal = Journal.open(fs, directory.journal_path, boot_epoch=directory.boot_epoch, journal_id=directory.journal_id)
    list(journal.replay())
    journal.accept()
    journal.stage([b"x"], 1)
    batch = journal.take(1)
    assert batch is not None
    journal.write(batch)
    journal.close()


def test_second_broker_is_refused_and_told_who_has_it() -> None:
    fs = MemoryFileSystem()
    first = opened(fs)
    with pytest.raises(DataDirectoryLocked, match="process 1 on host h"):
        opened(fs)
    first.close()
    opened(fs).close()


def test_every_start_counts_durably() -> None:
    fs = SimFileSystem(1)
    for expected in range(1, 5):
        assert opened(fs).boot_epoch == expected
        fs = fs.crash(Loss.LOSE)


def test_identity_is_given_once() -> None:
    fs = SimFileSystem(1)
    assert opened(fs, journal_id=7).journal_id == 7
    assert opened(fs.crash(Loss.LOSE), journal_id=8).journal_id == 7


@pytest.mark.parametrize("lost", ["missing", "empty"])
def test_lost_small_files_are_made_again_from_the_journal(lost: str) -> None:
    fs = MemoryFileSystem()
    directory = opened(fs, journal_id=7)
    with_journal(fs, directory)
    directory.close()
    for name in ("data/identity", "data/boot-epoch"):
        if lost == "missing":
            del fs.files[name]
        else:
            fs.files[name].clear()
    again = opened(fs, journal_id=8)
    assert again.journal_id == 7
    assert again.boot_epoch == 1 + BOOT_EPOCH_JUMP + 1, "starts without a trace must not be counted twice"


def test_counter_older_than_the_journal_does_not_run_backward() -> None:
    fs = MemoryFileSystem()
    for _ in range(3):
        directory = opened(fs)
        with_journal(fs, directory)
        directory.close()
    write_text(fs, "boot-epoch", "1")
    assert opened(fs).boot_epoch == 4


def test_damaged_small_file_is_refused_by_name_and_unlocks() -> None:
    fs = MemoryFileSystem()
    opened(fs).close()
    fs.files["data/boot-epoch"][0] ^= 1
    for _ in range(2):
        with pytest.raises(Damaged, match="data/boot-epoch"):
            opened(fs)


def test_directory_of_something_else_or_of_a_later_version_is_refused() -> None:
    fs = MemoryFileSystem()
    opened(fs).close()
    write_text(fs, "identity", "other-data 1 00")
    with pytest.raises(DirectoryNotUsable):
        opened(fs)
    write_text(fs, "identity", "penstock-data 2 00")
    with pytest.raises(UnsupportedFormat, match="version 2"):
        opened(fs)


def test_failure_at_any_operation_leaves_a_directory_that_can_be_opened() -> None:
    for nth in range(1, 100):
        fs = MemoryFileSystem(hook := FailNth(nth, StorageFailed("failed")))
        try:
            opened(fs)
        except StorageFailed:
            fs.hook = None
            assert opened(fs).boot_epoch in {1, 2}
        if hook.count < nth:
            return
    raise AssertionError("opening has more operations than were tried")


def test_reserve_is_kept_released_and_restored_when_there_is_room() -> None:
    fs = SimFileSystem(1, capacity_bytes=10_000)
    directory = opened(fs)
    assert not directory.keep_reserve(50_000)
    assert directory.keep_reserve(5_000)
    assert directory.keep_reserve(5_000)
    assert fs.room_bytes() < 5_000
    assert directory.release_reserve()
    assert not directory.release_reserve()
    assert fs.room_bytes() > 5_000
    fs.create("data/fill").write_at(0, [bytes(8_000)])
    assert not directory.keep_reserve(5_000)
    fs.remove("data/fill")
    assert directory.keep_reserve(5_000)


def test_full_disk_is_started_from_with_the_reserve() -> None:
    fs = SimFileSystem(1, capacity_bytes=10_000)
    directory = opened(fs)
    assert directory.keep_reserve(5_000)
    directory.close()
    fs.create("data/fill").write_at(0, [bytes(fs.room_bytes())])
    again = opened(fs)
    assert again.boot_epoch == 2
    assert not again.release_reserve(), "the reserve was given to the start"
    again.close()
    fs.create("data/more").write_at(0, [bytes(fs.room_bytes())])
    with pytest.raises(StorageFull):
        opened(fs)
