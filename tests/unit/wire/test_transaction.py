import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock_client.wire.blocks import encode_block
from penstock_client.wire.errors import ErrorCode, WireError
from penstock_client.wire.limits import PUBLISH_ENTRIES_MAX, SETTLE_RANGES_MAX, STATE_VALUE_BYTES_MAX, STATE_WRITES_MAX
from penstock_client.wire.transaction import (
    TRANSACTION_HEADER,
    VERSION_ANY,
    StateWrite,
    TransactedBlock,
    decode_transaction,
    encode_transaction,
)

BLOCK = encode_block([b"one", b"two"])
WRITE = StateWrite("jobs", "billing", "seen", 3, b"\x07")
PAYLOAD = encode_transaction([(1, 2), (9, 9)], [("", "invoices", BLOCK)], [WRITE])

NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
U64 = st.integers(0, 2**64 - 1)
ACKS = st.lists(U64, unique=True, max_size=8).map(lambda tags: [(tag, tag) for tag in sorted(tags)])
WRITES = st.lists(
    st.builds(StateWrite, NAMES, NAMES, NAMES, U64, st.sampled_from([b"", b"\x07", b"\xa1x"])), max_size=4
)


def malformed(payload: bytes, reason: str | None = None) -> bool:
    with pytest.raises(WireError, match=reason) as caught:
        decode_transaction(payload)
    return caught.value.code is ErrorCode.MALFORMED_FRAME


def test_the_layout_is_these_bytes() -> None:
    assert (
        PAYLOAD.hex(" ", -4)
        == (
            "02000000 01000000 01000000 00000000"  # two tag ranges, a block, a state write
            " 01000000 00000000 02000000 00000000"
            " 09000000 00000000 09000000 00000000"
            " 00080000 696e766f 69636573 " + (BLOCK + PAYLOAD[60 + len(BLOCK) :]).hex(" ", -4)
        )
    )
    assert PAYLOAD[60 + len(BLOCK) :].hex(" ", -4) == (
        "04070400 01000000 03000000 00000000 6a6f6273 62696c6c 696e6773 65656e07"
    )


@given(acks=ACKS, blocks=st.lists(st.tuples(NAMES, NAMES), max_size=4), writes=WRITES)
def test_what_is_encoded_is_decoded(
    acks: list[tuple[int, int]], blocks: list[tuple[str, str]], writes: list[StateWrite]
) -> None:
    payload = encode_transaction(acks, [(*names, BLOCK) for names in blocks], writes)

    decoded = decode_transaction(payload)

    assert decoded.acks == acks
    assert decoded.blocks == [TransactedBlock(*names, 2, BLOCK) for names in blocks]
    assert decoded.writes == writes


def test_every_cut_of_a_frame_is_malformed() -> None:
    assert all(malformed(PAYLOAD[:kept]) for kept in range(len(PAYLOAD)))


def test_bytes_behind_the_entries_are_malformed() -> None:
    assert malformed(PAYLOAD + b"\0", "longer")


@pytest.mark.parametrize(
    "counts", [(SETTLE_RANGES_MAX + 1, 0, 0), (0, PUBLISH_ENTRIES_MAX + 1, 0), (0, 0, STATE_WRITES_MAX + 1)]
)
def test_more_entries_than_allowed_are_malformed(counts: tuple[int, int, int]) -> None:
    assert malformed(TRANSACTION_HEADER.pack(*counts, 0), "more entries")


def test_reserved_bits_are_malformed() -> None:
    assert malformed(TRANSACTION_HEADER.pack(0, 0, 0, 1))
    for offset in (50, 51, 60 + len(BLOCK) + 3):
        payload = bytearray(PAYLOAD)
        payload[offset] = 1
        assert malformed(bytes(payload), "reserved")


@pytest.mark.parametrize("acks", [[(2, 1)], [(1, 3), (3, 4)], [(5, 5), (1, 1)], [(1, 1), (1, 1)]])
def test_tag_ranges_that_do_not_ascend_are_malformed(acks: list[tuple[int, int]]) -> None:
    assert malformed(encode_transaction(acks, [], []), "ascend")


@pytest.mark.parametrize("value", [b"\xc1", b"\x07\x07", b"\x92\x07", b"\xa5abc"])
def test_a_value_that_is_not_one_msgpack_value_is_malformed(value: bytes) -> None:
    assert malformed(encode_transaction([], [], [WRITE._replace(value=value)]), "msgpack")


def test_a_value_of_a_key_is_bounded() -> None:
    fits = b"\xc5" + (STATE_VALUE_BYTES_MAX - 3).to_bytes(2, "big") + bytes(STATE_VALUE_BYTES_MAX - 3)
    assert decode_transaction(encode_transaction([], [], [WRITE._replace(value=fits)])).writes[0].value == fits
    assert malformed(encode_transaction([], [], [WRITE._replace(value=b"\xc5\x10\0" + bytes(4096))]), "too large")


def test_a_name_is_utf_8_of_at_most_255_bytes() -> None:
    assert malformed(PAYLOAD.replace(b"invoices", b"\xffnvoices"), "UTF-8")
    longest = "ä" * 127 + "x"
    payload = encode_transaction([], [("", longest, BLOCK)], [])
    assert decode_transaction(payload).blocks[0].routing_key == longest
    with pytest.raises(ValueError, match="256 bytes"):
        encode_transaction([], [("", longest + "x", BLOCK)], [])


def test_an_empty_transaction_and_one_that_compares_nothing_are_legal() -> None:
    assert decode_transaction(encode_transaction([], [], [])) == ([], [], [])
    write = WRITE._replace(version=VERSION_ANY, value=b"", group="")
    assert decode_transaction(encode_transaction([], [], [write])).writes == [write]
