"""What a block says of the way it comes is true, or the block is refused."""

import pytest
from tests.unit.net.harness import Peer

from penstock.app import Broker
from penstock_client.wire.blocks import decode_routing, encode_block
from penstock_client.wire.entries import ConfirmStatus, decode_confirm, decode_deliver, encode_publish_entry
from penstock_client.wire.errors import ErrorCode
from penstock_client.wire.frames import FrameType


async def routed(broker: Broker) -> Peer:
    """A peer with route 1 to the queue jobs, and route 2 through an exchange to it."""
    peer = Peer(broker).ready()
    await peer.route()
    await peer.call(FrameType.EXCHANGE_DECLARE, exchange="events", type="topic")
    await peer.call(FrameType.EXCHANGE_BIND, exchange="events", queue="jobs", routing_key="#")
    await peer.call(FrameType.ROUTE_OPEN, route=2, exchange="events", routing_key="k")
    return peer


async def outcome(peer: Peer, route: int, way: tuple[str, str] | None) -> tuple[int, int]:
    block = encode_block([b"x"], routing=way)
    peer.send(FrameType.PUBLISH, encode_publish_entry(route, 0, 1) + block)
    (confirm,) = decode_confirm((await peer.next(FrameType.CONFIRM)).payload)
    return confirm.status, confirm.code


@pytest.mark.parametrize(
    ("route", "way", "taken"),
    [
        (1, None, True),
        (1, ("", "jobs"), True),
        (1, ("", "other"), False),
        (1, ("events", "k"), False),
        (2, None, True),
        (2, ("events", "k"), True),
        (2, ("events", "l"), False),
        (2, ("", "jobs"), False),
    ],
)
async def test_the_way_in_a_block_is_that_of_its_route(
    broker: Broker, route: int, way: tuple[str, str] | None, taken: bool
) -> None:
    wanted = (ConfirmStatus.STORED, 0) if taken else (ConfirmStatus.REFUSED, ErrorCode.BAD_BLOCK)
    assert await outcome(await routed(broker), route, way) == wanted


async def test_a_way_on_a_route_that_is_not_open_is_refused_for_that(broker: Broker) -> None:
    peer = await routed(broker)
    assert await outcome(peer, 9, ("events", "k")) == (ConfirmStatus.REFUSED, ErrorCode.UNKNOWN_ROUTE)


async def test_a_delivered_block_says_how_it_came(broker: Broker) -> None:
    peer = await routed(broker)
    await outcome(peer, 2, None)
    peer.send(FrameType.CONSUME, {"consumer": 1, "queue": "jobs"}, 9)
    (delivery,) = decode_deliver((await peer.next(FrameType.DELIVER)).payload)
    assert decode_routing(delivery.block) == ("events", "k")
