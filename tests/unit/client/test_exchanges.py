"""Publishing through exchanges, below the API: routes, sequences, and the way in each block."""

import asyncio
from functools import partial
from unittest.mock import patch

import pytest
from tests.unit.client.peer import ScriptedPeer, guarded

from penstock_client import BadBinding, PublishFailed, PublishUnconfirmed, UnknownExchange, Unroutable, connect
from penstock_client import exchange as exchanges
from penstock_client import exchange_publisher as publishers
from penstock_client import producer as producers
from penstock_client.wire.blocks import decode_block, decode_routing
from penstock_client.wire.errors import ErrorCode, WireError
from penstock_client.wire.frames import FrameType


async def test_every_routing_key_is_a_route_and_blocks_say_the_way(peer: ScriptedPeer) -> None:
    async with connect(peer.url) as client:
        events = client.exchange("events", "topic")
        confirm = await guarded(events.publish("a", b"1"))
        await guarded(events.publish_many("b", [b"2", b"3"], mandatory=False))
        await guarded(client.queue("a").publish(b"4"))
    opened = peer.last.arguments(FrameType.ROUTE_OPEN)
    assert opened == [
        {"route": 1, "exchange": "events", "routing_key": "a", "mandatory": True},
        {"route": 2, "exchange": "events", "routing_key": "b", "mandatory": False},
        {"route": 3, "exchange": "", "routing_key": "a"},
    ]
    ways = [decode_routing(p.block) for p in peer.last.publications]
    assert ways == [("events", "a"), ("events", "b"), None]
    assert (confirm.queue, confirm.level) == ("", "synced")


async def test_an_exchange_has_one_run_of_sequences(peer: ScriptedPeer) -> None:
    async with connect(peer.url) as client, client.exchange("events").publisher() as publisher:
        for number in range(100):
            await publisher.send("ab"[number % 2], b"x")
        await publisher.flush()
        await publisher.send("a", b"y")
    sequences = [(p.first_sequence, p.count) for p in peer.last.publications]
    assert sequences == [(1, 50), (51, 50), (101, 1)]


async def test_other_columns_travel_beside_the_way(peer: ScriptedPeer) -> None:
    from penstock_client import Message

    async with connect(peer.url) as client, client.exchange("events").publisher() as publisher:
        await publisher.send("k", Message(b"x", key="key", headers={"h": 1}))
        await publisher.send("k", b"plain")
    (publication,) = peer.last.publications
    columns = decode_block(publication.block)
    assert (columns.keys, columns.headers) == (["key", None], [{"h": 1}, None])
    assert columns.routing == ("events", "k")


async def test_what_was_not_confirmed_is_sent_again_in_the_order_of_its_exchange(peer: ScriptedPeer) -> None:
    peer.holds_confirms = True
    async with connect(peer.url) as client:
        events = client.exchange("events")
        sending = [asyncio.create_task(events.publish("ab"[number % 2], b"%d" % number)) for number in range(2)]
        await peer.until(lambda: len(peer.last.publications) == 2)
        first = peer.last
        peer.holds_confirms = False
        first.cut()
        await guarded(asyncio.gather(*sending))
    again = [(p.first_sequence, p.block) for p in peer.last.publications]
    assert again == [(p.first_sequence, p.block) for p in first.publications]
    assert [p.first_sequence for p in peer.last.publications] == [1, 2]


async def test_routes_that_nothing_is_under_way_for_are_closed_when_there_are_many(peer: ScriptedPeer) -> None:
    with patch.object(producers, "ROUTES_KEPT_MAX", 4), patch.object(publishers, "RUNS_KEPT_MAX", 3):
        async with connect(peer.url) as client:
            events = client.exchange("events")
            await guarded(client.queue("kept").publish(b"x"))
            for _ in range(2):
                async with events.publisher() as publisher:
                    for number in range(20):
                        await publisher.send(f"key-{number}", b"x")
                        await publisher.flush()
                assert publisher.confirmed_count == 20
            await guarded(client.queue("kept").publish(b"y"))
    opened = peer.last.count(FrameType.ROUTE_OPEN)
    closed = [one["route"] for one in peer.last.arguments(FrameType.ROUTE_CLOSE)]
    assert len(set(closed)) == len(closed)
    assert 1 not in closed, "a queue's route stays"
    assert opened - len(closed) <= 9
    assert [p.first_sequence for p in peer.last.publications if peer.last.routes[p.route] == "kept"] == [1, 2]


async def test_a_route_that_was_closed_is_opened_again_by_who_still_has_it(peer: ScriptedPeer) -> None:
    with patch.object(producers, "ROUTES_KEPT_MAX", 1):
        async with connect(peer.url) as client:
            events = client.exchange("events")
            async with events.publisher() as publisher:
                await publisher.send("old", b"1")
                await publisher.flush()
                await guarded(events.publish("new", b"2"))
                await publisher.send("old", b"3")
            peer.last.cut()
            await guarded(events.publish("new", b"4"))
    before = peer.connections[0]
    assert [one["routing_key"] for one in before.arguments(FrameType.ROUTE_OPEN)] == ["old", "new", "old"]
    assert [p.first_sequence for p in before.publications] == [1, 2, 3]


def _has_more_than(peer: ScriptedPeer, count: int) -> bool:
    return len(peer.last.publications) > count


async def test_refusals_name_the_exchange_and_the_key(peer: ScriptedPeer) -> None:
    peer.holds_confirms = True
    async with connect(peer.url) as client:
        events = client.exchange("events")
        for code, error in (
            (ErrorCode.UNROUTABLE, Unroutable),
            (ErrorCode.UNKNOWN_ROUTE, UnknownExchange),
            (ErrorCode.UNKNOWN_EXCHANGE, UnknownExchange),
        ):
            publishing = asyncio.create_task(events.publish("k", b"x"))
            await peer.until(partial(_has_more_than, peer, len(peer.last.publications)))
            peer.last.confirm(peer.last.publications[-1], code=code)
            with pytest.raises(error, match="exchange 'events', routing key 'k'"):
                await guarded(publishing)
    assert peer.connections[0].count(FrameType.ROUTE_OPEN) == 2, "after it was gone it is asked for again"


async def test_what_nobody_knows_of_names_the_exchange(peer: ScriptedPeer) -> None:
    peer.holds_confirms = True
    client = await connect(peer.url)
    publishing = asyncio.create_task(client.exchange("events").publish("k", b"x"))
    await peer.until(lambda: peer.last.publications)
    peer.last.close(WireError(ErrorCode.AUTHENTICATION_FAILED, "no"))
    with pytest.raises(PublishUnconfirmed, match="exchange 'events', routing key 'k'"):
        await guarded(publishing)
    await client.close()


async def test_a_routing_key_that_none_can_have_is_refused_here(peer: ScriptedPeer) -> None:
    async def send() -> None:
        async with client.exchange("events").publisher() as publisher:
            await publisher.send("k" * 256, b"x")

    async with connect(peer.url) as client:
        with pytest.raises(BadBinding, match="256 bytes"):
            await client.exchange("events").publish("ü" * 128, b"x")
        with pytest.raises(BadBinding):
            await send()
    assert peer.last.publications == []


async def test_a_publisher_needs_its_block(peer: ScriptedPeer) -> None:
    async with connect(peer.url) as client:
        publisher = client.exchange("events").publisher()
        with pytest.raises(RuntimeError, match="async with"):
            await publisher.send("k", b"x")


async def test_a_publisher_s_failures_are_raised_at_its_end(peer: ScriptedPeer) -> None:
    peer.holds_confirms = True

    async def send() -> None:
        async with client.exchange("events").publisher() as publisher:
            await publisher.send("k", b"x")

    async with connect(peer.url) as client:
        sending = asyncio.create_task(send())
        await peer.until(lambda: peer.last.publications)
        peer.last.confirm(*peer.last.publications, code=ErrorCode.UNROUTABLE)
        with pytest.raises(PublishFailed, match="no queue takes"):
            await guarded(sending)


async def test_a_binding_that_closes_a_cycle_is_warned_of(peer: ScriptedPeer) -> None:
    peer.answers["exchange_bind"] = {"created": True, "cycle": True}
    async with connect(peer.url) as client:
        with patch.object(exchanges.log, "warning") as warning:
            assert await guarded(client.exchange("one").bind(exchange="two"))
    warning.assert_called_once()
    assert warning.call_args.args[1:] == ("one", "two")
    (asked,) = peer.last.arguments(FrameType.EXCHANGE_BIND)
    assert asked == {"exchange": "one", "routing_key": "", "to_exchange": "two"}


async def test_lists_are_asked_for_page_by_page(peer: ScriptedPeer) -> None:
    info = {
        **dict.fromkeys(("bindings", "published", "unrouted", "unroutable", "cycles_broken", "id"), 0),
        "type": "topic",
        "alternate": None,
        "hash_by": "routing-key",
        "hash_header": None,
        "created_at_ms": 0,
    }
    names = ["a", "b", "c"]

    def page(arguments: dict[str, object]) -> dict[str, object]:
        rest = [name for name in names if name > str(arguments["after"])]
        return {"exchanges": [{**info, "exchange": rest[0]}], "more": len(rest) > 1}

    binding = {"kind": "queue", "destination": "q", "routing_key": "", "arguments": {}}
    peer.answers["exchange_list"] = page
    peer.answers["exchange_bindings"] = lambda asked: {"bindings": [binding], "more": asked["start"] < 2}
    async with connect(peer.url) as client:
        assert [one.name for one in await guarded(client.exchanges())] == names
        assert len(await guarded(client.exchange("a").bindings())) == 3


async def test_routes_are_closed_while_others_of_their_exchange_wait_for_their_confirms(peer: ScriptedPeer) -> None:
    peer.full_queues = {"stuck"}
    with patch.object(producers, "ROUTES_KEPT_MAX", 4):
        async with connect(peer.url) as client:
            events = client.exchange("events")
            stuck = asyncio.create_task(events.publish("stuck", b"x"))
            for number in range(50):
                await guarded(events.publish(f"key-{number}", b"x"))
            opened, closed = (peer.last.count(kind) for kind in (FrameType.ROUTE_OPEN, FrameType.ROUTE_CLOSE))
            peer.last.confirm(*peer.last.held)
            await guarded(stuck)
    assert opened - closed <= 6
