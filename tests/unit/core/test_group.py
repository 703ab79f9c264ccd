import pytest

from penstock.core.facts import (
    Acked,
    Dead,
    Discarded,
    Failed,
    Leased,
)
from penstock.core.group import Group
from penstock.core.queue import Queue
from penstock.core.values import DISCARD_REASONS, FAILURES_KEPT_MAX, FILTERED, PURGED, Failure, QueueSettings


def group_of(count: int, handed_out: int = 0) -> Group:
    """A group over ``count`` messages, one block, ``handed_out`` of them leased."""
    queue = Queue(1, 2, "jobs", QueueSettings(), 0, 0)
    queue.log.append(count, 100, 1)
    queue.log.visible = count
    if handed_out:
        queue.group.apply_leased(Leased(1, 2, 0, handed_out))
    return queue.group


def failed(first: int, end: int, due_ms: int = 0, dying: bool = False, time_ms: int = 1) -> Failed:
    return Failed(1, 2, first, end, due_ms, dying, Failure(time_ms, 1, "w", "why", time_ms - 1))


def test_every_message_is_in_one_state_at_any_time() -> None:
    """I12."""
    group = group_of(10, handed_out=6)
    assert (group.ready_count, group.leased_count) == (4, 6)
    group.apply_acked(Acked(1, 2, ((0, 2),)))
    group.give_back(2, 3)
    group.apply_failed(failed(3, 4, due_ms=50))
    group.delay(3, 4, 50)
    assert (group.ready_count, group.leased_count, group.delayed_count) == (5, 2, 1)
    assert group.counters.values() == (2, 0, 0, (0,) * len(DISCARD_REASONS))


def test_low_offset_is_the_first_message_not_done() -> None:
    group = group_of(10, handed_out=4)
    assert group.low_offset == 0
    group.apply_acked(Acked(1, 2, ((0, 1), (2, 3))))
    assert group.low_offset == 1
    assert [group.is_open(offset) for offset in range(5)] == [False, True, False, True, True]
    group.apply_acked(Acked(1, 2, ((1, 2), (3, 4))))
    assert group.low_offset == 4


def test_what_comes_back_is_ready_in_offset_order() -> None:
    """I8."""
    group = group_of(10, handed_out=8)
    for first, end in ((6, 8), (1, 2), (3, 5)):
        group.give_back(first, end)
    taken = []
    while (lowest := group.first_returned()) is not None:
        group.take_returned(lowest[0], lowest[0] + 1)
        taken.append(lowest[0])
    assert taken == [1, 3, 4, 6, 7]


def test_delayed_messages_wake_when_due_and_not_before() -> None:
    group = group_of(10, handed_out=4)
    group.delay(2, 3, 500)
    group.delay(0, 1, 900)
    assert group.next_due_ms() == 500
    assert not group.wake(499)
    assert group.wake(500)
    assert group.first_returned() == (2, 3)
    assert (group.delayed_count, group.returned_count) == (1, 1)


def test_a_redelivery_counts_and_a_first_delivery_does_not() -> None:
    group = group_of(10, handed_out=3)
    group.apply_leased(Leased(1, 2, 1, 3))
    assert group.counters.redelivered == 2
    assert [state.attempts for state in group.outstanding.states()] == [1, 2]


def test_history_keeps_the_first_and_the_latest_failures() -> None:
    group = group_of(1, handed_out=1)
    for time_ms in range(30):
        group.apply_failed(failed(0, 1, time_ms=time_ms))
    times = [failure.time_ms for failure in group.history[0]]
    assert len(times) == FAILURES_KEPT_MAX
    assert times == [0, *range(15, 30)]


@pytest.mark.parametrize("messages", [2, 40])
def test_history_goes_with_its_message(messages: int) -> None:
    """I13."""
    group = group_of(40, handed_out=messages)
    group.apply_failed(failed(0, messages))
    group.apply_acked(Acked(1, 2, ((0, 1),)))
    assert 0 not in group.history
    group.apply_discarded(Discarded(1, 2, PURGED, ((1, messages),)))
    assert group.history == {}


def test_a_dead_message_is_out_and_counted() -> None:
    group = group_of(3, handed_out=2)
    group.apply_failed(failed(1, 2, dying=True))
    group.apply_dead(Dead(1, 2, 1, 9, 0))
    assert group.counters.dead == 1
    assert not group.is_open(1)
    assert group.history == {}


def test_a_purge_takes_ready_and_delayed_messages_and_leaves_the_leased() -> None:
    """SEMANTICS 15."""
    group = group_of(10, handed_out=6)
    group.give_back(4, 5)
    group.delay(1, 3, 99)
    assert group.take_unleased() == ((1, 3), (4, 5), (6, 10))
    assert (group.returned_count, group.delayed_count) == (0, 0)
    group.apply_discarded(Discarded(1, 2, PURGED, ((1, 3), (4, 5), (6, 10))))
    assert group.counters.discarded[PURGED] == 7
    assert group.next_offset == 10
    assert group.outstanding.message_count() == 3


def test_after_a_restart_nothing_is_leased() -> None:
    group = group_of(10, handed_out=6)
    group.apply_failed(failed(0, 1, due_ms=700))
    group.apply_failed(failed(1, 3, dying=True))
    assert group.reopen() == [1, 2]
    assert (group.delayed_count, group.dying_count, group.returned_count, group.leased_count) == (1, 2, 3, 0)
    assert group.next_due_ms() == 700


def test_the_cursor_passes_over_what_was_discarded_ahead_of_it() -> None:
    group = group_of(10)
    group.apply_discarded(Discarded(1, 2, FILTERED, ((2, 4), (6, 7))))
    assert (group.ready_count, group.next_offset, group.untouched_count) == (7, 0, 7)
    assert [group.is_open(offset) for offset in range(8)] == [True, True, False, False, True, True, False, True]
    group.apply_leased(Leased(1, 2, 0, 2))
    assert group.next_offset == 4
    group.apply_discarded(Discarded(1, 2, FILTERED, ((4, 6),)))
    assert group.next_offset == 7, "it never rests on what was passed"
    assert group.counters.discarded[FILTERED] == 5
    assert not group.passed


def test_a_message_handed_out_early_is_outstanding_and_passed() -> None:
    group = group_of(10)
    group.apply_leased(Leased(1, 2, 5, 6))
    assert (group.ready_count, group.leased_count, group.next_offset, group.low_offset) == (9, 1, 0, 0)
    assert group.untouched_until(2) == 5
    group.apply_leased(Leased(1, 2, 0, 5))
    assert (group.next_offset, group.leased_count, len(group.outstanding)) == (6, 6, 1)
    group.give_back(5, 6)
    group.apply_leased(Leased(1, 2, 5, 6))
    assert group.counters.redelivered == 1


def test_what_is_discarded_counts_once() -> None:
    group = group_of(6, handed_out=2)
    group.apply_discarded(Discarded(1, 2, FILTERED, ((1, 4),)))
    group.apply_discarded(Discarded(1, 2, PURGED, ((0, 6),)))
    assert (group.counters.discarded[FILTERED], group.counters.discarded[PURGED]) == (3, 3)
    assert (group.open_count, group.next_offset) == (0, 6)


def test_the_tail_is_ready_when_the_cursor_gets_there() -> None:
    group = group_of(4, handed_out=2)
    group.put_at_tail(0, 1)
    group.queue.log.append(2, 100, 2)
    group.queue.log.visible = 6
    group.reach_tail()
    assert (group.tail_count, group.returned_count, group.clear_until(6)) == (1, 0, 4)
    group.apply_leased(Leased(1, 2, 2, 4))
    group.reach_tail()
    assert (group.tail_count, group.first_returned()) == (0, (0, 1))


def test_a_purge_takes_what_waits_at_the_tail_and_not_what_was_passed() -> None:
    group = group_of(6, handed_out=2)
    group.put_at_tail(1, 2)
    group.apply_discarded(Discarded(1, 2, FILTERED, ((3, 4),)))
    assert group.take_unleased() == ((1, 2), (2, 3), (4, 6))
    assert group.tail_count == 0
