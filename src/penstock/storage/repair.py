"""Cutting damage out of a stopped broker's data directory, after putting the damaged originals aside.

Positions must stay what they are, because facts and snapshots name them. So a damaged range of a segment is not removed
but filled: with batches of the same length that hold zeros, no records, and the flag that says what they are. Missing
segments are made anew the same way. A snapshot that is not whole is moved away when an older one, or a journal that is
complete from its beginning, can take its place; otherwise nothing is changed, and a backup is what helps.
"""

from dataclasses import dataclass
from typing import Final

from penstock.storage.directory import journal_directory
from penstock.storage.errors import Damaged
from penstock.storage.format import (
    BATCH_BODY_BYTES_MAX,
    BATCH_HEADER_BYTES,
    FLAG_CUT,
    MIB,
    SEGMENT_HEADER_BYTES,
    BatchHeader,
    SegmentHeader,
    crc_of,
    header_seed,
    pack_batch_header,
    pack_segment_header,
    position_of,
    unpack_segment_header,
)
from penstock.storage.interface import File, FileSystem
from penstock.storage.segments import TEMPORARY_SUFFIX
from penstock.storage.verify import Damage, Report, SegmentReport, verify

_COPY_BYTES: Final = 8 * MIB
_CUT_BYTES_MAX: Final = BATCH_BODY_BYTES_MAX // 2
"""Half of what a batch may hold, so that the rest of a range always has room for a header of its own."""


@dataclass(frozen=True, slots=True)
class Repair:
    """What a repair did: the damage it cut out, and the copies of the files as they were."""

    lost: list[Damage]
    originals: list[str]
    after: Report


def repair(fs: FileSystem, directory: str, *, holder: str) -> Repair:
    """Make a damaged data directory one that recovery accepts. Does nothing where nothing is damaged.

    ``holder`` is what the directory's lock says meanwhile. Originals are copied to ``DIR/damaged-<n>/`` first. Raises
    ``Damaged`` when it can not be repaired, ``DataDirectoryLocked`` when a broker runs on it, ``StorageFull`` when
    there is no room; what was not yet replaced is then as it was, and the repair may be run again.
    """
    lock = fs.lock(f"{directory}/lock", holder)
    try:
        report = verify(fs, directory)
        if report.whole:
            return Repair([], [], report)
        _refuse_hopeless(report)
        aside = _new_directory(fs, directory)
        originals = [_copy(fs, snapshot.path, aside) for snapshot in report.snapshots if snapshot.damage is not None]
        originals += [_copy(fs, s.path, aside) for s in report.segments if s.damage and not s.missing]
        fs.sync_directory(aside)
        _rebuild_segments(fs, directory, report)
        _remove_snapshots(fs, report)
        after = verify(fs, directory)
        return Repair(report.damage, originals, after)
    finally:
        lock.release()


def _refuse_hopeless(report: Report) -> None:
    whole = [snapshot for snapshot in report.snapshots if snapshot.damage is None]
    complete = bool(report.segments) and report.segments[0].segment_id == 1 and not report.segments[0].missing
    if not whole and not complete:
        first = report.damage[0]
        raise Damaged(
            f"{first.reason}; no whole snapshot covers the deleted part of the journal: restore a backup",
            path=first.path,
            offset=first.offset,
            position=first.position,
        )


def _new_directory(fs: FileSystem, directory: str) -> str:
    number = 1
    while not fs.make_directory(f"{directory}/damaged-{number}"):
        number += 1
    return f"{directory}/damaged-{number}"


def _copy(fs: FileSystem, path: str, directory: str) -> str:
    target = f"{directory}/{path.rpartition('/')[2]}"
    source, copy = fs.open(path), fs.create(target)
    try:
        _copy_range(source, copy, 0, source.size())
        copy.sync()
    finally:
        source.close()
        copy.close()
    return target


def _copy_range(source: File, target: File, start: int, end: int) -> None:
    for offset in range(start, end, _COPY_BYTES):
        target.write_at(offset, [source.read_at(offset, min(_COPY_BYTES, end - offset))])


def _remove_snapshots(fs: FileSystem, report: Report) -> None:
    damaged = [snapshot.path for snapshot in report.snapshots if snapshot.damage is not None]
    for path in damaged:
        fs.remove(path)
    if damaged:
        fs.sync_directory(damaged[0].rpartition("/")[0])


def _rebuild_segments(fs: FileSystem, directory: str, report: Report) -> None:
    """Write every damaged or missing segment anew, oldest first, each linked to the end of the one before it."""
    previous_end = -1
    for segment in report.segments:
        end = segment.end if segment.damage and not segment.torn_bytes else segment.whole_end
        if segment.damage:
            header = _header_for(fs, segment, report.journal_id, previous_end)
            end = _rebuild(fs, segment, header, end)
        previous_end = position_of(segment.segment_id, end)
    fs.sync_directory(journal_directory(directory))


def _header_for(fs: FileSystem, segment: SegmentReport, journal_id: int, previous_end: int) -> SegmentHeader:
    if segment.header_whole:
        file = fs.open(segment.path)
        raw = file.read_at(0, SEGMENT_HEADER_BYTES)
        file.close()
        header = unpack_segment_header(raw, segment.path)
        assert header is not None, "verify found the header whole"
        return header
    known = max(previous_end, 0)
    return SegmentHeader(segment.segment_id, journal_id, known, 0, 0)


def _rebuild(fs: FileSystem, segment: SegmentReport, header: SegmentHeader, end: int) -> int:
    """Replace a segment by its whole batches with filled ranges between them; return the offset where it ends."""
    temporary = segment.path + TEMPORARY_SUFFIX
    if fs.exists(temporary):
        fs.remove(temporary)
    target = fs.create(temporary)
    try:
        target.write_at(0, [pack_segment_header(header)])
        offset = SEGMENT_HEADER_BYTES
        seed = header_seed(header.journal_id)
        for span in segment.spans:
            _fill(target, segment.segment_id, seed, offset, span.offset)
            source = fs.open(segment.path)
            try:
                _copy_range(source, target, span.offset, span.end)
            finally:
                source.close()
            offset = span.end
        offset = _fill(target, segment.segment_id, seed, offset, end)
        target.sync()
    finally:
        target.close()
    fs.rename(temporary, segment.path)
    return offset


def _fill(target: File, segment_id: int, seed: int, start: int, end: int) -> int:
    """Write batches without records from ``start`` to ``end``, or as far as there is room for headers; return where."""
    while end - start >= BATCH_HEADER_BYTES:
        body_bytes = end - start - BATCH_HEADER_BYTES
        if body_bytes > BATCH_BODY_BYTES_MAX:
            body_bytes = _CUT_BYTES_MAX
        body = bytes(body_bytes)
        position = position_of(segment_id, start)
        header = BatchHeader(FLAG_CUT, body_bytes, position, 0, 0, crc_of(body), 0, 0)
        target.write_at(start, [pack_batch_header(header, seed), body])
        start += BATCH_HEADER_BYTES + body_bytes
    return start
