"""Golden bytes of the journal's headers, and what is not taken for one."""

import pytest

from penstock.storage.errors import Damaged
from penstock.storage.format import (
    BATCH_BODY_BYTES_MAX,
    BatchHeader,
    SegmentHeader,
    crc_of,
    crc_of_parts,
    header_seed,
    offset_of,
    pack_batch_header,
    pack_segment_header,
    position_of,
    segment_of,
    unpack_batch_header,
    unpack_records,
    unpack_segment_header,
)

SEED = header_seed(0x1122334455667788)
HEADER = BatchHeader(1, 0x0A0B0C, position_of(3, 64), position_of(2, 500), 1_700_000_000_000, 0xDEADBEEF, 5, 9)
SEGMENT = SegmentHeader(3, 0x1122334455667788, position_of(2, 500), 9, 1_700_000_000_000)

GOLDEN_BATCH = (
    "f0504e42 24155866 01 01 0000 0c0b0a00 4000000000030000 0300000000000000 f401000000020000 0068e5cf8b010000"
    " efbeadde 05000000 0900000000000000"
)
GOLDEN_SEGMENT = (
    "f0504e53 823acb1e 0100 000000000000 0300000000000000 8877665544332211 f401000000020000 0900000000000000"
    " 0068e5cf8b010000 0000000000000000"
)


def test_crc_is_crc32c() -> None:
    assert crc_of(b"123456789") == crc_of_parts([b"1234", b"56789"]) == 0xE3069283


def test_batch_header_has_these_bytes() -> None:
    packed = pack_batch_header(HEADER, SEED)
    assert len(packed) == 64
    assert packed == bytes.fromhex(GOLDEN_BATCH)
    assert unpack_batch_header(packed, HEADER.position, SEED, "f") == HEADER


def test_segment_header_has_these_bytes() -> None:
    packed = pack_segment_header(SEGMENT)
    assert len(packed) == 64
    assert packed == bytes.fromhex(GOLDEN_SEGMENT)
    assert unpack_segment_header(packed, "f") == SEGMENT


def test_batch_header_is_not_whole_at_another_place_in_another_journal_or_cut() -> None:
    packed = pack_batch_header(HEADER, SEED)
    assert unpack_batch_header(packed, HEADER.position + 1, SEED, "f") is None
    assert unpack_batch_header(packed, HEADER.position, SEED + 1, "f") is None
    assert unpack_batch_header(packed[:63], HEADER.position, SEED, "f") is None
    assert unpack_segment_header(pack_segment_header(SEGMENT)[:63], "f") is None


def test_length_beyond_the_bound_is_refused_before_anything_is_allocated() -> None:
    packed = pack_batch_header(HEADER._replace(body_bytes=BATCH_BODY_BYTES_MAX + 1), SEED)
    assert unpack_batch_header(packed, HEADER.position, SEED, "f") is None


def test_every_flipped_bit_of_a_header_is_noticed() -> None:
    batch, segment = pack_batch_header(HEADER, SEED), pack_segment_header(SEGMENT)
    for bit in range(512):
        for packed in (batch, segment):
            flipped = (int.from_bytes(packed, "little") ^ 1 << bit).to_bytes(64, "little")
            assert unpack_batch_header(flipped, HEADER.position, SEED, "f") is None
            assert unpack_segment_header(flipped, "f") is None


@pytest.mark.parametrize("body", [b"\x05\0\0\0abc", b"\x01\0\0\0ab", b"\x01\0", b"\xff\xff\xff\xffabc", b""])
def test_records_that_do_not_fill_their_body_are_damage(body: bytes) -> None:
    header = HEADER._replace(body_bytes=len(body), record_count=1)
    with pytest.raises(Damaged) as caught:
        unpack_records(header, body, "f")
    assert (caught.value.offset, caught.value.position) == (64, HEADER.position)


def test_positions_are_ordered_by_segment_then_offset() -> None:
    assert position_of(1, (1 << 40) - 1) < position_of(2, 0)
    assert (segment_of(position_of(9, 77)), offset_of(position_of(9, 77))) == (9, 77)
