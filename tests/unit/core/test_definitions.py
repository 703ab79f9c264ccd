import pytest
from tests.unit.core.harness import Core

from penstock.core import definitions
from penstock.core.facts import (
    Declared,
    Deleted,
    Discarded,
    ProducerOpened,
    ProducersExpired,
)
from penstock.core.values import QueueSettings, Refused


def refused_code(call: object, *arguments: object) -> str:
    with pytest.raises(Refused) as refused:
        call(*arguments)  # type: ignore[operator]
    return refused.value.refusal.code


def test_declaring_is_idempotent(core: Core) -> None:
    first = core.queue(lease_ms=500)
    assert core.queue(lease_ms=500) is first
    assert len(core.recorded(Declared)) == 1


def test_declaring_otherwise_names_the_difference(core: Core) -> None:
    core.queue(lease_ms=500)
    with pytest.raises(Refused, match="lease_ms is 700, not 500") as refused:
        core.queue(lease_ms=700)
    assert refused.value.refusal.code == "settings-differ"


def test_the_number_of_queues_is_bounded(core: Core) -> None:
    """I13."""
    core.queue("a")
    declare = (definitions.declare, core.broker, "b", QueueSettings(), 0, 1)
    assert refused_code(*declare) == "limit-reached"
    assert definitions.declare(core.broker, "a", QueueSettings(), 0, 1)[1] is False


@pytest.mark.parametrize(("name", "code"), [("nowhere", "unknown-queue"), ("", "bad-name"), (5, "bad-name")])
def test_a_queue_that_is_not_there_is_refused(core: Core, name: object, code: str) -> None:
    assert refused_code(definitions.find_queue, core.broker, name) == code


def test_a_declared_again_queue_is_a_new_one(core: Core) -> None:
    """SEMANTICS 24."""
    old = core.queue()
    definitions.delete(core.broker, old, False, False)
    new = core.queue()
    assert new.number > old.number


def test_describe_counts_every_message_once(core: Core) -> None:
    """I12."""
    queue = core.queue(backoff_min_ms=500, backoff_max_ms=500)
    worker = core.fill(queue, 10)
    core.consume(worker, queue, messages=6)
    core.dispatch()
    core.settle(worker, 1, (1, 2))
    core.settle(worker, 2, (3, 3), duration_ms=9999)
    core.settle(worker, 3, (4, 4))
    info = definitions.describe(core.broker, queue)
    counts = {key: info[key] for key in ("ready", "scheduled", "leased", "messages", "acked", "published", "consumers")}
    assert counts == {
        "ready": 5, "scheduled": 1, "leased": 2, "messages": 8, "acked": 2, "published": 10, "consumers": 1,
    }  # fmt: skip
    assert info["dead_letter"] == "jobs.dead"
    assert info["dead"] == 0


def test_describe_of_a_memory_queue_counts_from_this_life(core: Core) -> None:
    queue = core.queue(durable=False)
    core.fill(queue, 3)
    assert definitions.describe(core.broker, queue)["published"] == 3


def test_describe_counts_the_dead_letters_that_wait(core: Core) -> None:
    queue, dead = core.queue(), core.queue("jobs.dead")
    core.fill(dead, 4)
    assert definitions.describe(core.broker, queue)["dead"] == 4


def test_queues_are_listed_by_name_in_pages(core: Core) -> None:
    for name in ("b", "a", "ac", "ab", "c"):
        core.queue(name)

    def page(prefix: str, after: str, limit: int) -> tuple[list[str], bool]:
        queues, more = definitions.list_queues(core.broker, prefix, after, limit)
        return [queue.name for queue in queues], more

    assert page("", "", 2) == (["a", "ab"], True)
    assert page("", "ab", 9) == (["ac", "b", "c"], False)
    assert page("a", "a", 1) == (["ab"], True)
    assert page("z", "", 5) == ([], False)


def test_a_purge_leaves_leased_messages(core: Core) -> None:
    queue = core.queue()
    worker = core.fill(queue, 5)
    core.consume(worker, queue, messages=2)
    core.dispatch()
    assert definitions.purge(core.broker, queue.keepers()) == 3
    assert core.settle(worker, 1, (1, 2)) == []
    assert definitions.purge(core.broker, queue.keepers()) == 0
    assert len(core.recorded(Discarded)) == 1


def test_a_purge_takes_what_is_not_durable_yet(core: Core) -> None:
    queue = core.queue()
    core.fill(queue, 5, visible=False)
    assert definitions.purge(core.broker, queue.keepers()) == 5
    assert queue.group.ready_count == 0


def test_deleting_tells_consumers_and_ends_leases(core: Core) -> None:
    queue, other = core.queue(), core.queue("other")
    worker = core.fill(queue, 5)
    core.fill(other, 1)
    core.consume(worker, queue, number=1, messages=1)
    core.consume(worker, queue, number=2, messages=1)
    kept = core.consume(worker, other, number=3)
    core.dispatch()
    definitions_removed = definitions.delete(core.broker, queue, False, False)
    assert definitions_removed == 5
    assert [(one.consumer, one.refusal.code) for one in core.broker.cancelled] == [
        (1, "queue-deleted"),
        (2, "queue-deleted"),
    ]
    assert list(worker.consumers.values()) == [kept]
    assert [lease.consumer for lease in worker.leases] == [kept]
    assert core.recorded(Deleted)


def test_deleting_ends_the_leases_of_cancelled_consumers_too(core: Core) -> None:
    from penstock.core.delivery import remove_consumer

    queue = core.queue()
    worker = core.fill(queue, 5)
    consumer = core.consume(worker, queue)
    core.dispatch()
    remove_consumer(core.broker, consumer)
    definitions.delete(core.broker, queue, False, False)
    assert worker.leases == []
    assert core.settle(worker, 1, (1, 5)) == [(1, 5)], "I10"


def test_deleting_forgets_what_was_about_to_happen(core: Core) -> None:
    queue = core.queue(max_failures=1)
    worker = core.fill(queue, 3, visible=False)
    from penstock.core.delivery import make_visible

    make_visible(core.broker, queue, 3)
    core.consume(worker, queue, messages=2)
    core.dispatch()
    core.settle(worker, 4, (1, 1))
    definitions.delete(core.broker, queue, False, False)
    broker = core.broker
    assert not any((broker.dying, broker.ready_groups, broker.delayed_groups, broker.published_queues))


def test_deleting_under_conditions(core: Core) -> None:
    queue = core.queue()
    worker = core.fill(queue, 1)
    assert refused_code(definitions.delete, core.broker, queue, True, False) == "queue-not-empty"
    core.consume(worker, queue)
    assert refused_code(definitions.delete, core.broker, queue, False, True) == "queue-in-use"
    core.dispatch()
    core.settle(worker, 1, (1, 1))
    assert definitions.delete(core.broker, queue, True, False) == 0


def test_a_producer_resumes_under_its_number(core: Core) -> None:
    first = core.session()
    again = core.session(producer=False)
    assert definitions.open_producer(core.broker, again, first.producer, 0) == first.producer
    assert len(core.recorded(ProducerOpened)) == 2
    assert refused_code(definitions.open_producer, core.broker, again, None, 0) == "limit-reached"


def test_an_unknown_producer_is_told_so(core: Core) -> None:
    """SEMANTICS 7: never silent acceptance."""
    session = core.session(producer=False)
    assert refused_code(definitions.open_producer, core.broker, session, 99, 0) == "producer-expired"


def test_idle_producers_expire_unless_they_are_connected(core: Core) -> None:
    connected, idle = core.session(), core.session()
    del core.broker.sessions[idle.number]
    core.now_ms += 1
    busy = core.session()
    del core.broker.sessions[busy.number]
    definitions.expire_producers(core.broker, core.now_ms)
    assert sorted(core.broker.producers) == [connected.producer, busy.producer]
    definitions.expire_producers(core.broker, core.now_ms)
    assert len(core.recorded(ProducersExpired)) == 1, "nothing to forget, nothing to record"


def test_a_living_queue_gets_other_settings(core: Core) -> None:
    queue = core.queue(backoff_min_ms=0, backoff_max_ms=0)
    worker = core.fill(queue, 1)
    core.consume(worker, queue)
    changed = definitions.alter(core.broker, queue, {"max_failures": 1, "lease_ms": 777, "backoff_min_ms": 0}, 0)
    assert changed == {"max_failures": (5, 1), "lease_ms": (30_000, 777)}
    [delivery] = core.dispatch()
    assert delivery.lease_ms == 777
    core.settle(worker, 2, (1, 1))
    assert len(core.broker.dying) == 1
    core.facts.clear()
    assert definitions.alter(core.broker, queue, {"max_failures": 1}, 0) == {}
    assert core.facts == []


@pytest.mark.parametrize(
    ("changes", "named"),
    [({"durable": False}, "durable"), ({"lease_ms": 1}, "lease_ms"), ({"backoff_min_ms": 9_999_999}, "backoff_min_ms")],
)
def test_what_cannot_be_altered_is_named(core: Core, changes: dict[str, object], named: str) -> None:
    with pytest.raises(Refused) as refused:
        definitions.alter(core.broker, core.queue(), changes, 0)
    assert refused.value.refusal.code == "bad-setting"
    assert named in refused.value.refusal.message


def test_dead_letters_that_would_come_back_are_refused_with_their_way(core: Core) -> None:
    core.queue("a", dead_letter="b")
    core.queue("b", dead_letter="c")
    with pytest.raises(Refused, match="'c' -> 'a' -> 'b' -> 'c'"):
        core.queue("c", dead_letter="a")
    end = core.queue("c", dead_letter="c")
    assert end.dead_letter_name == "c", "naming itself it has none"
    with pytest.raises(Refused, match="come back"):
        definitions.alter(core.broker, end, {"dead_letter": "a"}, 0)
    core.queue("x", dead_letter="y")
    with pytest.raises(Refused, match="come back"):
        core.queue("y", dead_letter="x")
