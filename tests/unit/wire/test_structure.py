import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock_client.wire import structure

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5),
    max_leaves=20,
)


@given(st.lists(VALUES, min_size=1, max_size=5), st.binary(max_size=4))
def test_property_values_end_where_the_next_begins(values: list[object], rest: bytes) -> None:
    packed = [msgpack.packb(value) for value in values]
    ends = [sum(map(len, packed[: index + 1])) for index in range(len(packed))]

    assert structure.value_ends(b"".join(packed) + rest, len(values)) == ends


@pytest.mark.parametrize("data", [b"", b"\xc1", b"\x92\x01", b"\xc4\x05abc", b"\xdd\xff\xff\xff\xff", b"\x91" * 2_000])
def test_values_that_are_not_whole_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="whole msgpack values"):
        structure.value_ends(data)


def test_a_walk_after_a_refused_one_starts_clean() -> None:
    with pytest.raises(ValueError, match="whole"):
        structure.value_ends(b"\x92\x01")

    assert structure.value_ends(b"\x92\x01\x02\x03") == [3]
    assert structure.value_ends(b"\x01\x02", 2) == [1, 2]


def test_many_walks_do_not_enlarge_the_kept_buffer() -> None:
    data = msgpack.packb([b"x" * 100] * 900)

    assert all(structure.value_ends(data) == [len(data)] for _ in range(1_000))
    assert len(structure._spare) == 1


def test_a_value_larger_than_the_kept_buffer_is_walked() -> None:
    data = msgpack.packb([b"x" * 1_000] * 3_000)

    assert structure.value_ends(data) == [len(data)]


def test_elements_end_behind_the_last_asked_for() -> None:
    content = msgpack.packb(1) + msgpack.packb("two") + msgpack.packb([3, 3, 3])

    assert [structure.elements_end(content, count) for count in (1, 2, 3)] == [1, 5, 9]
    with pytest.raises(ValueError, match="whole"):
        structure.elements_end(content, 4)


@pytest.mark.parametrize("count", [0, 1, 15, 16, 65_535, 65_536])
def test_an_array_header_tells_its_elements_and_its_size(count: int) -> None:
    header = structure.array_header(count)

    assert header == msgpack.Packer().pack_array_header(count)
    assert structure.array_extent(b"\xff" + header, 1) == (count, len(header))
    assert structure.array_extent(structure.array_header(count, fixed=True), 0) == (count, 5)


@pytest.mark.parametrize("data", [b"\x80", b"\xc4\x01a", b"\xc0", b"\x8f", b"\xa0", b"\xde\x00\x01", b"\xdb"])
def test_what_is_no_array_has_no_extent(data: bytes) -> None:
    assert structure.array_extent(data, 0) == (-1, 0)


@pytest.mark.parametrize("header", [b"\xc4\x03", b"\xc5\x00\x03", b"\xc6\x00\x00\x00\x03"])
def test_a_bin_value_that_fills_its_place_has_a_length(header: bytes) -> None:
    value = header + b"abc"

    assert structure.bin_bytes(b"--" + value, 2, len(value)) == 3
    assert structure.bin_bytes(value + b"more", 0, len(value) + 1) == -1
    assert structure.bin_bytes(value + b"more", 0, len(value) - 1) == -1


@pytest.mark.parametrize(
    "data", [b"", b"\xc4", b"\xc5\x00", b"\xc6\x00\x00\x00", b"\xa3abc", b"\xc0\xc0", b"\xc7\x00\x01"]
)
def test_what_is_no_whole_bin_value_has_no_length(data: bytes) -> None:
    assert structure.bin_bytes(data, 0, len(data)) == -1


@pytest.mark.parametrize("data", [b"", b"\x01\x01", b"\xd4\x01a", b"\xc7\x00\x01", b"\xa1\xff", b"\x81\x01\x01"])
def test_building_refuses_what_the_protocol_does_not_have(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"\w+"):
        structure.build(data)


def test_building_can_be_told_to_take_odd_text_and_keys() -> None:
    assert structure.build(b"\x81\x01\xa1\xff", unicode_errors="surrogateescape", strict_map_key=False) == {1: "\udcff"}
    with pytest.raises(ValueError, match="unhashable"):
        structure.build(b"\x81\x90\x01", strict_map_key=False)
