"""Reply boxes: where the answers to a session's requests go. They live in memory and end with their session.

    box opened --> address "$reply.<boot epoch>.<session>"
    reply to that address:  the session lives, the box has room   delivered
                            the session ended, or an earlier boot's   gone
                            too much waits for a peer that does not read   full

The model is AMQP 0-9-1 as RabbitMQ extends it ("direct reply-to"): no queue, no journal, the reply is handed straight
to the connection that asked, and is dropped when that is gone. JMS 2.0 has TemporaryQueue for the same purpose: it
belongs to one connection and is deleted with it.

The address is the fence: a session's number is never given twice within a boot, and a boot's epoch never again, so what
is sent to an address that has ended reaches nobody. It need not be secret to be safe; who may send to which address is
for ``target`` alone to say.
"""

from __future__ import annotations

from typing import Final

from penstock.core.values import REPLY_PREFIX, Refused

DELIVERED: Final = "delivered"
GONE: Final = "gone"
FULL: Final = "full"
_NUMBER_DIGITS_MAX: Final = 20
"""Digits of the largest u64."""


class ReplyBoxes:
    """The boxes of all sessions, and what became of replies since the start, in messages."""

    def __init__(self, boot_epoch: int, bytes_max: int) -> None:
        self.bytes_max = bytes_max
        self.delivered_count = 0
        self.gone_count = 0
        self.full_count = 0
        self._boot_epoch = boot_epoch
        self._waiting_bytes: dict[int, int] = {}
        """By session: replies handed to its connection and, as far as is known, not written to the peer yet."""

    def __len__(self) -> int:
        return len(self._waiting_bytes)

    def open(self, session: int) -> str:
        """Open a session's box, or find it open; return its address."""
        self._waiting_bytes.setdefault(session, 0)
        return f"{REPLY_PREFIX}{self._boot_epoch}.{session}"

    def close(self, session: int) -> None:
        """The session ended, and its address with it."""
        self._waiting_bytes.pop(session, None)

    def target(self, address: str) -> int | None:
        """Return the session that an address leads to, None when it has ended: the one place where that is decided.

        Raises Refused (bad-name) for what is no reply address: a queue is published to.
        """
        if not address.startswith(REPLY_PREFIX):
            raise Refused("bad-name", f"{address!r} is not a reply address; publish to it, if it is a queue")
        epoch, _, session = address.removeprefix(REPLY_PREFIX).partition(".")
        if _number(epoch) != self._boot_epoch:
            return None
        number = _number(session)
        return number if number in self._waiting_bytes else None

    def put(self, session: int, size_bytes: int, message_count: int) -> bool:
        """Count a reply as delivered; False when too much waits for that peer. One reply is always let in."""
        waiting_bytes = self._waiting_bytes[session]
        if waiting_bytes and waiting_bytes + size_bytes > self.bytes_max:
            return False
        self._waiting_bytes[session] = waiting_bytes + size_bytes
        self.delivered_count += message_count
        return True

    def written(self, session: int, unsent_bytes: int) -> None:
        """Learn that no more than so many bytes, of whatever kind, still wait to be written to a session's peer."""
        self._waiting_bytes[session] = min(self._waiting_bytes[session], unsent_bytes)

    def waiting_bytes(self, session: int) -> int:
        """How much waits for a session's peer, at the most."""
        return self._waiting_bytes[session]

    def refuse(self, message_count: int, outcome: str) -> str:
        """Count replies that were not delivered; return why."""
        if outcome == GONE:
            self.gone_count += message_count
        else:
            self.full_count += message_count
        return outcome


def _number(text: str) -> int:
    """Return a number as addresses have it, -1 for any other text: each number has one spelling."""
    if not text.isascii() or not text.isdigit() or len(text) > _NUMBER_DIGITS_MAX or text.startswith("0"):
        return -1
    return int(text)
