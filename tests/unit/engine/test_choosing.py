"""Consumers with a selector, beside others, in a shared group."""

from typing import Any

import pytest
from tests.unit.engine.harness import Bench, Peer

from penstock.core import delivery, sieve
from penstock.core.values import ACK, NACK, RELEASE, REQUEUE
from penstock.engine import sifting
from penstock.selectors import parse_selector
from penstock_client.wire import blocks


def publish(bench: Bench, *numbers: int, per_block: int = 4) -> None:
    """Publish messages whose header ``n`` and body are these numbers."""
    peer = bench.peer().open("jobs")
    for start in range(0, len(numbers), per_block):
        part = numbers[start : start + per_block]
        block = blocks.encode_block([b"%d" % number for number in part], headers=[{"n": number} for number in part])
        bench.engine.publish(peer.session, [(1, 0, start + 1, len(part), block)])
    bench.work()


def consume(bench: Bench, where: str = "", prefetch: int = 100, **options: Any) -> Peer:
    peer = bench.peer(where or "any")
    selector = parse_selector(where) if where else None
    peer.ask("consume", consumer=1, queue="jobs", prefetch_messages=prefetch, where=selector, **options)
    bench.work()
    return peer


def offsets(peer: Peer) -> list[int]:
    return [offset for one in peer.deliveries for offset in range(one.offset, one.offset + one.message_count)]


def told(bench: Bench) -> dict[str, Any]:
    return bench.peer().call("queue_describe", queue="jobs")


def test_a_consumer_is_handed_what_it_selects_and_leaves_the_rest(bench: Bench) -> None:
    bench.declare()
    publish(bench, 1, 2, 1, 3, 1)
    ones = consume(bench, "n = 1")

    assert offsets(ones) == [0, 2, 4]
    assert (told(bench)["ready"], told(bench)["leased"], told(bench)["filtered"]) == (2, 3, 0)
    assert offsets(consume(bench)) == [1, 3]


def test_consumers_share_by_what_they_select(bench: Bench) -> None:
    bench.declare()
    ones, twos = consume(bench, "n = 1"), consume(bench, "n = 2")
    publish(bench, 2, 1, 3, 2, 1)

    assert (offsets(ones), offsets(twos)) == ([1, 4], [0, 3])
    ones.settle(ACK, (1, 2))
    twos.settle(ACK, (1, 2))
    bench.work()
    assert (told(bench)["acked"], told(bench)["messages"]) == (4, 1)


def test_what_was_done_early_stays_done_after_a_restart(bench: Bench) -> None:
    """I4, I18."""
    bench.declare()
    publish(bench, 3, 1, 3, 1)
    ones = consume(bench, "n = 1", prefetch=1)
    ones.settle(ACK, (1, 1), request=9)
    bench.work()
    assert offsets(ones) == [1, 3]
    bench.start()

    assert sorted(offsets(consume(bench))) == [0, 2, 3]
    bench.keep_house()
    bench.start()
    assert sorted(offsets(consume(bench))) == [0, 2, 3]


def test_what_comes_back_is_handed_to_who_selects_it(bench: Bench) -> None:
    """I8."""
    bench.declare(backoff_min_ms=0, backoff_max_ms=0)
    publish(bench, 3, 1, 2, 1)
    ones = consume(bench, "n = 1")
    any_one = consume(bench, prefetch=1)
    ones.settle(NACK, (2, 2), duration_ms=0)
    bench.work()
    assert offsets(ones) == [1, 3, 3]
    assert ones.deliveries[-1].attempt == 2
    any_one.settle(RELEASE, (1, 1))
    bench.work()
    assert offsets(any_one) == [0, 0], "the others' message is not for who chooses"


def test_a_consumer_that_comes_later_finds_what_was_given_back(bench: Bench) -> None:
    bench.declare()
    publish(bench, 1, 2, 1, 2)
    first = consume(bench)
    bench.engine.close_session(first.session, lost=False)
    bench.work()

    assert offsets(consume(bench, "n = 2")) == [1, 3]
    assert offsets(consume(bench, "n = 1")) == [0, 2]


def test_what_comes_back_is_found_behind_much_that_does_not_fit(bench: Bench) -> None:
    """I20."""
    bench.declare(backoff_min_ms=0, backoff_max_ms=0)
    publish(bench, *([2] * 40), 1, per_block=8)
    twos = consume(bench, "n = 2")
    for tag in range(1, 41, 2):
        twos.settle(RELEASE, (tag, tag))
    twos.ask("flow", consumer=1, prefetch_messages=0)
    ones = consume(bench, "n = 1")
    bench.work()
    assert offsets(ones) == [40]
    ones.settle(RELEASE, (1, 1))
    bench.work()
    assert offsets(ones) == [40, 40]


def test_a_group_s_own_selector_comes_first(bench: Bench) -> None:
    bench.declare()
    bench.peer().call("group_declare", queue="jobs", group="small", where=parse_selector("n < 3"))
    publish(bench, 1, 2, 3, 1)

    assert offsets(consume(bench, "n <> 2", group="small")) == [0, 3]


def test_messages_are_read_from_the_journal_to_choose(bench: Bench) -> None:
    bench.declare()
    publish(bench, 1, 2, 1)
    bench.start()

    assert offsets(consume(bench, "n = 1")) == [0, 2]


def test_looking_ahead_is_bounded(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """I13."""
    monkeypatch.setattr(sieve, "AHEAD_MESSAGES", 3)
    monkeypatch.setattr(sifting, "SLICE_MESSAGES", 1)
    bench.declare()
    ones = consume(bench, "n = 1", prefetch=2)
    publish(bench, *([1, 2] * 10), per_block=2)
    [choice] = [c.choice for c in bench.engine.broker.names["jobs"].group.consumers if c.choice]
    assert choice.selected.count <= 2 + 3

    for tag in range(1, 11):
        ones.settle(ACK, (tag, tag))
        bench.work()
    assert offsets(ones) == list(range(0, 20, 2))


def test_nobody_is_served_early_past_the_bound_of_exceptions(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """SEMANTICS 31."""
    monkeypatch.setattr(delivery, "EXCEPTIONS_MAX", 2)
    bench.declare()
    publish(bench, *([2, 1] * 10), per_block=2)
    ones = consume(bench, "n = 1", prefetch=1)
    for tag in range(1, 8):
        ones.settle(ACK, (tag, tag))
        bench.work()
    assert offsets(ones) == [1, 3, 5]
    twos = consume(bench, "n = 2", prefetch=1)
    twos.settle(ACK, (1, 1))
    bench.work()
    assert offsets(twos) == [0, 2]
    assert offsets(ones) == [1, 3, 5, 7], "it goes on when what is in front was taken"


def test_a_consumer_that_goes_while_blocks_are_read_is_forgotten(bench: Bench) -> None:
    bench.declare()
    publish(bench, 1, 2)
    bench.start()
    peer = bench.peer()
    peer.ask("consume", consumer=1, queue="jobs", where=parse_selector("n = 1"))
    bench.engine.turn()
    assert bench.engine.loads
    peer.ask("cancel", consumer=1)
    bench.work()

    assert peer.deliveries == []
    assert not bench.engine.broker.sifting


def test_priorities_hold_among_those_that_select(bench: Bench) -> None:
    bench.declare()
    high = consume(bench, "n = 1", priority=5)
    low = consume(bench)
    publish(bench, 1, 2, 1, 2)

    assert sorted(offsets(high) + offsets(low)) == [0, 1, 2, 3]
    assert {1, 3} <= set(offsets(low))


def test_only_a_shared_group_has_selecting_consumers(bench: Bench) -> None:
    """SEMANTICS 10."""
    bench.declare()
    peer = bench.peer()
    peer.call("group_declare", queue="jobs", group="one", mode="single")
    where = parse_selector("n = 1")
    assert peer.refusal("consume", consumer=1, queue="jobs", group="one", where=where).code == "bad-setting"
    assert peer.refusal("consume", consumer=1, queue="jobs", where="n = 1").code == "bad-setting"


def publish_by_priority(bench: Bench, *messages: tuple[int, int | None]) -> None:
    """Publish one block of messages with a header ``n`` and a priority."""
    peer = bench.peer().open("jobs")
    properties = [None if priority is None else {"priority": priority} for _, priority in messages]
    headers = [{"n": number} for number, _ in messages]
    block = blocks.encode_block([b"x"] * len(messages), headers=headers, properties=properties)
    bench.engine.publish(peer.session, [(1, 0, 1, len(messages), block)], [0])
    bench.work()


def test_what_it_selects_comes_by_priority(bench: Bench) -> None:
    bench.declare()
    publish_by_priority(bench, (1, None), (2, 9), (1, 0), (1, 9), (1, 9), (1, None), (1, 9))

    assert offsets(consume(bench, "n = 1")) == [3, 4, 6, 0, 5, 2]
    assert offsets(consume(bench)) == [1]


def test_what_comes_back_by_priority_has_its_place_and_at_the_tail_the_last_of_its_priority(bench: Bench) -> None:
    """I8."""
    bench.declare()
    publish_by_priority(bench, (1, 9), (1, None), (1, 9), (2, 9), (1, 9))
    ones = consume(bench, "n = 1", prefetch=2)
    assert offsets(ones) == [0, 2]
    ones.settle(RELEASE, (2, 2))
    bench.work()
    assert offsets(ones) == [0, 2, 2]
    ones.settle(REQUEUE, (1, 1))
    bench.work()
    assert offsets(ones) == [0, 2, 2, 4]
    ones.settle(ACK, (3, 4))
    bench.work()
    assert offsets(ones) == [0, 2, 2, 4, 0, 1]
    assert offsets(consume(bench)) == [3]


def test_priorities_that_are_gone_leave_nothing_behind(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """I20: what others were handed does not count as looked ahead for ever."""
    monkeypatch.setattr(sieve, "AHEAD_MESSAGES", 2)
    bench.declare()
    publish_by_priority(bench, (1, 9), (1, 9))
    chooser = consume(bench, "n = 1", prefetch=1)
    other = consume(bench)
    chooser.settle(ACK, (1, 1))
    other.settle(ACK, (1, 1))
    bench.engine.close_session(other.session)
    bench.work()
    assert told(bench)["messages"] == 0
    assert bench.engine.broker.names["jobs"].group.lanes is None
    publish(bench, 1)
    assert offsets(chooser) == [0, 2]


def test_nobody_chooses_what_expired(bench: Bench) -> None:
    """SEMANTICS 13."""
    bench.declare(ttl_ms=1000)
    publish(bench, 1, 1, 2)
    ones = consume(bench, "n = 1", prefetch=1)
    bench.now_ms += 1000
    ones.settle(RELEASE, (1, 1))
    bench.work()

    assert offsets(ones) == [0]
    assert (told(bench)["expired"], told(bench)["messages"]) == (3, 0)
