"""What only the operating system does: short writes, interrupted calls, its errors, full syncs."""

import errno
import fcntl
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from penstock.storage import filesystem
from penstock.storage.errors import (
    DirectoryNotUsable,
    StorageError,
    StorageFailed,
    StorageFull,
    from_os_error,
)
from penstock.storage.filesystem import RealFile, RealFileSystem
from penstock.storage.interface import Buffer


@pytest.fixture
def file(tmp_path: Path) -> RealFile:
    return RealFileSystem().create(f"{tmp_path}/f")


def fail_with(number: int) -> Callable[..., int]:
    def fail(*arguments: object) -> int:
        raise OSError(number, os.strerror(number))

    return fail


@pytest.mark.parametrize("step", [1, 2, 3, 7, 10, 11])
def test_short_write_goes_on_where_it_stopped(file: RealFile, monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    def write_some(descriptor: int, buffers: Sequence[Buffer], offset: int) -> int:
        return os.pwrite(descriptor, b"".join(buffers)[:step], offset)

    monkeypatch.setattr(os, "pwritev", write_some)
    file.write_at(3, [b"abc", b"", b"d", b"efghij", b""])
    assert file.read_at(0, 99) == b"\0\0\0abcdefghij"


def test_interrupted_write_is_made_again(file: RealFile, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    real = os.pwritev

    def interrupted(descriptor: int, buffers: Sequence[Buffer], offset: int) -> int:
        calls.append(offset)
        if len(calls) % 2:
            raise InterruptedError(errno.EINTR, "interrupted")
        return real(descriptor, buffers, offset)

    monkeypatch.setattr(os, "pwritev", interrupted)
    file.write_at(0, [b"abc"])
    assert file.read_at(0, 9) == b"abc"
    assert calls == [0, 0]


def test_short_read_goes_on_to_the_end(file: RealFile, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_at(0, [b"0123456789"])
    real = os.pread
    monkeypatch.setattr(os, "pread", lambda descriptor, nbytes, offset: real(descriptor, min(nbytes, 3), offset))
    assert file.read_at(1, 7) == b"1234567"
    assert file.read_at(1, 70) == b"123456789"


@pytest.mark.parametrize(
    ("number", "kind", "code", "exit_code"),
    [
        (errno.ENOSPC, StorageFull, "disk-full", 73),
        (errno.EDQUOT, StorageFull, "quota-reached", 73),
        (errno.EMFILE, StorageFull, "too-many-open-files", 73),
        (errno.EROFS, DirectoryNotUsable, "data-directory-not-usable", 73),
        (errno.EACCES, DirectoryNotUsable, "data-directory-not-usable", 73),
        (errno.EIO, StorageFailed, "storage-failed", 74),
    ],
)
def test_errors_of_the_system_are_told_apart(
    file: RealFile, monkeypatch: pytest.MonkeyPatch, number: int, kind: type[StorageError], code: str, exit_code: int
) -> None:
    monkeypatch.setattr(os, "pwritev", fail_with(number))
    with pytest.raises(kind) as caught:
        file.write_at(0, [b"x"])
    assert caught.value.code == code
    assert caught.value.exit_code == exit_code
    assert caught.value.path.endswith("/f")


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EDQUOT])
def test_failed_sync_is_never_retryable(file: RealFile, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    monkeypatch.setattr(os, "fdatasync", fail_with(number))
    with pytest.raises(StorageFailed, match="sync failed"):
        file.sync()


def test_every_call_on_a_file_maps_its_error(file: RealFile) -> None:
    os.close(file.fileno())
    calls: list[Callable[[], object]] = [
        lambda: file.truncate(0),
        file.size,
        lambda: file.read_at(0, 1),
        lambda: file.write_at(0, [b"x"]),
        file.sync,
        file.close,
    ]
    for call in calls:
        with pytest.raises(StorageFailed):
            call()


@pytest.mark.parametrize("operation", ["mkdir", "listdir", "replace", "unlink", "open"])
def test_every_call_on_names_maps_its_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, operation: str) -> None:
    fs = RealFileSystem()
    fs.create(f"{tmp_path}/f").close()
    monkeypatch.setattr(os, operation, fail_with(errno.EACCES))
    calls: dict[str, list[Callable[[], object]]] = {
        "mkdir": [lambda: fs.make_directory(f"{tmp_path}/d")],
        "listdir": [lambda: fs.list_directory(str(tmp_path))],
        "replace": [lambda: fs.rename(f"{tmp_path}/f", f"{tmp_path}/g")],
        "unlink": [lambda: fs.remove(f"{tmp_path}/f")],
        "open": [
            lambda: fs.open(f"{tmp_path}/f"),
            lambda: fs.sync_directory(str(tmp_path)),
            lambda: fs.lock(f"{tmp_path}/lock", "x"),
        ],
    }
    for call in calls[operation]:
        with pytest.raises(DirectoryNotUsable):
            call()


def test_directory_sync_needs_no_new_descriptor_the_second_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fs = RealFileSystem()
    fs.sync_directory(str(tmp_path))
    monkeypatch.setattr(os, "open", fail_with(errno.EMFILE))
    fs.sync_directory(str(tmp_path))
    monkeypatch.setattr(os, "fsync", fail_with(errno.EIO))
    with pytest.raises(StorageFailed):
        fs.sync_directory(str(tmp_path))
    fs.close()


def test_sync_is_a_full_sync_where_the_system_has_one(file: RealFile, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(filesystem, "_FULL_SYNC", 51)
    monkeypatch.setattr(fcntl, "fcntl", lambda descriptor, command: asked.append((descriptor, command)))
    file.sync()
    assert asked == [(file.fileno(), 51)]


def test_reserve_is_written_out_where_the_system_can_not_allocate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "posix_fallocate", raising=False)
    RealFileSystem().allocate(f"{tmp_path}/reserve", 3 * 1024 * 1024 + 5)
    assert (tmp_path / "reserve").stat().st_size == 3 * 1024 * 1024 + 5


def test_full_disk_at_the_reserve_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "posix_fallocate", fail_with(errno.ENOSPC), raising=False)
    with pytest.raises(StorageFull):
        RealFileSystem().allocate(f"{tmp_path}/reserve", 10)


def test_error_without_a_number_is_a_failure() -> None:
    assert isinstance(from_os_error(OSError("odd"), "write", "f"), StorageFailed)
