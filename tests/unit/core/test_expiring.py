from typing import Any
from unittest.mock import patch

import pytest
from tests.unit.core.harness import BLOCK, Core, offsets

from penstock.core import definitions, expiring, groups, settling
from penstock.core.asks import Ask
from penstock.core.facts import (
    Dead,
    Discarded,
    Expired,
)
from penstock.core.group import Group
from penstock.core.queue import Queue
from penstock.core.values import ACK, EXPIRED, NACK, RELEASE, REQUEUE

TTL_MS = 1000


def expired(group: Group) -> int:
    return group.counters.discarded[EXPIRED]


def filled(core: Core, *counts: int, **settings: Any) -> Queue:
    queue = core.queue(ttl_ms=TTL_MS, **settings)
    core.fill(queue, *counts)
    return queue


def test_what_waits_longer_than_the_queue_says_is_dropped_and_counted(core: Core) -> None:
    queue = filled(core, 3, 2)
    core.pass_time(TTL_MS - 1)
    core.expire()
    assert queue.group.open_count == 5
    core.pass_time(1)
    core.expire()
    assert queue.group.open_count == 0
    assert expired(queue.group) == 5
    assert core.recorded(Discarded) == [Discarded(queue.number, queue.group.number, EXPIRED, ((0, 5),))]
    assert queue.log.start_offset == 5


def test_a_message_may_have_a_shorter_time_than_its_queue_but_no_longer_one(core: Core) -> None:
    queue, session = core.queue(ttl_ms=TTL_MS), core.session()
    core.route(session, 1, "jobs")
    core.publish_asking(session, 1, Ask(), Ask(ttl_ms=200), Ask(ttl_ms=5000))
    core.pass_time(200)
    core.expire()
    assert list(queue.group.passed) == [(1, 2)]
    core.pass_time(TTL_MS - 200)
    core.expire()
    assert queue.group.open_count == 0


@pytest.mark.parametrize("before", [0, 200])
def test_an_altered_time_is_of_what_comes_from_then_on(core: Core, before: int) -> None:
    queue = core.queue(ttl_ms=before)
    core.fill(queue, 1)
    definitions.alter(core.broker, queue, {"ttl_ms": 500}, core.now_ms)
    core.fill(queue, 1)
    definitions.alter(core.broker, queue, {"ttl_ms": 0}, core.now_ms)
    core.fill(queue, 1)
    core.pass_time(400)
    core.expire()
    assert expired(queue.group) == (1 if before else 0)
    core.pass_time(100)
    core.expire()
    assert (1, 2) not in queue.group.open_ranges(dying=True)
    assert queue.group.open_count == (1 if before else 2)


def test_altering_decides_what_becomes_of_what_expires_next(core: Core) -> None:
    queue = filled(core, 1)
    core.pass_time(TTL_MS - 100)
    core.fill(queue, 1)
    core.pass_time(100)
    core.expire()
    definitions.alter(core.broker, queue, {"on_expired": "dead-letter"}, core.now_ms)
    core.pass_time(TTL_MS)
    core.expire()
    assert (expired(queue.group), queue.group.dying_count) == (1, 1)


def test_an_altered_highest_priority_is_of_what_comes_from_then_on(core: Core) -> None:
    queue, session = core.queue(), core.session()
    core.route(session, 1, "jobs")
    core.publish_asking(session, 1, Ask(priority=200))
    definitions.alter(core.broker, queue, {"priority_max": 255}, core.now_ms)
    core.publish_asking(session, 2, Ask(priority=8), Ask(priority=200))
    core.consume(session, queue)
    assert offsets(core.dispatch()) == [2, 0, 1]


def test_only_those_that_ask_expire_in_a_queue_without_a_time(core: Core) -> None:
    queue, session = core.queue(), core.session()
    core.route(session, 1, "jobs")
    core.publish(session, (1, 2))
    assert queue.terms is None
    core.publish_asking(session, 3, Ask(ttl_ms=100), Ask())
    core.publish(session, (5, 1))
    core.pass_time(100)
    core.consume(session, queue)
    assert offsets(core.dispatch()) == [0, 1, 3]
    assert expired(queue.group) == 1


def test_nothing_expires_while_it_is_leased_and_everything_when_it_comes_back(core: Core) -> None:
    queue = filled(core, 4, lease_ms=60_000)
    session = core.session()
    core.consume(session, queue)
    core.dispatch()
    core.pass_time(TTL_MS)
    core.expire()
    assert queue.group.leased_count == 4
    core.settle(session, ACK, (1, 1))
    core.settle(session, RELEASE, (2, 2))
    core.settle(session, NACK, (3, 3), duration_ms=500)
    core.settle(session, REQUEUE, (4, 4))
    assert core.dispatch() == []
    assert (queue.group.counters.acked, expired(queue.group), queue.group.open_count) == (1, 3, 0)
    assert not queue.group.history


def test_what_waits_for_its_next_attempt_expires_too(core: Core) -> None:
    queue = filled(core, 3, backoff_min_ms=60_000, backoff_max_ms=60_000)
    session = core.session()
    consumer = core.consume(session, queue)
    core.dispatch()
    consumer.prefetch_messages = 0
    core.settle(session, NACK, (2, 2), duration_ms=60_000)
    core.settle(session, RELEASE, (1, 1))
    core.pass_time(TTL_MS)
    core.expire()
    assert (queue.group.delayed_count, queue.group.returned_count, queue.group.leased_count) == (0, 0, 1)
    assert expired(queue.group) == 2


def test_what_is_due_is_not_handed_out_though_it_was_not_let_go_of_yet(core: Core) -> None:
    queue, session = core.queue(), core.session()
    core.route(session, 1, "jobs")
    core.publish_asking(session, 1, Ask(), Ask(ttl_ms=100), Ask())
    consumer = core.consume(session, queue)
    core.pass_time(100)
    with patch.object(expiring, "expire", return_value=False):
        assert offsets(core.dispatch()) == [0]
    core.settle(session, RELEASE, (1, 1))
    consumer.prefetch_messages = 5
    assert offsets(core.dispatch()) == [0, 2]


@pytest.mark.parametrize("mode", ["shared", "single", "keyed"])
def test_each_group_lets_go_for_itself(core: Core, mode: str) -> None:
    queue = core.queue(ttl_ms=TTL_MS)
    other = core.group(queue, "other", mode=mode)
    core.fill(queue, 3)
    session = core.session()
    core.consume(session, queue)
    core.dispatch()
    core.pass_time(TTL_MS)
    core.expire()
    assert expired(other) == 3
    assert expired(queue.group) == 0
    core.settle(session, ACK, (1, 3))
    assert queue.log.start_offset == 3


def test_a_group_that_comes_later_gets_nothing_that_is_over(core: Core) -> None:
    queue = filled(core, 2)
    session = core.session()
    core.consume(session, queue)
    core.dispatch()
    core.pass_time(TTL_MS)
    core.expire()
    late = core.group(queue, "late")
    core.expire()
    assert expired(late) == 2


def test_what_remains_for_the_default_group_is_looked_through_when_another_goes(core: Core) -> None:
    queue = core.queue(ttl_ms=TTL_MS)
    only = core.group(queue, "only")
    core.fill(queue, 3)
    session = core.session()
    core.consume(session, queue, group=only)
    core.dispatch()
    core.pass_time(TTL_MS)
    core.expire()
    assert queue.log.start_offset == 0
    expiring_before = expired(queue.group)
    groups.delete_group(core.broker, only)
    core.expire()
    assert expired(queue.group) == expiring_before + 3


def test_a_million_at_once_go_in_slices(core: Core) -> None:
    queue, session = core.queue(), core.session()
    core.route(session, 1, "jobs")
    count = 2 * expiring.MOVES_MAX
    for index in range(0, count, 500):
        asks = [Ask(ttl_ms=100 + 100 * (one % 2)) for one in range(500)]
        core.publish_asking(session, index + 1, *asks)
    core.pass_time(200)
    turns = 1
    while expiring.expire(core.broker, core.now_ms):
        turns += 1
        assert all(len(fact.ranges) <= expiring.MOVES_MAX for fact in core.recorded(Discarded))
    assert turns > 2
    assert expired(queue.group) == count


def test_expiry_of_one_queue_does_not_touch_another(core: Core) -> None:
    queue = filled(core, 1)
    other = core.queue("other", ttl_ms=10 * TTL_MS)
    core.fill(other, 1)
    core.pass_time(TTL_MS)
    core.expire()
    assert (queue.group.open_count, other.group.open_count) == (0, 1)
    assert core.broker.expirations.next_ms() is not None


def test_a_deleted_queue_or_group_is_looked_at_no_more(core: Core) -> None:
    queue = filled(core, 1)
    late = core.group(queue, "late")
    groups.delete_group(core.broker, late)
    definitions.delete(core.broker, queue, if_empty=False, if_unused=False)
    core.pass_time(TTL_MS)
    core.expire()
    assert core.recorded(Discarded) == []
    assert not core.broker.overdue


# -- dead letters ------------------------------------------------------------------------------------------------------


def bury(core: Core) -> None:
    dying, core.broker.dying = core.broker.dying, []
    for one in dying:
        settling.bury(core.broker, one, BLOCK, core.now_ms, 100)


def test_where_the_queue_says_so_they_go_to_the_dead_letters_wherever_they_are(core: Core) -> None:
    queue = filled(core, 3, on_expired="dead-letter")
    session = core.session()
    core.consume(session, queue, messages=1)
    core.dispatch()
    core.settle(session, NACK, (1, 1), duration_ms=60_000)
    core.consume(session, queue, messages=1, number=2)
    assert offsets(core.dispatch()) == [1, 2]
    core.pass_time(TTL_MS)
    core.settle(session, RELEASE, (2, 2))
    core.expire()
    assert core.recorded(Expired) == [Expired(queue.number, queue.group.number, ((0, 2),))]
    states = [tuple(state) for state in queue.group.outstanding.states()]
    assert states == [(0, 1, 1, 1, 0, 2), (1, 2, 1, 0, 0, 2), (2, 3, 1, 0, 0, 0)]
    assert queue.group.dying_count == 2
    assert queue.group.leased_count == 1
    bury(core)
    assert [fact.offset for fact in core.recorded(Dead)] == [0, 1]
    assert queue.group.counters.dead == 2
    assert expired(queue.group) == 0
    assert core.broker.names["jobs.dead"].log.next_offset == 2


def test_an_untouched_message_dies_without_an_attempt(core: Core) -> None:
    queue = filled(core, 1, on_expired="dead-letter")
    core.pass_time(TTL_MS)
    core.expire()
    assert [tuple(state) for state in queue.group.outstanding.states()] == [(0, 1, 0, 0, 0, 2)]
    assert queue.group.next_offset == 1
    assert queue.group.reopen() == [0]


def test_no_more_die_at_once_than_can_be_buried(core: Core) -> None:
    queue = filled(core, expiring.DYING_MAX + 5, on_expired="dead-letter")
    core.pass_time(TTL_MS)
    core.expire()
    assert queue.group.dying_count == expiring.DYING_MAX
    assert not expiring.expire(core.broker, core.now_ms), "there is nothing to do before some are buried"
    bury(core)
    core.expire()
    assert queue.group.dying_count == 5
    bury(core)
    assert queue.group.counters.dead == expiring.DYING_MAX + 5


def test_what_expires_in_a_queue_that_is_its_own_dead_letter_queue_is_dropped(core: Core) -> None:
    queue = filled(core, 1, on_expired="dead-letter", dead_letter="jobs")
    core.pass_time(TTL_MS)
    core.expire()
    assert expired(queue.group) == 1
