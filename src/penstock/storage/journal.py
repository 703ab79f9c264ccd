"""The journal: opaque records in, a durable position out.

Two threads share it. The loop thread gathers records into a batch (``stage``) and closes it (``take``); positions are
final from then on. The I/O thread writes batches in the order of taking and syncs. They share little: which position
is next and how many batches are under way, under a lock that ``stage`` takes for the first record of a batch only. A
second lock keeps writes, syncs and marks apart, so that a lone batch can also be written from the loop thread while the
I/O thread is about to write a mark: whoever comes first writes the mark that was given its place first.

Life of a batch: gathering -> taken -> written -> durable.

A write that finds no room is undone and may be repeated. Any other failure, and every failed sync, poisons the journal:
each later write and sync raises (storage rule 1).
"""

import threading
from collections.abc import Iterator, Sequence

from penstock.storage.errors import BatchTooLarge, StorageFull
from penstock.storage.format import (
    BATCH_BODY_BYTES_MAX,
    BATCH_HEADER_BYTES,
    FLAG_MARK,
    LENGTH_BYTES,
    SEGMENT_BYTES_DEFAULT,
    SEGMENT_BYTES_MAX,
    SEGMENT_HEADER_BYTES,
    offset_of,
    pack_length,
    position_of,
    segment_of,
)
from penstock.storage.interface import Batch, FileSystem, RecoveredBatch, SegmentInfo
from penstock.storage.reader import BatchReader
from penstock.storage.recovery import Recovery
from penstock.storage.segments import Segment
from penstock.storage.writer import SegmentWriter


class Journal:
    """An append-only sequence of records in segment files. Open, replay to the end, accept, then append."""

    def __init__(
        self, fs: FileSystem, directory: str, segment_bytes: int, boot_epoch: int, reader: BatchReader, found: Recovery
    ) -> None:
        self._fs = fs
        self._directory = directory
        self._segment_bytes = segment_bytes
        self._boot_epoch = boot_epoch
        self._reader = reader
        self._recovery = found
        self._segments: list[Segment] = found.segments
        self._writer: SegmentWriter | None = None
        self._owed_mark: Batch | None = None
        self._io_lock = threading.Lock()
        self._lock = threading.Lock()
        self._unwritten = 0
        self._next = 0
        self._marked = (0, 0)
        self._parts: list[bytes] = []
        self._record_count = 0
        self._batch_position = 0
        self.staged_bytes = 0

    @classmethod
    def open(
        cls,
        fs: FileSystem,
        directory: str,
        *,
        segment_bytes: int = SEGMENT_BYTES_DEFAULT,
        replay_from: int = 0,
        boot_epoch: int = 0,
        journal_id: int | None = None,
    ) -> "Journal":
        """Open the journal in ``directory``, creating it where there is none. Nothing in it is changed yet.

        ``replay_from`` is a snapshot's position (0: none). ``journal_id`` is the data directory's (None: whatever the
        segments say, or 0). ``segment_bytes`` is when a segment is full. Raises ``Damaged``.
        """
        assert 0 < segment_bytes <= SEGMENT_BYTES_MAX, "segment_bytes out of bounds"
        fs.make_directory(directory)
        reader = BatchReader(fs, directory)
        found = Recovery(fs, directory, reader, journal_id, replay_from)
        reader.use_journal_id(found.journal_id)
        return cls(fs, directory, segment_bytes, boot_epoch, reader, found)

    def replay(self) -> Iterator[RecoveredBatch]:
        """Yield what was recovered, in order, once. Raises ``Damaged`` where it meets damage to confirmed data."""
        return self._recovery.replay()

    def accept(self) -> None:
        """Make what was replayed durable and get ready to append. May be repeated after ``StorageFull``."""
        self._recovery.settle()
        end = self._next = self._recovery.end
        self._writer = SegmentWriter(
            self._fs, self._directory, self._recovery.journal_id, self._boot_epoch, self._reader, end
        )

    @property
    def durable_position(self) -> int:
        """The end of the last durable batch."""
        return self._writer.durable_position if self._writer is not None else 0

    @property
    def segments(self) -> list[SegmentInfo]:
        """The files of the journal, oldest first."""
        return [segment.info() for segment in list(self._segments)]

    @property
    def total_bytes(self) -> int:
        """Bytes of all files."""
        return sum(segment.nbytes for segment in list(self._segments))

    @property
    def next_position(self) -> int:
        """The position after every record staged so far; what is staged next gets a higher one.

        A mark does not move it: a mark may be lost, and then nothing of the journal is missing.
        """
        before, after = self._marked
        return before if self._next == after else self._next

    @property
    def torn_bytes(self) -> int:
        """Bytes of a torn tail that recovery cut off."""
        return self._recovery.torn_bytes

    def stage(self, parts: Sequence[bytes], nbytes: int) -> int:
        """Add one record, its payload given in parts of ``nbytes`` together; return the position of its first byte.

        Raises ``BatchTooLarge`` when the gathering batch must be taken first.
        """
        if self.staged_bytes + nbytes > BATCH_BODY_BYTES_MAX - LENGTH_BYTES:
            raise BatchTooLarge(f"{nbytes} bytes on top of {self.staged_bytes}; at most {BATCH_BODY_BYTES_MAX}")
        if not self._parts:
            self._start_batch()
        self._parts.append(pack_length(nbytes))
        self._parts += parts
        self._record_count += 1
        self.staged_bytes += nbytes + LENGTH_BYTES
        position = self._next + LENGTH_BYTES
        self._next = position + nbytes
        return position

    def take(self, time_ms: int) -> Batch | None:
        """Close the gathering batch, dated ``time_ms``, and return it to be written; None when nothing is staged."""
        if not self._parts:
            return None
        batch = Batch(self._batch_position, self._parts, self.staged_bytes, self._record_count, time_ms)
        self._parts = []
        self._record_count = 0
        self.staged_bytes = 0
        return batch

    def write(self, batch: Batch) -> None:
        """Write a batch; batches come in the order they were taken. Not durable before the next ``sync``.

        Raises ``StorageFull`` with nothing written (repeat it later) or ``StorageFailed`` for good.
        """
        writer = self._accepted()
        with self._io_lock:
            self._write_owed_mark(writer)
            writer.append(batch, self._segments)
        with self._lock:
            self._unwritten -= 1

    def sync(self) -> int:
        """Make everything written durable and return the durable position. A failure is final."""
        with self._io_lock:
            return self._accepted().sync()

    def mark(self, time_ms: int) -> None:
        """Write that the last batch is durable, if it is, nothing is under way and no header says so yet."""
        writer = self._accepted()
        with self._io_lock:
            if writer.proven >= writer.records_end or writer.durable_position < writer.written_end:
                return
            with self._lock:
                if self._unwritten:
                    return
                if self._owed_mark is None:
                    self._owed_mark = Batch(self._place(self._next), [], 0, 0, time_ms, FLAG_MARK)
                    self._marked = (self._next, self._owed_mark.end)
                    self._next = self._owed_mark.end
            try:
                self._write_owed_mark(writer)
            except StorageFull:
                pass  # Its place is taken: the next write writes it first.

    def read(self, position: int, nbytes: int) -> bytes:
        """Return ``nbytes`` of a written record's payload from ``position``, checked. Raises ``Damaged``."""
        return self._reader.read(position, nbytes)

    def read_segment(self, segment_id: int) -> list[RecoveredBatch]:
        """Return the batches of one segment with their records, for cleaning. Raises ``Damaged``."""
        segment = next(segment for segment in self._segments if segment.segment_id == segment_id)
        return list(self._recovery.read_segment(segment))

    def discard_before(self, position: int) -> int:
        """Delete the segments that end at or before ``position``, but never the last; return the bytes freed.

        A durable snapshot or durable acks must cover them (storage rule 8).
        """
        freed = 0
        while len(self._segments) > 1 and self._segments[0].end_position <= position:
            segment = self._segments[0]
            self._fs.remove(segment.path)
            del self._segments[0]
            self._reader.forget(segment.segment_id)
            freed += segment.nbytes
        if freed:
            self._fs.sync_directory(self._directory)
        return freed

    def close(self) -> None:
        """Mark, sync and close. A poisoned journal, or one not yet accepted, is only closed."""
        self._reader.close()
        writer = self._writer
        if writer is None:
            return
        try:
            if not writer.failed:
                self.sync()
                self.mark(writer.last_time_ms)
                self.sync()
        finally:
            writer.close()

    def _accepted(self) -> SegmentWriter:
        assert self._writer is not None, "a journal is used after its recovery was accepted"
        return self._writer

    def _write_owed_mark(self, writer: SegmentWriter) -> None:
        if self._owed_mark is not None:
            writer.append(self._owed_mark, self._segments)
            self._owed_mark = None

    def _start_batch(self) -> None:
        self._accepted()
        with self._lock:
            self._unwritten += 1
            self._batch_position = self._place(self._next)
            self._next = self._batch_position + BATCH_HEADER_BYTES

    def _place(self, end: int) -> int:
        """Return where the batch after ``end`` goes: to a new segment after recovery and when one is full."""
        recovered = segment_of(end) == segment_of(self._recovery.end)
        if recovered or offset_of(end) >= self._segment_bytes:
            return position_of(segment_of(end) + 1, SEGMENT_HEADER_BYTES)
        return end
