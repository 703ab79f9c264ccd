"""Breakers: when they open, what they try, and who may close them."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.core.harness import Core, offsets

from penstock.core import delivery
from penstock.core.breaker import BREAKER_WAIT_MS_MAX, CLOSED, OPEN, TRIAL, Breaker, make_breaker
from penstock.core.definitions import alter, delete, describe, describe_group
from penstock.core.facts import Paused
from penstock.core.group import Group
from penstock.core.groups import alter_group, delete_group, pause
from penstock.core.queue import Queue
from penstock.core.session import Session
from penstock.core.settling import take_back
from penstock.core.values import ACK, NACK, REJECT, RELEASE, REQUEUE, Refused, parse_group_settings, parse_settings


def broken(
    core: Core, count: int = 100, failures: int = 3, prefetch: int = 1, **settings: Any
) -> tuple[Queue, Session]:
    """A queue whose breaker opens after so many failures, and a worker that holds some of its messages."""
    queue = core.queue(
        breaker_failures=failures, max_failures=0, **{"backoff_min_ms": 0, "backoff_max_ms": 0, **settings}
    )
    worker = core.fill(queue, count)
    core.consume(worker, queue, messages=prefetch)
    core.dispatch()
    return queue, worker


def breaker_of(group: Group) -> Breaker:
    assert group.breaker is not None
    return group.breaker


def fail(core: Core, worker: Session, count: int = 1) -> None:
    """One after the other, what the worker holds fails."""
    for _ in range(count):
        tag = worker.leases[0].first_tag
        core.settle(worker, NACK, (tag, tag))
        core.dispatch()


def held(worker: Session) -> int:
    return sum(lease.count for lease in worker.leases)


def ack_all(core: Core, worker: Session) -> int:
    """Acknowledge what the worker holds; return how many that were."""
    count = held(worker)
    for lease in list(worker.leases):
        core.settle(worker, ACK, (lease.first_tag, lease.first_tag + lease.count - 1))
    return count


def test_without_the_setting_there_is_no_breaker(core: Core) -> None:
    assert make_breaker(0, 1000) is None
    queue, worker = broken(core, failures=0)
    fail(core, worker, 50)
    assert (queue.group.breaker, held(worker)) == (None, 1)
    assert describe_group(queue.group)["breaker"] is None


def test_it_opens_when_so_many_attempts_failed_and_hands_nothing_out(core: Core) -> None:
    queue, worker = broken(core)
    fail(core, worker, 2)
    assert (breaker_of(queue.group).state, held(worker)) == (CLOSED, 1)
    fail(core, worker)
    assert (breaker_of(queue.group).state, held(worker)) == (OPEN, 0)
    core.pass_time(999)
    assert core.dispatch() == []


def test_it_does_not_open_while_a_twentieth_is_acknowledged(core: Core) -> None:
    queue, worker = broken(core, 1000, failures=40)
    for _ in range(10):
        fail(core, worker, 20)
        ack_all(core, worker)
        core.dispatch()
    assert breaker_of(queue.group).state == CLOSED
    fail(core, worker, 39)
    ack_all(core, worker)
    core.dispatch()
    fail(core, worker)
    assert breaker_of(queue.group).state == OPEN, "1 of 40"


def test_what_was_acknowledged_before_the_first_failure_says_nothing(core: Core) -> None:
    queue, worker = broken(core, 1000)
    for _ in range(200):
        ack_all(core, worker)
        core.dispatch()
    fail(core, worker, 3)
    assert breaker_of(queue.group).state == OPEN


@pytest.mark.parametrize("outcome", [REJECT, RELEASE, REQUEUE])
def test_what_is_rejected_or_given_back_does_not_count(core: Core, outcome: int) -> None:
    queue, worker = broken(core)
    for _ in range(20):
        tag = worker.leases[0].first_tag
        core.settle(worker, outcome, (tag, tag))
        core.dispatch()
    assert breaker_of(queue.group).state == CLOSED


def test_expired_leases_and_lost_connections_count(core: Core) -> None:
    queue, _ = broken(core, lease_ms=1000, prefetch=2)
    core.pass_time(1100)
    assert breaker_of(queue.group).state == CLOSED
    core.dispatch()
    core.pass_time(1100)
    assert breaker_of(queue.group).state == OPEN


def test_an_operator_who_takes_a_message_away_may_count_it(core: Core) -> None:
    queue, worker = broken(core, failures=1)
    take_back(core.broker, worker.take_all(), "stuck", core.now_ms)
    assert breaker_of(queue.group).state == OPEN


def test_trial_runs_grow_as_long_as_all_succeeds_and_then_it_closes(core: Core) -> None:
    _, worker = broken(core, failures=6, prefetch=1)
    fail(core, worker, 6)
    worker.consumers[1].prefetch_messages = 1000
    core.pass_time(1000)
    runs = []
    for _ in range(5):
        core.dispatch()
        runs.append(ack_all(core, worker))
    assert runs == [1, 2, 4, 6, 100 - 13]
    assert not core.broker.tripped_groups


def test_a_run_waits_for_all_of_the_one_before(core: Core) -> None:
    queue, worker = broken(core, failures=3)
    fail(core, worker, 3)
    worker.consumers[1].prefetch_messages = 1000
    core.pass_time(1000)
    assert len(offsets(core.dispatch())) == 1
    ack_all(core, worker)
    assert len(offsets(core.dispatch())) == 2
    tag = worker.leases[0].first_tag
    core.settle(worker, ACK, (tag, tag))
    assert core.dispatch() == []
    assert breaker_of(queue.group).state == TRIAL
    ack_all(core, worker)
    assert len(offsets(core.dispatch())) == 3


def test_a_run_may_be_handed_out_as_messages_come(core: Core) -> None:
    """A quiet queue has no eight messages at once."""
    queue, worker = broken(core, count=3, failures=3)
    fail(core, worker, 3)
    core.pass_time(1000)
    for _ in range(3):
        core.dispatch()
        ack_all(core, worker)
    core.dispatch()
    assert (breaker_of(queue.group).state, breaker_of(queue.group).size) == (TRIAL, 3)
    for _ in range(3):
        core.fill(queue, 1)
        core.dispatch()
        ack_all(core, worker)
    core.dispatch()
    assert breaker_of(queue.group).state == CLOSED


def test_one_failure_ends_a_run_and_doubles_the_wait_to_a_minute(core: Core) -> None:
    queue, worker = broken(core, failures=3)
    fail(core, worker, 3)
    waits = []
    for _ in range(8):
        breaker = breaker_of(queue.group)
        waits.append(breaker.retry_ms - core.now_ms)
        core.pass_time(waits[-1])
        core.dispatch()
        fail(core, worker)
    assert waits == [1000, 2000, 4000, 8000, 16_000, 32_000, BREAKER_WAIT_MS_MAX, BREAKER_WAIT_MS_MAX]


def test_after_it_closed_the_wait_is_short_again(core: Core) -> None:
    queue, worker = broken(core, failures=1)
    for _ in range(2):
        fail(core, worker)
        assert breaker_of(queue.group).retry_ms == core.now_ms + 1000
        core.pass_time(1000)
        core.dispatch()
        ack_all(core, worker)
        core.dispatch()
        assert breaker_of(queue.group).state == CLOSED


def test_failures_of_what_was_held_when_it_opened_end_no_run(core: Core) -> None:
    queue, worker = broken(core, failures=3, prefetch=10)
    other = core.session()
    core.settle(worker, NACK, (1, 3))
    core.consume(other, queue, messages=1)
    core.pass_time(1000)
    core.dispatch()
    assert (held(worker), held(other)) == (7 + 1 - held(other), held(other))
    breaker = breaker_of(queue.group)
    retry_ms = breaker.retry_ms
    core.settle(worker, NACK, (4, 10))
    assert (breaker.state, breaker.retry_ms, breaker.size) == (TRIAL, retry_ms, 1)


@pytest.mark.parametrize("outcome", [RELEASE, REJECT, REQUEUE])
def test_a_run_that_came_back_is_followed_by_one_of_its_size(core: Core, outcome: int) -> None:
    queue, worker = broken(core, failures=3)
    fail(core, worker, 3)
    core.pass_time(1000)
    core.dispatch()
    core.settle(worker, outcome, (worker.leases[0].first_tag, worker.leases[0].first_tag))
    core.dispatch()
    assert (breaker_of(queue.group).size, held(worker)) == (1, 1)
    ack_all(core, worker)
    core.dispatch()
    assert breaker_of(queue.group).size == 2


def test_trial_runs_go_on_through_what_waits_the_untouched_first(core: Core) -> None:
    """An outage uses up no message, and a bad one does not hide that others are not."""
    _, worker = broken(core, count=5, failures=2)
    fail(core, worker, 2)
    tried = []
    for _ in range(9):
        core.pass_time(BREAKER_WAIT_MS_MAX)
        tried += offsets(core.dispatch())
        core.settle(worker, NACK, (worker.leases[0].first_tag, worker.leases[0].first_tag))
    assert tried == [1, 2, 3, 4, 0, 1, 2, 3, 4]


def test_a_bad_message_does_not_keep_it_from_closing(core: Core) -> None:
    queue, worker = broken(core, count=20, failures=2)
    fail(core, worker, 2)
    for _ in range(20):
        core.pass_time(BREAKER_WAIT_MS_MAX)
        core.dispatch()
        outcome = NACK if worker.leases[0].first == 0 else ACK
        core.settle(worker, outcome, (worker.leases[0].first_tag, worker.leases[0].first_tag))
        if not queue.group.is_tripped:
            break
    assert breaker_of(queue.group).state == CLOSED


def test_with_an_order_to_keep_the_first_message_is_tried_again(core: Core) -> None:
    queue = core.queue(max_failures=0, backoff_min_ms=0, backoff_max_ms=0)
    group = core.group(queue, "billing", mode="single", breaker_failures=1)
    worker = core.fill(queue, 3)
    core.consume(worker, queue, messages=1, group=group)
    tried = []
    for _ in range(3):
        core.pass_time(BREAKER_WAIT_MS_MAX)
        tried += offsets(core.dispatch())
        core.settle(worker, NACK, (worker.leases[0].first_tag, worker.leases[0].first_tag))
    assert tried == [0, 0, 0]


def test_where_nothing_untouched_may_be_handed_out_what_failed_is_tried_again(
    core: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, worker = broken(core, count=5, failures=1)
    fail(core, worker)
    monkeypatch.setattr(delivery, "EXCEPTIONS_MAX", 0)
    core.pass_time(1000)
    assert offsets(core.dispatch()) == [0]


def test_a_rate_holds_in_trial_runs_and_after_them(core: Core) -> None:
    queue, worker = broken(core, failures=1, rate_per_s=1000.0, rate_burst=1)
    core.pass_time(10)
    core.dispatch()
    fail(core, worker)
    assert queue.group.gate_due_ms == core.now_ms + 1000
    core.pass_time(1000)
    assert len(offsets(core.dispatch())) == 1
    assert queue.group.gate_due_ms == 0, "a run that is out is not waited for by time"
    ack_all(core, worker)
    assert core.dispatch() == []
    core.pass_time(1)
    assert len(offsets(core.dispatch())) == 1
    assert breaker_of(queue.group).state == CLOSED


@pytest.mark.parametrize("mode", ["shared", "single"])
def test_named_groups_have_breakers_of_their_own(core: Core, mode: str) -> None:
    queue = core.queue(max_failures=0, backoff_min_ms=0, backoff_max_ms=0)
    group = core.group(queue, "billing", mode=mode, breaker_failures=2, breaker_wait_ms=50)
    core.group(queue, "audit")
    worker = core.fill(queue, 10)
    core.consume(worker, queue, messages=1, group=group)
    core.consume(worker, queue, messages=1, number=2, group=queue.group_names["audit"])
    core.dispatch()
    for _ in range(2):
        lease = next(lease for lease in worker.leases if lease.consumer.number == 1)
        core.settle(worker, NACK, (lease.first_tag, lease.first_tag))
        core.dispatch()
    assert (group.is_tripped, queue.group_names["audit"].is_tripped) == (True, False)
    core.pass_time(50)
    assert len(offsets(core.dispatch())) == 1


@pytest.mark.parametrize("whole_queue", [True, False])
def test_to_resume_closes_it(core: Core, whole_queue: bool) -> None:
    queue, worker = broken(core, failures=1)
    fail(core, worker)
    owner = queue if whole_queue else queue.group
    assert pause(core.broker, owner, paused=False)
    assert not pause(core.broker, owner, paused=False)
    assert core.recorded(Paused) == []
    assert not core.broker.tripped_groups
    assert len(core.dispatch()) == 1


def test_to_pause_a_group_does_not_close_it(core: Core) -> None:
    queue, worker = broken(core, failures=1)
    fail(core, worker)
    assert pause(core.broker, queue.group, paused=True)
    core.pass_time(5000)
    assert core.dispatch() == []
    assert queue.group.is_tripped
    assert pause(core.broker, queue.group, paused=False)
    assert len(core.dispatch()) == 1


def test_other_settings_of_it_close_it_and_others_do_not(core: Core) -> None:
    queue, worker = broken(core, failures=1)
    fail(core, worker)
    alter(core.broker, queue, {"lease_ms": 1000}, core.now_ms)
    assert queue.group in core.broker.tripped_groups
    alter(core.broker, queue, {"breaker_wait_ms": 9}, core.now_ms)
    assert not core.broker.tripped_groups
    assert not queue.group.is_gated
    alter(core.broker, queue, {"breaker_failures": 0}, core.now_ms)
    assert queue.group.breaker is None


def test_a_group_is_given_a_breaker_while_it_lives(core: Core) -> None:
    queue = core.queue()
    group = core.group(queue, "billing")
    assert alter_group(core.broker, group, {"breaker_failures": 7}) == {"breaker_failures": (0, 7)}
    assert breaker_of(group).settings == (7, 1000)


def test_what_is_deleted_is_not_tripped_any_more(core: Core) -> None:
    queue, worker = broken(core, failures=1)
    group = core.group(queue, "billing", breaker_failures=1)
    core.consume(worker, queue, number=2, group=group)
    core.dispatch()
    fail(core, worker, 2)
    core.settle(worker, NACK, (1, 100))
    assert len(core.broker.tripped_groups) == 2
    delete_group(core.broker, group)
    assert list(core.broker.tripped_groups) == [queue.group]
    delete(core.broker, queue, if_empty=False, if_unused=False)
    assert not core.broker.tripped_groups


def test_it_is_described(core: Core) -> None:
    queue, worker = broken(core, failures=1)
    closed = {"state": "closed", "since_ms": None, "until_ms": None, "size": None}
    assert describe_group(queue.group)["breaker"] == closed
    assert describe(core.broker, queue)["breakers"] == []
    since_ms = core.now_ms
    fail(core, worker)
    shown = {"state": "open", "since_ms": since_ms, "until_ms": since_ms + 1000, "size": None}
    assert describe_group(queue.group)["breaker"] == shown
    core.pass_time(1000)
    core.dispatch()
    trying = {"state": "trial", "since_ms": since_ms, "until_ms": None, "size": 1}
    assert describe(core.broker, queue)["breakers"] == [{"group": "", **trying}]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("breaker_failures", -1),
        ("breaker_failures", 10_001),
        ("breaker_failures", True),
        ("breaker_failures", 1.5),
        ("breaker_failures", None),
        ("breaker_wait_ms", 0),
        ("breaker_wait_ms", 60_001),
        ("breaker_wait_ms", "1s"),
    ],
)
def test_wrong_settings_are_refused_by_name(name: str, value: Any) -> None:
    for parse in (parse_settings, parse_group_settings):
        with pytest.raises(Refused, match=f"{name} must be a whole number"):
            parse({name: value})
