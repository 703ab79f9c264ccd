"""Snapshots: state up to a journal position. Once the journal before it is deleted, the snapshot is the data.

Two generations are kept, with the journal back to the older one, so that damage to one of them costs time only. A
snapshot becomes visible by a rename after its content was synced, so a file under its final name was whole once.

Integers are little-endian and unsigned. Snapshot header, 32 bytes, then parts, each with a head of 20 bytes, then an
end head, then nothing::

    0       4       8         10         16         24         32
    +-------+-------+---------+----------+----------+----------+
    | magic | CRC   | version | reserved | position | reserved |
    | F0PNG | u32   | u16 = 1 | 6 x 0    | u64      | 8 x 0    |
    +-------+-------+---------+----------+----------+----------+

    0           8         12        16        20
    +-----------+---------+---------+---------+------------------
    | length    | index   | part    | head    | part ...
    | u64       | u32     | CRC u32 | CRC u32 | length bytes
    +-----------+---------+---------+---------+------------------

The end head has length 2^64 - 1, the number of parts as its index, and part CRC 0. The header's CRC covers it from byte
8 on, a head's CRC covers the position (8 bytes) and the head's first 16 bytes.
"""

import struct
from collections.abc import Iterable
from typing import Final

from penstock.storage.errors import Damaged, StorageError, UnsupportedFormat
from penstock.storage.format import MIB, crc_of, crc_of_parts
from penstock.storage.interface import Buffer, File, FileSystem, Snapshot
from penstock.storage.segments import TEMPORARY_SUFFIX

SNAPSHOT_MAGIC: Final = b"\xf0PNG"
SNAPSHOT_VERSION: Final = 1
SNAPSHOT_SUFFIX: Final = ".snapshot"
GENERATIONS_KEPT: Final = 2

_HEADER: Final = struct.Struct("<H6xQ8x")
_PREFIX: Final = struct.Struct("<4sI")
_HEAD: Final = struct.Struct("<QII")
_CRC: Final = struct.Struct("<I")
_HEADER_BYTES: Final = 32
_HEAD_BYTES: Final = 20
_END_LENGTH: Final = (1 << 64) - 1
_WRITE_BYTES: Final = 4 * MIB


class SnapshotStore:
    """The snapshots in one directory."""

    def __init__(self, fs: FileSystem, directory: str) -> None:
        self._fs = fs
        self._directory = directory
        fs.make_directory(directory)
        self._positions = snapshot_positions(fs, directory)
        self.damaged: list[Damaged] = []

    @property
    def older_position(self) -> int | None:
        """The position of the older generation: the journal is needed from there on. None with fewer than two."""
        return self._positions[-2] if len(self._positions) >= GENERATIONS_KEPT else None

    def load(self) -> Snapshot | None:
        """Return the newest snapshot that is whole, None when there never was one.

        Newer ones that are not whole are listed in ``damaged`` and count no longer. Raises ``Damaged`` when there are
        snapshots and none is whole.
        """
        while self._positions:
            path = snapshot_path(self._directory, self._positions[-1])
            try:
                return read_snapshot(self._fs, path, self._positions[-1])
            except Damaged as damage:
                self.damaged.append(damage)
                self._positions.pop()
        if self.damaged:
            raise Damaged(
                f"no snapshot is whole ({self.damaged[0].message}); restore the data directory from a backup",
                path=self.damaged[0].path,
                offset=self.damaged[0].offset,
            )
        return None

    def write(self, position: int, parts: Iterable[bytes]) -> None:
        """Store the state up to ``position``, durable when this returns, and drop all but the two newest generations.

        Raises ``StorageFull`` with nothing changed, or ``StorageFailed``.
        """
        assert not self._positions or position >= self._positions[-1], "snapshots go forward"
        path = snapshot_path(self._directory, position)
        temporary = path + TEMPORARY_SUFFIX
        if self._fs.exists(temporary):
            self._fs.remove(temporary)
        file = self._fs.create(temporary)
        try:
            _write_parts(file, position, parts)
            file.sync()
        except StorageError:
            file.close()
            self._fs.remove(temporary)
            raise
        file.close()
        self._fs.rename(temporary, path)
        self._fs.sync_directory(self._directory)
        kept = [known for known in self._positions if known != position]
        self._positions = [*kept, position][-GENERATIONS_KEPT:]
        self._drop_others()

    def _drop_others(self) -> None:
        kept = {snapshot_path(self._directory, position) for position in self._positions}
        paths = [f"{self._directory}/{name}" for name in self._fs.list_directory(self._directory)]
        dropped = [p for p in paths if p.endswith((SNAPSHOT_SUFFIX, TEMPORARY_SUFFIX)) and p not in kept]
        for path in dropped:
            self._fs.remove(path)
        if dropped:
            self._fs.sync_directory(self._directory)


def snapshot_path(directory: str, position: int) -> str:
    """Return the path of a snapshot's file."""
    return f"{directory}/{position:016x}{SNAPSHOT_SUFFIX}"


def snapshot_positions(fs: FileSystem, directory: str) -> list[int]:
    """Return the positions of the snapshots in a directory, whole or not, oldest first."""
    stems = [name[: -len(SNAPSHOT_SUFFIX)] for name in fs.list_directory(directory) if name.endswith(SNAPSHOT_SUFFIX)]
    return sorted(int(stem, 16) for stem in stems if len(stem) == 16 and not set(stem) - set("0123456789abcdef"))


def read_snapshot(fs: FileSystem, path: str, position: int) -> Snapshot:
    """Return the snapshot in a file. Raises ``Damaged`` with the offset, or ``UnsupportedFormat``."""
    file = fs.open(path)
    try:
        return Snapshot(position, _read_parts(file, path, position))
    finally:
        file.close()


def _write_parts(file: File, position: int, parts: Iterable[bytes]) -> None:
    fields = _HEADER.pack(SNAPSHOT_VERSION, position)
    gathered: list[Buffer] = [_PREFIX.pack(SNAPSHOT_MAGIC, crc_of(fields)) + fields]
    gathered_bytes, offset, count = _HEADER_BYTES, 0, 0
    for part in parts:
        gathered += (_head(position, len(part), count, crc_of(part)), part)
        gathered_bytes += _HEAD_BYTES + len(part)
        count += 1
        if gathered_bytes >= _WRITE_BYTES:
            file.write_at(offset, gathered)
            offset, gathered, gathered_bytes = offset + gathered_bytes, [], 0
    gathered.append(_head(position, _END_LENGTH, count, 0))
    file.write_at(offset, gathered)


def _read_parts(file: File, path: str, position: int) -> list[bytes]:
    size = file.size()
    _check_header(file.read_at(0, _HEADER_BYTES), path, position)
    parts: list[bytes] = []
    offset = _HEADER_BYTES
    while True:
        head = file.read_at(offset, _HEAD_BYTES)
        if len(head) < _HEAD_BYTES or _CRC.unpack_from(head, 16)[0] != _head_crc(position, head[:16]):
            raise Damaged("there is no whole head of a part", path=path, offset=offset)
        length, index, crc = _HEAD.unpack_from(head)
        if index != len(parts):
            raise Damaged(f"part {index} is in the place of part {len(parts)}", path=path, offset=offset)
        offset += _HEAD_BYTES
        if length == _END_LENGTH:
            break
        if length > size - offset:
            raise Damaged(f"part {index} is cut short", path=path, offset=offset)
        part = file.read_at(offset, length)
        if crc_of(part) != crc:
            raise Damaged(f"part {index} does not match its CRC", path=path, offset=offset)
        parts.append(part)
        offset += length
    if offset != size:
        raise Damaged("there are bytes after the end", path=path, offset=offset)
    return parts


def _check_header(header: bytes, path: str, position: int) -> None:
    fields = header[8:]
    if len(header) < _HEADER_BYTES or _PREFIX.unpack_from(header) != (SNAPSHOT_MAGIC, crc_of(fields)):
        raise Damaged("the snapshot header is not whole", path=path, offset=0)
    version, own_position = _HEADER.unpack(fields)
    if version != SNAPSHOT_VERSION:
        raise UnsupportedFormat(f"format version {version}, this Penstock reads version {SNAPSHOT_VERSION}", path=path)
    if own_position != position:
        raise Damaged(f"the file is named for position {position}, its header says {own_position}", path=path, offset=0)


def _head(position: int, length: int, index: int, crc: int) -> bytes:
    fields = _HEAD.pack(length, index, crc)
    return fields + _CRC.pack(_head_crc(position, fields))


def _head_crc(position: int, fields: bytes) -> int:
    return crc_of_parts((position.to_bytes(8, "little"), fields))
