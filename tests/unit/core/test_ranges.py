from collections.abc import Iterator
from itertools import pairwise
from random import Random
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core import ranges as ranges_module
from penstock.core.ranges import RangeSet

RANGES = st.lists(
    st.tuples(st.integers(0, 40), st.integers(1, 8)).map(lambda one: (one[0], one[0] + one[1])), max_size=20
)


@pytest.fixture(autouse=True, params=[2, 1024])
def _chunk_size(request: pytest.FixtureRequest) -> Iterator[None]:
    """Everything holds for sets of many chunks too."""
    with patch.object(ranges_module, "CHUNK_RANGES_MAX", request.param):
        yield


def offsets(ranges: RangeSet) -> set[int]:
    return {offset for first, end in ranges for offset in range(first, end)}


@given(added=RANGES, first=st.integers(0, 45), size=st.integers(0, 45))
def test_it_is_the_set_of_what_was_added(added: list[tuple[int, int]], first: int, size: int) -> None:
    ranges = RangeSet(added)
    expected = {offset for one in added for offset in range(*one)}
    end = first + size
    assert offsets(ranges) == expected
    assert ranges.count == len(expected)
    assert bool(ranges) == bool(expected)
    assert all((offset in ranges) == (offset in expected) for offset in range(50))
    assert ranges.count_below(end) == len([offset for offset in expected if offset < end])
    assert ranges.first_gap(first, end) == (ranges.gaps(first, end) or [(end, end)])[0]
    gaps = [offset for gap in ranges.gaps(first, end) for offset in range(*gap)]
    assert gaps == [offset for offset in range(first, end) if offset not in expected]
    first_gap = ranges.first_gap(first, end)
    assert first_gap == (tuple(ranges.gaps(first, end)[0]) if gaps else (end, end))
    within = [offset for part in ranges.within(first, end) for offset in range(*part)]
    assert within == [offset for offset in range(first, end) if offset in expected]
    parts = list(ranges)
    assert all(before[1] < after[0] for before, after in pairwise(parts)), "never adjacent"
    assert len(ranges) == len(parts)
    restored = RangeSet()
    restored.restore(ranges.columns())
    assert (list(restored), restored.count, restored.columns()) == (parts, ranges.count, ranges.columns())
    restored.add(first, end + 1)
    assert offsets(restored) == expected | set(range(first, end + 1))


@given(added=RANGES, offset=st.integers(0, 50), size=st.integers(0, 45))
def test_cutting_takes_out_what_is_below(added: list[tuple[int, int]], offset: int, size: int) -> None:
    ranges = RangeSet(added)
    expected = {one for one in offsets(ranges) if one >= offset}
    ranges.cut_below(offset)
    assert offsets(ranges) == expected
    assert ranges.count == len(expected)
    end = offset + size
    first, last = ranges.first_part(offset, end)
    within = sorted(one for one in expected if one < end)
    assert (first, last) == (end, end) if not within else first == within[0] and set(range(first, last)) <= expected
    assert last == end or last not in expected


@given(added=RANGES, offset=st.integers(0, 50))
def test_popping_passes_over_everything_that_begins_below(added: list[tuple[int, int]], offset: int) -> None:
    ranges = RangeSet(added)
    expected = offsets(ranges)
    reached = ranges.pop_below(offset)
    assert reached >= offset
    assert reached not in expected or reached == offset
    assert offsets(ranges) == {one for one in expected if one > reached}
    assert ranges.count == len(offsets(ranges))
    assert not ranges or ranges.first > reached


def test_what_joins_many_chunks_is_one_range() -> None:
    ranges = RangeSet((offset, offset + 1) for offset in range(0, 200, 2))
    assert len(ranges) == 100
    ranges.add(3, 196)
    assert list(ranges)[:3] == [(0, 1), (2, 197), (198, 199)]
    assert ranges.count == 197


def test_ranges_that_come_in_any_order_are_kept_in_order() -> None:
    firsts = list(range(0, 20_000, 2))
    Random(7).shuffle(firsts)
    ranges = RangeSet((first, first + 1) for first in firsts)
    assert list(ranges) == [(first, first + 1) for first in range(0, 20_000, 2)]
    assert ranges.pop_below(9_999) == 9_999
    assert len(ranges) == ranges.count == 5_000
    assert ranges.first == 10_000
