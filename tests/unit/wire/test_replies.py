import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.values import REPLY_PREFIX
from penstock_client.wire import limits
from penstock_client.wire.blocks import encode_block
from penstock_client.wire.errors import ErrorCode, WireError
from penstock_client.wire.replies import (
    ADDRESS_PREFIX,
    REPLIED_ENTRY,
    Replied,
    Reply,
    decode_replied,
    decode_reply,
    encode_reply_entry,
)

BLOCK = encode_block([b"one", b"two"])
ADDRESSES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=60)


def malformed(decode: object, payload: bytes) -> bool:
    assert callable(decode)
    with pytest.raises(WireError) as caught:
        decode(payload)
    return caught.value.code is ErrorCode.MALFORMED_FRAME


def test_the_layouts_are_these_bytes() -> None:
    assert encode_reply_entry("$r") == b"\x02\x00\x00\x00$r"
    assert REPLIED_ENTRY.pack(0x0102030405060708) == bytes((8, 7, 6, 5, 4, 3, 2, 1))


def test_both_sides_know_an_address_by_the_same_prefix() -> None:
    assert ADDRESS_PREFIX == REPLY_PREFIX


@given(st.lists(ADDRESSES, max_size=5))
def test_a_reply_frame_says_what_was_put_into_it(addresses: list[str]) -> None:
    payload = b"".join(encode_reply_entry(address) + BLOCK for address in addresses)

    assert decode_reply(payload) == [Reply(address, 2, BLOCK) for address in addresses]


def test_a_replied_frame_is_a_run_of_blocks_with_their_time() -> None:
    single = encode_block([b"x"])
    payload = REPLIED_ENTRY.pack(5) + BLOCK + REPLIED_ENTRY.pack(2**64 - 1) + single

    assert decode_replied(payload) == [Replied(5, 2, BLOCK), Replied(2**64 - 1, 1, single)]
    assert decode_replied(b"") == []


def test_an_address_that_is_not_utf_8_is_nobody_s_and_no_error() -> None:
    (reply,) = decode_reply(b"\x02\x00\x00\x00\xff\xfe" + BLOCK)

    assert reply.address == "\ufffd\ufffd"
    assert reply.block == BLOCK


def test_an_address_that_came_with_broken_text_is_sent_back_as_it_came() -> None:
    assert encode_reply_entry("\udcff") == b"\x01\x00\x00\x00\xff"


@pytest.mark.parametrize("address", ["", "x" * 256])
def test_what_cannot_be_an_address_is_not_encoded(address: str) -> None:
    with pytest.raises(ValueError, match="1 to 255"):
        encode_reply_entry(address)


@pytest.mark.parametrize(
    "payload",
    [
        b"\x02\x00",
        b"\x00\x00\x00\x00" + BLOCK,
        b"\x00\x01\x00\x00" + b"x" * 256 + BLOCK,
        b"\x01\x00\x01\x00x" + BLOCK,
        b"\x05\x00\x00\x00x",
        encode_reply_entry("$r") + BLOCK[:-1],
        encode_reply_entry("$r") + BLOCK + b"x",
    ],
    ids=["cut", "no address", "long address", "reserved", "cut address", "cut block", "more"],
)
def test_a_broken_reply_frame_is_malformed(payload: bytes) -> None:
    assert malformed(decode_reply, payload)


@pytest.mark.parametrize("payload", [b"x", bytes(8), bytes(8) + BLOCK[:-1], bytes(8) + BLOCK + b"x"])
def test_a_broken_replied_frame_is_malformed(payload: bytes) -> None:
    assert malformed(decode_replied, payload)


def test_a_reply_frame_holds_so_many_entries_and_no_more() -> None:
    entry = encode_reply_entry("$r") + encode_block([b""])

    assert len(decode_reply(entry * limits.REPLY_ENTRIES_MAX)) == limits.REPLY_ENTRIES_MAX
    assert malformed(decode_reply, entry * (limits.REPLY_ENTRIES_MAX + 1))
