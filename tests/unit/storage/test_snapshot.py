"""Snapshots: two generations, each whole or refused; never a state that was not written."""

from collections.abc import Iterator

import pytest

from penstock.storage.errors import Damaged, StorageFailed, StorageFull, UnsupportedFormat
from penstock.storage.format import crc_of
from penstock.storage.memory import FailNth, MemoryFileSystem, PartialWrite
from penstock.storage.snapshot import SnapshotStore, snapshot_path


def store_with(*positions: int) -> tuple[MemoryFileSystem, SnapshotStore]:
    fs = MemoryFileSystem()
    store = SnapshotStore(fs, "snapshots")
    for position in positions:
        store.write(position, [b"state at %d" % position, b"", b"more"])
    return fs, store


def test_first_start_has_no_snapshot() -> None:
    _, store = store_with()
    assert store.load() is None
    assert store.older_position is None


def test_newest_is_loaded_as_it_was_written() -> None:
    fs, _ = store_with(10, 20)
    snapshot = SnapshotStore(fs, "snapshots").load()
    assert snapshot is not None
    assert (snapshot.position, snapshot.parts) == (20, [b"state at 20", b"", b"more"])


def test_two_generations_are_kept_and_the_older_bounds_what_may_be_discarded() -> None:
    fs, store = store_with(10)
    older = [store.older_position]
    for position in (20, 30):
        store.write(position, [])
        older.append(store.older_position)
    assert older == [None, 10, 20]
    assert sorted(fs.files) == [snapshot_path("snapshots", 20), snapshot_path("snapshots", 30)]
    assert SnapshotStore(fs, "snapshots").older_position == 20


def test_writing_at_the_same_position_replaces_and_is_one_generation() -> None:
    fs, store = store_with(10)
    store.write(10, [b"again"])
    assert store.older_position is None
    snapshot = SnapshotStore(fs, "snapshots").load()
    assert snapshot is not None
    assert snapshot.parts == [b"again"]


def test_parts_may_be_large_many_and_made_as_they_are_written() -> None:
    fs = MemoryFileSystem()

    def parts() -> Iterator[bytes]:
        for number in range(700):
            yield bytes([number % 256]) * 20_000

    SnapshotStore(fs, "snapshots").write(1, parts())
    snapshot = SnapshotStore(fs, "snapshots").load()
    assert snapshot is not None
    assert snapshot.parts == list(parts())


def test_damaged_newest_falls_back_to_the_older_and_is_dropped_by_the_next_write() -> None:
    fs, _ = store_with(10, 20)
    fs.files[snapshot_path("snapshots", 20)][60] ^= 1
    store = SnapshotStore(fs, "snapshots")
    snapshot = store.load()
    assert snapshot is not None
    assert snapshot.position == 10
    assert [damage.path for damage in store.damaged] == [snapshot_path("snapshots", 20)]
    assert store.older_position is None, "the journal back to the only whole snapshot is needed"
    store.write(30, [])
    assert sorted(fs.files) == [snapshot_path("snapshots", 10), snapshot_path("snapshots", 30)]


def test_no_whole_generation_refuses_to_start() -> None:
    fs, _ = store_with(10, 20)
    for content in fs.files.values():
        content[-1] ^= 1
    with pytest.raises(Damaged, match="backup") as caught:
        SnapshotStore(fs, "snapshots").load()
    assert caught.value.path
    assert caught.value.offset >= 0


def test_every_altered_byte_and_every_truncation_is_noticed() -> None:
    fs, _ = store_with(10)
    path = snapshot_path("snapshots", 10)
    whole = bytes(fs.files[path])
    for offset in range(len(whole)):
        for altered in (
            whole[:offset],
            whole[:offset] + bytes([whole[offset] ^ 1 << offset % 8]) + whole[offset + 1 :],
        ):
            fs.files[path] = bytearray(altered)
            with pytest.raises(Damaged):
                SnapshotStore(fs, "snapshots").load()
    for altered in (whole + b"\0", whole[:32] + whole[32 + 31 :]):
        fs.files[path] = bytearray(altered)
        with pytest.raises(Damaged):
            SnapshotStore(fs, "snapshots").load()


def test_renamed_snapshot_is_not_taken_for_another_position() -> None:
    fs, _ = store_with(10)
    fs.rename(snapshot_path("snapshots", 10), snapshot_path("snapshots", 11))
    with pytest.raises(Damaged):
        SnapshotStore(fs, "snapshots").load()


def test_later_version_is_refused_as_such() -> None:
    fs, _ = store_with(10)
    content = fs.files[snapshot_path("snapshots", 10)]
    content[8] = 2
    content[4:8] = crc_of(bytes(content[8:32])).to_bytes(4, "little")
    with pytest.raises(UnsupportedFormat):
        SnapshotStore(fs, "snapshots").load()


def test_full_disk_changes_nothing_and_a_later_write_succeeds() -> None:
    fs, store = store_with(10)
    before = {path: bytes(content) for path, content in fs.files.items()}
    for nth in (1, 2):
        fs.hook = FailNth(nth, PartialWrite(7, StorageFull("no room")))
        with pytest.raises(StorageFull):
            store.write(20, [b"state"])
        fs.hook = None
        assert {path: bytes(content) for path, content in fs.files.items()} == before
    store.write(20, [b"state"])
    assert store.older_position == 10


def test_failed_sync_leaves_the_old_generations() -> None:
    fs, store = store_with(10)
    fs.hook = FailNth(3, StorageFailed("sync failed"))
    with pytest.raises(StorageFailed):
        store.write(20, [b"state"])
    fs.hook = None
    snapshot = SnapshotStore(fs, "snapshots").load()
    assert snapshot is not None
    assert snapshot.position == 10


def test_leftover_of_an_interrupted_write_is_ignored_and_swept() -> None:
    fs, store = store_with(10)
    fs.create(snapshot_path("snapshots", 20) + ".tmp").close()
    fs.create("snapshots/notes.txt").close()
    assert SnapshotStore(fs, "snapshots").load() is not None
    store.write(20, [])
    assert "snapshots/notes.txt" in fs.files
    assert not [path for path in fs.files if path.endswith(".tmp")]
