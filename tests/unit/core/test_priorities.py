from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.core.harness import Core, offsets

from penstock.core import definitions, spans
from penstock.core.asks import Ask
from penstock.core.facts import Leased
from penstock.core.operands import PRIORITY_DEFAULT
from penstock.core.priorities import Priorities
from penstock.core.queue import Queue
from penstock.core.session import Session
from penstock.core.values import NACK, NO_DELAY, RELEASE, REQUEUE

PUTS = st.lists(st.tuples(st.integers(0, 3), st.integers(1, 5), st.integers(2, 6)), max_size=15)


def known(puts: list[tuple[int, int, int]]) -> tuple[Priorities, list[int]]:
    priorities = Priorities()
    values = [PRIORITY_DEFAULT] * 300
    end = 0
    for gap, count, priority in puts:
        first, end = end + gap, end + gap + count
        priorities.put(first, end, priority)
        values[first:end] = [priority] * count
    return priorities, values


@given(puts=PUTS, offset=st.integers(0, 150), priority=st.integers(2, 6))
def test_the_next_messages_of_a_priority_are_found(
    puts: list[tuple[int, int, int]], offset: int, priority: int
) -> None:
    priorities, values = known(puts)
    following = [one for one in range(offset, 300) if values[one] == priority]
    if priority not in priorities.levels():
        assert not following
        return
    found = priorities.next_range(priority, offset)
    if not following:
        assert found is None
    else:
        assert found is not None
        first, end = found
        assert first == following[0]
        assert [values[one] for one in range(first, min(end, 300))] == [priority] * (min(end, 300) - first)


@given(puts=PUTS)
def test_a_snapshot_restores_them(puts: list[tuple[int, int, int]]) -> None:
    priorities, values = known(puts)
    restored = Priorities()
    restored.restore(priorities.spans.columns(0))
    for priority in set(values):
        assert restored.next_range(priority, 0) == priorities.next_range(priority, 0)


def test_what_is_gone_is_forgotten_in_its_own_time() -> None:
    priorities = Priorities()
    count = 4 * spans._TRIM_SPANS
    for offset in range(count):
        priorities.put(offset, offset + 1, 9 - offset % 2)
    assert not priorities.trim(count - 2)
    assert priorities.next_range(9, count - 2) == (count - 2, count - 1)
    assert priorities.next_range(8, count - 2) == (count - 1, count)
    assert priorities.next_range(9, count - 1) is None
    assert priorities.trim(count)


# -- handing out -------------------------------------------------------------------------------------------------------


def of(*priorities: int) -> list[Ask]:
    return [Ask(priority=one) for one in priorities]


def started(core: Core, *priorities: int, **settings: Any) -> tuple[Session, Queue]:
    """A queue with a block of messages of these priorities, and a session that publishes and consumes."""
    queue, session = core.queue(**settings), core.session()
    core.route(session, 1, "jobs")
    core.publish_asking(session, 1, *of(*priorities))
    return session, queue


def test_higher_priorities_are_handed_out_first_and_offsets_are_kept_within_one(core: Core) -> None:
    session, queue = started(core, 4, 9, 0, 4, 9, 7, 4)
    core.consume(session, queue)
    assert offsets(core.dispatch()) == [1, 4, 5, 0, 3, 6, 2]
    assert queue.group.next_offset == 7
    assert not queue.group.passed


def test_one_that_comes_later_overtakes_what_waits(core: Core) -> None:
    session, queue = started(core, 4, 4, 4, 5)
    core.consume(session, queue, messages=2)
    assert offsets(core.dispatch()) == [3, 0]
    core.publish_asking(session, 5, *of(9, 4, 9))
    core.settle(session, 1, (1, 2))
    assert offsets(core.dispatch()) == [4, 6]
    core.settle(session, 1, (3, 4))
    assert offsets(core.dispatch()) == [1, 2]


@pytest.mark.parametrize(("outcome", "duration_ms"), [(RELEASE, 0), (NACK, 0), (NACK, NO_DELAY)])
def test_a_requeued_message_keeps_its_priority_and_its_place(core: Core, outcome: int, duration_ms: int) -> None:
    session, queue = started(core, 4, 9, 9, 9, 0, backoff_min_ms=100, backoff_max_ms=100)
    consumer = core.consume(session, queue, messages=1)
    assert offsets(core.dispatch()) == [1]
    core.settle(session, outcome, (1, 1), duration_ms=duration_ms)
    core.pass_time(100)
    consumer.prefetch_messages = 10
    assert offsets(core.dispatch()) == [1, 2, 3, 0, 4]


def test_messages_of_several_priorities_that_come_back_together_are_sorted(core: Core) -> None:
    session, queue = started(core, 4, 5, 6)
    consumer = core.consume(session, queue)
    assert offsets(core.dispatch()) == [2, 1, 0]
    core.settle(session, RELEASE, (1, 3))
    consumer.prefetch_messages = 1
    assert offsets(core.dispatch()) == [2]


def test_requeued_at_the_tail_it_is_behind_its_own_priority_alone(core: Core) -> None:
    session, queue = started(core, 9, 9, 4, 9)
    consumer = core.consume(session, queue, messages=1)
    assert offsets(core.dispatch()) == [0]
    core.settle(session, REQUEUE, (1, 1))
    core.publish_asking(session, 5, *of(9, 4))
    consumer.prefetch_messages = 10
    assert offsets(core.dispatch()) == [1, 3, 0, 4, 2, 5]


def test_what_was_at_the_tail_before_the_first_priority_came_keeps_its_place(core: Core) -> None:
    queue = core.queue()
    session = core.fill(queue, 3)
    consumer = core.consume(session, queue, messages=1)
    assert offsets(core.dispatch()) == [0]
    core.settle(session, REQUEUE, (1, 1))
    core.publish_asking(session, 4, *of(4, 9))
    assert queue.group.tail_count == 0
    consumer.prefetch_messages = 10
    assert offsets(core.dispatch()) == [4, 1, 2, 0, 3]


def test_without_priorities_left_the_order_is_that_of_offsets_again(core: Core) -> None:
    session, queue = started(core, 9, 4, 4)
    consumer = core.consume(session, queue, messages=2)
    assert offsets(core.dispatch()) == [0, 1]
    core.settle(session, REQUEUE, (2, 2))
    core.settle(session, 1, (1, 1))
    assert queue.group.lanes is None
    assert queue.group.tail_count == 1
    consumer.prefetch_messages = 10
    assert offsets(core.dispatch()) == [2, 1]


def test_a_release_after_the_last_priority_went_is_handed_out_again(core: Core) -> None:
    session, queue = started(core, 9, 4, 4)
    consumer = core.consume(session, queue, messages=3)
    assert offsets(core.dispatch()) == [0, 1, 2]
    core.settle(session, RELEASE, (3, 3))
    core.settle(session, 1, (1, 1))
    assert queue.group.lanes is None
    assert queue.group.returned_count == 1
    consumer.prefetch_messages = 10
    assert offsets(core.dispatch()) == [2]


def test_a_queue_takes_higher_priorities_for_its_highest(core: Core) -> None:
    session, queue = started(core, 9, 200, 8)
    core.consume(session, queue)
    assert offsets(core.dispatch()) == [0, 1, 2]
    session, queue = started(Core(), 9, 200, 8, priority_max=255)
    assert queue.terms is not None
    assert queue.terms.priorities is not None
    assert set(queue.terms.priorities.levels()) == {4, 8, 9, 200}


@pytest.mark.parametrize("mode", ["single", "keyed"])
def test_groups_that_keep_an_order_of_their_own_ignore_priorities(core: Core, mode: str) -> None:
    _, queue = started(core, 4, 9)
    group = core.group(queue, "ordered", mode=mode)
    assert group.lanes is None
    assert queue.group.lanes is not None


def test_a_group_declared_later_goes_by_priority(core: Core) -> None:
    session, queue = started(core, 4, 9)
    core.consume(session, queue, group=core.group(queue, "billing"))
    assert offsets(core.dispatch()) == [1, 0]


def test_consumers_of_different_priority_get_the_best_messages_first(core: Core) -> None:
    session, queue = started(core, 4, 9, 4, 9)
    core.consume(session, queue, messages=1, number=1, priority=1)
    core.consume(session, queue, messages=9, number=2)
    assert [(one.consumer, one.first) for one in core.dispatch()] == [(1, 1), (2, 3), (2, 0), (2, 2)]


def test_a_purge_takes_what_came_back_too(core: Core) -> None:
    session, queue = started(core, 4, 9, 4)
    core.consume(session, queue, messages=2)
    assert offsets(core.dispatch()) == [1, 0]
    core.settle(session, RELEASE, (1, 1))
    assert definitions.purge(core.broker, [queue.group]) == 2
    assert core.dispatch() == []
    assert queue.group.ready_count == 0


def test_hand_outs_above_the_cursor_are_recorded_one_by_one_and_those_at_it_together(core: Core) -> None:
    session, queue = started(core, 4, 4, 9, 4)
    core.consume(session, queue)
    assert offsets(core.dispatch()) == [2, 0, 1, 3]
    assert [fact[2:] for fact in core.recorded(Leased)] == [(2, 3), (0, 2), (3, 4)]


def test_what_is_not_durable_yet_waits_whatever_its_priority(core: Core) -> None:
    session, queue = started(core, 4, 4)
    core.publish(session, (3, 1))
    core.consume(session, queue)
    queue.log.visible = 1
    assert offsets(core.dispatch()) == [0]
