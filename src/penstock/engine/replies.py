"""Replies on their way: from who answers straight to the connection that asked. Nothing is journaled, nothing waits.

A reply overtakes the facts of its sender: who wants the asker to rely on something awaits its confirm before replying.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from penstock.core.replies import DELIVERED, FULL, GONE
from penstock.core.session import Session
from penstock.core.values import Refused
from penstock.engine.arguments import Call
from penstock.engine.interface import ReplyIn

if TYPE_CHECKING:
    from penstock.engine.engine import Engine

ENTRY_BYTES: Final = 32
"""What a reply takes beside its block: frame and entry header."""


def open_box(call: Call) -> dict[str, Any]:
    """Carry out ``reply_open``."""
    call.arguments.end()
    boxes = call.engine.reply_boxes
    return {"address": boxes.open(call.session.number), "bytes_max": boxes.bytes_max}


def forward(engine: Engine, sender: Session, entries: Iterable[ReplyIn]) -> list[str]:
    """Hand replies to the connections they are for; return the outcome of each entry, in order.

    An outcome is ``delivered``, ``gone``, ``full``, or the error for which that entry was refused.
    """
    forwarding = _Forwarding(engine, sender.namespace)
    outcomes = [forwarding.take(entry) for entry in entries]
    forwarding.hand_over()
    return outcomes


class _Forwarding:
    """The replies of one frame, gathered for each asker."""

    def __init__(self, engine: Engine, space: str) -> None:
        self._engine = engine
        self._space = space
        self._boxes = engine.reply_boxes
        self._blocks: dict[int, list[bytes]] = {}

    def take(self, entry: ReplyIn) -> str:
        """Decide about one entry."""
        if entry.refusal:
            return entry.refusal
        try:
            session = self._boxes.target(entry.address)
        except Refused as refused:
            return refused.refusal.code
        if session is None or not self._reaches(session):
            return self._boxes.refuse(entry.message_count, GONE)
        if not self._put(session, entry):
            return self._boxes.refuse(entry.message_count, FULL)
        self._blocks.setdefault(session, []).append(entry.block)
        return DELIVERED

    def _reaches(self, session: int) -> bool:
        """Nothing of another namespace is there for who is in one; the root answers everyone, and is answered."""
        return not self._space or self._engine.broker.sessions[session].namespace in ("", self._space)

    def _put(self, session: int, entry: ReplyIn) -> bool:
        """Find room in a box: what was written since it was last asked makes some."""
        size_bytes, count = ENTRY_BYTES + len(entry.block), entry.message_count
        if self._boxes.put(session, size_bytes, count):
            return True
        self.hand_over()
        self._boxes.written(session, self._engine.sinks[session].unsent_bytes())
        return self._boxes.put(session, size_bytes, count)

    def hand_over(self) -> None:
        """Give what is gathered to the sinks."""
        blocks, self._blocks = self._blocks, {}
        now_ms = self._engine.clock_ms()
        for session, gathered in blocks.items():
            self._engine.sinks[session].replied(now_ms, gathered)
