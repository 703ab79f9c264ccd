"""Exchanges in the blocking client, on the real broker."""

import threading
from collections.abc import Iterator

import pytest

from penstock.testing import TestBroker
from penstock_client import BadBinding, PublishFailed, Unroutable
from penstock_client.sync import Client, connect


@pytest.fixture
def client() -> Iterator[Client]:
    """A client of a broker in memory, with queues ``a`` and ``b``."""
    with TestBroker() as broker, connect(broker.url) as client:
        for name in "ab":
            client.queue(name).declare()
        yield client


def bodies(client: Client, queue: str) -> list[bytes]:
    return [message.body for message in client.queue(queue).peek(count=10_000)]


def test_everything_the_asyncio_handle_does(client: Client) -> None:
    events = client.exchange("events", "topic")
    assert events.declare(alternate="strays")
    assert events.bind("a", "orders.*")
    assert events.bind("b", "#")
    assert events.unbind("b", "#")
    assert [(one.destination, one.routing_key) for one in events.bindings()] == [("a", "orders.*")]
    assert events.publish("orders.new", b"1").offset == 0
    assert len(events.publish_many("orders.old", [b"2", b"3"])) == 2
    with pytest.raises(Unroutable):
        events.publish("other", b"x")
    with pytest.raises(BadBinding):
        events.bind("a", "x#")
    info = events.info()
    assert (info.type, info.alternate, info.bindings, info.published) == ("topic", "strays", 1, 3)
    assert [one.name for one in client.exchanges()] == ["events"]
    assert bodies(client, "a") == [b"1", b"2", b"3"]
    assert events.delete() == 1


def test_a_publisher_keeps_the_order_of_a_routing_key(client: Client) -> None:
    events = client.exchange("events", "direct")
    events.declare()
    events.bind("a", "a")
    events.bind("b", "b")
    with events.publisher() as publisher:
        for number in range(1200):
            publisher.send("ab"[number % 2], b"%d" % number)
        publisher.flush()
        publisher.send("a", b"1200")
    assert bodies(client, "a") == [b"%d" % number for number in range(0, 1201, 2)]
    assert bodies(client, "b") == [b"%d" % number for number in range(1, 1200, 2)]


def test_a_publisher_raises_what_failed(client: Client) -> None:
    events = client.exchange("events", "direct")
    events.declare()

    def send_all() -> None:
        with events.publisher() as publisher:
            for _ in range(2000):
                publisher.send("nowhere", b"x")

    with pytest.raises(PublishFailed, match="no queue takes"):
        send_all()


def test_requests_through_an_exchange_are_answered(client: Client) -> None:
    shops = client.exchange("shops", "fanout")
    shops.declare()
    shops.bind("a")

    def answer() -> None:
        with client.queue("a").consume() as messages:
            for message in messages:
                with message:
                    message.reply(b"re: " + message.body)
                if message.body == b"two":
                    return

    answering = threading.Thread(target=answer)
    answering.start()
    assert shops.request("tea", b"one", timeout=10).body == b"re: one"
    assert [reply.body for reply in shops.requests("tea", b"two", timeout=10, count=1)] == [b"re: two"]
    answering.join()
