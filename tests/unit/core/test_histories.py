"""What became of one message: every state, and every failure that is kept."""

import pytest
from tests.unit.core.harness import Core

from penstock.core.histories import MessageHistory, history_of
from penstock.core.queue import Queue
from penstock.core.session import Session
from penstock.core.values import ACK, EXTEND, NACK, REJECT, RELEASE, Failure, Refused


def leased(core: Core, count: int) -> tuple[Queue, Session]:
    """A queue with so many messages, all leased to one worker."""
    queue = core.queue(lease_ms=1000)
    core.fill(queue, count)
    worker = core.session(producer=False)
    core.consume(worker, queue, name="worker")
    core.dispatch()
    return queue, worker


def told(core: Core, queue: Queue, offset: int) -> MessageHistory:
    return history_of(core.broker, queue.group, offset, core.now_ms)


def test_a_message_that_nobody_had_is_ready_and_has_no_past(core: Core) -> None:
    queue = core.queue()
    core.fill(queue, 2)
    assert told(core, queue, 1) == ("ready", 0, 0, (), "", 0, 0)


def test_a_leased_message_says_who_has_it_since_when_and_until_when(core: Core) -> None:
    queue, worker = leased(core, 3)
    assert told(core, queue, 2) == ("leased", 1, 0, (), "worker", core.now_ms, core.now_ms + 1000)
    core.settle(worker, ACK, (1, 1))
    core.settle(worker, EXTEND, (2, 2), duration_ms=60_000)
    assert told(core, queue, 1) == ("leased", 1, 0, (), "worker", core.now_ms, core.now_ms + 60_000)
    assert told(core, queue, 2).until_ms == core.now_ms + 1000


def test_the_lease_is_that_of_the_group_asked_for(core: Core) -> None:
    queue, _ = leased(core, 1)
    other = core.group(queue, "other")
    assert history_of(core.broker, other, 0, core.now_ms) == ("ready", 0, 0, (), "", 0, 0)


def test_a_failed_message_says_when_it_is_due_and_then_that_it_is_ready(core: Core) -> None:
    queue, worker = leased(core, 1)
    leased_at_ms = core.now_ms
    core.now_ms += 300
    core.settle(worker, NACK, (1, 1), duration_ms=5000, reason="busy")
    failures = (Failure(core.now_ms, 1, "worker", "busy", leased_at_ms),)
    assert told(core, queue, 0) == ("scheduled", 1, 1, failures, "", 0, core.now_ms + 5000)
    core.now_ms += 5000
    assert told(core, queue, 0) == ("ready", 1, 1, failures, "", 0, 0)


def test_a_message_that_was_given_back_has_an_attempt_and_no_failure(core: Core) -> None:
    queue, worker = leased(core, 1)
    core.settle(worker, RELEASE, (1, 1))
    assert told(core, queue, 0) == ("ready", 1, 0, (), "", 0, 0)


def test_a_rejected_message_is_dying_until_its_copy_is_written(core: Core) -> None:
    queue, worker = leased(core, 1)
    core.settle(worker, REJECT, (1, 1), reason="never")
    found = told(core, queue, 0)
    assert (found.state, [failure.reason for failure in found.history]) == ("dying", ["never"])


@pytest.mark.parametrize("offset", [0, 3, 99])
def test_what_the_group_is_done_with_or_never_had_is_refused(core: Core, offset: int) -> None:
    queue, worker = leased(core, 3)
    core.settle(worker, ACK, (1, 1))
    with pytest.raises(Refused) as raised:
        told(core, queue, offset)
    assert raised.value.refusal.code == "unknown-message"
    assert f"has no message {offset} that group ''" in raised.value.refusal.message
    assert "from 1 on and before 3" in raised.value.refusal.message


def test_what_is_not_durable_yet_is_not_there(core: Core) -> None:
    queue = core.queue()
    core.fill(queue, 1, visible=False)
    with pytest.raises(Refused):
        told(core, queue, 0)


def test_a_message_whose_time_is_over_says_so_wherever_it_waits(core: Core) -> None:
    queue = core.queue(ttl_ms=500, on_expired="dead-letter")
    core.fill(queue, 2)
    worker = core.session(producer=False)
    core.consume(worker, queue, messages=1)
    core.dispatch()
    core.settle(worker, NACK, (1, 1), duration_ms=60_000, reason="no")
    worker.consumers[1].prefetch_messages = 0
    core.pass_time(500)

    assert told(core, queue, 1) == ("expired", 0, 0, (), "", 0, 0)
    failed = told(core, queue, 0)
    assert (failed.state, failed.failures, failed.until_ms, failed.history[0].reason) == ("expired", 1, 0, "no")
    core.expire()
    assert (told(core, queue, 0).state, told(core, queue, 1).state) == ("expired", "expired")
