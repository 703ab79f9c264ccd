from tests.unit.core.harness import Core

from penstock.core import delivery
from penstock.core.asks import Ask
from penstock.core.finding import DYING, EXPIRED, LEASED, READY, SCHEDULED, Span, holdings, next_span
from penstock.core.queue import Queue
from penstock.core.values import ACK, NACK, REJECT


def spans(core: Core, queue: Queue, offset: int = 0) -> list[tuple[int, int, str]]:
    return [(span.first, span.end, span.state) for span in _all(core, queue, offset)]


def _all(core: Core, queue: Queue, offset: int = 0) -> list[Span]:
    held = holdings(core.broker, queue.group)
    found = []
    while (span := next_span(queue.group, offset, held, core.now_ms)) is not None:
        found.append(span)
        offset = span.end
    return found


def mixed(core: Core) -> Queue:
    """Offsets 0 done, 1 and 2 leased, 3 scheduled, 4 dying, 5 and 6 leased, 7 to 11 untouched."""
    queue = core.queue(backoff_min_ms=1000, backoff_max_ms=1000)
    core.fill(queue, 12)
    worker = core.session()
    core.consume(worker, queue, messages=7, name="worker-1")
    core.dispatch()
    core.settle(worker, ACK, (1, 1))
    core.settle(worker, NACK, (4, 4), duration_ms=700)
    core.settle(worker, REJECT, (5, 5))
    worker.consumers[1].prefetch_messages = 0
    return queue


def test_an_untouched_queue_is_one_span(core: Core) -> None:
    queue = core.queue()
    core.fill(queue, 3, 2)

    assert _all(core, queue) == [Span(0, 5, READY)]
    assert spans(core, queue, offset=4) == [(4, 5, READY)]
    assert spans(core, queue, offset=5) == []


def test_every_state_is_told_apart_and_what_is_done_is_not_there(core: Core) -> None:
    queue = mixed(core)

    assert spans(core, queue) == [
        (1, 3, LEASED),
        (3, 4, SCHEDULED),
        (4, 5, DYING),
        (5, 7, LEASED),
        (7, 12, READY),
    ]


def test_a_search_begins_within_a_run(core: Core) -> None:
    assert spans(core, mixed(core), offset=2)[:2] == [(2, 3, LEASED), (3, 4, SCHEDULED)]


def test_a_leased_span_has_its_holder_and_deadline(core: Core) -> None:
    queue = mixed(core)
    [leased, scheduled, dying, *_] = _all(core, queue)

    assert (leased.consumer, leased.until_ms, leased.attempts) == ("worker-1", core.now_ms + 30_000, 1)
    assert (scheduled.consumer, scheduled.until_ms, scheduled.failures) == ("", core.now_ms + 700, 1)
    assert (dying.until_ms, dying.failures) == (0, 1)


def test_leases_of_two_consumers_over_one_run_are_two_spans(core: Core) -> None:
    queue = core.queue()
    core.fill(queue, 4)
    for name in ("first", "second"):
        core.consume(core.session(), queue, messages=2, name=name)
        core.dispatch()

    assert [(span.first, span.end, span.consumer) for span in _all(core, queue)] == [(0, 2, "first"), (2, 4, "second")]


def test_what_was_given_back_is_ready_and_ends_where_a_lease_begins(core: Core) -> None:
    queue = core.queue()
    core.fill(queue, 4)
    gone, stays = core.session(), core.session()
    core.consume(gone, queue, messages=2)
    core.dispatch()
    core.consume(stays, queue, messages=2)
    core.dispatch()
    consumer = gone.consumers[1]
    delivery.remove_consumer(core.broker, consumer)
    stays.consumers[1].prefetch_messages = 0
    core.settle(gone, 3, (1, 2))

    assert spans(core, queue) == [(0, 2, READY), (2, 4, LEASED)]


def test_leases_of_a_cancelled_consumer_are_still_its_own(core: Core) -> None:
    """SEMANTICS 1."""
    queue = core.queue()
    worker = core.fill(queue, 1)
    delivery.remove_consumer(core.broker, core.consume(worker, queue, name="left"))
    core.consume(worker, queue, name="gone")
    core.dispatch()
    delivery.remove_consumer(core.broker, worker.consumers[1])

    assert [span.consumer for span in _all(core, queue)] == ["gone"]


def test_what_is_due_is_ready_even_before_it_is_woken(core: Core) -> None:
    queue = mixed(core)
    core.now_ms += 700

    assert (3, 4, READY) in spans(core, queue)


def test_what_is_not_durable_is_not_found(core: Core) -> None:
    """I3."""
    queue = core.queue()
    core.fill(queue, 3, visible=False)

    assert spans(core, queue) == []


def test_leases_of_other_queues_are_not_this_queue_s(core: Core) -> None:
    queue, other = core.queue(), core.queue("other")
    core.fill(queue, 2)
    core.consume(core.fill(other, 2), other)
    core.dispatch()

    assert holdings(core.broker, queue.group) == []
    assert len(holdings(core.broker, other.group)) == 1


def test_what_expired_is_told_apart_until_it_is_gone(core: Core) -> None:
    queue, session = core.queue(on_expired="dead-letter"), core.session()
    core.route(session, 1, "jobs")
    core.publish_asking(session, 1, Ask(), Ask(ttl_ms=100), Ask(ttl_ms=5000), Ask(ttl_ms=100), Ask(ttl_ms=100))
    core.consume(session, queue, messages=2)
    core.dispatch()
    core.settle(session, NACK, (2, 2), duration_ms=60_000)
    session.consumers[1].prefetch_messages = 0
    assert spans(core, queue) == [(0, 1, LEASED), (1, 2, SCHEDULED), (2, 5, READY)]
    core.pass_time(100)

    about_to_go = [(0, 1, LEASED), (1, 2, EXPIRED), (2, 3, READY), (3, 5, EXPIRED)]
    assert spans(core, queue) == about_to_go
    assert [span.until_ms for span in _all(core, queue)][1:] == [0, 0, 0], "a delay means nothing any more"
    core.expire()
    assert spans(core, queue) == about_to_go, "on their way to the dead letters"
    assert spans(core, queue, offset=4) == [(4, 5, EXPIRED)]


def test_what_expired_before_it_was_durable_is_not_found(core: Core) -> None:
    """I3."""
    queue = core.queue(ttl_ms=100, on_expired="dead-letter")
    core.fill(queue, 2)
    visible = queue.log.visible
    core.fill(queue, 2)
    queue.log.visible = visible
    core.pass_time(100)
    core.expire()
    assert queue.group.dying_count == 4
    assert spans(core, queue) == [(0, 2, EXPIRED)]
    assert spans(core, queue, offset=2) == []


def test_an_expired_message_is_gone_once_it_was_dropped(core: Core) -> None:
    queue, session = core.queue(), core.session()
    core.route(session, 1, "jobs")
    core.publish_asking(session, 1, Ask(ttl_ms=100), Ask())
    core.pass_time(100)
    assert spans(core, queue) == [(0, 1, EXPIRED), (1, 2, READY)]
    core.expire()
    assert spans(core, queue) == [(1, 2, READY)]
