"""Hand-outs at a rate: held over all consumers of a group, redeliveries included (SEMANTICS 19)."""

from tests.unit.core.harness import Core

from penstock.core.broker import Delivery
from penstock.core.values import ACK, NACK, RELEASE


def count(deliveries: list[Delivery]) -> int:
    return sum(delivery.end - delivery.first for delivery in deliveries)


def handed_out(core: Core, *steps_ms: int) -> list[int]:
    """How many messages each dispatch hands out, so long after the one before."""
    counts = []
    for step_ms in steps_ms:
        core.now_ms += step_ms
        counts.append(count(core.dispatch()))
    return counts


def test_a_group_begins_without_tokens_and_gets_them_with_time(core: Core) -> None:
    queue = core.queue(rate_per_s=100, rate_burst=5)
    core.fill(queue, 1000)
    core.consume(core.session(producer=False), queue)
    assert handed_out(core, 0, 10, 10, 20, 1000, 0) == [0, 1, 1, 2, 5, 0]


def test_the_rate_is_held_over_all_consumers_and_shared_among_them(core: Core) -> None:
    queue = core.queue(rate_per_s=100, rate_burst=10)
    core.fill(queue, 100, 100, 100)
    sessions = [core.session(producer=False) for _ in range(4)]
    for session in sessions:
        core.consume(session, queue)
    core.dispatch()
    taken = dict.fromkeys((session.number for session in sessions), 0)
    for _ in range(20):
        core.now_ms += 100
        deliveries = core.dispatch()
        assert count(deliveries) == 10
        for delivery in deliveries:
            taken[delivery.session] += delivery.end - delivery.first
    assert sum(taken.values()) == 200
    assert min(taken.values()) >= 40


def test_redeliveries_need_tokens_too(core: Core) -> None:
    queue = core.queue(rate_per_s=100, rate_burst=5)
    core.fill(queue, 5)
    worker = core.session(producer=False)
    core.consume(worker, queue)
    assert handed_out(core, 0, 50) == [0, 5]
    core.settle(worker, RELEASE, (1, 2))
    core.settle(worker, NACK, (3, 3), duration_ms=0)
    assert handed_out(core, 0, 10, 10, 10) == [0, 1, 1, 1]


def test_what_waits_for_tokens_is_due_when_there_are_some(core: Core) -> None:
    queue = core.queue(rate_per_s=10, rate_burst=1)
    core.fill(queue, 3)
    core.consume(core.session(producer=False), queue)
    core.dispatch()
    assert queue.group.next_due_ms() == core.now_ms + 100
    assert handed_out(core, 100) == [1]
    assert queue.group.next_due_ms() == core.now_ms + 100


def test_nobody_waits_for_tokens_that_no_consumer_could_use(core: Core) -> None:
    queue = core.queue(rate_per_s=10, rate_burst=1)
    core.fill(queue, 3)
    worker = core.session(producer=False)
    core.consume(worker, queue, messages=1)
    assert handed_out(core, 0, 100, 100) == [0, 1, 0]
    assert queue.group.next_due_ms() is None
    assert queue.group not in core.broker.delayed_groups
    core.settle(worker, ACK, (1, 1))
    assert handed_out(core, 0) == [1]


def test_an_empty_queue_waits_for_nothing(core: Core) -> None:
    queue = core.queue(rate_per_s=10, rate_burst=1)
    core.fill(queue, 1)
    core.consume(core.session(producer=False), queue)
    assert handed_out(core, 0, 100) == [0, 1]
    assert queue.group.next_due_ms() is None


def test_a_delay_and_a_rate_are_due_by_whichever_is_first(core: Core) -> None:
    queue = core.queue(rate_per_s=10, rate_burst=2)
    core.fill(queue, 4)
    worker = core.session(producer=False)
    core.consume(worker, queue)
    assert handed_out(core, 0, 200) == [0, 2]
    core.settle(worker, NACK, (1, 1), duration_ms=50)
    assert queue.group.next_due_ms() == core.now_ms + 50
    core.settle(worker, NACK, (2, 2), duration_ms=5000)
    assert handed_out(core, 50, 50) == [0, 1]


def test_a_named_group_has_a_rate_of_its_own(core: Core) -> None:
    queue = core.queue(rate_per_s=10, rate_burst=1)
    group = core.group(queue, "fast", rate_per_s=1000, rate_burst=50)
    free = core.group(queue, "free")
    core.fill(queue, 100)
    core.consume(core.session(producer=False), queue)
    core.consume(core.session(producer=False), queue, group=group)
    core.consume(core.session(producer=False), queue, group=free)
    counts: dict[str, int] = {}
    for step_ms in (0, 100):
        core.now_ms += step_ms
        for delivery in core.dispatch():
            name = core.broker.sessions[delivery.session].consumers[delivery.consumer].group.name
            counts[name] = counts.get(name, 0) + delivery.end - delivery.first
    assert counts == {"": 1, "fast": 50, "free": 100}


def test_higher_priority_comes_first_at_a_rate_too(core: Core) -> None:
    queue = core.queue(rate_per_s=100, rate_burst=5)
    core.fill(queue, 100)
    low, high = core.session(producer=False), core.session(producer=False)
    core.consume(low, queue)
    core.consume(high, queue, messages=7, priority=1)
    core.dispatch()
    taken: list[int] = []
    for _ in range(2):
        core.now_ms += 50
        for delivery in core.dispatch():
            taken += [delivery.session] * (delivery.end - delivery.first)
    assert taken == [high.number] * 7 + [low.number] * 3


def test_a_paused_group_collects_no_more_than_a_burst(core: Core) -> None:
    queue = core.queue(rate_per_s=100, rate_burst=5)
    core.fill(queue, 100)
    core.consume(core.session(producer=False), queue)
    assert handed_out(core, 0, 50) == [0, 5]
    queue.group.paused = True
    assert handed_out(core, 5000) == [0]
    queue.group.paused = False
    core.broker.ready_groups[queue.group] = None
    assert handed_out(core, 0, 10) == [5, 1]
