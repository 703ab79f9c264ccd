from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock_client.wire import blocks, limits, structure
from penstock_client.wire.blocks import (
    ASKS,
    BLOCK_HEADER,
    BLOCK_HEADER_BYTES,
    COLUMN_BODIES,
    COLUMN_PROPERTIES,
    BlockChecker,
    Columns,
    Properties,
    block_columns,
    block_extent,
    decode_block,
    decode_bodies,
    encode_block,
    slice_block,
    slice_columns,
)
from penstock_client.wire.errors import ErrorCode, WireError

FULL = Columns(
    [b"one", b"", b"three"],
    ["k", None, "ключ"],
    [None, {"kind": "b", "n": [1, {"deep": None}]}, {}],
    [{"message_id": "m-1"}, None, None],
    ("", "jobs"),
)
CHECKER = BlockChecker(1_000_000)


def raw_block(*columns: bytes, count: int = 1) -> bytes:
    """A block of columns given as bytes, however wrong."""
    padded = [*columns, *[b""] * (5 - len(columns))]
    bits = sum(1 << index for index, column in enumerate(padded) if column)
    size = BLOCK_HEADER_BYTES + sum(map(len, padded))
    return BLOCK_HEADER.pack(size, count, bits, 0, *map(len, padded)) + b"".join(padded)


def refusal(block: bytes, checker: BlockChecker = CHECKER) -> ErrorCode:
    assert block_extent(block, 0)[0] == len(block)
    with pytest.raises(WireError) as caught:
        checker.check(block)
    return caught.value.code


# Encoding and decoding


def test_a_block_of_bodies_is_a_header_and_one_array() -> None:
    assert encode_block([b"a", b"bc"]) == bytes.fromhex(
        "28000000 02000000 0100 0000 08000000 00000000 00000000 00000000 00000000 92 c40161 c4026263"
    )


def test_a_block_with_every_column_survives_the_way() -> None:
    block = encode_block(*FULL)

    assert decode_block(block) == FULL
    assert decode_bodies(block) == FULL.bodies
    assert block_columns(block) == 0b11111
    assert block_extent(b"--" + block + b"--", 2) == (2 + len(block), 3)
    CHECKER.check(block)


def test_absent_columns_are_none() -> None:
    block = encode_block([b"x"], keys=["k"])

    assert decode_block(block) == Columns([b"x"], ["k"])
    assert block_columns(block) == blocks.COLUMN_BODIES | blocks.COLUMN_KEYS


def test_text_that_was_no_unicode_is_kept_as_its_bytes() -> None:
    block = raw_block(b"\x91\xc4\x00", b"\x91\xa2k\xff")

    assert encode_block(*decode_block(block)) == block


def test_a_value_without_a_form_is_refused_and_spoils_no_later_block() -> None:
    with pytest.raises(TypeError):
        encode_block([b"good", object()])  # type: ignore[list-item]

    assert decode_bodies(encode_block([b"x"])) == [b"x"]


# The header's arithmetic


@pytest.mark.parametrize(
    ("offset", "value"),
    [
        (0, 0),
        (0, 31),
        (0, 2**32 - 1),
        (4, 0),
        (8, 0),
        (8, 3),
        (8, 33),
        (10, 1),
        (12, 0),
        (12, 2**32 - 1),
        (16, 1),
        (28, 9),
    ],
)
def test_a_header_that_does_not_add_up_is_malformed(offset: int, value: int) -> None:
    block = bytearray(encode_block([b"body"]))
    width = 2 if offset in (8, 10) else 4
    block[offset : offset + width] = value.to_bytes(width, "little")
    with pytest.raises(WireError) as caught:
        block_extent(bytes(block), 0)
    assert caught.value.code is ErrorCode.MALFORMED_FRAME


@pytest.mark.parametrize("kept", [0, 1, 31])
def test_a_cut_header_is_malformed(kept: int) -> None:
    with pytest.raises(WireError, match="inside a block header"):
        block_extent(encode_block([b"body"])[:kept], 0)


def test_a_cut_block_is_malformed() -> None:
    with pytest.raises(WireError, match="do not add up"):
        block_extent(encode_block([b"body"])[:-1], 0)


def test_lengths_whose_sum_overflows_32_bits_are_malformed() -> None:
    header = BLOCK_HEADER.pack(BLOCK_HEADER_BYTES, 1, 3, 0, 2**31, 2**31, 0, 0, 0)
    with pytest.raises(WireError, match="do not add up"):
        block_extent(header + bytes(100), 0)


def test_a_block_without_bodies_is_malformed() -> None:
    with pytest.raises(WireError, match="column bits"):
        block_extent(raw_block(b"", b"\x91\xa1k"), 0)


# Checking what was published


@pytest.mark.parametrize("size", [0, 1, 255, 256, 65_535, 65_536, 1_000_000])
def test_one_body_up_to_the_limit_passes(size: int) -> None:
    CHECKER.check(encode_block([bytes(size)]))


@pytest.mark.parametrize("array", [b"\x91", b"\xdc\x00\x01", b"\xdd\x00\x00\x00\x01"])
@pytest.mark.parametrize("header", [b"\xc4\x02", b"\xc5\x00\x02", b"\xc6\x00\x00\x00\x02"])
def test_longer_forms_of_msgpack_pass(array: bytes, header: bytes) -> None:
    block = raw_block(array + header + b"ab")
    CHECKER.check(block)

    assert decode_bodies(block) == [b"ab"]


def test_one_body_above_the_limit_is_too_large() -> None:
    assert refusal(encode_block([bytes(1_000_001)])) is ErrorCode.BODY_TOO_LARGE


def test_one_of_several_bodies_above_a_small_limit_is_too_large() -> None:
    checker = BlockChecker(100)
    checker.check(encode_block([bytes(100)] * 3))

    assert refusal(encode_block([b"", bytes(101)]), checker) is ErrorCode.BODY_TOO_LARGE
    assert refusal(raw_block(msgpack.packb([b"x" * 101, "text"]), count=2), checker) is ErrorCode.BAD_BLOCK


@pytest.mark.parametrize(
    "column",
    [
        b"\x91",
        b"\x91\xc4",
        b"\x91\xc4\x01",
        b"\x91\xc4\x01ab",
        b"\x91\xa1a",
        b"\x91\xc0",
        b"\x90",
        b"\x92\xc4\x00\xc4\x00",
        b"\xdc",
        b"\xdc\x00",
        b"\xdc\x01",
        b"\xdd\x00\x00\x00",
        b"\xc4\x01a",
        b"\x81\xc4\x00\xc4\x00",
        b"\xc1",
        b"\xdd\xff\xff\xff\xff",
        b"\x91\xc6\xff\xff\xff\xff",
    ],
)
def test_one_body_that_is_not_one_bin_is_a_bad_block(column: bytes) -> None:
    assert refusal(raw_block(column)) is ErrorCode.BAD_BLOCK
    assert refusal(raw_block(column, b"\x91\xa1k")) is ErrorCode.BAD_BLOCK


@pytest.mark.parametrize(
    "column",
    [
        b"\x92\xc4\x00",
        b"\x92\xc4\x00\xc4\x00\xc4\x00",
        b"\x93\xc4\x00\xc4\x00\xc4\x00",
        b"\x91\xc4\x00",
        b"\xdc\x00\x02\xc4\x00",
        b"\xdc\x02",
        b"\xdd\xff\xff\xff\xff",
        b"\x82\x00\x00\x00\x00",
        b"\x92\xc1\xc1",
        b"\x92\x00" + b"\x91" * 2_000,
    ],
)
def test_several_bodies_that_are_not_one_array_are_a_bad_block(column: bytes) -> None:
    assert refusal(raw_block(column, count=2)) is ErrorCode.BAD_BLOCK


@pytest.mark.parametrize("index", [1, 2, 3])
@pytest.mark.parametrize(
    "column", [b"\x90", b"\x91\xc0", b"\x93\xc0\xc0\xc0", b"\x92\xc0", b"\x92\xc0\xc0\xc0", b"\xc0"]
)
def test_every_column_has_one_element_for_each_message(index: int, column: bytes) -> None:
    columns = [b"\x92\xc4\x00\xc4\x00", b"", b"", b""]
    columns[index] = column

    assert refusal(raw_block(*columns, count=2)) is ErrorCode.BAD_BLOCK


def test_a_column_that_ends_inside_the_next_is_a_bad_block() -> None:
    assert refusal(raw_block(b"\x91\xc4\x00", b"\x91\xa2k", b"v\x91\xc0")) is ErrorCode.BAD_BLOCK


@pytest.mark.parametrize(
    "routing",
    [["", 1], [b"", "jobs"], ["one"], ["a", "b", "c"], [None, None], ["", "x" * 256], ["x" * 256, ""], {"": "jobs"}],
)
def test_routing_is_two_names(routing: Any) -> None:
    assert refusal(raw_block(b"\x91\xc4\x00", b"", b"", b"", msgpack.packb(routing))) is ErrorCode.BAD_BLOCK


def test_a_block_checked_after_a_bad_one_passes() -> None:
    refusal(raw_block(b"\x92\xc4\x00", count=2))

    CHECKER.check(encode_block(*FULL))


def test_several_messages_are_limited_in_number_and_bytes() -> None:
    CHECKER.check(encode_block([b""] * limits.BLOCK_COUNT_MAX))

    assert refusal(encode_block([b""] * (limits.BLOCK_COUNT_MAX + 1))) is ErrorCode.BAD_BLOCK
    assert refusal(encode_block([b"", bytes(limits.BLOCK_BYTES_MULTI_MAX)])) is ErrorCode.BAD_BLOCK


def test_what_one_message_has_beside_its_body_is_limited() -> None:
    fits = "v" * (limits.ENVELOPE_BYTES_MAX - 9)
    CHECKER.check(encode_block([bytes(900_000)], headers=[{"k": fits}]))

    assert refusal(encode_block([b""], headers=[{"k": fits + "v"}])) is ErrorCode.BAD_BLOCK


# Decoding what others published


@pytest.mark.parametrize(
    "columns",
    [
        [b"\x92\xc4\x00\x01"],
        [b"\x92\xc4\x00\xa1a"],
        [b"\x92\xc4\x00\xc0"],
        [b"\x92\xc4\x00\x90"],
        [b"\x92\xc4\x00\xd4\x05a"],
        [b"\x92\xc4\x00\xc4\x00", b"\x92\xa1k\x01"],
        [b"\x92\xc4\x00\xc4\x00", b"\x92\xa1k\xc4\x00"],
        [b"\x92\xc4\x00\xc4\x00", b"", b"\x92\xc0\x90"],
        [b"\x92\xc4\x00\xc4\x00", b"", b"\x92\xc0\x81\x90\x01"],
        [b"\x92\xc4\x00\xc4\x00", b"", b"\x92\xc0\x81\xa1k\xd6\xff\x00\x00\x00\x00"],
        [b"\x92\xc4\x00\xc4\x00", b"", b"", b"\x92\xc0\x01"],
    ],
)
def test_elements_of_another_type_pass_the_broker_and_are_refused_by_the_reader(columns: list[bytes]) -> None:
    block = raw_block(*columns, count=2)
    CHECKER.check(block)
    with pytest.raises(WireError) as caught:
        decode_block(block)
    assert caught.value.code is ErrorCode.BAD_BLOCK


@pytest.mark.parametrize("column", [b"\x91\x01", b"\x90", b"\xc4\x00", b"\x91\xc4", b"\x92\xc4\x00\xc4\x00"])
def test_bodies_that_are_not_as_announced_are_refused_by_the_reader(column: bytes) -> None:
    with pytest.raises(WireError):
        decode_bodies(raw_block(column))


# Parts


@pytest.mark.parametrize(("start", "stop"), [(0, 1), (0, 2), (1, 2), (1, 3), (2, 3)])
def test_a_part_has_its_messages_and_the_routing(start: int, stop: int) -> None:
    part = slice_block(encode_block(*FULL), start, stop)

    assert decode_block(part) == slice_columns(FULL, start, stop)
    assert block_extent(part, 0) == (len(part), stop - start)


def test_the_whole_as_a_part_is_the_block_itself() -> None:
    block = encode_block(*FULL)

    assert slice_block(block, 0, 3) is block


def test_parts_keep_bytes_that_cannot_be_decoded() -> None:
    headers = [b"\xd6\xff\x00\x00\x00\x00", b"\x81\x90\x01", b"\x91" * 900 + b"\xa1\xff"]
    block = raw_block(msgpack.packb([b"a", b"b", b"c"]), b"", b"\x93" + b"".join(headers), count=3)
    CHECKER.check(block)
    parts = [slice_block(block, index, index + 1) for index in range(3)]

    assert [part[BLOCK_HEADER_BYTES + 4 :] for part in parts] == [b"\x91" + column for column in headers]


def test_a_part_of_a_block_that_was_never_checked_is_refused() -> None:
    with pytest.raises(WireError) as caught:
        slice_block(raw_block(b"\x92\xc4\x00", count=3), 0, 2)
    assert caught.value.code is ErrorCode.BAD_BLOCK


# Properties


def test_properties_can_be_read_and_replaced_alone() -> None:
    block = encode_block(*FULL)
    changed = [{"message_id": "other"}, None, {"dead": {"queue": "jobs"}}]

    assert blocks.decode_properties(block) == FULL.properties
    assert blocks.decode_properties(encode_block([b"x"])) is None
    assert decode_block(blocks.replace_properties(block, changed)) == FULL._replace(properties=changed)
    assert decode_block(blocks.replace_properties(block, None)) == FULL._replace(properties=None)


def test_replacing_properties_keeps_headers_that_cannot_be_decoded() -> None:
    headers = b"\x91\xd6\xff\x00\x00\x00\x00"
    block = blocks.replace_properties(raw_block(b"\x91\xc4\x00", b"", headers), [{"dead": {}}])
    CHECKER.check(block)

    assert headers in block
    assert blocks.decode_properties(block) == [{"dead": {}}]


@st.composite
def columns_of_messages(draw: st.DrawFn) -> Columns:
    count = draw(st.integers(1, 40))

    def column(elements: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
        return st.none() | st.lists(st.none() | elements, min_size=count, max_size=count)

    scalars = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(max_size=5) | st.binary(max_size=5)
    return Columns(
        draw(st.lists(st.binary(max_size=300), min_size=count, max_size=count)),
        draw(column(st.text(max_size=20))),
        draw(column(st.dictionaries(st.text(max_size=5), scalars | st.lists(scalars, max_size=3), max_size=4))),
        draw(column(st.dictionaries(st.sampled_from(["message_id", "timestamp"]), scalars, max_size=2))),
        draw(st.none() | st.tuples(st.text(max_size=10), st.text(max_size=10))),
    )


@given(columns_of_messages(), st.data())
def test_property_parts_are_the_parts_of_the_messages(columns: Columns, data: st.DataObject) -> None:
    block = encode_block(*columns)
    CHECKER.check(block)
    count = len(columns.bodies)
    start = data.draw(st.integers(0, count - 1))
    stop = data.draw(st.integers(start + 1, count))
    part = slice_block(block, start, stop)
    CHECKER.check(part)

    assert decode_block(part) == slice_columns(columns, start, stop)
    assert part == encode_block(*slice_columns(columns, start, stop))


def test_checking_builds_nothing_and_keeps_little() -> None:
    for _ in range(200):
        CHECKER.check(encode_block([bytes(1_000)] * 200, keys=["k"] * 200))

    assert len(structure._spare) == 1


# Routing


def test_the_way_can_be_read_alone() -> None:
    block = encode_block(*FULL)

    assert (blocks.decode_routing(block), blocks.block_count(block)) == (FULL.routing, 3)
    assert blocks.decode_routing(encode_block([b"x"])) is None


def test_the_way_can_be_written_into_a_block() -> None:
    column = blocks.encode_routing("events", "orders.new")
    block = blocks.with_routing(encode_block(*FULL), column)
    CHECKER.check(block)

    assert decode_block(block) == FULL._replace(routing=("events", "orders.new"))
    assert blocks.carries_routing(block, column)
    assert not blocks.carries_routing(block, blocks.encode_routing("events", "orders.old"))
    assert not blocks.carries_routing(encode_block([b"x" + column]), column)
    assert blocks.with_routing(block, b"") == encode_block(*FULL._replace(routing=None))


@pytest.mark.parametrize("bodies", [[b"one"], [b"one", b"two"]])
def test_checking_says_whether_a_block_names_the_way_it_comes(bodies: list[bytes]) -> None:
    plain = encode_block(bodies)
    keyed = encode_block(bodies, keys=["k"] * len(bodies))

    assert (CHECKER.check(plain), CHECKER.check(keyed)) == (0, 0)
    assert CHECKER.check(encode_block(bodies, routing=("e", "k"))) == blocks.COLUMN_ROUTING


# Blocks that ask something of the broker

LATER: list[Properties | None] = [{"delay_ms": 5}, None, {"message_id": "m"}]


def test_a_block_whose_properties_ask_something_is_marked() -> None:
    asking = encode_block([b"a", b"b", b"c"], properties=LATER)

    assert BLOCK_HEADER.unpack_from(asking)[2] == COLUMN_BODIES | COLUMN_PROPERTIES | ASKS
    assert blocks.block_columns(asking) == COLUMN_BODIES | COLUMN_PROPERTIES
    assert block_extent(asking, 0) == (len(asking), 3)
    assert CHECKER.check(asking)
    assert CHECKER.check(encode_block([b"a"], properties=[{"deliver_at_ms": 1}]))
    assert not CHECKER.check(encode_block([b"a", b"b", b"c"], properties=[None, None, {"message_id": "m"}]))
    assert not CHECKER.check(encode_block([b"a"]))


def test_the_mark_stays_on_parts_and_follows_replaced_properties() -> None:
    asking = encode_block([b"a", b"b", b"c"], properties=LATER)

    assert CHECKER.check(slice_block(asking, 1, 3))
    assert not CHECKER.check(blocks.replace_properties(asking, [None, None, {"dead": {}}]))
    assert not CHECKER.check(blocks.replace_properties(asking, None))
    assert CHECKER.check(blocks.replace_properties(encode_block([b"a"]), [{"delay_ms": 0}]))


def test_a_mark_without_properties_is_malformed() -> None:
    plain = bytearray(encode_block([b"a"], keys=["k"]))
    plain[9] |= 0x80

    with pytest.raises(WireError) as error:
        block_extent(bytes(plain), 0)
    assert error.value.code is ErrorCode.MALFORMED_FRAME
