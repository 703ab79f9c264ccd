"""The data directory: who has it, what it is, how often it was started, and room kept back for a full disk.

::

    DIR/lock          held by flock while a broker runs; says which process on which host
    DIR/identity      "penstock-data 1", the journal id, a CRC
    DIR/boot-epoch    starts so far, a CRC
    DIR/reserve       a file that takes one segment's room; given up when the disk is full
    DIR/journal/      segments
    DIR/snapshots/    snapshots

The two small files are text lines and are replaced by write, sync, rename, directory sync. Neither holds anything that
the journal's segment headers do not say too: when one is missing or older than the journal, the journal counts.
"""

from typing import Final

from penstock.storage.errors import Damaged, DirectoryNotUsable, StorageError, StorageFull, UnsupportedFormat
from penstock.storage.format import crc_of
from penstock.storage.interface import FileSystem, Lock
from penstock.storage.segments import TEMPORARY_SUFFIX, journal_id_of, load_segments

DIRECTORY_FORMAT: Final = "penstock-data"
DIRECTORY_VERSION: Final = 1
BOOT_EPOCH_JUMP: Final = 1 << 20
"""Added when the counter is lost: starts that wrote nothing to the journal have left no other trace."""

_TEXT_BYTES_MAX: Final = 256


class DataDirectory:
    """A locked data directory of one running broker."""

    def __init__(self, fs: FileSystem, path: str, lock: Lock, journal_id: int, boot_epoch: int) -> None:
        self._fs = fs
        self._lock = lock
        self.path = path
        self.journal_id = journal_id
        self.boot_epoch = boot_epoch

    @classmethod
    def open(cls, fs: FileSystem, path: str, *, holder: str, new_journal_id: int) -> "DataDirectory":
        """Lock the directory, creating it where there is none, and count this start durably.

        ``holder`` is what the lock says about this process; ``new_journal_id`` is a random number of 64 bits, used when
        the directory is new. A full disk costs the reserve. Raises ``DataDirectoryLocked``, ``DirectoryNotUsable``,
        ``StorageFull``, ``Damaged`` or ``UnsupportedFormat``.
        """
        fs.make_directory(path)
        lock = fs.lock(f"{path}/lock", holder)
        try:
            try:
                journal_id, boot_epoch = _start(fs, path, new_journal_id)
            except StorageFull:
                if not _release_reserve(fs, path):
                    raise
                journal_id, boot_epoch = _start(fs, path, new_journal_id)
        except StorageError:
            lock.release()
            raise
        return cls(fs, path, lock, journal_id, boot_epoch)

    @property
    def journal_path(self) -> str:
        """The directory of the segments."""
        return journal_directory(self.path)

    @property
    def snapshot_path(self) -> str:
        """The directory of the snapshots."""
        return snapshot_directory(self.path)

    def keep_reserve(self, nbytes: int) -> bool:
        """Have ``nbytes`` of disk kept back; False when there is no room for them now."""
        if self._fs.exists(self._reserve_path):
            return True
        temporary = self._reserve_path + TEMPORARY_SUFFIX
        try:
            if self._fs.exists(temporary):
                self._fs.remove(temporary)
            self._fs.allocate(temporary, nbytes)
        except StorageFull:
            if self._fs.exists(temporary):
                self._fs.remove(temporary)
            return False
        self._fs.rename(temporary, self._reserve_path)
        return True

    def release_reserve(self) -> bool:
        """Give the reserve to the journal; False when it was given already."""
        return _release_reserve(self._fs, self.path)

    def close(self) -> None:
        """Let another broker have the directory."""
        self._lock.release()

    @property
    def _reserve_path(self) -> str:
        return _reserve_path(self.path)


def journal_directory(path: str) -> str:
    """Return where a data directory has its segments."""
    return f"{path}/journal"


def snapshot_directory(path: str) -> str:
    """Return where a data directory has its snapshots."""
    return f"{path}/snapshots"


def read_journal_id(fs: FileSystem, path: str) -> int | None:
    """Return the journal id in a data directory's identity file; None when there is no such file, or an empty one."""
    fields = _read(fs, path, "identity")
    if fields is None:
        return None
    if len(fields) != 3 or fields[0] != DIRECTORY_FORMAT:
        raise DirectoryNotUsable("this is not the data directory of a Penstock broker", path=f"{path}/identity")
    if fields[1] != f"{DIRECTORY_VERSION}":
        raise UnsupportedFormat(
            f"directory version {fields[1]}, this Penstock reads version {DIRECTORY_VERSION}", path=f"{path}/identity"
        )
    return int(fields[2], 16)


def _start(fs: FileSystem, path: str, new_journal_id: int) -> tuple[int, int]:
    """Return the directory's journal id and the number of this start, both on disk by then."""
    fs.make_directory(journal_directory(path))
    fs.make_directory(snapshot_directory(path))
    segments = load_segments(fs, journal_directory(path))
    journal_id = read_journal_id(fs, path)
    if journal_id is None:
        found = journal_id_of(segments)
        journal_id = new_journal_id if found is None else found
        _replace(fs, path, "identity", f"{DIRECTORY_FORMAT} {DIRECTORY_VERSION} {journal_id:016x}")
    known = max((segment.header.boot_epoch for segment in segments if segment.header is not None), default=0)
    counted = _read_boot_epoch(fs, path, default=known + BOOT_EPOCH_JUMP if segments else 0)
    boot_epoch = max(counted, known) + 1
    _replace(fs, path, "boot-epoch", f"{boot_epoch}")
    return journal_id, boot_epoch


def _reserve_path(path: str) -> str:
    return f"{path}/reserve"


def _release_reserve(fs: FileSystem, path: str) -> bool:
    if not fs.exists(_reserve_path(path)):
        return False
    fs.remove(_reserve_path(path))
    return True


def _read_boot_epoch(fs: FileSystem, path: str, *, default: int) -> int:
    fields = _read(fs, path, "boot-epoch")
    return default if fields is None else int(fields[0])


def _read(fs: FileSystem, path: str, name: str) -> list[str] | None:
    """Return the fields of a small file whose last field is the CRC of what is before it."""
    if not fs.exists(f"{path}/{name}"):
        return None
    file = fs.open(f"{path}/{name}")
    try:
        text = file.read_at(0, _TEXT_BYTES_MAX)
    finally:
        file.close()
    if not text:
        return None
    content, _, crc = text.strip().rpartition(b" ")
    if crc != b"%08x" % crc_of(content):
        raise Damaged("the file does not match its CRC; remove it to start without it", path=f"{path}/{name}", offset=0)
    return content.decode().split(" ")


def _replace(fs: FileSystem, path: str, name: str, content: str) -> None:
    temporary = f"{path}/{name}{TEMPORARY_SUFFIX}"
    if fs.exists(temporary):
        fs.remove(temporary)
    file = fs.create(temporary)
    try:
        file.write_at(0, [f"{content} {crc_of(content.encode()):08x}\n".encode()])
        file.sync()
    finally:
        file.close()
    fs.rename(temporary, f"{path}/{name}")
    fs.sync_directory(path)
