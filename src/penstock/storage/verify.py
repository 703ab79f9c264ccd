"""Looking through a whole data directory without changing it: what is there, what is torn, what is damaged.

It follows recovery's rules (recovery.py) but goes on past damage, by searching for the next whole batch header.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

from penstock.storage.directory import journal_directory, read_journal_id, snapshot_directory
from penstock.storage.errors import Damaged
from penstock.storage.format import (
    BATCH_HEADER_BYTES,
    SEGMENT_HEADER_BYTES,
    header_seed,
    offset_of,
    position_of,
    segment_of,
    unpack_batch_header,
)
from penstock.storage.interface import File, FileSystem
from penstock.storage.scan import SegmentScan, find_headers
from penstock.storage.segments import Segment, journal_id_of, load_segments, segment_path
from penstock.storage.snapshot import read_snapshot, snapshot_path, snapshot_positions


@dataclass(frozen=True, slots=True)
class Damage:
    """Bytes that are not what was written. ``records_lost`` is None where nothing whole says how many there were."""

    path: str
    offset: int
    nbytes: int
    position: int
    reason: str
    records_lost: int | None = None


class Span(NamedTuple):
    """A run of whole batches, from one offset to before another."""

    offset: int
    end: int
    batches: int
    records: int


@dataclass(slots=True)
class SegmentReport:
    """One segment: what is whole in it, what is torn (never confirmed as synced), what is damaged.

    ``end`` is the offset where it should end.
    """

    path: str
    segment_id: int
    nbytes: int
    end: int
    torn_bytes: int = 0
    header_whole: bool = True
    missing: bool = False
    durable: int = 0
    spans: list[Span] = field(default_factory=list)
    damage: list[Damage] = field(default_factory=list)

    @property
    def whole_end(self) -> int:
        """The offset after the last whole batch."""
        return self.spans[-1].end if self.spans else SEGMENT_HEADER_BYTES

    @property
    def batches(self) -> int:
        """Whole batches."""
        return sum(span.batches for span in self.spans)

    @property
    def records(self) -> int:
        """Records in whole batches."""
        return sum(span.records for span in self.spans)


@dataclass(frozen=True, slots=True)
class SnapshotReport:
    """One snapshot; ``damage`` is None when it is whole."""

    path: str
    position: int
    nbytes: int
    parts: int
    damage: Damage | None


@dataclass(frozen=True, slots=True)
class Report:
    """A whole data directory."""

    directory: str
    journal_id: int
    snapshots: list[SnapshotReport]
    segments: list[SegmentReport]
    proven: int

    @property
    def damage(self) -> list[Damage]:
        """Everything damaged, snapshots first."""
        found = [snapshot.damage for snapshot in self.snapshots if snapshot.damage is not None]
        return found + [damage for segment in self.segments for damage in segment.damage]

    @property
    def whole(self) -> bool:
        """True when nothing is damaged. A torn tail is no damage."""
        return not self.damage

    @property
    def batches(self) -> int:
        """Whole batches in the journal."""
        return sum(segment.batches for segment in self.segments)

    @property
    def records(self) -> int:
        """Records in whole batches."""
        return sum(segment.records for segment in self.segments)


def verify(fs: FileSystem, directory: str) -> Report:
    """Read everything in a data directory and report on it. Changes nothing; reads a running broker's as well.

    Raises ``DirectoryNotUsable`` when there is none, ``UnsupportedFormat`` when a later version wrote it.
    """
    snapshots = _verify_snapshots(fs, snapshot_directory(directory))
    loaded = load_segments(fs, journal_directory(directory))
    journal_id = read_journal_id(fs, directory)
    if journal_id is None:
        journal_id = journal_id_of(loaded) or 0
    reports = [_verify_segment(fs, segment, header_seed(journal_id)) for segment in loaded]
    whole = [snapshot.position for snapshot in snapshots if snapshot.damage is None]
    previous_ends = [segment.header.previous_end for segment in loaded if segment.header is not None]
    proven = max([0, *whole, *previous_ends, *(report.durable for report in reports)])
    _judge_tail(reports, proven)
    reports = _with_missing(journal_directory(directory), loaded, reports, whole)
    return Report(directory, journal_id, snapshots, reports, proven)


def _verify_snapshots(fs: FileSystem, directory: str) -> list[SnapshotReport]:
    reports = []
    for position in snapshot_positions(fs, directory):
        path = snapshot_path(directory, position)
        file = fs.open(path)
        nbytes = file.size()
        file.close()
        try:
            parts = len(read_snapshot(fs, path, position).parts)
            reports.append(SnapshotReport(path, position, nbytes, parts, None))
        except Damaged as error:
            damage = Damage(path, error.offset, nbytes - error.offset, position, error.message)
            reports.append(SnapshotReport(path, position, nbytes, 0, damage))
    return reports


def _verify_segment(fs: FileSystem, segment: Segment, seed: int) -> SegmentReport:
    report = SegmentReport(segment.path, segment.segment_id, segment.nbytes, segment.end)
    file = fs.open(segment.path)
    try:
        if segment.header is None:
            report.header_whole = False
            _add_damage(report, 0, SEGMENT_HEADER_BYTES, "the segment header is not whole", 0)
        _verify_batches(file, report, seed)
    finally:
        file.close()
    return report


def _verify_batches(file: File, report: SegmentReport, seed: int) -> None:
    scan = SegmentScan(file, report.path, report.segment_id, seed, report.end)
    while True:
        start = scan.end
        counts = [header.record_count for header, _ in scan]
        report.durable = max(report.durable, scan.durable)
        if counts:
            report.spans.append(Span(start, scan.end, len(counts), sum(counts)))
        if not scan.fault:
            return
        fault = scan.end
        found = find_headers(file, report.path, report.segment_id, seed, fault + 1, report.end)
        resumed = next(found, None)
        end = report.end if resumed is None else resumed[0]
        lost = _records_in(file, report, seed, fault, end)
        _add_damage(report, fault, end - fault, scan.fault, lost)
        if resumed is None:
            return
        scan.skip(end)


def _records_in(file: File, report: SegmentReport, seed: int, offset: int, end: int) -> int | None:
    """The records that a damaged batch's own header counts, if that is whole and the batch is all that is damaged."""
    raw = file.read_at(offset, BATCH_HEADER_BYTES)
    header = unpack_batch_header(raw, position_of(report.segment_id, offset), seed, report.path)
    return header.record_count if header is not None and offset_of(header.end) == end else None


def _add_damage(report: SegmentReport, offset: int, nbytes: int, reason: str, lost: int | None) -> None:
    position = position_of(report.segment_id, offset)
    report.damage.append(Damage(report.path, offset, nbytes, position, reason, lost))


def _judge_tail(reports: list[SegmentReport], proven: int) -> None:
    """Turn the damage of the newest segments that nothing proves to have been synced into a torn tail."""
    for report in reversed(reports):
        if report.damage and report.damage[0].position >= proven:
            offset = report.damage[0].offset
            report.torn_bytes = report.nbytes - offset
            report.spans = [span for span in report.spans if span.offset < offset]
            report.damage.clear()
        if report.header_whole:
            _check_end(report, proven)
            return


def _check_end(last: SegmentReport, proven: int) -> None:
    missing = proven - position_of(last.segment_id, last.whole_end)
    if missing > 0 and not last.damage and segment_of(proven) == last.segment_id:
        _add_damage(last, last.whole_end, missing, "the segment ends before a position known to be durable", None)
        last.end = offset_of(proven)


def _with_missing(
    directory: str, loaded: list[Segment], reports: list[SegmentReport], snapshots: list[int]
) -> list[SegmentReport]:
    """Return the reports with one for each segment that should be there and is not."""
    needed_from = max(snapshots, default=0)
    expected = {report.segment_id for report in reports if report.segment_id > segment_of(needed_from)}
    if needed_from:
        expected.add(segment_of(needed_from))
    first = loaded[0].header if loaded else None
    if first is not None and first.previous_end > needed_from:
        expected.add(first.segment_id - 1)
    present = {report.segment_id for report in reports}
    ids = set(range(min(expected), max(expected) + 1)) if expected else set()
    following = {segment.segment_id - 1: segment.header for segment in loaded}
    result = list(reports)
    for segment_id in sorted(ids - present):
        header = following.get(segment_id)
        if header is not None and header.previous_end <= needed_from:
            continue
        result.append(_missing(directory, segment_id, header.previous_end if header is not None else 0))
    return sorted(result, key=lambda report: report.segment_id)


def _missing(directory: str, segment_id: int, end: int) -> SegmentReport:
    path = segment_path(directory, segment_id)
    offset = offset_of(end) if segment_of(end) == segment_id else SEGMENT_HEADER_BYTES
    report = SegmentReport(path, segment_id, 0, offset, header_whole=False, missing=True)
    _add_damage(report, 0, offset, "the segment is missing", None)
    return report
