"""Unsynced file content, sector by sector, and what a crash leaves of it."""

import random
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

SECTOR_BYTES = 512


class Loss(Enum):
    """What a crash does to what was not synced."""

    KILL = "kill"
    """Only the process dies: the page cache stays, still not durable."""
    KEEP = "keep"
    """Power loss; everything had reached the disk."""
    LOSE = "lose"
    """Power loss; nothing had."""
    RANDOM = "random"
    """Power loss; any subset of sectors, sizes and directory operations had."""
    TORN = "torn"
    """Power loss; operations had reached the disk in order up to one, whose last sector is torn."""


class SectorVersion(NamedTuple):
    """A sector as one write left it. ``sequence`` orders all operations of the file system."""

    sequence: int
    data: bytes


@dataclass(slots=True)
class Inode:
    """A file's content as reads see it, as the disk has it, and what lies between."""

    content: bytearray = field(default_factory=bytearray)
    durable: bytearray = field(default_factory=bytearray)
    versions: dict[int, list[SectorVersion]] = field(default_factory=dict)
    sizes: list[tuple[int, int]] = field(default_factory=list)
    reserved_bytes: int = 0

    def clone(self) -> "Inode":
        """Return an independent copy."""
        versions = {sector: list(known) for sector, known in self.versions.items()}
        return Inode(bytearray(self.content), bytearray(self.durable), versions, list(self.sizes), self.reserved_bytes)

    def put(self, offset: int, data: bytes, sequence: int) -> None:
        """Write, leaving sector versions."""
        end = offset + len(data)
        if end > len(self.content):
            self.content.extend(bytes(end - len(self.content)))
            self.sizes.append((sequence, end))
        self.content[offset:end] = data
        for sector in range(offset // SECTOR_BYTES, -(-end // SECTOR_BYTES)):
            start = sector * SECTOR_BYTES
            version = SectorVersion(sequence, bytes(self.content[start : start + SECTOR_BYTES]))
            self.versions.setdefault(sector, []).append(version)

    def cut(self, nbytes: int, sequence: int) -> None:
        """Truncate."""
        del self.content[nbytes:]
        self.sizes.append((sequence, nbytes))

    def make_durable(self) -> None:
        """What a successful sync does: only what is waiting to be written gets to the disk."""
        resize(self.durable, len(self.content))
        for sector in self.versions:
            start = sector * SECTOR_BYTES
            now = self.content[start : start + SECTOR_BYTES]
            self.durable[start : start + len(now)] = now
        self.versions.clear()
        self.sizes.clear()

    def fail_sync(self, rng: random.Random) -> None:
        """What a failed sync does: some sectors got there, the others wait no longer."""
        for sector, versions in self.versions.items():
            if rng.random() < 0.5:
                _put_sector(self.durable, sector, versions[-1].data)
        self.versions.clear()

    def image(self, mode: Loss, rng: random.Random, cut_sequence: int) -> bytes:
        """Return the content after a power loss."""
        if mode is Loss.KEEP:
            return bytes(self.content)
        disk = bytearray(self.durable)
        size = len(self.durable)
        if mode is Loss.RANDOM:
            size = rng.choice([size, *(known for _, known in self.sizes)])
            for sector, versions in self.versions.items():
                chosen = rng.randrange(-1, len(versions))
                if chosen >= 0:
                    _put_sector(disk, sector, versions[chosen].data)
        elif mode is Loss.TORN:
            size = next((known for sequence, known in reversed(self.sizes) if sequence <= cut_sequence), size)
            self._put_torn(disk, rng, cut_sequence)
        resize(disk, size)
        return bytes(disk)

    def _put_torn(self, disk: bytearray, rng: random.Random, cut_sequence: int) -> None:
        at_cut: list[tuple[int, bytes]] = []
        for sector, versions in sorted(self.versions.items()):
            earlier = [version.data for version in versions if version.sequence < cut_sequence]
            if earlier:
                _put_sector(disk, sector, earlier[-1])
            at_cut += [(sector, version.data) for version in versions if version.sequence == cut_sequence]
        if at_cut:
            last = rng.randrange(len(at_cut))
            for sector, data in at_cut[:last]:
                _put_sector(disk, sector, data)
            sector, data = at_cut[last]
            _put_sector(disk, sector, data[: rng.randrange(len(data) + 1)])


class EntryOperation(NamedTuple):
    """A change of a directory that waits for a directory sync: ``inode`` is None for a removal."""

    sequence: int
    path: str
    inode: Inode | None
    renamed_from: str = ""

    def apply(self, entries: dict[str, Inode]) -> None:
        """Make the change in ``entries``."""
        if self.inode is None:
            entries.pop(self.path, None)
            return
        if self.renamed_from and entries.get(self.renamed_from) is self.inode:
            del entries[self.renamed_from]
        entries[self.path] = self.inode


def resize(content: bytearray, size: int) -> None:
    if size < len(content):
        del content[size:]
    else:
        content.extend(bytes(size - len(content)))


def _put_sector(disk: bytearray, sector: int, data: bytes) -> None:
    start = sector * SECTOR_BYTES
    if len(disk) < start + len(data):
        resize(disk, start + len(data))
    disk[start : start + len(data)] = data
