"""Reading a segment's batches in order, as far as they are whole, and looking for whole headers past damage."""

from collections.abc import Iterator
from typing import Final, NamedTuple

from penstock.storage.format import (
    BATCH_HEADER_BYTES,
    BATCH_MAGIC,
    MIB,
    SEGMENT_HEADER_BYTES,
    BatchHeader,
    crc_of,
    position_of,
    unpack_batch_header,
)
from penstock.storage.interface import File

CHUNK_BYTES: Final = 8 * MIB
"""One read: large enough that the calls cost nothing, small enough not to show in the process's size."""


class ScannedBatch(NamedTuple):
    """A batch whose header and body are whole. ``raw`` is both together, as they stand in the file."""

    header: BatchHeader
    raw: memoryview


class SegmentScan:
    """The batches of a segment from ``start`` to ``limit`` (offsets), or to the first that is not whole.

    While it is iterated, ``end`` is the offset after the last whole batch, ``durable`` the highest durable position
    any whole header named. Afterwards ``fault`` says why it stopped before ``limit``; it is empty if it did not.
    """

    def __init__(self, file: File, path: str, segment_id: int, seed: int, limit: int) -> None:
        self.end = SEGMENT_HEADER_BYTES
        self.durable = 0
        self.fault = ""
        self._chunks = _Chunks(file, limit)
        self._path = path
        self._segment_id = segment_id
        self._seed = seed
        self._limit = limit

    def __iter__(self) -> Iterator[ScannedBatch]:
        while self.end < self._limit and not self.fault:
            header = self._header()
            if header is None:
                return
            raw = self._chunks.view(self.end, BATCH_HEADER_BYTES + header.body_bytes)
            if crc_of(bytes(raw[BATCH_HEADER_BYTES:])) != header.body_crc:
                self.fault = "the body of the batch does not match its CRC"
                return
            self.end += len(raw)
            yield ScannedBatch(header, raw)

    def skip(self, offset: int) -> None:
        """Go on at ``offset``, past a fault."""
        self.end = offset
        self.fault = ""

    def _header(self) -> BatchHeader | None:
        position = position_of(self._segment_id, self.end)
        view = self._chunks.view(self.end, BATCH_HEADER_BYTES)
        header = unpack_batch_header(view, position, self._seed, self._path)
        if header is None:
            self.fault = "there is no whole batch header"
            return None
        self.durable = max(self.durable, header.durable)
        if self.end + BATCH_HEADER_BYTES + header.body_bytes > self._limit:
            self.fault = "the batch is cut short"
            return None
        return header


def find_headers(
    file: File, path: str, segment_id: int, seed: int, start: int, limit: int
) -> Iterator[tuple[int, BatchHeader]]:
    """Return (offset, header) of every whole batch header between ``start`` and ``limit``, at whatever offset."""
    base = start
    while base < limit:
        data = file.read_at(base, min(CHUNK_BYTES, limit - base))
        at = data.find(BATCH_MAGIC)
        while at >= 0 and at + BATCH_HEADER_BYTES <= len(data):
            raw = data[at : at + BATCH_HEADER_BYTES]
            header = unpack_batch_header(raw, position_of(segment_id, base + at), seed, path)
            if header is not None:
                yield base + at, header
            at = data.find(BATCH_MAGIC, at + 1)
        if base + len(data) >= limit or len(data) <= BATCH_HEADER_BYTES:
            return
        base += len(data) - BATCH_HEADER_BYTES + 1


class _Chunks:
    """A window over a file that moves forward in large reads."""

    def __init__(self, file: File, limit: int) -> None:
        self._file = file
        self._limit = limit
        self._base = 0
        self._chunk = memoryview(b"")

    def view(self, offset: int, nbytes: int) -> memoryview:
        """Return ``nbytes`` at ``offset``, fewer only where the limit or the file's end comes first."""
        start = offset - self._base
        if start < 0 or start + nbytes > len(self._chunk):
            wanted = min(max(nbytes, CHUNK_BYTES), self._limit - offset)
            self._chunk = memoryview(self._file.read_at(offset, max(wanted, 0)))
            self._base = offset
            start = 0
        return self._chunk[start : start + nbytes]
