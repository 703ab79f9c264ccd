"""What the socket loops need from a broker's protocol; one implementation for each broker."""

import socket
from collections.abc import Iterator, Sequence
from typing import Final, Protocol

from benchmarks.jobs import Job

RECEIVE_BYTES: Final = 1 << 18
_CONNECT_SECONDS_MAX: Final = 30.0


class RawFailed(Exception):
    """The broker answered with an error, or not as its protocol says."""


class Wire(Protocol):
    """One connection's protocol state. ``socket`` is connected and past its handshake after construction."""

    socket: socket.socket
    window: int
    """Messages that may be unconfirmed."""

    def declare(self) -> None:
        """Create the job's queues."""

    def open_publish(self) -> None:
        """Prepare the connection to publish to the job's queues (routes, confirm mode, reply subscription)."""

    def chunks(self, order: Sequence[int]) -> Iterator[tuple[bytes, int]]:
        """Yield encoded publishes without end: (bytes, messages in them). ``order`` names queues by number."""

    def single(self) -> bytes:
        """Return one encoded publish of one message."""

    def confirmed(self, data: bytes) -> int:
        """Take received bytes; return how many messages they confirm. Raises RawFailed."""

    def open_consume(self) -> bytes:
        """Prepare the connection to consume; return the first bytes to send."""

    def received(self, data: bytes) -> tuple[int, bytes]:
        """Take received bytes; return (messages in them, bytes to send: acks and requests for more)."""


def connect(port: int) -> socket.socket:
    """Return a blocking loopback connection without Nagle's delay."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=_CONNECT_SECONDS_MAX)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def queue_names(job: Job) -> list[str]:
    """Return the names of the job's queues."""
    return [job.queue] if job.queues == 1 else [f"{job.queue}.{index}" for index in range(job.queues)]


def endless(chunks: Sequence[tuple[bytes, int]]) -> Iterator[tuple[bytes, int]]:
    """Yield the chunks around and around."""
    while True:
        yield from chunks
