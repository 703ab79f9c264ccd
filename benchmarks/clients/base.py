"""What a load needs from a Python client; one implementation for each broker."""

from collections.abc import Callable
from typing import Protocol

from benchmarks.jobs import Tally

OnBody = Callable[[bytes], None]


class Client(Protocol):
    """One connection of one user's program."""

    async def open(self) -> None:
        """Connect."""

    async def close(self) -> None:
        """Send what is still held back (acks) and disconnect."""

    async def declare(self, queue: str) -> None:
        """Create the queue if it does not exist."""

    async def publish_one(self, queue: str, body: bytes) -> None:
        """Publish one message; return when it is confirmed."""

    async def publish_steadily(self, queue: str, body: bytes, tally: Tally) -> None:
        """Publish until ``tally.stopping`` or its limit, as fast as the client allows; return when all is confirmed."""

    async def publish_spread(self, queues: list[str], body: bytes, tally: Tally) -> None:
        """Like publish_steadily, each message to the next queue of the list, around and around."""

    async def consume(self, queue: str, tally: Tally, on_body: OnBody | None = None) -> None:
        """Receive and acknowledge every message until ``tally.limit``; call ``on_body`` with each body."""
