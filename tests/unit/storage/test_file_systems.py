"""One contract, three file systems: the operating system's, the one in memory, the simulated disk."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.sim.disk import SimFileSystem

from penstock.storage.errors import DataDirectoryLocked, StorageError
from penstock.storage.filesystem import RealFileSystem
from penstock.storage.interface import FileSystem
from penstock.storage.memory import MemoryFileSystem


@pytest.fixture(params=["real", "memory", "sim"])
def fs(request: pytest.FixtureRequest) -> FileSystem:
    systems: dict[str, Callable[[], FileSystem]] = {
        "real": RealFileSystem,
        "memory": MemoryFileSystem,
        "sim": lambda: SimFileSystem(1),
    }
    return systems[request.param]()


@pytest.fixture
def root(fs: FileSystem, tmp_path: Path) -> str:
    path = f"{tmp_path}/a/b"
    assert fs.make_directory(path)
    return path


def test_written_buffers_are_read_back_wherever_they_were_put(fs: FileSystem, root: str) -> None:
    file = fs.create(f"{root}/f")
    file.write_at(0, [b"abc", bytearray(b"def"), memoryview(b"ghi"), b""])
    file.write_at(4, [b"XY"])
    assert file.read_at(0, 100) == b"abcdXYghi"
    assert file.read_at(3, 2) == b"dX"
    assert file.read_at(50, 2) == b""
    assert file.size() == 9
    file.close()


def test_write_past_the_end_leaves_zeros(fs: FileSystem, root: str) -> None:
    file = fs.create(f"{root}/f")
    file.write_at(5, [b"x"])
    assert file.read_at(0, 9) == b"\0\0\0\0\0x"
    file.close()


def test_thousands_of_buffers_are_one_write(fs: FileSystem, root: str) -> None:
    file = fs.create(f"{root}/f")
    file.write_at(0, [b"%05d" % number for number in range(5000)])
    assert file.read_at(4999 * 5, 5) == b"04999"
    assert file.size() == 25_000
    file.close()


def test_truncated_file_ends_there(fs: FileSystem, root: str) -> None:
    file = fs.create(f"{root}/f")
    file.write_at(0, [b"0123456789"])
    file.truncate(4)
    file.sync()
    assert file.size() == 4
    assert file.read_at(0, 9) == b"0123"
    file.close()


def test_created_file_must_not_exist_and_opened_file_must(fs: FileSystem, root: str) -> None:
    fs.create(f"{root}/f").close()
    with pytest.raises(StorageError):
        fs.create(f"{root}/f")
    with pytest.raises(StorageError):
        fs.open(f"{root}/g")
    with pytest.raises(StorageError):
        fs.create(f"{root}/missing/f")
    assert fs.exists(f"{root}/f")
    assert not fs.exists(f"{root}/g")


def test_file_opened_for_reading_is_not_written(fs: FileSystem, root: str) -> None:
    fs.create(f"{root}/f").close()
    file = fs.open(f"{root}/f")
    with pytest.raises(StorageError):
        file.write_at(0, [b"x"])
    file.close()
    writable = fs.open(f"{root}/f", writable=True)
    writable.write_at(0, [b"x"])
    writable.close()


def test_rename_replaces_and_remove_removes(fs: FileSystem, root: str) -> None:
    for name in ("a", "b"):
        file = fs.create(f"{root}/{name}")
        file.write_at(0, [name.encode()])
        file.close()
    fs.rename(f"{root}/a", f"{root}/b")
    fs.sync_directory(root)
    assert fs.list_directory(root) == ["b"]
    file = fs.open(f"{root}/b")
    assert file.read_at(0, 9) == b"a"
    file.close()
    fs.remove(f"{root}/b")
    assert fs.list_directory(root) == []
    for operation in (fs.remove, fs.open):
        with pytest.raises(StorageError):
            operation(f"{root}/b")
    with pytest.raises(StorageError):
        fs.rename(f"{root}/b", f"{root}/c")


def test_directory_is_created_once_and_listed_with_its_directories(fs: FileSystem, root: str) -> None:
    assert not fs.make_directory(root)
    assert fs.make_directory(f"{root}/d")
    assert fs.list_directory(root) == ["d"]
    assert fs.exists(f"{root}/d")
    with pytest.raises(StorageError):
        fs.list_directory(f"{root}/missing")


def test_lock_is_exclusive_and_names_its_holder(fs: FileSystem, root: str) -> None:
    lock = fs.lock(f"{root}/lock", "process 7 on host h")
    with pytest.raises(DataDirectoryLocked, match="process 7 on host h") as caught:
        fs.lock(f"{root}/lock", "another")
    assert caught.value.exit_code == 75
    assert caught.value.holder == "process 7 on host h"
    lock.release()
    lock.release()
    fs.lock(f"{root}/lock", "another").release()


def test_allocated_file_exists_and_close_is_repeatable(fs: FileSystem, root: str) -> None:
    fs.allocate(f"{root}/reserve", 4096)
    assert fs.exists(f"{root}/reserve")
    file = fs.open(f"{root}/reserve")
    file.close()
    file.close()
    with pytest.raises(StorageError):
        file.read_at(0, 1)


def test_reads_go_on_while_another_thread_writes(fs: FileSystem, root: str) -> None:
    file = fs.create(f"{root}/f")
    file.write_at(0, [b"x" * 1000])
    reader = fs.open(f"{root}/f")
    failures: list[Exception] = []

    def write() -> None:
        try:
            for number in range(200):
                file.write_at(1000 + number * 100, [b"y" * 100])
        except StorageError as error:
            failures.append(error)

    thread = threading.Thread(target=write)
    thread.start()
    for _ in range(200):
        assert reader.read_at(0, 1000) == b"x" * 1000
    thread.join()
    assert failures == []
    assert file.size() == 21_000
    file.close()
    reader.close()
