"""What is in a journal after a stop of any kind: the batches that count, a torn tail, or damage.

How the writer works makes few cases possible. It syncs a segment before it creates the next, so only the last segment
can hold anything that is not durable. Every header, of batches and of segments, names a position known to be durable
when it was written; the highest of them (and the snapshot's position) is the *proven* position.

* A fault (a header or body that is not whole) below the proven position is damage to confirmed data. So is any fault in
  a segment that has a successor, a segment missing between two others, and a journal that ends below the proven
  position. Recovery refuses with file, offset and position; it changes nothing.
* A fault at or above the proven position is a torn tail. What is behind it was never confirmed as synced.
* A newest file without a whole segment header, and with no whole batch header that proves it was synced, was being
  created. It is removed.

Batches that were read but lie above the proven position may exist in the page cache only: a sync may have failed on
them and the kernel may have marked their pages clean. ``settle`` copies such a segment, checking each batch once more,
adds a mark that says all of it is durable, syncs the copy, renames it over the original and syncs the directory. The
mark becomes visible by the rename, so by then it is true. Where only marks lie above the proven position nothing is
copied: the journal goes on in a new segment, whose header says that this one ends before those marks.
"""

from collections.abc import Iterator

from penstock.storage.errors import Damaged, StorageError, StorageFailed
from penstock.storage.format import (
    BATCH_HEADER_BYTES,
    FLAG_MARK,
    SEGMENT_HEADER_BYTES,
    BatchHeader,
    header_seed,
    offset_of,
    pack_batch_header,
    position_of,
    segment_of,
    unpack_records,
)
from penstock.storage.interface import Buffer, File, FileSystem, RecoveredBatch
from penstock.storage.reader import BatchReader
from penstock.storage.scan import CHUNK_BYTES, SegmentScan, find_headers
from penstock.storage.segments import TEMPORARY_SUFFIX, Segment, journal_id_of, load_segments


class Recovery:
    """The recovery of one journal: construct, replay to the end, settle.

    Afterwards ``segments`` are the files that count, ``end`` is the durable end of the journal (a position).
    """

    def __init__(
        self, fs: FileSystem, directory: str, reader: BatchReader, journal_id: int | None, replay_from: int
    ) -> None:
        self._fs = fs
        self._directory = directory
        self._reader = reader
        self._replay_from = replay_from
        self.segments = load_segments(fs, directory)
        found = journal_id_of(self.segments)
        self.journal_id = journal_id if journal_id is not None else found or 0
        self._seed = header_seed(self.journal_id)
        self._torn_file = self._take_torn_file()
        self._proven = max(
            [replay_from, *(segment.header.previous_end for segment in self.segments if segment.header is not None)]
        )
        self._first = self._first_needed()
        self._check_chain()
        self._records_end = 0
        self._replayed = False
        self.end = self.segments[-1].end_position if self.segments else 0

    @property
    def torn_bytes(self) -> int:
        """Bytes of a torn tail, known after the replay. They were never confirmed as synced."""
        last = self.segments[-1].nbytes - self.segments[-1].end if self.segments else 0
        return last + (self._torn_file.nbytes if self._torn_file is not None else 0)

    def replay(self) -> Iterator[RecoveredBatch]:
        """Yield the batches with records at or after the position to replay from, in order.

        Raises ``Damaged``. What was yielded before is right, but the journal must not be used.
        """
        for segment in self.segments[self._first :]:
            file = self._fs.open(segment.path)
            try:
                yield from self._replay_segment(segment, file)
            finally:
                file.close()
        self._check_end()
        self._replayed = True

    def read_segment(self, segment: Segment) -> Iterator[RecoveredBatch]:
        """Yield the batches with records of a segment that has a successor, so that all of it must be whole."""
        file = self._fs.open(segment.path)
        try:
            scan = SegmentScan(file, segment.path, segment.segment_id, self._seed, segment.end)
            for header, raw in scan:
                records = unpack_records(header, bytes(raw[BATCH_HEADER_BYTES:]), segment.path)
                yield RecoveredBatch(header.position, header.end, header.time_ms, header.boot_epoch, records)
            if scan.fault:
                raise self._damage(segment, scan.end, scan.fault)
        finally:
            file.close()

    def settle(self) -> None:
        """Make the tail durable (storage rule 5) and remove leftovers. On an error it may be called again."""
        assert self._replayed, "a journal is replayed to its end before it is used"
        self._remove_leftovers()
        if not self.segments:
            return
        last = self.segments[-1]
        if self._proven < max(self._records_end, last.first_position + 1):
            self._rewrite(last)
        else:
            last.end = offset_of(self._proven)
            # A recovery that was killed may have left the rename that proves this in the page cache only.
            self._fs.sync_directory(self._directory)
        self.end = last.end_position

    def _replay_segment(self, segment: Segment, file: File) -> Iterator[RecoveredBatch]:
        last = segment is self.segments[-1]
        scan = SegmentScan(file, segment.path, segment.segment_id, self._seed, segment.end)
        for header, raw in scan:
            self._reader.note(header.position)
            if not header.record_count:
                continue
            self._records_end = header.end
            if header.end <= self._replay_from:
                continue
            records = unpack_records(header, bytes(raw[BATCH_HEADER_BYTES:]), segment.path)
            if header.position < self._replay_from:
                records = [record for record in records if record[0] >= self._replay_from]
            yield RecoveredBatch(header.position, header.end, header.time_ms, header.boot_epoch, records)
        self._proven = max(self._proven, scan.durable)
        if scan.fault:
            if last:
                self._proven = max(self._proven, self._proof_behind(segment, file, scan.end))
            if not last or position_of(segment.segment_id, scan.end) < self._proven:
                raise self._damage(segment, scan.end, scan.fault)
            segment.end = scan.end

    def _proof_behind(self, segment: Segment, file: File, start: int) -> int:
        found = find_headers(file, segment.path, segment.segment_id, self._seed, start, segment.nbytes)
        return max((header.durable for _, header in found), default=0)

    def _check_end(self) -> None:
        end = self.segments[-1].end_position if self.segments else 0
        if end < self._proven:
            path = self.segments[-1].path if self.segments else self._directory
            raise Damaged(
                f"the journal ends at {end}, but was durable up to {self._proven}; "
                "`penstock verify` shows the extent, `penstock repair` makes it usable again",
                path=path,
                offset=offset_of(end),
                position=end,
            )

    def _take_torn_file(self) -> Segment | None:
        if not self.segments or self.segments[-1].header is not None:
            return None
        newest = self.segments[-1]
        file = self._fs.open(newest.path)
        try:
            if self._proof_behind(newest, file, SEGMENT_HEADER_BYTES) > newest.first_position:
                raise self._damage(newest, 0, "the segment header is not whole")
        finally:
            file.close()
        if self._replay_from > newest.first_position:
            raise self._damage(newest, 0, "the segment header is not whole")
        return self.segments.pop()

    def _first_needed(self) -> int:
        """The index of the first segment to read: the one that holds the position to replay from."""
        return max((i for i, s in enumerate(self.segments) if s.first_position <= self._replay_from), default=0)

    def _check_chain(self) -> None:
        """Check the headers of the segments that are needed: whole, of this journal, and none missing between them."""
        previous_end = -1
        for segment in self.segments[self._first :]:
            header = segment.header
            if header is None:
                raise self._damage(segment, 0, "the segment header is not whole")
            if header.journal_id != self.journal_id:
                raise self._damage(segment, 0, "the segment belongs to another data directory")
            missing = header.previous_end > self._replay_from and segment.first_position > self._replay_from
            if previous_end < 0 and missing:
                raise self._damage(segment, 0, f"the journal from {self._replay_from} up to this segment is missing")
            if previous_end >= 0 and segment_of(header.previous_end) != previous_end:
                raise self._damage(segment, 0, f"the segment before it, {segment.segment_id - 1}, is missing")
            previous_end = segment.segment_id

    def _damage(self, segment: Segment, offset: int, reason: str) -> Damaged:
        return Damaged(
            f"{reason}, and this part of the journal was synced; `penstock verify` shows the extent, "
            "`penstock repair` cuts it out",
            path=segment.path,
            offset=offset,
            position=position_of(segment.segment_id, offset),
        )

    def _remove_leftovers(self) -> None:
        torn_path = self._torn_file.path if self._torn_file is not None else ""
        paths = [f"{self._directory}/{name}" for name in self._fs.list_directory(self._directory)]
        leftovers = [path for path in paths if path.endswith(TEMPORARY_SUFFIX) or path == torn_path]
        for path in leftovers:
            self._fs.remove(path)
        if leftovers:
            self._fs.sync_directory(self._directory)

    def _rewrite(self, segment: Segment) -> None:
        """Replace a segment by a durable copy of its valid part and a mark that says so."""
        temporary = segment.path + TEMPORARY_SUFFIX
        copy = self._fs.create(temporary)
        try:
            self._copy(segment, copy)
            copy.sync()
        except StorageError:
            copy.close()
            self._fs.remove(temporary)
            raise
        copy.close()
        self._fs.rename(temporary, segment.path)
        self._fs.sync_directory(self._directory)
        segment.end += BATCH_HEADER_BYTES
        segment.nbytes = segment.end
        self._proven = self._records_end = segment.end_position

    def _copy(self, segment: Segment, copy: File) -> None:
        assert segment.header is not None, "a segment without a header is not rewritten"
        source = self._fs.open(segment.path)
        try:
            gathered: list[Buffer] = [source.read_at(0, SEGMENT_HEADER_BYTES)]
            offset, gathered_bytes, time_ms = 0, SEGMENT_HEADER_BYTES, segment.header.created_ms
            scan = SegmentScan(source, segment.path, segment.segment_id, self._seed, segment.end)
            for header, raw in scan:
                gathered.append(raw)
                gathered_bytes += len(raw)
                time_ms = header.time_ms
                if gathered_bytes >= CHUNK_BYTES:
                    copy.write_at(offset, gathered)
                    offset, gathered, gathered_bytes = offset + gathered_bytes, [], 0
        finally:
            source.close()
        if scan.end != segment.end:
            raise StorageFailed("the tail changed while it was read", path=segment.path, offset=scan.end)
        end = segment.end_position
        mark = BatchHeader(FLAG_MARK, 0, end, end + BATCH_HEADER_BYTES, time_ms, 0, 0, segment.header.boot_epoch)
        gathered.append(pack_batch_header(mark, self._seed))
        copy.write_at(offset, gathered)
