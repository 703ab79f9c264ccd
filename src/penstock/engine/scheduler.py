"""Scheduled messages, the engine's part: what blocks ask is decoded and they are split by it; single messages of a
waiting block are cancelled; what waits is shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from penstock.core import asking, publishing, scheduling
from penstock.core.asks import parse_asks
from penstock.core.queue import Queue
from penstock.core.schedule import Entry
from penstock.core.scheduling import Part
from penstock.core.storing import Publication
from penstock.core.values import Refusal, Refused
from penstock.engine.interface import DeliveryOut, StoredBlock

if TYPE_CHECKING:
    from penstock.core.session import Session
    from penstock.engine.engine import Engine

LOOK_ENTRIES_MAX: Final = 1000
"""Entries shown at once."""


class Scheduler:
    """What of scheduling needs blocks to be opened."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    # -- publishing ----------------------------------------------------------------------------------------------------

    def publish(self, session: Session, entries: Sequence[Publication], marked: Sequence[int]) -> None:
        """Publish blocks in order; those at the indices ``marked`` may ask for something, to wait for instance."""
        broker, now_ms = self._engine.broker, self._engine.clock_ms()
        start = 0
        for index in marked:
            publishing.publish(broker, session, entries[start:index], now_ms)
            self._publish_asking(session, entries[index], now_ms)
            start = index + 1
        publishing.publish(broker, session, entries[start:], now_ms)

    def _publish_asking(self, session: Session, publication: Publication, now_ms: int) -> None:
        broker, codec, block = self._engine.broker, self._engine.codec, publication[4]
        properties = codec.properties(block)
        if properties is None:
            publishing.refuse(broker, session, publication, "bad-block")
            return
        try:
            asks = parse_asks(properties, now_ms)
        except Refused as refused:
            publishing.refuse(broker, session, publication, refused.refusal.code)
            return
        dues_ms = [ask.due_ms(now_ms) for ask in asks]
        parts: list[Part] = []
        if max(dues_ms) > now_ms:
            parts = [
                Part(start, stop, due_ms, codec.slice(block, start, stop))
                for start, stop, due_ms in scheduling.runs_of(dues_ms)
            ]
        asking.publish(broker, session, publication, asks, parts, now_ms)

    # -- cancelling ----------------------------------------------------------------------------------------------------

    def cancel(self, queue: Queue, number: int, session: int, request: int) -> bool:
        """Cancel one message. True when that was done; False when the asker is answered later, once its block, which
        holds others, was read. Raises Refused (not-scheduled).
        """
        entry = scheduling.find_scheduled(queue, number)
        if entry.message_count == 1:
            scheduling.cancel(self._engine.broker, queue, entry, (), 0)
            return True
        stored = self._engine.blocks.get(entry.position)
        if stored is not None:
            self._cut_out(queue, number, entry, stored)
            return True

        def arrived(loaded: dict[int, StoredBlock]) -> None:
            result: dict[str, object] | Refusal = {"cancelled": 1}
            try:
                found = scheduling.find_scheduled(queue, number)
                if found.position in loaded:
                    self._cut_out(queue, number, found, loaded[found.position])
                elif not self.cancel(queue, number, session, request):  # it was moved meanwhile: once more
                    return
            except Refused as refused:
                result = refused.refusal
            self._engine.later(session, request, result)

        self._engine.load([entry.block()], arrived)
        return False

    def _cut_out(self, queue: Queue, number: int, entry: Entry, stored: StoredBlock) -> None:
        time_ms, block = stored
        index = number - entry.first_id
        rest = [
            Part(start, stop, entry.due_ms, self._engine.codec.slice(block, start, stop))
            for start, stop in ((0, index), (index + 1, entry.message_count))
            if start < stop
        ]
        scheduling.cancel(self._engine.broker, queue, entry, rest, time_ms)

    # -- looking -------------------------------------------------------------------------------------------------------

    def look(self, queue: Queue, number: int, count: int, bytes_max: int, session: int, request: int) -> None:
        """Show up to ``count`` scheduled messages from id ``number`` on: the sink's ``peeked`` gets them, the due time
        in place of the tag.
        """
        entries = self._entries(queue, number, count, bytes_max)
        blocks = [entry.block() for entry in entries]
        get = self._engine.blocks.get
        at_hand = {block.position: stored for block in blocks if (stored := get(block.position)) is not None}
        missing = [block for block in blocks if block.position not in at_hand]

        def arrived(loaded: dict[int, StoredBlock]) -> None:
            sink = self._engine.sinks.get(session)
            if sink is not None:
                sink.peeked(request, self._shown(entries, {**at_hand, **loaded}, number, count))

        if missing:
            self._engine.load(missing, arrived)
        else:
            arrived({})

    def _entries(self, queue: Queue, number: int, count: int, bytes_max: int) -> list[Entry]:
        found: list[Entry] = []
        if queue.schedule is not None:
            size_bytes = messages = 0
            for entry in queue.schedule.entries(number):
                size_bytes += entry.size_bytes
                if found and (size_bytes > bytes_max or messages >= count or len(found) >= LOOK_ENTRIES_MAX):
                    break
                messages += entry.end_id - max(number, entry.first_id)
                found.append(entry)
        return found

    def _shown(
        self, entries: list[Entry], stored: dict[int, StoredBlock], number: int, count: int
    ) -> list[DeliveryOut]:
        shown: list[DeliveryOut] = []
        for entry in entries:
            time_ms, block = stored[entry.position]
            first = max(number, entry.first_id)
            end = min(entry.end_id, first + count)
            if first < end:
                part = self._engine.codec.slice(block, first - entry.first_id, end - entry.first_id)
                shown.append(DeliveryOut(0, 0, 0, entry.due_ms, first, time_ms, 0, part, end - first))
                count -= end - first
        return shown
