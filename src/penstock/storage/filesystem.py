"""The operating system's files. Nothing above this module calls ``os``.

Short writes go on where they stopped, an interrupted call is made again, and no call passes more buffers than the
system takes (IOV_MAX). On macOS ``fsync`` leaves the data in the drive's cache, so a sync there is F_FULLFSYNC.
"""

import errno
import fcntl
import os
from collections.abc import Sequence
from typing import Final

from penstock.storage.errors import DataDirectoryLocked, DirectoryNotUsable, from_os_error, from_sync_error
from penstock.storage.interface import Buffer

BUFFERS_MAX: Final = min(1024, os.sysconf("SC_IOV_MAX"))
"""Buffers in one call to pwritev."""

FILE_MODE: Final = 0o640
DIRECTORY_MODE: Final = 0o750
HOLDER_BYTES_MAX: Final = 256
"""What a lock file says about its holder: a process id and a host name."""

_FULL_SYNC: Final[int | None] = getattr(fcntl, "F_FULLFSYNC", None)
_ZEROS_BYTES: Final = 1024 * 1024


def _sync_descriptor(descriptor: int) -> None:
    if _FULL_SYNC is not None:
        fcntl.fcntl(descriptor, _FULL_SYNC)
    else:
        os.fdatasync(descriptor)


def _write_holder(descriptor: int, holder: str) -> None:
    """Say who has the lock. A full disk has room for a process that does not say so."""
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, holder.encode()[:HOLDER_BYTES_MAX], 0)
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
            raise


class RealFile:
    """An open file of the operating system."""

    def __init__(self, path: str, descriptor: int) -> None:
        self._path = path
        self._descriptor = descriptor

    def write_at(self, offset: int, buffers: Sequence[Buffer]) -> None:
        """Write all buffers from ``offset``, however many calls it takes."""
        left: list[Buffer] = list(buffers)
        first = 0
        try:
            while first < len(left):
                try:
                    written = os.pwritev(self._descriptor, left[first : first + BUFFERS_MAX], offset)
                except InterruptedError:
                    continue
                offset += written
                while first < len(left) and written >= len(left[first]):
                    written -= len(left[first])
                    first += 1
                if written:
                    left[first] = memoryview(left[first])[written:]
        except OSError as error:
            raise from_os_error(error, "write", self._path) from error

    def read_at(self, offset: int, nbytes: int) -> bytes:
        """Return ``nbytes`` from ``offset``, fewer only at the end of the file."""
        try:
            data = os.pread(self._descriptor, nbytes, offset)
            if len(data) == nbytes or not data:
                return data
            pieces = [data]
            got = len(data)
            while got < nbytes and (data := os.pread(self._descriptor, nbytes - got, offset + got)):
                pieces.append(data)
                got += len(data)
            return b"".join(pieces)
        except OSError as error:
            raise from_os_error(error, "read", self._path) from error

    def truncate(self, nbytes: int) -> None:
        """Cut the file to ``nbytes``."""
        try:
            os.ftruncate(self._descriptor, nbytes)
        except OSError as error:
            raise from_os_error(error, "truncate", self._path) from error

    def sync(self) -> None:
        """Make content and size durable; a failure is final (storage rule 1)."""
        try:
            _sync_descriptor(self._descriptor)
        except OSError as error:
            raise from_sync_error(error, self._path) from error

    def size(self) -> int:
        """Return the size in bytes."""
        try:
            return os.fstat(self._descriptor).st_size
        except OSError as error:
            raise from_os_error(error, "stat", self._path) from error

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._descriptor

    def close(self) -> None:
        """Close the descriptor; a second call does nothing."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor < 0:
            return
        try:
            os.close(descriptor)
        except OSError as error:
            raise from_os_error(error, "close", self._path) from error


class RealLock:
    """A lock held by this process until released; the kernel releases it when the process dies."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def release(self) -> None:
        """Let another process have the directory."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


class RealFileSystem:
    """The operating system's file system.

    A directory that was synced once stays open: a process out of descriptors can still make its files durable.
    """

    def __init__(self) -> None:
        self._directories: dict[str, int] = {}

    def make_directory(self, path: str) -> bool:
        """Create a directory with its parents, durably; False where it was there."""
        if os.path.isdir(path):
            return False
        parent = os.path.dirname(path) or "."
        if not os.path.isdir(parent):
            self.make_directory(parent)
        try:
            os.mkdir(path, DIRECTORY_MODE)
        except (FileExistsError, FileNotFoundError) as error:  # a file stands there; a file system without directories
            raise DirectoryNotUsable(f"creating the directory failed: {error.strerror}", path=path) from error
        except OSError as error:
            raise from_os_error(error, "creating the directory", path) from error
        self.sync_directory(parent)
        return True

    def list_directory(self, path: str) -> list[str]:
        """Return the names in a directory, sorted."""
        try:
            return sorted(os.listdir(path))
        except OSError as error:
            raise from_os_error(error, "listing the directory", path) from error

    def exists(self, path: str) -> bool:
        """True when there is something at ``path``."""
        return os.path.exists(path)

    def create(self, path: str) -> RealFile:
        """Create a file that must not exist."""
        return self._open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, "creating")

    def open(self, path: str, *, writable: bool = False) -> RealFile:
        """Open an existing file."""
        return self._open(path, os.O_RDWR if writable else os.O_RDONLY, "opening")

    def rename(self, source: str, target: str) -> None:
        """Rename, replacing ``target`` in one step."""
        try:
            os.replace(source, target)
        except OSError as error:
            raise from_os_error(error, "renaming", source) from error

    def remove(self, path: str) -> None:
        """Remove a file."""
        try:
            os.unlink(path)
        except OSError as error:
            raise from_os_error(error, "removing", path) from error

    def sync_directory(self, path: str) -> None:
        """Make the directory's entries durable."""
        try:
            descriptor = self._directories.get(path)
            if descriptor is None:
                descriptor = self._directories[path] = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            raise from_os_error(error, "opening the directory", path) from error
        try:
            os.fsync(descriptor)
        except OSError as error:
            raise from_sync_error(error, path) from error

    def close(self) -> None:
        """Give back the descriptors of directories."""
        while self._directories:
            os.close(self._directories.popitem()[1])

    def allocate(self, path: str, nbytes: int) -> None:
        """Create a file of ``nbytes`` that takes its room on the disk now."""
        file = self.create(path)
        try:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, nbytes)
            else:
                zeros = bytes(_ZEROS_BYTES)
                for offset in range(0, nbytes, _ZEROS_BYTES):
                    file.write_at(offset, [zeros[: nbytes - offset]])
        except OSError as error:
            raise from_os_error(error, "allocating", path) from error
        finally:
            file.close()

    def lock(self, path: str, holder: str) -> RealLock:
        """Lock ``path`` for this process and write ``holder`` into it."""
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, FILE_MODE)
        except OSError as error:
            raise from_os_error(error, "opening the lock file", path) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _write_holder(descriptor, holder)
        except BlockingIOError as error:
            present = os.pread(descriptor, HOLDER_BYTES_MAX, 0).decode(errors="replace").strip()
            os.close(descriptor)
            raise DataDirectoryLocked(os.path.dirname(path), present) from error
        except OSError as error:
            os.close(descriptor)
            raise from_os_error(error, "locking", path) from error
        return RealLock(descriptor)

    def _open(self, path: str, flags: int, operation: str) -> RealFile:
        try:
            return RealFile(path, os.open(path, flags, FILE_MODE))
        except OSError as error:
            raise from_os_error(error, operation, path) from error
