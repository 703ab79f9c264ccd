from typing import Any

import pytest
from tests.unit.core.harness import Core, offsets

from penstock.core import delivery, settling
from penstock.core.facts import (
    Acked,
    Dead,
    Failed,
    Published,
)
from penstock.core.queue import Queue
from penstock.core.session import Session
from penstock.core.values import ACK, EXTEND, HOLD_MS_MAX, NACK, NO_DELAY, REJECT, RELEASE, STARTED


def leased(core: Core, count: int, **settings: Any) -> tuple[Queue, Session]:
    """A queue whose messages a worker holds, tags from 1 on."""
    queue = core.queue(**settings)
    worker = core.fill(queue, count)
    core.consume(worker, queue, name="worker")
    core.dispatch()
    core.facts.clear()
    return queue, worker


def test_an_acknowledgement_of_adjacent_ranges_is_one_fact(core: Core) -> None:
    queue, worker = leased(core, 9)
    assert core.settle(worker, ACK, (1, 2), (3, 4), (7, 7)) == []
    assert core.facts == [Acked(queue.number, queue.group.number, ((0, 4), (6, 7)))]


def test_acknowledging_over_several_queues_is_a_fact_each(core: Core) -> None:
    first, worker = leased(core, 2)
    second = core.queue("other")
    core.fill(second, 2)
    core.consume(worker, second, number=2)
    core.dispatch()
    core.facts.clear()
    core.settle(worker, ACK, (1, 4))
    assert [fact.queue for fact in core.facts if isinstance(fact, Acked)] == [first.number, second.number]


@pytest.mark.parametrize("outcome", [ACK, NACK, RELEASE, REJECT, EXTEND, STARTED])
def test_stale_tags_change_nothing_and_are_named(core: Core, outcome: int) -> None:
    """I10."""
    _, worker = leased(core, 5)
    core.settle(worker, ACK, (2, 2))
    core.facts.clear()
    stranger = core.session()
    assert core.settle(stranger, outcome, (1, 5)) == [(1, 5)]
    assert core.settle(worker, outcome, (2, 2), (90, 99)) == [(2, 2), (90, 99)]
    assert [fact for fact in core.facts if not hasattr(fact, "producer")] == []


def test_the_valid_part_of_a_stale_range_counts(core: Core) -> None:
    queue, worker = leased(core, 5)
    assert core.settle(worker, ACK, (4, 9)) == [(4, 9)]
    assert queue.group.counters.acked == 2


def test_a_tag_of_before_its_redelivery_is_stale(core: Core) -> None:
    """I10."""
    queue, worker = leased(core, 1, lease_ms=1000)
    core.pass_time(1000)
    core.now_ms += 60_000
    assert offsets(core.dispatch()) == [0]
    assert core.settle(worker, ACK, (1, 1)) == [(1, 1)]
    assert core.settle(worker, ACK, (2, 2)) == []
    assert queue.group.counters.acked == 1


def test_a_negative_acknowledgement_counts_a_failure_and_waits(core: Core) -> None:
    queue, worker = leased(core, 2, backoff_min_ms=1000, backoff_max_ms=1000)
    leased_at_ms = core.now_ms
    core.now_ms += 700
    core.settle(worker, NACK, (1, 1), duration_ms=NO_DELAY, reason="no luck")
    [fact] = core.recorded(Failed)
    assert fact.failure == (core.now_ms, 1, "worker", "no luck", leased_at_ms)
    assert core.now_ms + 500 <= fact.due_ms <= core.now_ms + 1000
    assert queue.group.delayed_count == 1


def test_a_delay_of_nought_makes_it_ready_at_once(core: Core) -> None:
    queue, worker = leased(core, 1)
    core.settle(worker, NACK, (1, 1), duration_ms=0)
    assert queue.group.returned_count == 1


def test_a_delay_is_bounded(core: Core) -> None:
    """I13."""
    _, worker = leased(core, 1)
    core.settle(worker, NACK, (1, 1), duration_ms=NO_DELAY - 1)
    assert core.recorded(Failed)[0].due_ms == core.now_ms + HOLD_MS_MAX


def test_a_release_is_no_failure(core: Core) -> None:
    queue, worker = leased(core, 2)
    core.settle(worker, RELEASE, (1, 2))
    assert core.facts == []
    assert queue.group.returned_count == 2


def test_the_last_failure_allowed_is_fatal(core: Core) -> None:
    queue, worker = leased(core, 2, max_failures=2, backoff_min_ms=0, backoff_max_ms=0)
    core.settle(worker, NACK, (1, 1), duration_ms=0)
    core.dispatch()
    core.settle(worker, NACK, (3, 3), duration_ms=0)
    assert [(one.offset, one.group) for one in core.broker.dying] == [(0, queue.group)]
    assert core.recorded(Failed)[-1].dying
    assert queue.group.dying_count == 1


def test_without_a_limit_nothing_dies_of_failures(core: Core) -> None:
    _, worker = leased(core, 1, max_failures=0)
    for tag in range(1, 50):
        core.settle(worker, NACK, (tag, tag), duration_ms=0)
        core.dispatch()
    assert core.broker.dying == []


def test_a_rejected_message_dies_at_once(core: Core) -> None:
    _, worker = leased(core, 3)
    core.settle(worker, REJECT, (2, 3), reason="bad")
    assert [one.offset for one in core.broker.dying] == [1, 2]


def test_burying_copies_and_ends_in_neighbouring_facts(core: Core) -> None:
    """I14."""
    queue, worker = leased(core, 2, lease_ms=700)
    core.settle(worker, REJECT, (1, 1))
    [dying] = core.broker.dying
    settling.bury(core.broker, dying, b"copy", core.now_ms, 100)
    dead = core.broker.names["jobs.dead"]
    assert [type(fact) for fact in core.facts[-2:]] == [Published, Dead]
    assert core.facts[-1] == Dead(queue.number, queue.group.number, 0, dead.number, 0)
    assert queue.group.counters.dead == 1
    assert (dead.settings.lease_ms, dead.settings.max_failures) == (700, 0)
    assert dead.dead_letter_name == dead.name, "SEMANTICS 11: it has none of its own"
    core.broker.dying.clear()
    core.settle(worker, REJECT, (2, 2))
    settling.bury(core.broker, core.broker.dying[0], b"copy", core.now_ms, 100)
    assert dead.log.next_offset == 2, "the queue is made once"


def test_a_dead_letter_does_not_die_again(core: Core) -> None:
    queue, worker = leased(core, 1, dead_letter="jobs", max_failures=1, backoff_min_ms=0, backoff_max_ms=0)
    assert queue.dead_letter_name == queue.name
    core.settle(worker, REJECT, (1, 1))
    assert core.broker.dying == []
    assert queue.group.returned_count == 1


def test_a_name_too_long_for_its_dead_letters_gets_another(core: Core) -> None:
    name = "q" * 255
    queue = core.queue(name)
    worker = core.fill(queue, 1)
    core.consume(worker, queue)
    core.dispatch()
    core.settle(worker, REJECT, (1, 1))
    settling.bury(core.broker, core.broker.dying[0], b"copy", 0, 1)
    assert f"dead-letters-{queue.number}" in core.broker.names, "made even when there are as many queues as may be"


def test_an_expired_lease_returns_its_messages(core: Core) -> None:
    """I20."""
    queue, worker = leased(core, 3, lease_ms=1000)
    core.settle(worker, ACK, (2, 2))
    core.pass_time(999)
    assert queue.group.leased_count == 2
    core.pass_time(1)
    assert queue.group.leased_count == 0
    assert {fact.failure.reason for fact in core.recorded(Failed)} == {"the lease expired"}
    assert worker.leases == []
    assert core.broker.deadlines.live_count == 0


def test_extended_leases_live_longer_up_to_the_longest_hold(core: Core) -> None:
    """I11."""
    queue, worker = leased(core, 2, lease_ms=1000)
    core.settle(worker, EXTEND, (1, 1), duration_ms=5000)
    core.settle(worker, EXTEND, (2, 2), duration_ms=NO_DELAY)
    core.pass_time(4999)
    assert queue.group.leased_count == 2
    core.pass_time(1)
    assert queue.group.leased_count == 1
    core.pass_time(HOLD_MS_MAX)
    assert queue.group.leased_count == 0


def test_a_lost_connection_returns_leases_at_once_and_fails_what_was_started(core: Core) -> None:
    """SEMANTICS 2."""
    queue, worker = leased(core, 5)
    core.settle(worker, STARTED, (1, 2))
    settling.close_session(core.broker, worker, True, core.now_ms)
    [fact] = core.recorded(Failed)
    assert (fact.first, fact.end, fact.failure.reason) == (0, 2, "the connection was lost")
    assert (queue.group.delayed_count, queue.group.returned_count) == (2, 3)
    assert queue.group.consumers == []
    assert worker.number not in core.broker.sessions


def test_a_client_that_never_marks_fails_everything_it_loses(core: Core) -> None:
    _, worker = leased(core, 5)
    settling.close_session(core.broker, worker, True, core.now_ms)
    assert sum(fact.end - fact.first for fact in core.recorded(Failed)) == 5


def test_a_clean_close_fails_nothing(core: Core) -> None:
    queue, worker = leased(core, 5)
    settling.close_session(core.broker, worker, False, core.now_ms)
    assert core.facts == []
    assert queue.group.returned_count == 5


def test_a_cancel_with_release_hands_back_what_was_not_begun(core: Core) -> None:
    queue, worker = leased(core, 5)
    core.settle(worker, STARTED, (2, 3))
    delivery.remove_consumer(core.broker, worker.consumers[1])
    settling.release_unstarted(core.broker, worker, 1)
    assert queue.group.returned_count == 3
    assert core.settle(worker, ACK, (2, 3)) == []


def test_a_move_ends_the_original_in_the_same_step(core: Core) -> None:
    """I14."""
    source, worker = leased(core, 2)
    target = core.queue("target")
    core.facts.clear()
    assert settling.move(core.broker, worker, 1, target.group, b"one", core.now_ms)
    assert [type(fact) for fact in core.facts] == [Published, Acked]
    assert (target.log.next_offset, source.group.counters.acked) == (1, 1)


def test_what_is_not_held_any_more_is_not_moved(core: Core) -> None:
    """I14: its lease expired while it was on its way, so someone else has it."""
    _, worker = leased(core, 1, lease_ms=1000)
    target = core.queue("target")
    core.pass_time(1000)
    assert not settling.move(core.broker, worker, 1, target.group, b"one", core.now_ms)
    assert target.log.next_offset == 0
