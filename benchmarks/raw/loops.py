"""The socket loops: publish within a window, consume with acks, many connections with one message each in flight."""

import itertools
import select
import time
from collections.abc import Callable, Iterator
from typing import Final

from benchmarks.client_loads import spread_order
from benchmarks.jobs import UNLIMITED, Goal, Job, Outcome
from benchmarks.raw.base import RECEIVE_BYTES, RawFailed, Wire

Ready = Callable[[], None]

_POLL_MS: Final = 5
_CONFIRM_SECONDS_MAX: Final = 20.0
"""How long the last confirms may take after the load has ended."""
_ENCODED_AHEAD_BYTES_MAX: Final = 48_000_000
"""Publishes are encoded before the clock starts, up to this much memory; the rest as they are needed."""


def open_wire(job: Job) -> Wire:
    """Return a connection of the job's family."""
    if job.family == "penstock":
        from benchmarks.raw.penstock import PenstockWire

        return PenstockWire(job)
    if job.family == "redis":
        from benchmarks.raw.redis import RedisWire

        return RedisWire(job)
    if job.family == "nats":
        from benchmarks.raw.nats import NatsWire

        return NatsWire(job)
    from benchmarks.raw.amqp import AmqpWire

    return AmqpWire(job)


def run(job: Job, ready: Ready) -> Outcome:
    """Do the job."""
    return {"publish": _publish, "consume": _consume, "connections": _connections}[job.action](job, ready)


def _encode_ahead(chunks: Iterator[tuple[bytes, int]], job: Job) -> Iterator[tuple[bytes, int]]:
    ahead: list[tuple[bytes, int]] = []
    size = messages = 0
    while size < _ENCODED_AHEAD_BYTES_MAX and messages < (job.count or UNLIMITED):
        chunk = next(chunks)
        ahead.append(chunk)
        size += len(chunk[0])
        messages += chunk[1]
    return itertools.chain(ahead, chunks)


def _publish(job: Job, ready: Ready) -> Outcome:
    wire = open_wire(job)
    wire.declare()
    wire.open_publish()
    chunks = _encode_ahead(wire.chunks(spread_order(job.queues) if job.queues > 1 else [0]), job)
    wire.socket.setblocking(False)
    ready()
    start = time.perf_counter()
    count = _publish_loop(wire, chunks, start + job.seconds, job.count or UNLIMITED)
    taken = time.perf_counter() - start
    if job.goal:
        Goal(job.goal).announce(count)
    wire.socket.close()
    return Outcome(count, taken)


def _publish_loop(wire: Wire, chunks: Iterator[tuple[bytes, int]], deadline: float, limit: int) -> int:
    connection, window = wire.socket, wire.window
    poll = select.poll()
    sent = confirmed = 0
    rest = memoryview(b"")
    while True:
        now = time.perf_counter()
        stopping = now >= deadline or sent >= limit
        writable = True
        while writable and (rest or (not stopping and sent < limit and sent - confirmed < window)):
            if not rest:
                chunk, messages = next(chunks)
                rest = memoryview(chunk)
                sent += messages
            writable, rest = _send_some(wire, rest)
        if stopping and sent == confirmed:
            return confirmed
        if now > deadline + _CONFIRM_SECONDS_MAX:
            raise RawFailed(f"{sent - confirmed} of {sent} messages were never confirmed")
        poll.register(connection, select.POLLIN if writable else select.POLLIN | select.POLLOUT)
        for _, event in poll.poll(_POLL_MS):
            if event & ~select.POLLOUT:
                confirmed += wire.confirmed(_receive(wire))


def _send_some(wire: Wire, data: memoryview) -> tuple[bool, memoryview]:
    """Send what the socket takes; return (whether it took all, the rest)."""
    try:
        data = data[wire.socket.send(data) :]
    except BlockingIOError:
        return False, data
    return not data, data


def _receive(wire: Wire) -> bytes:
    try:
        data = wire.socket.recv(RECEIVE_BYTES)
    except BlockingIOError:
        return b""
    if not data:
        raise RawFailed("the broker closed the connection")
    return data


def _consume(job: Job, ready: Ready) -> Outcome:
    wire = open_wire(job)
    wire.declare()
    first = wire.open_consume()
    goal = Goal(job.goal) if job.goal else None
    wire.socket.setblocking(False)
    ready()
    start = time.perf_counter()
    count, last = _consume_loop(wire, first, goal, job.count or UNLIMITED, start + job.seconds)
    wire.socket.close()
    return Outcome(count, last - start)


def _consume_loop(wire: Wire, first: bytes, goal: Goal | None, limit: int, deadline: float) -> tuple[int, float]:
    poll = select.poll()
    rest = memoryview(first)
    count, last = 0, time.perf_counter()
    while True:
        writable = True
        while rest and writable:
            writable, rest = _send_some(wire, rest)
        now = time.perf_counter()
        limit = goal.limit() if goal else limit
        if (count >= limit and not rest) or now > deadline:
            return count, last
        poll.register(wire.socket, select.POLLIN if writable else select.POLLIN | select.POLLOUT)
        for _, event in poll.poll(_POLL_MS):
            if event & ~select.POLLOUT:
                messages, answer = wire.received(_receive(wire))
                if messages:
                    count += messages
                    last = time.perf_counter()
                if answer:
                    rest = memoryview(bytes(rest) + answer)


def _connections(job: Job, ready: Ready) -> Outcome:
    """Every connection publishes one message at a time; with one connection the samples are its confirm times."""
    wires = [open_wire(job)]
    wires[0].declare()
    wires.extend(open_wire(job) for _ in range(job.connections - 1))
    for wire in wires:
        wire.open_publish()
    ready()
    outcome = _time_each(wires[0], job) if len(wires) == 1 else _turn_around(wires, job)
    for wire in wires:
        wire.socket.close()
    return outcome


def _time_each(wire: Wire, job: Job) -> Outcome:
    samples: list[float] = []
    start = time.perf_counter()
    while (sent := time.perf_counter()) - start < job.seconds:
        wire.socket.sendall(wire.single())
        while not wire.confirmed(_receive(wire)):
            pass
        samples.append(time.perf_counter() - sent)
    return Outcome(len(samples), time.perf_counter() - start, samples[len(samples) // 10 :])


def _turn_around(wires: list[Wire], job: Job) -> Outcome:
    count = 0
    with select.epoll() as epoll:
        by_descriptor = {wire.socket.fileno(): wire for wire in wires}
        for descriptor, wire in by_descriptor.items():
            epoll.register(descriptor, select.EPOLLIN)
            wire.socket.sendall(wire.single())
        start = time.perf_counter()
        while time.perf_counter() - start < job.seconds:
            for descriptor, _ in epoll.poll(1.0, len(wires)):
                wire = by_descriptor[descriptor]
                confirmed = wire.confirmed(_receive(wire))
                if confirmed:
                    count += confirmed
                    wire.socket.send(wire.single())
        taken = time.perf_counter() - start
    return Outcome(count, taken)
