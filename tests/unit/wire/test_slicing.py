from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock_client.wire import slicing
from penstock_client.wire.blocks import block_count, encode_block, slice_block
from penstock_client.wire.errors import WireError
from penstock_client.wire.slicing import REMEMBERED_MAX, BlockSlicer

VALUES = st.none() | st.dictionaries(st.text(max_size=3), st.integers(-9, 9) | st.text(max_size=40), max_size=3)
KEYS = st.none() | st.text(max_size=4)


@st.composite
def blocks(draw: Callable[[Any], Any]) -> tuple[bytes, int]:
    count = draw(st.integers(1, 20))

    def column(values: st.SearchStrategy[Any]) -> Any:
        return draw(st.none() | st.lists(values, min_size=count, max_size=count))

    bodies = draw(st.lists(st.binary(max_size=300), min_size=count, max_size=count))
    routing = draw(st.none() | st.tuples(st.text(max_size=3), st.text(max_size=3)))
    return encode_block(bodies, column(KEYS), column(VALUES), column(VALUES), routing), count


@given(blocks(), st.lists(st.tuples(st.integers(0, 19), st.integers(1, 20)), min_size=1, max_size=8))
def test_every_part_is_what_slice_block_cuts(one: tuple[bytes, int], cuts: list[tuple[int, int]]) -> None:
    block, count = one
    slicer = BlockSlicer()
    for start, size in cuts:
        first = start % count
        stop = min(count, first + size)
        assert slicer.slice(block, first, stop) == slice_block(block, first, stop)


def test_a_block_is_walked_once_however_often_it_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    walks: list[int] = []
    walk = slicing._edges_of

    def noted(block: bytes, start: int, size: int) -> Any:
        walks.append(block_count(block))
        return walk(block, start, size)

    monkeypatch.setattr(slicing, "_edges_of", noted)
    slicer, block, other = BlockSlicer(), encode_block([b"a"] * 9), encode_block([b"b"] * 3)

    for index in range(9):
        slicer.slice(block, index, index + 1)
    assert walks == [9]
    assert slicer.slice(other, 0, 3) is other
    slicer.slice(other, 1, 2)
    assert walks == [9], "a first cut does not pay for a second"
    slicer.slice(block, 3, 4)
    slicer.slice(other, 2, 3)
    slicer.slice(block, 5, 7)
    assert walks == [9, 3]


def test_only_so_many_blocks_are_remembered() -> None:
    slicer, many = BlockSlicer(), [encode_block([b"a", b"%d" % number]) for number in range(REMEMBERED_MAX + 1)]
    for block in many * 2:
        assert slicer.slice(block, 1, 2) == slice_block(block, 1, 2)
    assert len(slicer._known) == REMEMBERED_MAX


def test_a_broken_column_is_an_error_of_the_wire() -> None:
    whole = encode_block([b"a", b"b", b"c"])
    broken = whole[:-3] + b"\xc4\x05c"  # the last body claims more than there is
    slicer = BlockSlicer()
    slicer.slice(broken, 0, 1)

    with pytest.raises(WireError):
        slicer.slice(broken, 1, 2)
