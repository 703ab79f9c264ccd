"""What storage asks of a file system, and the values that cross its border.

A journal *position* is an opaque, ordered integer: ``segment id << 40 | byte offset in the segment's file``. Only this
package looks inside one. Paths are strings with ``/`` between their parts.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

Buffer = bytes | bytearray | memoryview


class File(Protocol):
    """An open file. Every method raises a ``StorageError``."""

    def write_at(self, offset: int, buffers: Sequence[Buffer]) -> None:
        """Write all buffers one after the other from ``offset``. On an error a part of them may have been written."""
        ...

    def read_at(self, offset: int, nbytes: int) -> bytes:
        """Return ``nbytes`` from ``offset``, fewer only where the file ends."""
        ...

    def truncate(self, nbytes: int) -> None:
        """Cut the file to ``nbytes``."""
        ...

    def sync(self) -> None:
        """Make content and size durable, or raise ``StorageFailed``."""
        ...

    def size(self) -> int:
        """Return the size in bytes."""
        ...

    def close(self) -> None:
        """Give the descriptor back. Says nothing about durability."""
        ...


class Lock(Protocol):
    """A held lock on a data directory."""

    def release(self) -> None:
        """Let another process have it."""
        ...


class FileSystem(Protocol):
    """The few operations that storage needs. Every method raises a ``StorageError``."""

    def make_directory(self, path: str) -> bool:
        """Create a directory and its parents; False where it was there already."""
        ...

    def list_directory(self, path: str) -> list[str]:
        """Return the names in a directory, sorted."""
        ...

    def exists(self, path: str) -> bool:
        """True when there is a file or directory at ``path``."""
        ...

    def create(self, path: str) -> File:
        """Create a file for reading and writing. It is an error if it exists."""
        ...

    def open(self, path: str, *, writable: bool = False) -> File:
        """Open an existing file."""
        ...

    def rename(self, source: str, target: str) -> None:
        """Rename within one directory, replacing ``target`` in one step. Durable after ``sync_directory``."""
        ...

    def remove(self, path: str) -> None:
        """Remove a file. Durable after ``sync_directory``."""
        ...

    def sync_directory(self, path: str) -> None:
        """Make the directory's entries durable, or raise ``StorageFailed``."""
        ...

    def allocate(self, path: str, nbytes: int) -> None:
        """Create a file whose ``nbytes`` are really taken from the disk, or raise ``StorageFull``."""
        ...

    def lock(self, path: str, holder: str) -> Lock:
        """Lock a file and write ``holder`` into it, or raise ``DataDirectoryLocked`` with the present holder."""
        ...


class Batch:
    """Records taken together from a journal, at a fixed position, to be written in the order of taking."""

    __slots__ = ("body_bytes", "flags", "parts", "position", "record_count", "time_ms")

    def __init__(
        self, position: int, parts: list[bytes], body_bytes: int, record_count: int, time_ms: int, flags: int = 0
    ) -> None:
        self.position = position
        self.parts = parts
        self.body_bytes = body_bytes
        self.record_count = record_count
        self.time_ms = time_ms
        self.flags = flags

    @property
    def nbytes(self) -> int:
        """Bytes in the journal, the header included."""
        return 64 + self.body_bytes

    @property
    def end(self) -> int:
        """The position after the batch: once the durable position reaches it, the batch is durable."""
        return self.position + 64 + self.body_bytes


class RecoveredBatch(NamedTuple):
    """A batch read back. ``records`` pairs each payload with the position of its first byte."""

    position: int
    end: int
    time_ms: int
    boot_epoch: int
    records: list[tuple[int, memoryview]]


class SegmentInfo(NamedTuple):
    """One file of the journal: positions from ``first_position`` to before ``end_position``, ``nbytes`` on disk."""

    segment_id: int
    first_position: int
    end_position: int
    nbytes: int


class Snapshot(NamedTuple):
    """State up to ``position``, as the parts it was written in."""

    position: int
    parts: list[bytes]
