"""A file system in memory, for brokers that need no disk and for tests: same errors, same contract, nothing durable.

Before every operation it calls ``hook``, if one is set. A hook that raises a ``StorageError`` makes the operation fail
without effect; one that raises ``PartialWrite`` lets a part of a write happen first, as a full disk does.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from penstock.storage.errors import DataDirectoryLocked, DirectoryNotUsable, StorageError, StorageFailed
from penstock.storage.interface import Buffer


class Operation(NamedTuple):
    """An operation that is about to happen: its kind, its path, and the bytes that it moves, if any."""

    kind: str
    path: str
    nbytes: int = 0


Hook = Callable[[Operation], None]


class PartialWrite(Exception):
    """Raised by a hook before a write: ``nbytes`` of it happen, then it fails with ``error``."""

    def __init__(self, nbytes: int, error: StorageError) -> None:
        super().__init__(f"{nbytes} bytes, then {error}")
        self.nbytes = nbytes
        self.error = error


class FailNth:
    """A hook that counts operations and fails the n-th (from 1), or every one from the n-th on."""

    def __init__(self, nth: int, error: StorageError | PartialWrite, *, onwards: bool = False) -> None:
        self.count = 0
        self._nth = nth
        self._error = error
        self._onwards = onwards

    def __call__(self, operation: Operation) -> None:
        """Count an operation and fail it when it is its turn."""
        self.count += 1
        if self.count != self._nth and not (self._onwards and self.count > self._nth):
            return
        if isinstance(self._error, PartialWrite) and operation.kind != "write":
            raise self._error.error
        raise self._error


class MemoryFile:
    """An open file: a view of content that outlives it."""

    def __init__(self, system: "MemoryFileSystem", path: str, content: bytearray, writable: bool) -> None:
        self._system = system
        self._path = path
        self._content: bytearray | None = content
        self._writable = writable

    def write_at(self, offset: int, buffers: Sequence[Buffer]) -> None:
        """Write all buffers from ``offset``."""
        content = self._changeable()
        data = b"".join(buffers)
        try:
            self._system.announce("write", self._path, len(data))
        except PartialWrite as partial:
            _put(content, offset, data[: partial.nbytes])
            raise partial.error from None
        _put(content, offset, data)

    def read_at(self, offset: int, nbytes: int) -> bytes:
        """Return ``nbytes`` from ``offset``, fewer only at the end."""
        self._system.announce("read", self._path, nbytes)
        # A slice, not a memoryview: a view would keep a concurrent write from growing the content.
        return bytes(self._opened()[offset : offset + nbytes])

    def truncate(self, nbytes: int) -> None:
        """Cut the file to ``nbytes``."""
        content = self._changeable()
        self._system.announce("truncate", self._path, nbytes)
        del content[nbytes:]

    def sync(self) -> None:
        """Nothing to do."""
        self._opened()
        self._system.announce("sync", self._path)

    def size(self) -> int:
        """Return the size in bytes."""
        return len(self._opened())

    def close(self) -> None:
        """Close; a second call does nothing."""
        self._content = None

    def _opened(self) -> bytearray:
        if self._content is None:
            raise StorageFailed("the file is closed", path=self._path)
        return self._content

    def _changeable(self) -> bytearray:
        if not self._writable:
            raise StorageFailed("the file is open for reading only", path=self._path)
        return self._opened()


class MemoryLock:
    """A held entry in the file system's table of locks."""

    def __init__(self, locks: dict[str, str], path: str) -> None:
        self._locks = locks
        self._path = path

    def release(self) -> None:
        """Let another have it."""
        self._locks.pop(self._path, None)


class MemoryFileSystem:
    """Files in a dictionary. What was written stays as long as this object, so a broker can be started on it again."""

    def __init__(self, hook: Hook | None = None) -> None:
        self.hook = hook
        self.files: dict[str, bytearray] = {}
        self._directories: set[str] = {"", ".", "/"}
        self._locks: dict[str, str] = {}

    def announce(self, kind: str, path: str, nbytes: int = 0) -> None:
        """Call the hook, which may raise."""
        if self.hook is not None:
            self.hook(Operation(kind, path, nbytes))

    def make_directory(self, path: str) -> bool:
        """Create a directory with its parents; False where it was there."""
        if path in self._directories:
            return False
        self.announce("make_directory", path)
        while path not in self._directories:
            self._directories.add(path)
            path = directory_of(path)
        return True

    def list_directory(self, path: str) -> list[str]:
        """Return the names in a directory, sorted."""
        self.announce("list_directory", path)
        if path not in self._directories:
            raise DirectoryNotUsable("no such directory", path=path)
        entries = list(self.files) + list(self._directories - {path})
        return sorted(entry[len(path) + 1 :] for entry in entries if directory_of(entry) == path)

    def exists(self, path: str) -> bool:
        """True when there is a file or directory at ``path``."""
        return path in self.files or path in self._directories

    def create(self, path: str) -> MemoryFile:
        """Create a file that must not exist."""
        self.announce("create", path)
        if path in self.files:
            raise StorageFailed("the file exists", path=path)
        if directory_of(path) not in self._directories:
            raise DirectoryNotUsable("no such directory", path=path)
        content = self.files[path] = bytearray()
        return MemoryFile(self, path, content, writable=True)

    def open(self, path: str, *, writable: bool = False) -> MemoryFile:
        """Open an existing file."""
        self.announce("open", path)
        return MemoryFile(self, path, self._content(path), writable)

    def rename(self, source: str, target: str) -> None:
        """Rename, replacing ``target``."""
        self.announce("rename", source)
        self._content(source)
        self.files[target] = self.files.pop(source)

    def remove(self, path: str) -> None:
        """Remove a file."""
        self.announce("remove", path)
        self._content(path)
        del self.files[path]

    def sync_directory(self, path: str) -> None:
        """Nothing to do."""
        self.announce("sync_directory", path)

    def allocate(self, path: str, nbytes: int) -> None:
        """Create an empty file: there is no disk whose room could run out."""
        self.announce("allocate", path, nbytes)
        self.create(path)

    def lock(self, path: str, holder: str) -> MemoryLock:
        """Lock ``path``, or name who has it."""
        self.announce("lock", path)
        if path in self._locks:
            raise DataDirectoryLocked(directory_of(path), self._locks[path])
        self._locks[path] = holder
        return MemoryLock(self._locks, path)

    def _content(self, path: str) -> bytearray:
        content = self.files.get(path)
        if content is None:
            raise StorageFailed("no such file", path=path)
        return content


def directory_of(path: str) -> str:
    """Return the directory part of a path."""
    return path.rpartition("/")[0]


def _put(content: bytearray, offset: int, data: bytes) -> None:
    if offset > len(content):
        content.extend(bytes(offset - len(content)))
    content[offset : offset + len(data)] = data
