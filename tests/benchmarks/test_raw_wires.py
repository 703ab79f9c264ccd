import itertools
import socket
import struct
from collections.abc import Callable, Iterator

import pytest
from benchmarks.jobs import Job
from benchmarks.raw import amqp, nats, redis
from benchmarks.raw.base import RawFailed

Connected = Callable[[bytes], socket.socket]


@pytest.fixture
def connected(monkeypatch: pytest.MonkeyPatch) -> Iterator[Connected]:
    """A wire's socket, from which the given bytes can be read; returns the broker's end."""
    ends: list[socket.socket] = []

    def connect(greeting: bytes) -> socket.socket:
        near, far = socket.socketpair()
        ends.extend((near, far))
        far.sendall(greeting)
        for module in (amqp, nats, redis):
            monkeypatch.setattr(module, "connect", lambda port: near)
        return far

    yield connect
    for end in ends:
        end.close()


def chunkings(data: bytes) -> Iterator[list[bytes]]:
    for size in (1, 7, 20, 64, len(data)):
        yield [data[start : start + size] for start in range(0, len(data), size)]


def job(family: str) -> Job:
    return Job("consume", family, 1, queue="q", body_bytes=4, batch=2)


def redis_reply(*ids: bytes) -> bytes:
    entries = [b"*2\r\n$%d\r\n%b\r\n*2\r\n$1\r\nb\r\n$4\r\nxxxx\r\n" % (len(one), one) for one in ids]
    return b"*1\r\n*2\r\n$1\r\nq\r\n*%d\r\n" % len(ids) + b"".join(entries)


def test_a_redis_reply_is_counted_and_acked_once_in_every_chunking(connected: Connected) -> None:
    for chunks in chunkings(redis_reply(b"1700000000000-0", b"1700000000000-1")):
        connected(b"")
        wire = redis.RedisWire(job("redis"))
        answers = [wire.received(chunk) for chunk in chunks]
        assert sum(count for count, _ in answers) == 2
        assert b"XACK" in answers[-1][1]
        assert answers[-1][1].count(b"1700000000000-") == 2


def test_an_empty_redis_reply_asks_again(connected: Connected) -> None:
    connected(b"")
    wire = redis.RedisWire(job("redis"))
    assert wire.received(b"*-1\r\n") == (0, wire.open_consume())


def test_a_redis_error_is_raised(connected: Connected) -> None:
    connected(b"")
    with pytest.raises(RawFailed, match="NOGROUP"):
        redis.RedisWire(job("redis")).received(b"-NOGROUP ERR no such group\r\n")


def test_nats_deliveries_are_acked_by_subject_in_every_chunking(connected: Connected) -> None:
    data = b"".join(b"MSG _INBOX.1.d 1 $JS.ACK.q.workers.1.%d.1.1.0 4\r\nxxxx\r\n" % n for n in range(1, 4))
    for chunks in chunkings(data):
        connected(b"PONG\r\n")
        wire = nats.NatsWire(job("nats"))
        answers = [wire.received(chunk) for chunk in chunks]
        sent = b"".join(answer for _, answer in answers)
        assert sum(count for count, _ in answers) == 3
        assert [b"PUB $JS.ACK.q.workers.1.%d.1.1.0 0" % n in sent for n in range(1, 4)] == [True] * 3


def greeting() -> bytes:
    methods = [
        amqp._method(0, 10, 10, b""),
        amqp._method(0, 10, 30, struct.pack(">HIH", 10, 131072, 60)),
        amqp._method(0, 10, 41, b"\x00"),
        amqp._method(1, 20, 11, b"\x00\x00\x00\x00"),
    ]
    return b"".join(methods)


def confirm(tag: int, multiple: bool) -> bytes:
    return amqp._method(1, 60, 80, struct.pack(">QB", tag, multiple))


def test_amqp_confirms_count_each_message_once_whether_single_or_ranged(connected: Connected) -> None:
    frames = [confirm(2, False), confirm(3, True), confirm(5, False), confirm(4, False), confirm(6, True)]
    for chunks in chunkings(b"".join(frames)):
        connected(greeting())
        wire = amqp.AmqpWire(job("rabbitmq"))
        assert sum(wire.confirmed(chunk) for chunk in chunks) == 6


def test_amqp_deliveries_are_acked_up_to_the_last_whole_one_in_every_chunking(connected: Connected) -> None:
    def delivery(tag: int) -> bytes:
        method = amqp._short("c") + struct.pack(">QB", tag, 0) + amqp._short("") + amqp._short("q")
        header = struct.pack(">HHQHB", 60, 0, 4, 0x1000, 2)
        return amqp._method(1, 60, 60, method) + amqp._frame(2, 1, header) + amqp._frame(3, 1, b"xxxx")

    consume_ok = amqp._method(1, 60, 21, amqp._short("c"))
    data = consume_ok + b"".join(delivery(tag) for tag in range(1, 5))
    for chunks in chunkings(data):
        connected(greeting())
        wire = amqp.AmqpWire(job("rabbitmq"))
        answers = [wire.received(chunk) for chunk in chunks]
        assert sum(count for count, _ in answers) == 4
        assert answers[-1][1] == confirm(4, True)


def test_publishes_are_encoded_as_the_protocols_say(connected: Connected) -> None:
    connected(b"")
    wire = redis.RedisWire(job("redis"))
    chunk, count = next(itertools.islice(wire.chunks([0]), 1))
    assert count == 2
    assert chunk == b"*5\r\n$4\r\nXADD\r\n$1\r\nq\r\n$1\r\n*\r\n$1\r\nb\r\n$4\r\nxxxx\r\n" * 2
