"""A simulated disk with the fault model of RELIABILITY.md, driven by a seed.

Every write leaves a new version of each 512-byte sector it touches; a sync makes the current versions durable. A power
loss keeps, of everything not synced, what its mode says: sector versions, file sizes, and directory operations (create,
rename, remove), each on its own. A failed sync leaves the written data visible but no longer waiting to be written, as
Linux does: a later sync that succeeds says nothing about it.

``hook`` is called before every operation and may raise a ``StorageError`` (the operation fails without effect),
``PartialWrite`` (a part of a write happens first) or ``Crashed`` (the process is gone; only ``crash`` may follow).
"""

import random
from collections.abc import Sequence

from tests.sim.sectors import EntryOperation, Inode, Loss

from penstock.storage.errors import DataDirectoryLocked, DirectoryNotUsable, StorageError, StorageFailed, StorageFull
from penstock.storage.interface import Buffer
from penstock.storage.memory import Hook, Operation, PartialWrite, directory_of

__all__ = ["Crashed", "Loss", "SimFileSystem"]


class Crashed(Exception):
    """The simulated process died at this operation."""


class SimFile:
    """An open file of the simulated disk."""

    def __init__(self, system: "SimFileSystem", path: str, inode: Inode, writable: bool) -> None:
        self._system = system
        self._path = path
        self._inode = inode
        self._writable = writable
        self._open = True

    def write_at(self, offset: int, buffers: Sequence[Buffer]) -> None:
        """Write all buffers; as much as there is room for when the disk gets full."""
        data = b"".join(buffers)
        self._check(writable=True)
        try:
            self._system.announce("write", self._path, len(data))
            room = self._system.room_bytes() + max(len(self._inode.content) - offset, 0)
            if len(data) > room:
                raise PartialWrite(room, StorageFull("the simulated disk is full", path=self._path))
        except PartialWrite as partial:
            self._inode.put(offset, data[: partial.nbytes], self._system.next_sequence())
            raise partial.error from None
        self._inode.put(offset, data, self._system.next_sequence())

    def read_at(self, offset: int, nbytes: int) -> bytes:
        """Return what was written, durable or not."""
        self._check()
        self._system.announce("read", self._path, nbytes)
        return bytes(self._inode.content[offset : offset + nbytes])

    def truncate(self, nbytes: int) -> None:
        """Cut the file; undone by a power loss until synced."""
        self._check(writable=True)
        self._system.announce("truncate", self._path, nbytes)
        self._inode.cut(nbytes, self._system.next_sequence())

    def sync(self) -> None:
        """Make the content durable. When the hook fails it, what was waiting is given up."""
        self._check()
        try:
            self._system.announce("sync", self._path)
        except StorageError:
            self._inode.fail_sync(self._system.rng)
            raise
        self._inode.make_durable()

    def size(self) -> int:
        """Return the size in bytes."""
        self._check()
        return len(self._inode.content)

    def close(self) -> None:
        """Close; says nothing about durability."""
        self._open = False

    def _check(self, *, writable: bool = False) -> None:
        if not self._open:
            raise StorageFailed("the file is closed", path=self._path)
        if writable and not self._writable:
            raise StorageFailed("the file is open for reading only", path=self._path)


class SimLock:
    """A held lock; a crash drops it."""

    def __init__(self, locks: dict[str, str], path: str) -> None:
        self._locks = locks
        self._path = path

    def release(self) -> None:
        """Let another have it."""
        self._locks.pop(self._path, None)


class SimFileSystem:
    """A file system on the simulated disk. ``capacity_bytes`` bounds the sum of all files; None is unbounded."""

    def __init__(self, seed: int | str, hook: Hook | None = None, capacity_bytes: int | None = None) -> None:
        self.seed = seed
        self.rng = random.Random(f"disk {seed}")
        self.hook = hook
        self.capacity_bytes = capacity_bytes
        self.operations = 0
        self._sequence = 0
        self._dead = False
        self._directories: set[str] = {"", ".", "/"}
        self._entries: dict[str, Inode] = {}
        self._durable_entries: dict[str, Inode] = {}
        self._pending: list[EntryOperation] = []
        self._locks: dict[str, str] = {}

    def crash(self, mode: Loss) -> "SimFileSystem":
        """Return the disk as the next process finds it. This one can not be used any more; its hook stays behind."""
        self._dead = True
        after = SimFileSystem(f"{self.seed}/{self.rng.getrandbits(32)}", capacity_bytes=self.capacity_bytes)
        after._directories = set(self._directories)
        if mode is Loss.KILL:
            self._clone_into(after)
            return after
        cut_sequence = self.rng.randint(0, self._sequence)
        entries = dict(self._durable_entries)
        for operation in self._pending:
            if self._survives(operation, mode, cut_sequence):
                operation.apply(entries)
        for path, inode in sorted(entries.items()):
            image = inode.image(mode, self.rng, cut_sequence)
            after._entries[path] = Inode(bytearray(image), bytearray(image), reserved_bytes=inode.reserved_bytes)
        after._durable_entries = dict(after._entries)
        return after

    def files(self) -> dict[str, bytes]:
        """Return the content of every file as reads see it."""
        return {path: bytes(inode.content) for path, inode in sorted(self._entries.items())}

    def replace(self, path: str, content: bytes) -> None:
        """Set a file's content durably: media corruption, or an operator's hand."""
        self._entries[path] = self._durable_entries[path] = Inode(bytearray(content), bytearray(content))

    def announce(self, kind: str, path: str, nbytes: int = 0) -> None:
        """Count an operation and call the hook, which may raise."""
        if self._dead:
            raise Crashed(f"{kind} {path} after the crash")
        self.operations += 1
        if self.hook is not None:
            try:
                self.hook(Operation(kind, path, nbytes))
            except Crashed:
                self._dead = True
                raise

    def next_sequence(self) -> int:
        """Return the number of the next change."""
        self._sequence += 1
        return self._sequence

    def room_bytes(self) -> int:
        """Return how much more can be written."""
        if self.capacity_bytes is None:
            return 1 << 62
        used = sum(max(len(inode.content), inode.reserved_bytes) for inode in self._entries.values())
        return max(self.capacity_bytes - used, 0)

    def make_directory(self, path: str) -> bool:
        """Create a directory with its parents, durably."""
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
        entries = list(self._entries) + list(self._directories - {path})
        return sorted(entry[len(path) + 1 :] for entry in entries if directory_of(entry) == path)

    def exists(self, path: str) -> bool:
        """True when there is a file or directory at ``path``."""
        return path in self._entries or path in self._directories

    def create(self, path: str) -> SimFile:
        """Create a file; the entry is undone by a power loss until the directory is synced."""
        self.announce("create", path)
        if path in self._entries:
            raise StorageFailed("the file exists", path=path)
        if directory_of(path) not in self._directories:
            raise DirectoryNotUsable("no such directory", path=path)
        inode = Inode()
        self._change(EntryOperation(self.next_sequence(), path, inode))
        return SimFile(self, path, inode, writable=True)

    def open(self, path: str, *, writable: bool = False) -> SimFile:
        """Open an existing file."""
        self.announce("open", path)
        return SimFile(self, path, self._inode(path), writable)

    def rename(self, source: str, target: str) -> None:
        """Rename, replacing the target in one step, not durable before a directory sync."""
        self.announce("rename", source)
        self._change(EntryOperation(self.next_sequence(), target, self._inode(source), renamed_from=source))

    def remove(self, path: str) -> None:
        """Remove a file, not durable before a directory sync."""
        self.announce("remove", path)
        self._inode(path)
        self._change(EntryOperation(self.next_sequence(), path, None))

    def sync_directory(self, path: str) -> None:
        """Make the directory's entries durable."""
        self.announce("sync_directory", path)
        for operation in self._pending:
            if directory_of(operation.path) == path:
                operation.apply(self._durable_entries)
        self._pending = [operation for operation in self._pending if directory_of(operation.path) != path]

    def allocate(self, path: str, nbytes: int) -> None:
        """Take room on the disk without content."""
        self.announce("allocate", path, nbytes)
        if nbytes > self.room_bytes():
            raise StorageFull("the simulated disk is full", path=path)
        self.create(path)
        self._entries[path].reserved_bytes = nbytes

    def lock(self, path: str, holder: str) -> SimLock:
        """Lock ``path``, or name who has it."""
        self.announce("lock", path)
        if path in self._locks:
            raise DataDirectoryLocked(directory_of(path), self._locks[path])
        self._locks[path] = holder
        return SimLock(self._locks, path)

    def _inode(self, path: str) -> Inode:
        inode = self._entries.get(path)
        if inode is None:
            raise StorageFailed("no such file", path=path)
        return inode

    def _change(self, operation: EntryOperation) -> None:
        operation.apply(self._entries)
        self._pending.append(operation)

    def _survives(self, operation: EntryOperation, mode: Loss, cut_sequence: int) -> bool:
        if mode is Loss.RANDOM:
            return self.rng.random() < 0.5
        return mode is Loss.KEEP or (mode is Loss.TORN and operation.sequence <= cut_sequence)

    def _clone_into(self, after: "SimFileSystem") -> None:
        """Hand the page cache over: same content, same unsynced versions and directory operations."""
        clones: dict[int, Inode] = {}

        def clone(inode: Inode) -> Inode:
            if id(inode) not in clones:
                clones[id(inode)] = inode.clone()
            return clones[id(inode)]

        after._sequence = self._sequence
        after._entries = {path: clone(inode) for path, inode in self._entries.items()}
        after._durable_entries = {path: clone(inode) for path, inode in self._durable_entries.items()}
        after._pending = [
            operation._replace(inode=clone(operation.inode)) if operation.inode is not None else operation
            for operation in self._pending
        ]
