"""Reading records back from the journal, each checked before a byte of it is returned.

A record has no checksum of its own; its batch has. So the batch around a position is found, read whole, checked, and
kept for the reads that follow, which mostly ask for its neighbours. To find batches, the offset of the first one in
every stride of a segment is remembered (8 bytes per 64 KiB of journal); from there headers are followed. Segments that
this process has neither replayed nor written are looked through once, when first read from.

One lock covers it all: reads may come from any thread, while the I/O thread discards segments.
"""

import threading
from array import array
from bisect import bisect_left, bisect_right, insort
from collections import OrderedDict
from typing import Final

from penstock.storage.errors import Damaged, StorageError
from penstock.storage.format import (
    BATCH_HEADER_BYTES,
    KIB,
    MIB,
    SEGMENT_HEADER_BYTES,
    BatchHeader,
    crc_of,
    header_seed,
    offset_of,
    position_of,
    segment_of,
    unpack_batch_header,
)
from penstock.storage.interface import File, FileSystem
from penstock.storage.scan import find_headers
from penstock.storage.segments import segment_path

STRIDE_BYTES: Final = 64 * KIB
CACHE_BYTES_MAX: Final = 16 * MIB
"""Checked batches kept for the next reads. The latest one is kept whatever its size."""
OPEN_FILES_MAX: Final = 64
"""Descriptors held for reading; a backlog of thousands of segments must not take the process's limit."""


class BatchReader:
    """Finds, checks and keeps batches of one journal directory."""

    def __init__(self, fs: FileSystem, directory: str) -> None:
        self._fs = fs
        self._directory = directory
        self._seed = 0
        self._lock = threading.Lock()
        self._offsets: dict[int, array[int]] = {}
        self._files: OrderedDict[int, File] = OrderedDict()
        self._cache: OrderedDict[int, bytes] = OrderedDict()
        self._cache_bytes = 0
        self._starts: list[int] = []
        """Where the kept ones begin, in order: of small batches there are thousands."""
        self._last_end = 0
        """The end of the batch that was loaded last: the next one asked for mostly follows it."""

    def use_journal_id(self, journal_id: int) -> None:
        """Say which journal's headers are whole."""
        self._seed = header_seed(journal_id)

    def note(self, position: int) -> None:
        """Remember where a batch starts. Batches of a segment are noted in order, from its first."""
        offset = offset_of(position)
        offsets = self._offsets.get(segment_of(position))
        if offsets is None:
            self._offsets[segment_of(position)] = array("Q", (offset,))
        elif offset // STRIDE_BYTES != offsets[-1] // STRIDE_BYTES:
            offsets.append(offset)

    def read(self, position: int, nbytes: int) -> bytes:
        """Return ``nbytes`` of one record's payload. Raises ``Damaged`` with file, offset and position."""
        with self._lock:
            found = self._cached(position)
            if found is None:
                found = self._load(position)
            start, body = found
            offset = position - start
            if offset + nbytes > len(body):
                raise self._damage(position, f"{nbytes} bytes do not lie in one batch")
            return body[offset : offset + nbytes]

    def forget(self, segment_id: int) -> None:
        """Drop what is known of a segment that is removed or was replaced."""
        with self._lock:
            self._offsets.pop(segment_id, None)
            if segment_of(self._last_end) == segment_id:
                self._last_end = 0
            file = self._files.pop(segment_id, None)
            if file is not None:
                file.close()
            for start in [start for start in self._cache if segment_of(start) == segment_id]:
                self._drop(start)

    def close(self) -> None:
        """Close all files."""
        with self._lock:
            while self._files:
                self._files.popitem()[1].close()
            self._cache.clear()
            self._starts.clear()
            self._cache_bytes = 0

    def _cached(self, position: int) -> tuple[int, bytes] | None:
        index = bisect_right(self._starts, position) - 1
        if index < 0:
            return None
        start = self._starts[index]
        body = self._cache[start]
        if position >= start + len(body):
            return None
        self._cache.move_to_end(start)
        return start, body

    def _load(self, position: int) -> tuple[int, bytes]:
        file = self._file(segment_of(position))
        header = self._find(file, position)
        start = header.position + BATCH_HEADER_BYTES
        body = file.read_at(offset_of(start), header.body_bytes)
        if crc_of(body) != header.body_crc:
            raise self._damage(header.position, "the body of the batch does not match its CRC")
        self._last_end = header.end
        self._cache[start] = body
        self._cache_bytes += len(body)
        insort(self._starts, start)
        while self._cache_bytes > CACHE_BYTES_MAX and len(self._cache) > 1:
            self._drop(next(iter(self._cache)))
        return start, body

    def _drop(self, start: int) -> None:
        self._cache_bytes -= len(self._cache.pop(start))
        del self._starts[bisect_left(self._starts, start)]

    def _find(self, file: File, position: int) -> BatchHeader:
        """Return the header of the batch whose body holds ``position``."""
        segment_id = segment_of(position)
        offsets = self._offsets.get(segment_id)
        if offsets is None:
            offsets = self._offsets[segment_id] = self._look_through(file, segment_id)
        index = bisect_right(offsets, offset_of(position)) - 1
        offset = offsets[index] if index >= 0 else SEGMENT_HEADER_BYTES
        if segment_of(self._last_end) == segment_id and self._last_end <= position:
            offset = max(offset, offset_of(self._last_end))
        while position_of(segment_id, offset) < position:
            header = self._header(file, segment_id, offset)
            if position < header.end:
                return header
            offset = offset_of(header.end)
        raise self._damage(position, "no batch holds this position")

    def _header(self, file: File, segment_id: int, offset: int) -> BatchHeader:
        raw = file.read_at(offset, BATCH_HEADER_BYTES)
        header = unpack_batch_header(raw, position_of(segment_id, offset), self._seed, self._path(segment_id))
        if header is None:
            raise self._damage(position_of(segment_id, offset), "there is no whole batch header")
        return header

    def _look_through(self, file: File, segment_id: int) -> "array[int]":
        """Follow the headers of a whole segment; past a damaged one, search for the next."""
        size = file.size()
        path = self._path(segment_id)
        offsets = array("Q")
        offset = SEGMENT_HEADER_BYTES
        while offset < size:
            raw = file.read_at(offset, BATCH_HEADER_BYTES)
            header = unpack_batch_header(raw, position_of(segment_id, offset), self._seed, path)
            if header is None:
                found = next(find_headers(file, path, segment_id, self._seed, offset, size), None)
                if found is None:
                    break
                offset, header = found
                offsets.append(offset)
            elif not offsets or offset // STRIDE_BYTES != offsets[-1] // STRIDE_BYTES:
                offsets.append(offset)
            offset = offset_of(header.end)
        return offsets

    def _file(self, segment_id: int) -> File:
        file = self._files.get(segment_id)
        if file is None:
            path = self._path(segment_id)
            if not self._fs.exists(path):
                raise StorageError("the segment was discarded", path=path)
            file = self._files[segment_id] = self._fs.open(path)
            if len(self._files) > OPEN_FILES_MAX:
                self._files.popitem(last=False)[1].close()
        self._files.move_to_end(segment_id)
        return file

    def _path(self, segment_id: int) -> str:
        return segment_path(self._directory, segment_id)

    def _damage(self, position: int, reason: str) -> Damaged:
        path = self._path(segment_of(position))
        return Damaged(reason, path=path, offset=offset_of(position), position=position)
