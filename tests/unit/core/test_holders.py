import pytest
from tests.unit.core.harness import Core, offsets

from penstock.core import holders
from penstock.core.values import Refused


@pytest.fixture
def core() -> Core:
    return Core()


def test_a_session_is_described_with_what_it_holds(core: Core) -> None:
    queue = core.queue()
    worker = core.fill(queue, 3)
    core.consume(worker, queue, messages=2)
    core.dispatch()
    info = holders.describe_session(holders.find_session(core.broker, worker.number), core.now_ms)
    assert (info["name"], info["consumers"], info["leased"], info["routes"]) == (worker.name, 1, 2, 1)


def test_a_consumer_is_described_with_its_credit_and_its_first_lease_to_end(core: Core) -> None:
    queue = core.queue(lease_ms=1000)
    group = core.group(queue, "billing", mode="single")
    worker = core.fill(queue, 3)
    consumer = core.consume(worker, queue, group=group, messages=2, priority=3, name="one")
    other = core.consume(core.session(), queue, group=group)
    idle = holders.describe_consumer(other, core.now_ms)
    assert (idle["active"], idle["leased"], idle["lease_ends_in_ms"]) == (False, 0, None)
    core.dispatch()
    core.pass_time(300)
    info = holders.describe_consumer(consumer, core.now_ms)
    assert (info["name"], info["group"], info["priority"], info["active"]) == ("one", "billing", 3, True)
    assert (info["leased"], info["prefetch_messages"], info["lease_ends_in_ms"]) == (2, 2, 700)


@pytest.mark.parametrize("failed", [False, True])
def test_a_stuck_message_is_taken_away(core: Core, failed: bool) -> None:
    """I10: what its holder says of it from then on changes nothing."""
    queue = core.queue(backoff_min_ms=0, backoff_max_ms=0)
    worker, other = core.fill(queue, 3), core.session()
    core.consume(worker, queue, name="stuck")
    core.dispatch()
    assert holders.revoke(core.broker, queue.group, 1, failed, core.now_ms) == "stuck"
    assert core.settle(worker, 1, (2, 2)) == [(2, 2)]
    holders.close_consumer(core.broker, worker, 1, core.now_ms)
    core.consume(other, queue)
    failures = {one.first: one.failures for one in core.dispatch() if one.first == 1}
    assert failures == {1: int(failed)}


def test_what_nobody_holds_cannot_be_taken_away(core: Core) -> None:
    queue = core.queue()
    core.fill(queue, 1)
    with pytest.raises(Refused) as refused:
        holders.revoke(core.broker, queue.group, 0, False, core.now_ms)
    assert refused.value.refusal.code == "not-leased"


def test_a_closed_consumer_is_told_and_gives_back_what_it_holds(core: Core) -> None:
    queue = core.queue()
    worker = core.fill(queue, 3)
    core.consume(worker, queue, number=1, messages=2)
    core.consume(worker, queue, number=2, messages=1)
    core.dispatch()
    held = sum(lease.count for lease in worker.leases if lease.consumer.number == 1)
    assert holders.close_consumer(core.broker, worker, 1, core.now_ms) == held
    assert [(one.consumer, one.refusal.code) for one in core.broker.cancelled] == [(1, "consumer-closed")]
    core.settle(worker, 1, *[(lease.first_tag, lease.first_tag) for lease in list(worker.leases)])
    assert len(offsets(core.dispatch())) == 1, "the other one goes on"


def test_who_is_not_there_is_named(core: Core) -> None:
    session = core.session()
    with pytest.raises(Refused) as refused:
        holders.find_session(core.broker, 99)
    assert refused.value.refusal.code == "unknown-session"
    with pytest.raises(Refused) as refused:
        holders.close_consumer(core.broker, session, 7, core.now_ms)
    assert refused.value.refusal.code == "unknown-consumer"
