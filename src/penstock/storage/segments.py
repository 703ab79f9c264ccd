"""The journal's files: their names, and what their headers say about each other."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from penstock.storage.errors import Damaged
from penstock.storage.format import (
    OFFSET_BITS,
    SEGMENT_HEADER_BYTES,
    SegmentHeader,
    offset_of,
    position_of,
    segment_of,
    unpack_segment_header,
)
from penstock.storage.interface import FileSystem, SegmentInfo

SEGMENT_SUFFIX: Final = ".segment"
TEMPORARY_SUFFIX: Final = ".tmp"


@dataclass(slots=True)
class Segment:
    """A journal file. ``header`` is None when it is not whole; ``end`` is the offset where its batches end."""

    segment_id: int
    path: str
    header: SegmentHeader | None
    nbytes: int
    end: int

    @property
    def first_position(self) -> int:
        """The lowest position in the segment."""
        return position_of(self.segment_id, 0)

    @property
    def end_position(self) -> int:
        """The position after its last batch."""
        return position_of(self.segment_id, self.end)

    def info(self) -> SegmentInfo:
        """Return what others may know of it."""
        return SegmentInfo(self.segment_id, self.first_position, self.end_position, self.nbytes)


def segment_path(directory: str, segment_id: int) -> str:
    """Return the path of a segment's file."""
    return f"{directory}/{segment_id:016x}{SEGMENT_SUFFIX}"


def segment_id_of(name: str) -> int | None:
    """Return the segment id that a file name stands for, or None when it is not a segment's."""
    stem, _, suffix = name.rpartition(".")
    if f".{suffix}" != SEGMENT_SUFFIX or len(stem) != 16:
        return None
    try:
        segment_id = int(stem, 16)
    except ValueError:
        return None
    return segment_id if 0 < segment_id < 1 << (64 - OFFSET_BITS) else None


def load_segments(fs: FileSystem, directory: str) -> list[Segment]:
    """Return the segments in a directory, oldest first, with their headers read. Batches are not looked at.

    The end of each is where the next one's header says the journal before it ends, or else the end of the file.
    """
    ids = sorted(found for name in fs.list_directory(directory) if (found := segment_id_of(name)) is not None)
    segments = [_load(fs, segment_path(directory, segment_id), segment_id) for segment_id in ids]
    for segment, following in pairwise(segments):
        header = following.header
        if header is not None and segment_of(header.previous_end) == segment.segment_id:
            segment.end = offset_of(header.previous_end)
    return segments


def _load(fs: FileSystem, path: str, segment_id: int) -> Segment:
    file = fs.open(path)
    try:
        header = unpack_segment_header(file.read_at(0, SEGMENT_HEADER_BYTES), path)
        nbytes = file.size()
    finally:
        file.close()
    if header is not None and header.segment_id != segment_id:
        raise Damaged(
            f"the file is named as segment {segment_id}, its header says {header.segment_id}", path=path, offset=0
        )
    return Segment(segment_id, path, header, nbytes, nbytes)


def journal_id_of(segments: list[Segment]) -> int | None:
    """Return the journal id that the newest whole segment header names, or None when there is none."""
    for segment in reversed(segments):
        if segment.header is not None:
            return segment.header.journal_id
    return None
