"""Replies, naively: which boxes are open, what each connection has not read, and where every reply has to arrive."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from tests.sim.violation import Violation

from penstock.core.replies import DELIVERED, FULL, GONE, ReplyBoxes
from penstock.engine.interface import ReplyIn
from penstock.engine.replies import ENTRY_BYTES
from penstock_client.wire import blocks
from penstock_client.wire.replies import ADDRESS_PREFIX

Arrived = tuple[str, int]
"""(the address that a reply was sent to, its number)"""


def reply_block(address: str, numbers: Sequence[int], filler: int) -> bytes:
    """Return a block of replies that say where they go and who they are."""
    return blocks.encode_block([f"{address}|{number}|".encode() + b"." * filler for number in numbers])


def replies_in(block: bytes) -> list[Arrived]:
    """Return which replies a block holds."""
    parts = [body.decode().split("|") for body in blocks.decode_bodies(block)]
    return [(address, int(number)) for address, number, _ in parts]


def _size_bytes(block: bytes) -> int:
    return len(block) + ENTRY_BYTES


class Mail:
    """The replies of one life of an engine."""

    def __init__(self, bytes_max: int) -> None:
        self.boxes: dict[str, int] = {}
        """Address to session, while both live."""
        self._bytes_max = bytes_max
        self._coming: dict[int, deque[bytes]] = {}
        self._unread: dict[int, deque[int]] = {}
        self._seen: set[int] = set()
        self._counts = {DELIVERED: 0, GONE: 0, FULL: 0}

    def asked(self, session: int) -> None:
        """A session wants a box; it has it before it is told its address."""
        self._unread.setdefault(session, deque())
        self._coming.setdefault(session, deque())

    def opened(self, session: int, address: str) -> None:
        """A session was told its address: the same one each time."""
        known = [other for other, owner in self.boxes.items() if owner == session]
        if self.boxes.get(address, session) != session or known not in ([], [address]):
            raise Violation("R1", f"box {address} given to session {session}, which had {known}")
        self.boxes[address] = session

    def closed(self, session: int) -> None:
        """A session ended, and its box with it."""
        self.boxes = {address: owner for address, owner in self.boxes.items() if owner != session}
        self._unread.pop(session, None)
        self._coming.pop(session, None)

    def sent(self, entries: Sequence[ReplyIn]) -> list[str]:
        """Return the outcome that each of these entries has to have."""
        return [self._sent(entry) for entry in entries]

    def _sent(self, entry: ReplyIn) -> str:
        if entry.refusal:
            return entry.refusal
        if not entry.address.startswith(ADDRESS_PREFIX):
            return "bad-name"
        session = self.boxes.get(entry.address)
        outcome = GONE if session is None else DELIVERED
        if session is not None:
            waiting = [*self._unread[session], *map(_size_bytes, self._coming[session])]
            if waiting and sum(waiting) + _size_bytes(entry.block) > self._bytes_max:
                outcome = FULL
            else:
                self._coming[session].append(entry.block)
        self._counts[outcome] += entry.message_count
        return outcome

    def arrived(self, session: int, block: bytes) -> None:
        """A block of replies reached a connection: the one it was for, in order, once, and only while it lives."""
        coming = self._coming.get(session)
        if not coming or coming.popleft() != block:
            raise Violation("R1", f"session {session} got {replies_in(block)}, which it was not to get now")
        for address, number in replies_in(block):
            if self.boxes.get(address) != session:
                raise Violation("R1", f"session {session} got reply {number}, which was for {address}")
            if number in self._seen:
                raise Violation("R2", f"reply {number} arrived twice")
            self._seen.add(number)
        self._unread[session].append(_size_bytes(block))

    def read(self, session: int, count: int) -> None:
        """A peer reads some of what waits for it."""
        unread = self._unread.get(session, deque())
        for _ in range(min(count, len(unread))):
            unread.popleft()

    def unsent_bytes(self, session: int) -> int:
        """What a peer has not read."""
        return sum(self._unread[session])

    def compare(self, boxes: ReplyBoxes) -> None:
        """Every reply is counted once, under its outcome; no box is left of a session that ended."""
        if lost := [one for coming in self._coming.values() for one in coming]:
            raise Violation("R2", f"said to be delivered, and never were: {[replies_in(block) for block in lost]}")
        counts = {DELIVERED: boxes.delivered_count, GONE: boxes.gone_count, FULL: boxes.full_count}
        if counts != self._counts or len(boxes) != len(self._unread):
            text = f"the broker counts {counts} in {len(boxes)} boxes, {self._counts} in {len(self._unread)}"
            raise Violation("R3", f"{text} are right")
        for session in self.boxes.values():
            if boxes.waiting_bytes(session) < self.unsent_bytes(session):
                raise Violation("R3", f"more waits for session {session} than the broker knows")
