"""Publishing through exchanges: one fact for all queues, confirms that say no more than holds."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

import pytest
from tests.unit.core.harness import Core
from tests.unit.core.test_routing import bind, exchange

from penstock.core import bindings, definitions, fanout, publishing
from penstock.core.facts import PublishedTo
from penstock.core.queue import Queue
from penstock.core.records import decode, encode
from penstock.core.session import Session
from penstock.core.values import DUPLICATE, MEMORY, OFFSET_UNKNOWN, REFUSED, STORED, SYNCED, WRITTEN, Refused
from penstock_client.wire.blocks import decode_bodies, decode_routing, encode_block

UNKNOWN = OFFSET_UNKNOWN


class Producer:
    """A session with a route through an exchange."""

    def __init__(self, core: Core, name: str, key: str = "", *, mandatory: bool = True) -> None:
        self.core = core
        self.session = core.session()
        self.open(1, name, key, mandatory=mandatory)

    def open(self, number: int, name: str, key: str = "", *, mandatory: bool = True) -> None:
        fanout.open_exchange_route(self.core.broker, self.session, number, name, key, mandatory, 10)

    def publish(
        self, first: int, *bodies: bytes, route: int = 1, level: int = SYNCED, **columns: Any
    ) -> list[tuple[int, int, str, int, int, int]]:
        """Publish a block; return (status, level, code, first sequence, count, offset) of its confirms."""
        return self.publish_block(first, len(bodies), encode_block(bodies, **columns), route=route, level=level)

    def publish_block(
        self, first: int, count: int, block: bytes, *, route: int = 1, level: int = SYNCED
    ) -> list[tuple[int, int, str, int, int, int]]:
        broker = self.core.broker
        publishing.publish(broker, self.session, [(route, level, first, count, block)], self.core.now_ms)
        confirms, broker.confirms = broker.confirms, []
        assert {(one.session, one.route) for one in confirms} == {(self.session.number, route)}
        return [tuple(one[2:]) for one in confirms]  # type: ignore[misc]


def everyone(core: Core, *queues: str, memory: tuple[str, ...] = ()) -> Producer:
    """A producer of a fanout exchange to these queues."""
    source = exchange(core, "everyone")
    for name in queues:
        core.queue(name)
        bind(core, source, name)
    for name in memory:
        core.queue(name, durable=False, memory_bytes_max=4096)
        bind(core, source, name)
    return Producer(core, "everyone")


def test_a_block_is_one_fact_that_names_every_queue(core: Core) -> None:
    producer = everyone(core, "a", "b", "c")
    assert producer.publish(1, b"x", b"y") == [(STORED, SYNCED, "", 1, 2, UNKNOWN)]
    (fact,) = core.recorded(PublishedTo)
    queues = core.broker.names
    assert fact.targets == tuple((queues[name].number, 0) for name in "abc")
    assert (fact.message_count, fact.first_sequence, fact.level, fact.continues) == (2, 1, SYNCED, False)
    assert len({queues[name].log.block_at(0).position for name in "abc"}) == 1
    assert list(core.broker.published_queues) == [queues[name] for name in "abc"]
    assert decode(memoryview(encode(fact))) == fact


def test_one_queue_gives_its_offset(core: Core) -> None:
    producer = everyone(core, "a")
    assert [producer.publish(first, b"x")[0][5] for first in (1, 2)] == [0, 1]


def test_the_way_is_written_into_the_block_where_it_is_not_said(core: Core) -> None:
    producer = everyone(core, "a")
    producer.publish(1, b"x")
    producer.publish(2, b"y", routing=("everyone", ""))
    assert [decode_routing(fact.block) for fact in core.recorded(PublishedTo)] == [("everyone", "")] * 2
    assert producer.publish(3, b"z", routing=("everyone", "other"))[0][:3] == (REFUSED, SYNCED, "bad-block")
    assert len(core.recorded(PublishedTo)) == 2


def test_a_send_again_is_recognised_wherever_bindings_lead_now(core: Core) -> None:
    producer = everyone(core, "a", "b")
    producer.publish(1, b"x", b"y")
    definitions.delete(core.broker, core.broker.names["a"], if_empty=False, if_unused=False)
    core.queue("c")
    bind(core, core.broker.exchanges.names["everyone"], "c")
    assert producer.publish(1, b"x", b"y") == [(DUPLICATE, SYNCED, "", 1, 2, UNKNOWN)]
    assert core.broker.names["c"].log.next_offset == 0
    producer.publish(3, b"z")
    assert core.broker.names["c"].log.next_offset == 1


def test_sequences_are_the_exchange_s_whatever_the_routing_key(core: Core) -> None:
    core.queue("a")
    source = exchange(core, "events", "direct")
    bind(core, source, "a", "k")
    bind(core, source, "a", "l")
    producer = Producer(core, "events", "k")
    producer.open(2, "events", "l")
    assert producer.publish(1, b"x")[0][0] == STORED
    assert producer.publish(1, b"x", route=2)[0][0] == DUPLICATE
    assert producer.publish(2, b"y", route=2)[0][0] == STORED
    assert source.published == 2


def test_what_no_queue_takes_is_refused_and_counted(core: Core) -> None:
    producer = everyone(core)
    assert producer.publish(1, b"x", b"y") == [(REFUSED, SYNCED, "unroutable", 1, 2, UNKNOWN)]
    source = core.broker.exchanges.names["everyone"]
    assert (source.published, source.unrouted, source.unroutable) == (0, 0, 2)
    assert core.recorded(PublishedTo) == []


def test_a_producer_may_say_that_this_is_no_error(core: Core) -> None:
    everyone(core)
    producer = Producer(core, "everyone", mandatory=False)
    assert producer.publish(1, b"x", b"y", level=WRITTEN) == [(STORED, WRITTEN, "", 1, 2, UNKNOWN)]
    source = core.broker.exchanges.names["everyone"]
    assert (source.published, source.unrouted, source.unroutable) == (2, 2, 0)
    (fact,) = core.recorded(PublishedTo)
    assert (fact.targets, fact.block) == ((), b"")
    assert producer.publish(1, b"x", b"y")[0][0] == DUPLICATE


def test_a_refusal_uses_its_sequences_up(core: Core) -> None:
    producer = everyone(core)
    producer.publish(1, b"x")
    core.queue("a")
    bind(core, core.broker.exchanges.names["everyone"], "a")
    producer.publish(2, b"y")
    assert producer.publish(1, b"x") == [(REFUSED, SYNCED, "sequence-order", 1, 1, UNKNOWN)]
    assert producer.publish(1, b"x", b"y") == [
        (REFUSED, SYNCED, "sequence-order", 1, 1, UNKNOWN),
        (DUPLICATE, SYNCED, "", 2, 1, UNKNOWN),
    ]


def test_memory_makes_the_weakest_level_and_keeps_a_copy_of_its_own(core: Core) -> None:
    producer = everyone(core, "a", memory=("m",))
    assert producer.publish(1, b"x") == [(STORED, MEMORY, "", 1, 1, UNKNOWN)]
    assert producer.session.confirms_in_line, "it waits for the durable copy, and others for it"
    (fact,) = core.recorded(PublishedTo)
    assert (fact.level, len(fact.targets)) == (MEMORY, 1)
    assert [(held.queue, held.level) for held in core.held] == [(core.broker.names["m"].number, MEMORY)]
    assert core.broker.names["m"].streams == {}
    assert producer.publish(1, b"x") == [(DUPLICATE, MEMORY, "", 1, 1, UNKNOWN)]


def test_memory_alone_is_noted_and_not_counted_as_unrouted(core: Core) -> None:
    producer = everyone(core, memory=("m",))
    first = core.broker.names["m"].log.next_offset
    assert producer.publish(1, b"x") == [(STORED, MEMORY, "", 1, 1, first)]
    source = core.broker.exchanges.names["everyone"]
    assert (source.published, source.unrouted) == (1, 0)
    assert core.recorded(PublishedTo)[0].targets == ()


def test_a_memory_queue_at_its_bound_refuses_for_all(core: Core) -> None:
    producer = everyone(core, "a", memory=("m",))
    producer.publish(1, b"x" * 5000)
    assert producer.publish(2, b"y")[0][:3] == (REFUSED, SYNCED, "queue-full")
    assert core.broker.names["a"].log.next_offset == 1


def test_levels_of_a_send_again_are_those_of_then(core: Core) -> None:
    producer = everyone(core, "a", memory=("m",))
    producer.publish(1, b"1", b"2")
    producer.publish(3, b"3")
    definitions.delete(core.broker, core.broker.names["m"], if_empty=False, if_unused=False)
    producer.publish(4, b"4")
    assert producer.publish(2, b"2", b"3", b"4") == [
        (DUPLICATE, MEMORY, "", 2, 2, UNKNOWN),
        (DUPLICATE, SYNCED, "", 4, 1, UNKNOWN),
    ]


def sorter(core: Core) -> Producer:
    """A producer of a headers exchange: kind a to a and all, kind b to b and all."""
    source = exchange(core, "sorter", "headers")
    for name in ("a", "b", "all"):
        core.queue(name)
    for name, kind in (("a", "a"), ("b", "b"), ("all", "a"), ("all", "b")):
        bind(core, source, name, kind=kind)
    return Producer(core, "sorter")


def kinds(*names: str) -> dict[str, Any]:
    return {"headers": [{"kind": name} for name in names]}


def test_a_block_is_cut_where_its_messages_part_ways(core: Core) -> None:
    producer = sorter(core)
    confirms = producer.publish(1, b"1", b"2", b"3", b"4", b"5", **kinds("a", "a", "b", "x", "a"))
    assert [(one[0], one[2], one[3], one[4]) for one in confirms] == [
        (STORED, "", 1, 2),
        (STORED, "", 3, 1),
        (REFUSED, "unroutable", 4, 1),
        (STORED, "", 5, 1),
    ]
    facts = core.recorded(PublishedTo)
    assert [decode_bodies(fact.block) for fact in facts] == [[b"1", b"2"], [b"3"], [b"5"]]
    assert [fact.continues for fact in facts] == [False, True, True], "one batch for all parts"
    assert core.broker.names["all"].log.next_offset == 4
    assert producer.publish(1, b"1", b"2", b"3", b"4", b"5", **kinds("a", "a", "b", "x", "a")) == [
        (DUPLICATE, SYNCED, "", 1, 3, UNKNOWN),
        (REFUSED, SYNCED, "sequence-order", 4, 1, UNKNOWN),
        (DUPLICATE, SYNCED, "", 5, 1, UNKNOWN),
    ]


def test_a_tail_that_was_refused_is_refused_again(core: Core) -> None:
    producer = sorter(core)
    producer.publish(1, b"1", b"2", **kinds("a", "x"))
    assert [one[:3] for one in producer.publish(1, b"1", b"2", **kinds("a", "x"))] == [
        (DUPLICATE, SYNCED, ""),
        (REFUSED, SYNCED, "sequence-order"),
    ]


def test_headers_that_cannot_be_read_refuse_the_block(core: Core) -> None:
    producer = sorter(core)
    block = encode_block([b"1"], headers=["no map"])  # type: ignore[list-item]
    assert producer.publish_block(1, 1, block)[0][:3] == (REFUSED, SYNCED, "bad-block")
    assert producer.publish(2, b"1")[0][2] == "unroutable", "no headers at all are none"


def test_cycles_on_the_way_are_counted_per_message(core: Core) -> None:
    producer = everyone(core, "a")
    source = core.broker.exchanges.names["everyone"]
    bind(core, source, "everyone")
    producer.publish(1, b"x", b"y")
    assert source.cycles_broken == 2


def test_too_many_copies_are_refused(core: Core) -> None:
    producer = everyone(core, "a", "b")
    with patch.object(fanout, "FANOUT_QUEUES_MAX", 1):
        assert producer.publish(1, b"x")[0][2] == "limit-reached"
    with patch.object(fanout, "FANOUT_BYTES_MAX", 300):
        assert producer.publish(2, b"x" * 200)[0][2] == "limit-reached"
        assert producer.publish(3, b"x")[0][0] == STORED


def test_a_full_disk_refuses_everything_new(core: Core) -> None:
    producer = everyone(core, "a", memory=("m",))
    producer.publish(1, b"x")
    core.broker.storage_full = True
    assert producer.publish(2, b"y")[0][2] == "disk-full"
    assert producer.publish(1, b"x")[0][0] == DUPLICATE


def test_a_route_follows_its_exchange_s_name(core: Core) -> None:
    producer = everyone(core, "a")
    producer.publish(1, b"x")
    bindings.delete_exchange(core.broker, core.broker.exchanges.names["everyone"], if_unused=False)
    assert producer.publish(2, b"y") == [(REFUSED, SYNCED, "unknown-exchange", 2, 1, UNKNOWN)]
    core.queue("b")
    bind(core, exchange(core, "everyone"), "b")
    assert producer.publish(3, b"z")[0][0] == STORED
    assert (core.broker.names["a"].log.next_offset, core.broker.names["b"].log.next_offset) == (1, 1)


def test_producers_that_expire_are_forgotten_by_exchanges_too(core: Core) -> None:
    producer = everyone(core, "a")
    producer.publish(1, b"x")
    source = core.broker.exchanges.names["everyone"]
    assert list(source.streams) == [producer.session.producer]
    del core.broker.sessions[producer.session.number]
    definitions.expire_producers(core.broker, core.now_ms + 1)
    assert source.streams == {}


def test_a_plain_route_asks_no_exchange(core: Core) -> None:
    """A plain publish does what it did before there were exchanges."""
    core.queue("jobs")
    session = core.session()
    core.route(session, 1, "jobs")
    with patch.object(publishing, "publish_through", side_effect=AssertionError("asked")):
        core.publish(session, (1, 2))
    assert core.broker.confirms[0].status == STORED


@pytest.mark.parametrize(
    ("name", "key", "code"), [("nowhere", "", "unknown-exchange"), ("everyone", "x" * 256, "bad-binding")]
)
def test_routes_that_lead_nowhere_are_refused(core: Core, name: str, key: str, code: str) -> None:
    everyone(core)
    session = core.session()
    with pytest.raises(Refused) as refused:
        fanout.open_exchange_route(core.broker, session, 1, name, key, True, 10)
    assert refused.value.refusal.code == code
    assert session.routes == {}


def test_routes_need_a_producer_and_room(core: Core) -> None:
    everyone(core)

    def opened(session: Session, number: int) -> str:
        try:
            fanout.open_exchange_route(core.broker, session, number, "everyone", "", True, 1)
        except Refused as refused:
            return refused.refusal.code
        return ""

    assert opened(core.session(producer=False), 1) == "no-producer"
    session = core.session()
    assert [opened(session, number) for number in (1, 1, 2)] == ["", "", "limit-reached"]


def test_a_queue_without_room_refuses_for_all(core: Core) -> None:
    producer = everyone(core, "a")
    for name, settings in (("full", {"overflow": "reject"}), ("waits", {}), ("latest", {"overflow": "drop_oldest"})):
        core.queue(name, max_messages=1, **settings)
        bind(core, core.broker.exchanges.names["everyone"], name)
    assert producer.publish(1, b"x")[0][0] == STORED
    assert producer.publish(2, b"y")[0][:3] == (REFUSED, SYNCED, "queue-full")
    queues = core.broker.names
    assert [queues[name].group.open_count for name in ("a", "full", "waits", "latest")] == [1, 1, 1, 1]


def test_a_queue_that_drops_the_oldest_takes_what_comes_through_an_exchange(core: Core) -> None:
    producer = everyone(core, "a")
    latest = core.queue("latest", max_messages=1, overflow="drop_oldest", max_age_ms=1000)
    bind(core, core.broker.exchanges.names["everyone"], "latest")
    assert producer.publish(1, b"x", b"y")[0][0] == STORED
    assert (latest.group.next_offset, latest.group.open_count) == (1, 1)
    assert list(core.broker.aging_queues) == [latest]


# Message ids


def ids(*names: str | None) -> dict[str, Any]:
    return {"properties": [name and {"message_id": name} for name in names]}


def deduplicating(core: Core) -> tuple[Producer, Queue, Queue]:
    """A producer of a fanout exchange to a queue that deduplicates and one that does not."""
    producer = everyone(core, "plain")
    once = core.queue("once", dedup_window_ms=1000)
    bind(core, core.broker.exchanges.names["everyone"], "once")
    return producer, once, core.broker.names["plain"]


def test_a_queue_that_knows_an_id_is_left_out(core: Core) -> None:
    producer, once, plain = deduplicating(core)
    assert producer.publish(1, b"x", b"y", **ids("1", "2")) == [(STORED, SYNCED, "", 1, 2, UNKNOWN)]
    assert producer.publish(3, b"x", b"z", b"n", **ids("1", "3", None)) == [
        (STORED, SYNCED, "", 3, 1, 2),
        (STORED, SYNCED, "", 4, 2, UNKNOWN),
    ]
    assert (once.log.next_offset, plain.log.next_offset) == (4, 5)


def test_an_id_twice_in_a_block_is_stored_once(core: Core) -> None:
    producer, once, plain = deduplicating(core)
    confirms = producer.publish(1, b"x", b"x", b"y", **ids("1", "1", "2"))
    assert [one[3:5] for one in confirms] == [(1, 1), (2, 1), (3, 1)]
    assert (once.log.next_offset, plain.log.next_offset) == (2, 3)


def test_what_every_queue_knows_is_a_duplicate_and_its_re_send_too(core: Core) -> None:
    source = exchange(core, "once")
    once = core.queue("one", dedup_window_ms=1000)
    bind(core, source, "one")
    producer = Producer(core, "once")
    producer.publish(1, b"x", **ids("1"))
    told = [(DUPLICATE, SYNCED, "", 2, 1, UNKNOWN)]
    assert producer.publish(2, b"x", **ids("1")) == told
    assert producer.publish(2, b"x", **ids("1")) == told
    assert once.log.next_offset == 1
    core.pass_time(1000)
    assert producer.publish(3, b"x", **ids("1")) == [(STORED, SYNCED, "", 3, 1, 1)]


def test_an_id_that_a_full_queue_refused_is_not_noted(core: Core) -> None:
    source = exchange(core, "once")
    core.queue("one", dedup_window_ms=1000, max_messages=1, overflow="reject")
    bind(core, source, "one")
    producer = Producer(core, "once")
    confirms = producer.publish(1, b"x", b"y", b"y", **ids("1", "2", "2"))
    assert [(one[0], one[3], one[4]) for one in confirms] == [(REFUSED, 1, 2), (STORED, 3, 1)], "room is for one"
    assert core.broker.names["one"].log.next_offset == 1


def test_a_duplicate_in_a_memory_queue_says_no_more_than_memory(core: Core) -> None:
    source = exchange(core, "once")
    core.queue("one", dedup_window_ms=1000, durable=False)
    bind(core, source, "one")
    producer = Producer(core, "once")
    assert producer.publish(1, b"x", **ids("1")) == [(STORED, MEMORY, "", 1, 1, core.broker.boot_epoch << 40)]
    assert producer.publish(2, b"x", **ids("1")) == [(DUPLICATE, MEMORY, "", 2, 1, UNKNOWN)]
