from collections import Counter
from collections.abc import Callable

import pytest
from tests.unit.core.harness import BLOCK, Core, offsets

from penstock.core import delivery
from penstock.core.facts import Leased
from penstock.core.values import ACK, EXCEPTIONS_MAX, NACK, RELEASE, Refused


def test_messages_come_in_offset_order_block_by_block(core: Core) -> None:
    """I7."""
    queue = core.queue()
    worker = core.fill(queue, 3, 2)
    core.consume(worker, queue)
    deliveries = core.dispatch()
    assert [(one.first, one.end, one.first_tag, one.attempt, one.failures) for one in deliveries] == [
        (0, 3, 1, 1, 0),
        (3, 5, 4, 1, 0),
    ]
    assert core.recorded(Leased) == [Leased(queue.number, queue.group.number, 0, 5)], "one fact for the dispatch"


def test_nothing_is_delivered_before_it_is_durable(core: Core) -> None:
    """I3."""
    queue = core.queue()
    worker = core.fill(queue, 3, 2, visible=False)
    core.consume(worker, queue)
    assert core.dispatch() == []
    delivery.make_visible(core.broker, queue, 3)
    assert offsets(core.dispatch()) == [0, 1, 2]
    delivery.make_visible(core.broker, queue, 2)
    assert queue.log.visible == 3, "it never goes back"


def test_credit_in_messages_is_kept_exactly(core: Core) -> None:
    """I13."""
    queue = core.queue()
    worker = core.fill(queue, 10)
    consumer = core.consume(worker, queue, messages=4)
    assert offsets(core.dispatch()) == [0, 1, 2, 3]
    assert core.dispatch() == []
    core.settle(worker, ACK, (1, 2))
    assert offsets(core.dispatch()) == [4, 5]
    assert consumer.leased_messages == 4


def test_credit_in_bytes_is_kept_except_for_one_message(core: Core) -> None:
    """I13."""
    queue = core.queue()
    worker = core.fill(queue, 1, 1, 1)
    small = core.consume(worker, queue, size_bytes=len(BLOCK) * 2)
    assert offsets(core.dispatch()) == [0, 1]
    core.settle(worker, ACK, (1, 2))
    small.prefetch_bytes = 1
    assert offsets(core.dispatch()) == [2], "one is always allowed to who holds nothing"
    assert core.dispatch() == []


def test_a_large_message_waits_for_a_consumer_with_room(core: Core) -> None:
    queue = core.queue()
    core.fill(queue, 1, block=b"s" * 10)
    core.fill(queue, 1, block=b"l" * 500)
    narrow, wide = core.session(), core.session()
    core.consume(narrow, queue, size_bytes=100)
    core.dispatch()
    core.consume(wide, queue)
    assert [one.session for one in core.dispatch()] == [wide.number]


def test_equal_consumers_get_equal_shares(core: Core) -> None:
    queue = core.queue()
    core.fill(queue, *[1] * 90)
    for _ in range(3):
        core.consume(core.session(), queue)
    counts = Counter(one.session for one in core.dispatch())
    assert sorted(counts.values()) == [30, 30, 30]


def test_single_messages_go_round(core: Core) -> None:
    queue = core.queue()
    producer = core.session()
    core.route(producer, 1, "jobs")
    for _ in range(3):
        core.consume(core.session(), queue)
    counts: Counter[int] = Counter()
    for sequence in range(1, 31):
        core.publish(producer, (sequence, 1))
        delivery.make_visible(core.broker, queue, sequence)
        counts.update(one.session for one in core.dispatch())
    assert sorted(counts.values()) == [10, 10, 10]


def test_a_consumer_that_comes_later_gets_its_share(core: Core) -> None:
    queue = core.queue()
    core.fill(queue, *[1] * 100)
    first, second = core.session(), core.session()
    core.consume(first, queue, messages=10)
    core.dispatch()
    core.consume(second, queue, messages=10)
    assert {one.session for one in core.dispatch()} == {second.number}


def test_what_comes_back_goes_out_before_what_is_new(core: Core) -> None:
    """I8."""
    queue = core.queue()
    worker = core.fill(queue, 10)
    core.consume(worker, queue, messages=6)
    core.dispatch()
    core.settle(worker, RELEASE, (5, 5), (2, 2))
    deliveries = core.dispatch()
    assert offsets(deliveries) == [1, 4]
    assert [one.attempt for one in deliveries] == [2, 2]
    core.settle(worker, ACK, (1, 1))
    assert offsets(core.dispatch()) == [6]


def test_a_delayed_message_is_handed_out_when_it_is_due(core: Core) -> None:
    queue = core.queue()
    worker = core.fill(queue, 2)
    core.consume(worker, queue)
    core.dispatch()
    core.settle(worker, NACK, (1, 1), duration_ms=500)
    core.now_ms += 499
    assert core.dispatch() == []
    core.now_ms += 1
    [one] = core.dispatch()
    assert (one.first, one.attempt, one.failures) == (0, 2, 1)
    assert core.broker.delayed_groups == {}


def test_flow_stops_and_resumes_deliveries(core: Core) -> None:
    queue = core.queue()
    worker = core.fill(queue, 5)
    core.consume(worker, queue, messages=1)
    core.dispatch()
    delivery.set_credit(core.broker, worker, 1, 0, 0)
    core.settle(worker, ACK, (1, 1))
    assert core.dispatch() == []
    delivery.set_credit(core.broker, worker, 1, 2, 1 << 20)
    assert offsets(core.dispatch()) == [1, 2]


def test_a_cancelled_consumer_s_leases_stay_with_its_session(core: Core) -> None:
    """SEMANTICS 1."""
    queue = core.queue()
    worker = core.fill(queue, 5)
    consumer = core.consume(worker, queue, messages=2)
    core.dispatch()
    delivery.remove_consumer(core.broker, consumer)
    assert core.settle(worker, ACK, (1, 2)) == []
    assert queue.group.counters.acked == 2
    assert core.dispatch() == []


def test_consumers_are_numbered_by_their_connection(core: Core) -> None:
    queue = core.queue()
    session = core.session()
    consumer = core.consume(session, queue, number=3)
    assert delivery.find_consumer(session, 3) is consumer
    assert consumer.name == session.name
    refused: list[tuple[Callable[[], object], str]] = [
        (lambda: core.consume(session, queue, number=3), "consumer-exists"),
        (lambda: delivery.consume(core.broker, session, queue.group, 4, 1, 1, "", 1), "limit-reached"),
        (lambda: delivery.find_consumer(session, 9), "unknown-consumer"),
    ]
    for call, code in refused:
        with pytest.raises(Refused) as error:
            call()
        assert error.value.refusal.code == code


def test_new_messages_wait_while_a_group_has_too_many_exceptions(core: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    """SEMANTICS 31."""
    assert EXCEPTIONS_MAX >= 1000
    monkeypatch.setattr(delivery, "EXCEPTIONS_MAX", 2)
    queue = core.queue()
    worker = core.fill(queue, 20)
    core.consume(worker, queue, messages=9)
    core.dispatch()
    core.settle(worker, ACK, (2, 2), (4, 4), (6, 6))
    assert len(queue.group.outstanding) > 2
    assert core.dispatch() == []
    core.settle(worker, ACK, (1, 5))
    assert core.dispatch() != []


def test_a_group_without_consumers_costs_no_dispatch(core: Core) -> None:
    queue = core.queue()
    core.fill(queue, 3)
    assert core.dispatch() == []
    assert core.broker.ready_groups == {}
