"""The blocking client on the real broker."""

import threading
from collections.abc import Iterator

import pytest

from penstock.testing import TestBroker
from penstock_client import (
    Message,
    NoReply,
    PublishFailed,
    ReplyError,
    ReplyFailed,
    ReplyOutcome,
    UnknownQueue,
)
from penstock_client.sync import Client, connect


@pytest.fixture
def client() -> Iterator[Client]:
    """A client of a broker in memory, with a queue ``jobs``."""
    with TestBroker() as broker, connect(broker.url) as client:
        client.queue("jobs").declare(max_failures=1)
        yield client


def test_publishing_and_consuming_keep_order(client: Client) -> None:
    jobs = client.queue("jobs")
    assert jobs.publish(b"first").offset == 0
    assert [confirm.offset for confirm in jobs.publish_many([b"second", b"third"])] == [1, 2]
    with jobs.publisher() as publisher:
        for number in range(2000):
            publisher.send(b"%d" % number)
    taken = []
    with jobs.consume() as messages:
        for message in messages:
            message.ack()
            taken.append(message.body)
            if len(taken) == 2003:
                break
    assert taken == [b"first", b"second", b"third", *(b"%d" % number for number in range(2000))]
    assert jobs.info().messages == 0


def test_an_iteration_that_was_left_goes_on_with_the_next_message(client: Client) -> None:
    jobs = client.queue("jobs")
    jobs.publish_many([b"a", b"b", b"c"])
    with jobs.consume() as messages:
        taken = []
        for _ in range(3):
            for message in messages:
                message.ack()
                taken.append(message.body)
                break
    assert taken == [b"a", b"b", b"c"]


def test_a_message_as_a_context_acks_or_nacks(client: Client) -> None:
    jobs = client.queue("jobs")
    jobs.publish_many([Message(b"good", headers={"h": 1}), b"bad"])
    with jobs.consume() as messages:
        iteration = iter(messages)
        with next(iteration) as message:
            assert message.headers == {"h": 1}
        with pytest.raises(ValueError, match="reason"), next(iteration):
            raise ValueError("the reason")
    (letter,) = client.queue("jobs.dead").peek()
    assert letter.dead is not None
    assert letter.dead.failures[0].reason.startswith("ValueError: the reason")


def test_every_outcome(client: Client) -> None:
    jobs = client.queue("jobs")
    jobs.publish_many([b"0", b"1", b"2"])
    with jobs.consume() as messages:
        iteration = iter(messages)
        first = next(iteration)
        first.extend(60)
        first.ack(confirm=True)
        next(iteration).reject(reason="never")
        next(iteration).release()
        again = next(iteration)
        assert (again.body, again.attempt, again.failures) == (b"2", 2, 0)
        again.nack(reason="failed")
    info = jobs.info()
    assert (info.messages, info.dead) == (0, 2)


def test_requests_are_answered_by_another_thread(client: Client) -> None:
    client.queue("prices").declare()

    def answer(count: int) -> None:
        with client.queue("prices").consume() as messages:
            for message in messages:
                with message:
                    failed = ReplyError("no-such-item", "not sold") if message.body == b"coal" else None
                    assert message.reply(b"price of " + message.body, error=failed) is ReplyOutcome.DELIVERED
                count -= 1
                if not count:
                    return

    answering = threading.Thread(target=answer, args=(4,))
    answering.start()
    assert client.request("prices", b"tea", timeout=10).body == b"price of tea"
    with pytest.raises(ReplyFailed, match="not sold"):
        client.request("prices", Message(b"coal"), timeout=10)
    assert [reply.body for reply in client.requests("prices", b"rice", timeout=0.3)] == [b"price of rice"]
    assert [reply.error for reply in client.requests("prices", b"coal", timeout=10, count=1)] == [
        ReplyError("no-such-item", "not sold")
    ]
    answering.join()
    with pytest.raises(NoReply):
        client.request("prices", b"?", timeout=0.05)
    with pytest.raises(UnknownQueue):
        next(client.requests("nowhere", b"?", timeout=10))
    assert client.late_reply_count == 0


def test_batches(client: Client) -> None:
    jobs = client.queue("jobs")
    jobs.publish_many([b"%d" % number for number in range(25)])
    sizes = []
    with jobs.consume() as messages:
        for batch in messages.batches(max=10, wait=0.01):
            batch.nack([batch[0]])
            batch.ack(confirm=True)
            sizes.append(len(batch))
            if sum(sizes) == 25:
                break
    assert sizes == [10, 10, 5]
    assert jobs.info().dead == 3


def test_several_threads_share_a_client(client: Client) -> None:
    jobs = client.queue("jobs")

    def publish(number: int) -> None:
        for _ in range(50):
            jobs.publish(b"%d" % number)

    threads = [threading.Thread(target=publish, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert jobs.info().ready == 200


def test_errors_are_those_of_the_asyncio_client(client: Client) -> None:
    with pytest.raises(UnknownQueue):
        client.queue("nowhere").info()
    jobs = client.queue("jobs")
    jobs.publish(b"x")
    with pytest.raises(TypeError, match="peeked at"):
        next(iter(jobs.peek())).reply(b"yes")
    with pytest.raises(TypeError, match="encode"), client.queue("jobs").publisher() as publisher:
        publisher.send("text")  # type: ignore[arg-type]
    with pytest.raises(PublishFailed), client.queue("nowhere").publisher() as publisher:
        publisher.send(b"x")


def test_draining_from_another_thread_ends_the_iteration(client: Client) -> None:
    jobs = client.queue("jobs")
    jobs.publish_many([b"a", b"b"])
    draining: list[threading.Thread] = []
    handled = []
    with jobs.consume() as messages:
        for message in messages:
            if not draining:
                draining.append(threading.Thread(target=client.drain))
                draining[0].start()
            message.ack()
            handled.append(message.body)
    draining[0].join()
    assert handled[0] == b"a"
    assert len(handled) <= 2


def test_stopping_from_another_thread_ends_one_iteration_and_leaves_the_client(client: Client) -> None:
    jobs = client.queue("jobs")
    jobs.publish_many([b"a", b"b", b"c"])
    with jobs.consume(prefetch=2) as messages:
        iteration = iter(messages)
        first = next(iteration)
        stopping = threading.Thread(target=messages.stop)
        stopping.start()
        stopping.join()
        assert list(iteration) == []
        first.ack()
    assert jobs.info().ready == 2
    assert jobs.publish(b"d").offset == 3
