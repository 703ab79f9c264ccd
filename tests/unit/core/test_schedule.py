import random
from collections.abc import Iterator
from unittest.mock import patch

import pytest

from penstock.core import schedule as module
from penstock.core.schedule import Entry, Schedule

NOW_MS = 1_700_000_000_000


@pytest.fixture(autouse=True)
def small_chunks() -> Iterator[None]:
    with patch.object(module, "CHUNK_ENTRIES", 4):
        yield


def filled(*counts: int, due_ms: int = NOW_MS + 1000) -> Schedule:
    schedule = Schedule(NOW_MS)
    for index, count in enumerate(counts):
        schedule.add(Entry(schedule.next_id, count, due_ms + index, 100 + index, 1 << 40 | index))
    return schedule


def ids(schedule: Schedule) -> list[tuple[int, int]]:
    return [(entry.first_id, entry.message_count) for entry in schedule.entries()]


def test_ids_follow_each_other_over_all_messages() -> None:
    schedule = filled(1, 3, 1)
    assert ids(schedule) == [(1, 1), (2, 3), (5, 1)]
    assert (schedule.next_id, schedule.message_count, schedule.live_bytes) == (6, 5, 303)


def test_the_entry_of_each_message_is_found_and_no_other() -> None:
    schedule = filled(*[3] * 11)
    found = [schedule.find(number) for number in range(36)]
    assert [entry.first_id if entry else None for entry in found] == [
        None, *[1 + 3 * (number // 3) for number in range(33)], None, None,
    ]  # fmt: skip


def test_entries_may_be_listed_from_the_middle_of_one_on() -> None:
    schedule = filled(*[2] * 10)
    assert [entry.first_id for entry in schedule.entries(8)] == [7, 9, 11, 13, 15, 17, 19]
    schedule.take(1, 9)
    assert [entry.first_id for entry in schedule.entries(2)] == [9, 11, 13, 15, 17, 19]
    assert list(schedule.entries(21)) == []


def test_what_is_taken_is_gone_and_its_room_is_given_back() -> None:
    schedule = filled(*[1] * 20)
    assert [entry.first_id for entry in schedule.take(3, 15)] == list(range(3, 15))
    assert ids(schedule) == [(number, 1) for number in (1, 2, *range(15, 21))]
    assert len(schedule._chunks) == 3
    schedule.take(1, 21)
    assert (schedule._chunks, schedule.message_count, schedule.live_bytes) == ([], 0, 0)


def test_ids_are_not_used_again_when_all_are_gone() -> None:
    schedule = filled(5)
    schedule.forget(1, 6)
    schedule.add(Entry(schedule.next_id, 1, NOW_MS, 10, 7))
    assert ids(schedule) == [(6, 1)]


def test_what_is_left_of_an_entry_takes_its_place() -> None:
    schedule = filled(1, 9, 1)
    schedule.forget(2, 11)
    schedule.add(Entry(6, 5, NOW_MS + 1001, 60, 5))
    schedule.add(Entry(2, 3, NOW_MS + 1001, 40, 6))
    assert ids(schedule) == [(1, 1), (2, 3), (6, 5), (11, 1)]
    assert schedule.next_id == 12


def test_what_is_left_of_the_only_entry_begins_anew() -> None:
    schedule = filled(3)
    schedule.forget(1, 4)
    schedule.add(Entry(3, 1, NOW_MS + 9, 40, 6))
    schedule.add(Entry(1, 1, NOW_MS + 9, 40, 5))
    assert ids(schedule) == [(1, 1), (3, 1)]
    assert schedule.find(2) is None
    assert schedule.find(0) is None


def test_many_remains_of_one_entry_stay_in_order() -> None:
    schedule = filled(100)
    schedule.forget(1, 101)
    numbers = list(range(1, 101, 2))
    random.Random(1).shuffle(numbers)
    for number in numbers:
        schedule.add(Entry(number, 1, NOW_MS + 9, 40, number))
    assert ids(schedule) == [(number, 1) for number in range(1, 101, 2)]
    assert max(len(chunk.ids) for chunk in schedule._chunks) <= 9
    assert [schedule.position_of(number) for number in (1, 2, 51, 99)] == [1, None, 51, 99]


def test_due_entries_are_named_as_ranges_of_ids() -> None:
    schedule = filled(2, 3, 1, 4)
    assert schedule.ranges([1, 3, 7, 6]) == ((1, 6), (7, 11), (6, 7))


def test_an_entry_is_relocated_by_its_first_id_only() -> None:
    schedule = filled(2, 2)
    schedule.relocate(3, 77)
    schedule.relocate(2, 78)
    schedule.relocate(9, 79)
    assert [schedule.position_of(number) for number in (1, 2, 3, 4)] == [1 << 40, None, 77, None]


def test_an_abandoned_schedule_is_empty_at_once_and_gives_its_blocks_up_in_slices() -> None:
    schedule = filled(*[1] * 10)
    schedule.abandon()
    assert (ids(schedule), schedule.message_count, schedule.live_bytes, schedule.next_ms()) == ([], 0, 0, None)
    schedule.add(Entry(11, 1, NOW_MS + 5, 9, 9))
    dropped = [schedule.drain(1) for _ in range(4)]
    assert [len(blocks) for blocks in dropped] == [2, 4, 4, 0]
    assert {block.position for blocks in dropped for block in blocks} == {1 << 40 | index for index in range(10)}
    assert ids(schedule) == [(11, 1)]


def test_a_snapshot_brings_everything_back() -> None:
    schedule = filled(1, 2, 3, 4, 5, 6)
    schedule.take(2, 4)
    schedule.cancelled_count = 2
    again = Schedule()
    again.restore(schedule.next_id, schedule.cancelled_count, schedule.columns())
    assert list(again.entries()) == list(schedule.entries())
    assert (again.next_id, again.message_count, again.live_bytes) == (22, 19, schedule.live_bytes)
    assert sorted(again.kept()) == sorted((entry.position, entry.size_bytes) for entry in schedule.entries())


def test_a_schedule_that_is_not_awake_has_nothing_due() -> None:
    schedule = Schedule()
    schedule.add(Entry(1, 1, NOW_MS - 5, 9, 9))
    schedule.forget(1, 2)
    schedule.abandon()
    schedule.add(Entry(2, 1, NOW_MS - 5, 9, 9))
    assert (schedule.next_ms(), schedule.due(NOW_MS, 10)) == (None, ([], 10))
    schedule.awake(NOW_MS)
    assert schedule.due(NOW_MS, 10)[0] == [2]
