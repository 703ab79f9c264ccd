"""The journal without crashes: positions, batches, segments, marks, reading back, discarding."""

import threading

import pytest
from tests.sim.disk import Loss, SimFileSystem

from penstock.storage import journal as journal_module
from penstock.storage import reader as reader_module
from penstock.storage.errors import BatchTooLarge, Damaged, StorageError
from penstock.storage.format import BATCH_BODY_BYTES_MAX, FLAG_MARK, position_of
from penstock.storage.interface import FileSystem, RecoveredBatch
from penstock.storage.journal import Journal
from penstock.storage.memory import MemoryFile, MemoryFileSystem
from penstock.storage.scan import SegmentScan
from penstock.storage.segments import load_segments


def start(fs: FileSystem, segment_bytes: int = 1000, replay_from: int = 0, boot_epoch: int = 1) -> Journal:
    journal = Journal.open(
        fs, "journal", segment_bytes=segment_bytes, replay_from=replay_from, boot_epoch=boot_epoch, journal_id=5
    )
    list(journal.replay())
    journal.accept()
    return journal


def append(journal: Journal, *payloads: bytes, time_ms: int = 1) -> list[int]:
    positions = [journal.stage([payload], len(payload)) for payload in payloads]
    batch = journal.take(time_ms)
    assert batch is not None
    journal.write(batch)
    return positions


def replayed(fs: MemoryFileSystem, replay_from: int = 0) -> list[RecoveredBatch]:
    return list(Journal.open(fs, "journal", replay_from=replay_from).replay())


def test_new_journal_is_empty() -> None:
    fs = MemoryFileSystem()
    journal = start(fs)
    assert (journal.segments, journal.total_bytes, journal.durable_position, journal.next_position) == ([], 0, 0, 0)
    assert journal.take(1) is None
    assert journal.sync() == 0
    journal.mark(1)
    journal.close()
    assert fs.files == {}, "a journal without records leaves no file"


def test_position_is_that_of_the_first_payload_byte() -> None:
    fs = MemoryFileSystem()
    journal = start(fs)
    assert append(journal, b"abc", b"", b"de") == [position_of(1, 132), position_of(1, 139), position_of(1, 143)]
    [segment] = fs.files.values()
    assert segment[132:135] == b"abc"
    assert segment[143:145] == b"de"
    assert journal.next_position == position_of(1, 145)


def test_recovered_batches_carry_their_records_time_and_epoch() -> None:
    fs = MemoryFileSystem()
    journal = start(fs, boot_epoch=9)
    positions = append(journal, b"abc", b"", time_ms=1234)
    [batch] = replayed(fs)
    assert (batch.time_ms, batch.boot_epoch, batch.end) == (1234, 9, journal.next_position)
    assert batch.position == position_of(1, 64)
    assert [(position, bytes(payload)) for position, payload in batch.records] == list(
        zip(positions, (b"abc", b""), strict=True)
    )


def test_batches_gather_while_earlier_ones_are_unwritten() -> None:
    fs = MemoryFileSystem()
    journal = start(fs)
    journal.stage([b"one"], 3)
    assert journal.staged_bytes == 7
    first = journal.take(1)
    assert journal.staged_bytes == 0
    journal.stage([b"t", b"wo"], 3)
    second = journal.take(2)
    journal.stage([b"three"], 5)
    assert first is not None
    assert second is not None
    assert (first.nbytes, first.end) == (71, second.position)
    journal.write(first)
    assert journal.sync() == first.end
    journal.write(second)
    assert journal.durable_position == first.end
    assert journal.sync() == second.end == journal.durable_position


def test_segments_end_at_batch_boundaries_and_positions_go_on_in_the_next() -> None:
    fs = MemoryFileSystem()
    journal = start(fs, segment_bytes=500)
    positions = [append(journal, b"x" * 100)[0] for _ in range(9)]
    infos = journal.segments
    assert [info.segment_id for info in infos] == [1, 2, 3]
    assert all(info.nbytes <= 500 + 168 for info in infos)
    assert journal.total_bytes == sum(len(content) for content in fs.files.values())
    assert infos[0].end_position < infos[1].first_position <= positions[3]
    assert positions == sorted(positions)
    assert [record[0] for batch in replayed(fs) for record in batch.records] == positions


def test_every_start_goes_on_in_a_new_segment_once_it_writes() -> None:
    fs = MemoryFileSystem()
    for boot_epoch in range(1, 4):
        journal = start(fs, boot_epoch=boot_epoch)
        append(journal, b"x")
        journal.close()
        start(fs, boot_epoch=boot_epoch).close()
    assert [segment.segment_id for segment in load_segments(fs, "journal")] == [1, 2, 3]
    assert [batch.boot_epoch for batch in replayed(fs)] == [1, 2, 3]


def test_replay_starts_at_a_position_even_inside_a_batch() -> None:
    fs = MemoryFileSystem()
    journal = start(fs, segment_bytes=300)
    positions = [position for _ in range(6) for position in append(journal, b"x" * 50, b"y" * 50)]
    for position in positions:
        found = [record[0] for batch in replayed(fs, position) for record in batch.records]
        assert found == [known for known in positions if known >= position]
    assert replayed(fs, journal.next_position) == []


def test_idle_mark_covers_the_last_batch_once() -> None:
    fs = MemoryFileSystem()
    journal = start(fs)
    append(journal, b"x")
    journal.mark(2)
    assert journal.total_bytes == 64 + 69, "nothing is marked before it is durable"
    journal.sync()
    journal.mark(2)
    journal.mark(2)
    assert journal.total_bytes == 64 + 69 + 64
    [path] = fs.files
    file = fs.open(path)
    headers = [header for header, _ in SegmentScan(file, path, 1, journal._writer._seed, file.size())]  # type: ignore[union-attr]
    assert headers[-1].flags == FLAG_MARK
    assert headers[-1].durable == headers[-1].position == headers[0].end
    assert len(replayed(fs)) == 1, "a mark is no batch of records"


def test_mark_moves_the_durable_position_but_not_the_end_of_records() -> None:
    """A snapshot at the end of records must not depend on a mark that a power loss may take."""
    fs = SimFileSystem(1)
    journal = start(fs, segment_bytes=200)
    append(journal, b"x" * 100)
    end = journal.sync()
    journal.mark(2)
    assert journal.next_position == end
    after = fs.crash(Loss.LOSE)
    assert list(Journal.open(after, "journal", replay_from=end).replay()) == []


def test_segment_is_read_whole_for_cleaning() -> None:
    fs = MemoryFileSystem()
    journal = start(fs, segment_bytes=200)
    position = append(journal, b"x" * 100, b"y")[0]
    append(journal, b"z")
    append(journal, b"z")
    [batch] = [batch for batch in journal.read_segment(1) if batch.records[0][0] == position]
    assert [bytes(payload) for _, payload in batch.records] == [b"x" * 100, b"y"]
    fs.files[min(fs.files)][150] ^= 1
    with pytest.raises(Damaged):
        journal.read_segment(1)


def test_mark_waits_while_a_batch_is_under_way() -> None:
    journal = start(MemoryFileSystem())
    append(journal, b"x")
    journal.sync()
    journal.stage([b"y"], 1)
    before = journal.next_position
    journal.mark(1)
    assert journal.next_position == before
    batch = journal.take(1)
    journal.mark(1)
    assert batch is not None
    journal.write(batch)
    assert journal.sync() == before


def test_large_parts_are_written_without_joining_and_small_ones_joined() -> None:
    fs = MemoryFileSystem()
    journal = start(fs, segment_bytes=1 << 20)
    large = bytes(range(256)) * 1000
    [position] = append(journal, large)
    positions = append(journal, *[b"%d" % number for number in range(3000)])
    assert journal.read(position, len(large)) == large
    assert journal.read(positions[2999], 4) == b"2999"
    assert sum(len(batch.records) for batch in replayed(fs)) == 3001


def test_record_that_fits_no_batch_is_refused_and_a_full_batch_must_be_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    journal = start(MemoryFileSystem())
    with pytest.raises(BatchTooLarge):
        journal.stage([], BATCH_BODY_BYTES_MAX - 3)
    monkeypatch.setattr(journal_module, "BATCH_BODY_BYTES_MAX", 100)
    journal.stage([b"x" * 60], 60)
    with pytest.raises(BatchTooLarge):
        journal.stage([b"x" * 60], 60)
    assert journal.take(1) is not None
    journal.stage([b"x" * 60], 60)


@pytest.mark.parametrize("cache_bytes", [0, 200, 1 << 20])
@pytest.mark.parametrize("open_files", [1, 64])
@pytest.mark.parametrize("stride_bytes", [64, 1000, 1 << 16])
def test_any_part_of_any_record_is_read_back(
    monkeypatch: pytest.MonkeyPatch, cache_bytes: int, open_files: int, stride_bytes: int
) -> None:
    monkeypatch.setattr(reader_module, "CACHE_BYTES_MAX", cache_bytes)
    monkeypatch.setattr(reader_module, "OPEN_FILES_MAX", open_files)
    monkeypatch.setattr(reader_module, "STRIDE_BYTES", stride_bytes)
    fs = MemoryFileSystem()
    journal = start(fs, segment_bytes=800)
    payloads = [b"%03d" % number * (number % 40 + 1) for number in range(60)]
    positions = [append(journal, payload, b"tail")[0] for payload in payloads]
    journal.close()
    for replay_from in (0, positions[30], journal.durable_position):
        again = start(fs, segment_bytes=800, replay_from=replay_from)
        for index in [*range(59, -1, -1), *range(0, 60, 7)]:
            assert again.read(positions[index], len(payloads[index])) == payloads[index]
            assert again.read(positions[index] + 1, 2) == payloads[index][1:3]
        again.close()


def test_reading_where_no_record_is_names_the_place() -> None:
    journal = start(MemoryFileSystem())
    [position] = append(journal, b"abc")
    for wrong, nbytes in ((position, 100), (position + 100, 1), (position_of(1, 0), 1)):
        with pytest.raises(Damaged) as caught:
            journal.read(wrong, nbytes)
        assert caught.value.path.endswith(".segment")
    with pytest.raises(StorageError, match="discarded"):
        journal.read(position_of(7, 100), 1)


def test_reads_of_a_segment_not_replayed_find_batches_behind_a_damaged_one() -> None:
    fs = MemoryFileSystem()
    journal = start(fs, segment_bytes=10_000)
    positions = [append(journal, b"x" * 100, b"%d" % number)[1] for number in range(5)]
    journal.close()
    last = start(fs)
    append(last, b"new")
    last.close()
    path = min(fs.files)
    fs.files[path][(positions[1] - 4 - 104 - 64) & 0xFFFFFFFFFF] ^= 1
    again = start(fs, replay_from=position_of(2, 0))
    assert again.read(positions[4], 1) == b"4"
    assert again.read(positions[0], 1) == b"0"
    with pytest.raises(Damaged):
        again.read(positions[1], 1)


def test_discarding_frees_whole_segments_below_a_position_but_never_the_last() -> None:
    fs = MemoryFileSystem()
    journal = start(fs, segment_bytes=300)
    positions = [append(journal, b"x" * 100)[0] for _ in range(8)]
    journal.sync()
    before = journal.total_bytes
    kept = journal.segments[1]
    assert journal.read(positions[0], 1) == b"x"
    assert journal.discard_before(kept.end_position - 1) == before - journal.total_bytes > 0
    assert journal.segments[0] == kept
    with pytest.raises(StorageError, match="discarded"):
        journal.read(positions[0], 1)
    assert journal.discard_before(kept.first_position) == 0
    journal.discard_before(journal.next_position + 1000)
    assert len(journal.segments) == len(fs.files) == 1
    assert journal.read(positions[-1], 1) == b"x"
    journal.close()
    assert replayed(fs, journal.durable_position) == []
    with pytest.raises(Damaged, match="is missing"):
        replayed(fs)


def test_reads_may_come_from_other_threads_while_the_journal_grows_and_discards() -> None:
    fs = MemoryFileSystem()
    journal = start(fs, segment_bytes=2000)
    known = [append(journal, b"x" * 50)[0]]
    failures: list[str] = []

    def read_all() -> None:
        for _ in range(300):
            position = known[-1]
            if journal.read(position, 50) != b"x" * 50:
                failures.append(f"{position}")

    thread = threading.Thread(target=read_all)
    thread.start()
    for _ in range(300):
        known.append(append(journal, b"x" * 50)[0])
        journal.discard_before(known[-20] if len(known) > 20 else 0)
    thread.join()
    assert failures == []


def test_small_batches_are_read_in_order_with_two_reads_of_the_file_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many there are in a stride, and in the cache: a backlog of small commits drains like any other."""
    journal = start(MemoryFileSystem(), segment_bytes=1 << 20)
    known = [(append(journal, b"%d" % number)[0], b"%d" % number) for number in range(600)]
    reads = 0
    original = MemoryFile.read_at

    def read_at(self: MemoryFile, offset: int, nbytes: int) -> bytes:
        nonlocal reads
        reads += 1
        return original(self, offset, nbytes)

    monkeypatch.setattr(MemoryFile, "read_at", read_at)
    assert all(journal.read(position, len(payload)) == payload for position, payload in known)
    assert reads <= 2 * len(known)
    assert all(journal.read(position, len(payload)) == payload for position, payload in reversed(known))
    assert reads <= 2 * len(known), "the second time they are kept"


def test_journal_is_not_used_before_its_recovery_was_accepted() -> None:
    journal = Journal.open(MemoryFileSystem(), "journal")
    with pytest.raises(AssertionError):
        journal.stage([b"x"], 1)
    with pytest.raises(AssertionError):
        journal.accept()
    assert journal.durable_position == 0
    journal.close()


def test_torn_bytes_are_reported() -> None:
    fs = MemoryFileSystem()
    journal = start(fs)
    append(journal, b"x")
    journal.sync()
    journal.close()
    fs.files[min(fs.files)] += b"torn"
    again = Journal.open(fs, "journal")
    list(again.replay())
    assert again.torn_bytes == 4
