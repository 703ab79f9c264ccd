import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.wheel import Wheel

NOW_MS = 1_700_000_000_000
DAY_MS = 86_400_000
DELAYS = st.one_of(st.integers(0, 200), st.integers(0, 100_000), st.integers(0, 4000 * DAY_MS))


def taken(wheel: Wheel, now_ms: int, moves: int = 1 << 40) -> list[int]:
    """Everything that is due, however many takes that needs."""
    numbers: list[int] = []
    while (next_ms := wheel.next_ms()) is not None and next_ms <= now_ms:
        numbers += wheel.take(now_ms, moves)[0]
    return numbers


@given(st.lists(DELAYS, max_size=60), st.integers(1, 7))
def test_items_come_out_in_the_order_of_their_times_however_few_moves_a_take_makes(
    delays: list[int], moves: int
) -> None:
    wheel = Wheel(NOW_MS)
    for number, delay_ms in enumerate(delays):
        wheel.add(NOW_MS + delay_ms, number)
    wanted = sorted(range(len(delays)), key=lambda number: delays[number])
    assert taken(wheel, NOW_MS + 5000 * DAY_MS, moves) == wanted
    assert wheel.next_ms() is None


@given(st.lists(st.tuples(st.integers(0, 300_000), DELAYS), max_size=40))
def test_nothing_comes_out_early_and_nothing_is_late(steps: list[tuple[int, int]]) -> None:
    wheel, now_ms, dues = Wheel(NOW_MS), NOW_MS, {}
    for number, (pause_ms, delay_ms) in enumerate(steps):
        dues[number] = now_ms + delay_ms
        wheel.add(now_ms + delay_ms, number)
        now_ms += pause_ms
        out = taken(wheel, now_ms)
        assert set(out) == {number for number, due_ms in dues.items() if due_ms <= now_ms}
        for one in out:
            del dues[one]


@given(st.lists(DELAYS, min_size=1, max_size=40), st.data())
def test_what_was_removed_does_not_come_out(delays: list[int], data: st.DataObject) -> None:
    wheel = Wheel(NOW_MS)
    for number, delay_ms in enumerate(delays):
        wheel.add(NOW_MS + delay_ms, number)
    early = taken(wheel, NOW_MS + 50)
    left = [number for number in range(len(delays)) if number not in early]
    removed = data.draw(st.sets(st.sampled_from(left))) if left else set()
    for number in removed:
        wheel.remove(NOW_MS + delays[number], number)
    assert set(taken(wheel, NOW_MS + 5000 * DAY_MS)) == set(left) - removed


def test_items_due_at_the_same_time_come_out_by_number_however_they_came_in() -> None:
    wheel = Wheel(NOW_MS)
    for number in (5, 2, 9, 1):
        wheel.add(NOW_MS + 3, number)
    assert wheel.take(NOW_MS + 3, 100)[0] == [1, 2, 5, 9]


def test_one_of_several_that_came_in_out_of_order_is_removed() -> None:
    wheel = Wheel(NOW_MS)
    for number in (5, 2, 9):
        wheel.add(NOW_MS + 3, number)
    wheel.remove(NOW_MS + 3, 2)
    assert wheel.take(NOW_MS + 3, 100)[0] == [5, 9]


def test_removing_what_is_not_there_is_a_bug() -> None:
    wheel = Wheel(NOW_MS)
    for number in (5, 2):
        wheel.add(NOW_MS + 3, number)
    for absent in ((NOW_MS + 3, 4), (NOW_MS + 900, 5)):
        with pytest.raises(AssertionError, match="is not in the wheel"):
            wheel.remove(*absent)


def test_a_take_makes_about_as_many_moves_as_it_may() -> None:
    """A million that are due at once do not hold the loop."""
    wheel = Wheel(NOW_MS)
    for number in range(1000):
        wheel.add(NOW_MS + 5_000_000, number)
    moved = 0
    while not (out := wheel.take(NOW_MS + 5_000_000, 100)[0]):
        moved += 100
    assert len(out) <= 100
    assert moved <= 5 * 1000, "each item is moved once a level"


def test_the_buckets_are_few_whatever_the_times() -> None:
    wheel = Wheel(NOW_MS)
    for number in range(20_000):
        wheel.add(NOW_MS + number * number * 700, number)
    assert sum(map(len, wheel._levels)) < 7 * 66


def test_a_wheel_that_is_behind_catches_up_in_order() -> None:
    """The broker was down while they came due."""
    wheel = Wheel(NOW_MS)
    for number in range(500):
        wheel.add(NOW_MS + (500 - number) * 7001, number)
    assert taken(wheel, NOW_MS + DAY_MS, 50) == list(range(499, -1, -1))


@given(st.lists(st.tuples(st.integers(0, 50), st.one_of(DELAYS, st.just(1 << 45))), max_size=60))
def test_a_wheel_that_is_filled_at_once_is_as_one_that_was_filled_one_by_one(items: list[tuple[int, int]]) -> None:
    dues_ms = [NOW_MS + delay_ms for _, delay_ms in items]
    numbers = [number for number, _ in items]
    filled, added = Wheel(NOW_MS), Wheel(NOW_MS)
    filled.fill(dues_ms, numbers)
    for due_ms, number in zip(dues_ms, numbers, strict=True):
        added.add(due_ms, number)
    end_ms = NOW_MS + (1 << 46)
    assert (filled.next_ms(), taken(filled, end_ms)) == (added.next_ms(), taken(added, end_ms))


def test_a_bucket_that_was_emptied_is_filled_again() -> None:
    wheel = Wheel(NOW_MS)
    wheel.add(NOW_MS + 5, 1)
    wheel.remove(NOW_MS + 5, 1)
    wheel.fill([NOW_MS + 5], [2])
    assert taken(wheel, NOW_MS + 5) == [2]
