"""Blocks that a producer wrote wrongly, for those who look at messages."""

from typing import Any

import pytest

from penstock_client.wire.blocks import (
    BlockChecker,
    Columns,
    assemble_block,
    block_count,
    decode_block,
    encode_block,
)
from penstock_client.wire.errors import WireError
from penstock_client.wire.readable import readable_block

EXTENSION = b"\xd6\x05abcd"
BODY = b"\x91\xc4\x01a"


def block_of(count: int, *columns: bytes) -> bytes:
    """A block that a broker takes, and no consumer."""
    block = assemble_block(count, [*columns, *[b""] * (5 - len(columns))], 0)
    BlockChecker(1_000).check(block)
    with pytest.raises(WireError):
        decode_block(block)
    return block


def test_what_can_be_read_is_left_as_it_is() -> None:
    block = encode_block([b"a", b"b"], keys=["k", None], properties=[{"x": 1}, None], routing=("events", "new"))
    assert readable_block(block) is block


@pytest.mark.parametrize("index", [1, 2, 3])
def test_a_column_that_cannot_be_decoded_is_absent(index: int) -> None:
    columns = [BODY, b"\x91\xa1k", b"\x91\x81\xa1h\x01", b"\x91\x81\xa1p\x01"]
    columns[index] = b"\x91\x81\xa1x" + EXTENSION
    left: list[Any] = [[b"a"], ["k"], [{"h": 1}], [{"p": 1}], None]
    left[index] = None
    assert decode_block(readable_block(block_of(1, *columns))) == Columns(*left)


def test_a_body_that_is_no_bin_is_shown_as_the_msgpack_it_is() -> None:
    block = block_of(4, b"\x94\xa1t\xc4\x01b" + EXTENSION + b"\x92\x01\x02")
    readable = readable_block(block)
    assert block_count(readable) == 4
    assert decode_block(readable).bodies == [b"\xa1t", b"b", EXTENSION, b"\x92\x01\x02"]
