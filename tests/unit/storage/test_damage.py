"""Altered bytes: the journal is recovered as an exact prefix, or refused with file and offset, never altered (I19).

Clean directories of a few kilobytes are swept: every truncation length and every bit of sampled bytes.
"""

import pytest
from tests.unit.storage.machine import JOURNAL, Machine, Promises, Record

from penstock.storage.errors import Damaged, UnsupportedFormat
from penstock.storage.format import FORMAT_VERSION, BatchHeader, crc_of_parts, header_seed, pack_batch_header
from penstock.storage.journal import Journal
from penstock.storage.memory import MemoryFileSystem
from penstock.storage.repair import repair
from penstock.storage.verify import verify

BIT_STRIDE = 3
"""Every third byte is swept, one bit of it in turn; with the odd stride all header fields are hit somewhere."""


def directory(script: str) -> tuple[MemoryFileSystem, Promises, Machine]:
    fs = MemoryFileSystem()
    promises = Promises()
    machine = Machine(fs, promises)
    for action in script:
        machine.step(action)
    return fs, promises, machine


def copy_of(fs: MemoryFileSystem) -> MemoryFileSystem:
    copy = MemoryFileSystem()
    for path in ("data/journal", "data/snapshots"):
        copy.make_directory(path)
    copy.files = {path: bytearray(content) for path, content in fs.files.items()}
    return copy


def recover(fs: MemoryFileSystem) -> list[Record]:
    journal = Journal.open(fs, JOURNAL, journal_id=7)
    records = [(position, bytes(payload)) for batch in journal.replay() for position, payload in batch.records]
    journal.accept()
    for position, payload in records:
        assert journal.read(position, len(payload)) == payload
    return records


def check_sweep(fs: MemoryFileSystem, expected: list[Record], *, synced: int) -> bool:
    """Recover; return True when the damage was refused by place, False when the records are an exact prefix."""
    try:
        found = recover(fs)
    except Damaged as damage:
        refusal = damage
    else:
        assert found == expected[: len(found)], "I19: altered records were recovered"
        assert len(found) >= synced, "I19: proven records vanished silently"
        return False
    assert refusal.path, "I19: the refusal names a file"
    assert refusal.offset >= 0, "I19: the refusal names an offset"
    assert refusal.exit_code == 65
    assert "repair" in str(refusal)
    return True


def segments_of(fs: MemoryFileSystem) -> list[str]:
    return sorted(path for path in fs.files if path.endswith(".segment"))


def test_every_flipped_bit_in_a_sealed_segment_is_refused() -> None:
    fs, promises, _ = directory("bsbsbsbsbsbsc")
    path = segments_of(fs)[0]
    expected = [record for batch in promises.batches for record in batch]
    for offset in range(0, len(fs.files[path]), BIT_STRIDE):
        damaged = copy_of(fs)
        damaged.files[path][offset] ^= 1 << (offset % 8)
        assert check_sweep(damaged, expected, synced=len(expected))


def test_every_flipped_bit_below_the_proven_position_of_the_last_segment_is_refused() -> None:
    fs, promises, _ = directory("bsbsbsc")
    path = segments_of(fs)[-1]
    expected = [record for batch in promises.batches for record in batch]
    mark_offset = len(fs.files[path]) - 64
    for offset in range(0, mark_offset, BIT_STRIDE):
        damaged = copy_of(fs)
        damaged.files[path][offset] ^= 1 << (offset % 8)
        assert check_sweep(damaged, expected, synced=len(expected))
    for offset in range(mark_offset, len(fs.files[path])):
        damaged = copy_of(fs)
        damaged.files[path][offset] ^= 1 << (offset % 8)
        assert not check_sweep(damaged, expected, synced=len(expected))


def test_every_flipped_bit_in_an_unproven_tail_gives_an_exact_prefix() -> None:
    fs, promises, machine = directory("bsbs")
    proven = sum(len(batch) for batch in promises.batches[:1])
    machine.step("b")
    path = segments_of(fs)[-1]
    expected = [record for batch in promises.batches for record in batch]
    outcomes = set()
    for offset in range(0, len(fs.files[path]), BIT_STRIDE):
        damaged = copy_of(fs)
        damaged.files[path][offset] ^= 1 << (offset % 8)
        outcomes.add(check_sweep(damaged, expected, synced=proven))
    assert outcomes == {True, False}


def test_every_truncation_gives_an_exact_prefix_or_a_refusal() -> None:
    fs, promises, _ = directory("bsbspsBsbsc")
    expected = [record for batch in promises.batches for record in batch]
    paths = segments_of(fs)
    for path in paths:
        for length in range(0, len(fs.files[path]), BIT_STRIDE):
            damaged = copy_of(fs)
            del damaged.files[path][length:]
            refused = check_sweep(damaged, expected, synced=0)
            assert refused == (path != paths[-1]), f"{path} cut to {length}"


def test_zeroed_and_grown_ends_are_torn_tails() -> None:
    fs, promises, _ = directory("bsbsm")
    expected = [record for batch in promises.batches for record in batch]
    path = segments_of(fs)[-1]
    for tail in (bytes(1), bytes(64), bytes(5000), b"\xf0PNB" * 100):
        damaged = copy_of(fs)
        damaged.files[path] += tail
        assert not check_sweep(damaged, expected, synced=len(expected))


def test_each_missing_segment_is_refused_but_the_last() -> None:
    fs, promises, _ = directory("BsBsBsBsBsBsBsBs")
    expected = [record for batch in promises.batches for record in batch]
    paths = segments_of(fs)
    assert len(paths) >= 4
    for path in paths[:-1]:
        damaged = copy_of(fs)
        del damaged.files[path]
        assert check_sweep(damaged, expected, synced=0)


def test_journal_that_ends_before_its_snapshot_is_refused() -> None:
    fs, _, machine = directory("BsBsBsn")
    del fs.files[segments_of(fs)[-1]]
    with pytest.raises(Damaged, match="durable up to"):
        list(Journal.open(fs, JOURNAL, replay_from=machine.journal.durable_position).replay())


def test_segment_of_another_data_directory_is_refused() -> None:
    fs, _, _ = directory("bsc")
    with pytest.raises(Damaged, match="another data directory"):
        Journal.open(fs, JOURNAL, journal_id=8)


def test_header_forged_in_a_message_body_is_not_taken_for_one() -> None:
    """Without the journal id a header's CRC can not be right, so bodies neither prove nor hide anything."""
    fs, promises, machine = directory("bs")
    position = machine.journal.next_position
    body_at = position + 64 + 4
    forged = pack_batch_header(BatchHeader(0, 0, body_at, body_at, 0, 0, 0, 0), header_seed(8))
    machine.journal.stage([forged + bytes(64)], len(forged) + 64)
    taken = machine.journal.take(1)
    assert taken is not None
    machine.journal.write(taken)
    expected = [record for batch in promises.batches for record in batch]
    path = segments_of(fs)[-1]
    fs.files[path][position & 0xFFFFFFFFFF] ^= 1
    assert not check_sweep(fs, expected, synced=len(expected))


def test_later_format_version_is_refused_as_such() -> None:
    fs, _, _ = directory("bsc")
    path = segments_of(fs)[0]
    content = fs.files[path]
    content[8] = FORMAT_VERSION + 1
    content[4:8] = crc_of_parts([(7).to_bytes(8, "little"), bytes(content[8:64])]).to_bytes(4, "little")
    with pytest.raises(UnsupportedFormat, match="version 2"):
        Journal.open(fs, JOURNAL, journal_id=7)


def test_read_of_a_record_that_rotted_since_is_refused_with_its_place() -> None:
    fs, promises, machine = directory("bsbs")
    position, payload = promises.batches[0][0]
    path = segments_of(fs)[0]
    fs.files[path][(position & 0xFFFFFFFFFF) + 2] ^= 4
    with pytest.raises(Damaged) as caught:
        machine.journal.read(position, len(payload))
    assert caught.value.path == path
    assert caught.value.offset > 0
    assert caught.value.position > 0


@pytest.mark.parametrize("stride", [7])
def test_repair_makes_any_flipped_bit_recoverable_and_keeps_every_other_batch(stride: int) -> None:
    fs, promises, _ = directory("bsbsBspsbsc")
    expected = [record for batch in promises.batches for record in batch]
    for path in segments_of(fs):
        for offset in range(0, len(fs.files[path]), stride):
            damaged = copy_of(fs)
            damaged.files[path][offset] ^= 1 << (offset % 8)
            before = bytes(damaged.files[path])
            report = verify(damaged, "data")
            done = repair(damaged, "data", holder="repair")
            assert report.damage == done.lost
            assert done.after.whole
            if done.lost:
                copied = [bytes(damaged.files[original]) for original in done.originals]
                assert copied == [before], "the original is put aside"
            found = recover(damaged)
            assert [record for record in expected if record in found] == found, "I6: repair altered a record"
            assert len(expected) - len(found) <= 3 or not done.lost, "repair cut out more than the damaged batch"
            assert verify(damaged, "data").whole


def test_repair_fills_a_missing_segment() -> None:
    fs, promises, _ = directory("BsBsBsBsBsBsBsBs")
    expected = [record for batch in promises.batches for record in batch]
    for path in segments_of(fs)[1:-1]:
        damaged = copy_of(fs)
        del damaged.files[path]
        done = repair(damaged, "data", holder="repair")
        assert [damage.path for damage in done.lost] == [path]
        found = recover(damaged)
        assert found == [record for record in expected if record in found]
        assert 0 < len(found) < len(expected)


def test_repair_of_a_whole_directory_changes_nothing() -> None:
    fs, _, _ = directory("bsbsnbsndbs")
    before = {path: bytes(content) for path, content in fs.files.items()}
    done = repair(fs, "data", holder="repair")
    assert (done.lost, done.originals) == ([], [])
    assert {path: bytes(content) for path, content in fs.files.items() if path != "data/lock"} == before


def test_repair_refuses_when_no_snapshot_covers_the_discarded_journal() -> None:
    fs, _, _ = directory("BsBsnBsBsndBs")
    for path in [path for path in fs.files if path.endswith(".snapshot")]:
        fs.files[path][40] ^= 1
    with pytest.raises(Damaged, match="restore a backup"):
        repair(fs, "data", holder="repair")


def test_repair_puts_a_damaged_snapshot_aside_when_an_older_one_is_whole() -> None:
    fs, promises, _ = directory("BsBsnBsBsndBs")
    newest = max(path for path in fs.files if path.endswith(".snapshot"))
    fs.files[newest][40] ^= 1
    done = repair(fs, "data", holder="repair")
    assert [damage.path for damage in done.lost] == [newest]
    assert newest not in fs.files
    Machine(fs, promises)


def test_verify_counts_what_is_there() -> None:
    fs, promises, machine = directory("bsbsnbsmp")
    report = verify(fs, "data")
    assert report.whole
    assert report.records == sum(len(batch) for batch in promises.batches)
    assert len(report.segments) == len(machine.journal.segments)
    assert report.batches >= len(promises.batches)
