from hypothesis import given
from hypothesis import strategies as st

from penstock.core import spans
from penstock.core.spans import Span, Spans

DEFAULT = 4
PUTS = st.lists(st.tuples(st.integers(0, 4), st.integers(1, 6), st.integers(2, 5)), max_size=20)
"""(gap before it, count, value)"""


def filled(puts: list[tuple[int, int, int]]) -> tuple[Spans, dict[int, int]]:
    found = Spans("B", DEFAULT)
    naive: dict[int, int] = {}
    end = 0
    for gap, count, value in puts:
        first, end = end + gap, end + gap + count
        found.put(first, end, value)
        naive |= dict.fromkeys(range(first, end), value)
    return found, naive


@given(puts=PUTS, first=st.integers(0, 60), size=st.integers(1, 40))
def test_every_offset_has_the_value_that_was_put(puts: list[tuple[int, int, int]], first: int, size: int) -> None:
    found, naive = filled(puts)
    values = [naive.get(offset, DEFAULT) for offset in range(200)]
    assert [found.at(offset) for offset in range(200)] == values
    parts = list(found.within(first, first + size))
    assert [one.value for one in parts for _ in range(one.first, one.end)] == values[first : first + size]
    assert parts[0].first == first
    assert parts[-1].end == first + size
    assert found.lowest(first, first + size) == min(values[first : first + size])


@given(puts=PUTS, start=st.integers(0, 60))
def test_a_snapshot_from_an_offset_on_restores_what_is_there(puts: list[tuple[int, int, int]], start: int) -> None:
    found, naive = filled(puts)
    restored = Spans("B", DEFAULT)
    restored.restore(found.columns(start))
    values = [naive.get(offset, DEFAULT) for offset in range(start, 200)]
    assert [restored.at(offset) for offset in range(start, 200)] == values
    assert restored.columns(start) == found.columns(start)


def test_neighbours_with_one_value_are_one_span() -> None:
    found = Spans("Q", 0)
    assert found.put(0, 10, 7)
    assert not found.put(10, 20, 7)
    assert found.put(20, 30, 8)
    assert list(found.within(0, 40)) == [Span(0, 20, 7), Span(20, 30, 8), Span(30, 40, 0)]
    assert found.span_at(15) == Span(0, 20, 7)


def test_the_end_may_be_put_again() -> None:
    found = Spans("Q", 0)
    found.put(0, 10, 7)
    assert found.put(4, 6, 3)
    assert found.put(6, 10, 7)
    assert not found.put(6, 10, 7)
    assert list(found.within(0, 12)) == [Span(0, 4, 7), Span(4, 6, 3), Span(6, 10, 7), Span(10, 12, 0)]


def test_the_front_is_cut_once_most_of_it_is_gone() -> None:
    found = Spans("B", DEFAULT)
    count = 4 * spans._TRIM_SPANS
    for offset in range(count):
        found.put(offset, offset + 1, offset % 3)
    assert not found.trim(spans._TRIM_SPANS)
    assert len(found) == count + 1
    assert not found.trim(count - 1)
    assert len(found) == 2
    assert found.start == count - 1
    assert found.at(count - 1) == (count - 1) % 3
    assert found.trim(count)
