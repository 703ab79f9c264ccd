"""Appending batches to segment files: the half of the journal that runs on the I/O thread.

A batch header is made when the batch is written, because it names the highest position known durable by then (storage
rule 4). A segment is created only when everything before it is durable; recovery relies on that.
"""

from typing import Final

from penstock.storage.errors import StorageError, StorageFailed, StorageFull
from penstock.storage.format import (
    KIB,
    SEGMENT_HEADER_BYTES,
    BatchHeader,
    SegmentHeader,
    crc_of,
    crc_of_parts,
    header_seed,
    offset_of,
    pack_batch_header,
    pack_segment_header,
    segment_of,
)
from penstock.storage.interface import Batch, File, FileSystem
from penstock.storage.reader import BatchReader
from penstock.storage.segments import Segment, segment_path

JOINED_PART_BYTES_MAX: Final = 8 * KIB
"""Parts smaller than this on average are joined before they are written: a copy costs less than a buffer each."""


class SegmentWriter:
    """Writes batches in order and syncs them.

    ``written_end`` and ``durable_position`` are positions; ``proven`` is the highest durable position that a written
    header names, ``records_end`` the end of the last batch with records.
    """

    def __init__(
        self, fs: FileSystem, directory: str, journal_id: int, boot_epoch: int, reader: BatchReader, end: int
    ) -> None:
        self.written_end = self.records_end = self.proven = self.durable_position = end
        self.last_time_ms = 0
        self._fs = fs
        self._directory = directory
        self._journal_id = journal_id
        self._seed = header_seed(journal_id)
        self._boot_epoch = boot_epoch
        self._reader = reader
        self._file: File | None = None
        self._segment: Segment | None = None
        self._entry_durable = False
        self._failure: StorageError | None = None

    @property
    def failed(self) -> bool:
        """True after a failure that is final."""
        return self._failure is not None

    def append(self, batch: Batch, segments: list[Segment]) -> None:
        """Write a batch, in a new segment (added to ``segments``) where its position says so.

        Raises ``StorageFull`` with nothing written, or ``StorageFailed`` for good.
        """
        self._raise_failure()
        try:
            file, segment = self._segment_for(batch, segments)
            self._write(file, segment, batch)
        except StorageFull:
            raise
        except StorageError as error:
            raise self._poison(error) from error

    def sync(self) -> int:
        """Make everything written durable; return the durable position. A failure is final (storage rule 1)."""
        self._raise_failure()
        try:
            self._sync()
        except StorageError as error:
            raise self._poison(error) from error
        return self.durable_position

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _write(self, file: File, segment: Segment, batch: Batch) -> None:
        start = offset_of(batch.position)
        assert start == segment.end, "batches are written in the order they were taken"
        if batch.body_bytes < len(batch.parts) * JOINED_PART_BYTES_MAX:
            parts = [b"".join(batch.parts)]
            crc = crc_of(parts[0])
        else:
            parts = batch.parts
            crc = crc_of_parts(parts)
        header = BatchHeader(
            batch.flags,
            batch.body_bytes,
            batch.position,
            self.durable_position,
            batch.time_ms,
            crc,
            batch.record_count,
            self._boot_epoch,
        )
        try:
            file.write_at(start, [pack_batch_header(header, self._seed), *parts])
        except StorageFull:
            file.truncate(start)
            raise
        self._reader.note(batch.position)
        segment.end = segment.nbytes = offset_of(batch.end)
        self.written_end = batch.end
        self.proven = self.durable_position
        self.last_time_ms = batch.time_ms
        if batch.record_count:
            self.records_end = batch.end

    def _segment_for(self, batch: Batch, segments: list[Segment]) -> tuple[File, Segment]:
        segment_id = segment_of(batch.position)
        if self._file is None or self._segment is None or self._segment.segment_id != segment_id:
            self._sync()
            file, segment = self._create(segment_id, batch.time_ms)
            self.close()
            self._file, self._segment, self._entry_durable = file, segment, False
            segments.append(segment)
        return self._file, self._segment

    def _create(self, segment_id: int, time_ms: int) -> tuple[File, Segment]:
        path = segment_path(self._directory, segment_id)
        header = SegmentHeader(segment_id, self._journal_id, self.durable_position, self._boot_epoch, time_ms)
        file = self._fs.create(path)
        try:
            file.write_at(0, [pack_segment_header(header)])
        except StorageFull:
            file.close()
            self._fs.remove(path)
            raise
        return file, Segment(segment_id, path, header, SEGMENT_HEADER_BYTES, SEGMENT_HEADER_BYTES)

    def _sync(self) -> None:
        if self._file is None or self.durable_position == self.written_end:
            return
        self._file.sync()
        if not self._entry_durable:
            self._fs.sync_directory(self._directory)
            self._entry_durable = True
        self.durable_position = self.written_end

    def _poison(self, error: StorageError) -> StorageFailed:
        self._failure = error
        return StorageFailed(error.message, path=error.path, offset=error.offset)

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise StorageFailed(f"an earlier failure is final: {self._failure}") from self._failure
