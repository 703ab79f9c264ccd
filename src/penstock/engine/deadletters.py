"""Dead letters: burying messages with their whole history, and redriving them.

Core says that a message is dying; its block is loaded, copied with its provenance, and core then moves it in one step.
Redrive is an internal consumer of the dead-letter queue: it leases like everyone else, and moves what it was handed.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Final

from penstock.core import delivery, settling
from penstock.core.asks import lone_ask
from penstock.core.broker import Dying
from penstock.core.definitions import find_queue
from penstock.core.group import Group
from penstock.core.groups import default_group
from penstock.core.log import BlockRef
from penstock.core.queue import Queue
from penstock.core.runs import Run
from penstock.core.session import Consumer
from penstock.core.values import (
    DISCARD_REASONS,
    DYING_EXPIRED,
    EXPIRED,
    HOLD_MS_MAX,
    Failure,
    Refusal,
    Refused,
)
from penstock.engine.interface import ConfirmEntry, DeliveryOut, StoredBlock, TagRange

if TYPE_CHECKING:
    from penstock.engine.engine import Engine

_REDRIVE_PREFETCH: Final = 200
_REDRIVE_BYTES: Final = 8 * 1024 * 1024
_SLICE_MESSAGES: Final = 100
_SLICE_BYTES: Final = 1024 * 1024
"""Buried at once: about 8 ms of work, and what is read for it."""
_STAGED_BYTES_MAX: Final = 8 * 1024 * 1024
"""Copies that wait for the disk: past it, burying and redriving wait for a commit."""


class DeadLetters:
    """Buries what dies, a slice a turn: neither the loop nor memory is held by thousands at once."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._waiting: deque[Dying] = deque()
        self._busy = False
        self._loading = False
        self.redriven: set[Queue] = set()
        """Dead-letter queues that a redrive goes through now: the next one waits, for this may hold its messages."""

    def bury(self, dying: list[Dying]) -> None:
        """Move these messages to their dead-letter queues, in order, as their blocks come into memory."""
        self._waiting += dying
        if not self._busy:
            self._busy = True
            self._engine.jobs.append(self._step)
        self._engine.wake()

    def _step(self) -> bool:
        """Called every turn; True when nothing waits."""
        if self._loading or self._engine.gathered_bytes > _STAGED_BYTES_MAX:
            return False  # goes on when the blocks are there, or a commit is done
        messages, missing = self._next_slice()

        def arrived(loaded: dict[int, StoredBlock]) -> None:
            self._loading = False
            again = []
            for one in messages:
                if _is_dying(one):
                    position = one.group.queue.log.block_at(one.offset).position
                    stored = loaded.get(position) or self._engine.blocks.get(position)
                    if stored is None:  # evicted or moved meanwhile: once more
                        again.append(one)
                    else:
                        self._bury_one(one, stored)
            self._waiting.extendleft(reversed(again))
            self._engine.wake()

        if missing:
            self._loading = True
            self._engine.load(missing, arrived)
        elif messages:
            arrived({})
        self._busy = bool(self._waiting or self._loading)
        return not self._busy

    def _next_slice(self) -> tuple[list[Dying], list[BlockRef]]:
        """Take messages from the front; also return their blocks that are not in memory."""
        messages: list[Dying] = []
        missing: dict[int, BlockRef] = {}
        missing_bytes = 0
        while self._waiting and len(messages) < _SLICE_MESSAGES and missing_bytes < _SLICE_BYTES:
            one = self._waiting.popleft()
            if not _is_dying(one):
                continue
            messages.append(one)
            ref = one.group.queue.log.block_at(one.offset)
            if ref.position not in missing and self._engine.blocks.get(ref.position) is None:
                missing[ref.position] = ref
                missing_bytes += ref.size_bytes
        return messages, list(missing.values())

    def _bury_one(self, dying: Dying, stored: StoredBlock) -> None:
        group, offset = dying
        queue = group.queue
        run = group.outstanding.find(offset)
        assert run is not None, "what is dying is outstanding (I12)"
        failures = group.history.get(offset, [])
        provenance: dict[str, Any] = {
            "queue": queue.local_name,
            **({"group": group.name} if group.name else {}),
            "offset": offset,
            **({"held": True} if group.settings.on_dead == "hold" else {}),
            "attempts": run.attempts,
            "reason": _reason(run, failures),
            "published_at_ms": stored[0],
            "failures": [failure._asdict() for failure in failures],
        }
        index = offset - queue.log.block_at(offset).first
        block = self._engine.codec.dead_letter(stored[1], index, provenance)
        engine = self._engine
        settling.bury(engine.broker, dying, block, engine.clock_ms(), engine.limits.queues_max)


def _is_dying(one: Dying) -> bool:
    """False when its group is gone, or gave it up because nobody used it."""
    return not one.group.deleted and one.group.outstanding.find(one.offset) is not None


def _reason(run: Run, failures: list[Failure]) -> str:
    if run.dying == DYING_EXPIRED:
        return DISCARD_REASONS[EXPIRED]
    return failures[-1].reason if failures else ""


class Redrive:
    """Moves dead letters back to the groups of one queue that they came from; a sink, because it consumes like any
    connection.
    """

    def __init__(self, engine: Engine, groups: list[Group], session: int, request: int, limit: int) -> None:
        self._engine = engine
        self._target = groups[0].queue
        self._groups = {group.name: group for group in groups}
        self._asker = (session, request)
        self._limit = limit or 1 << 62
        self._moved = 0
        self._kept = 0
        self._seen = 0
        self._complete = False
        self._session = 0
        self._end_offset = 0
        self._consumer: Consumer
        self._source: Queue

    def start(self) -> None:
        """Begin; the asker is replied to when every dead letter that was there has been looked at."""
        engine = self._engine
        try:
            source = find_queue(engine.broker, self._target.dead_letter_name)
        except Refused:
            engine.later(*self._asker, {"redriven": 0})
            return
        if source is self._target:
            raise Refused("unsupported", f"{source.name!r} is a dead-letter queue: redrive the queue they came from")
        self._source = source
        engine.jobs.append(self.step)
        self._begin()

    def _begin(self) -> None:
        engine, source = self._engine, self._source
        if source in engine.dead_letters.redriven:
            return
        engine.dead_letters.redriven.add(source)
        self._end_offset = source.log.visible
        self._session = engine.open_session(self, f"redrive of {self._target.local_name}")
        session = engine.broker.sessions[self._session]
        session.marks_started = True  # and it never marks one: what it loses comes back free
        name = "redrive"
        group = default_group(engine.broker, source, engine.clock_ms())
        self._consumer = delivery.consume(
            engine.broker, session, group, 1, _REDRIVE_PREFETCH, _REDRIVE_BYTES, name, consumers_max=1
        )
        engine.wake()

    def deliver(self, entries: list[DeliveryOut]) -> None:
        """Move what belongs to the target; keep the rest until the end, then give it back."""
        for entry in entries:
            self._seen += entry.message_count
            for index in range(entry.message_count):
                if entry.offset + index >= self._end_offset or self._moved >= self._limit or self._target.deleted:
                    self._complete = True
                    break
                one = self._engine.codec.slice(entry.block, index, index + 1)
                self._move(entry.first_tag + index, entry.offset + index, one)
        self._grant()
        self._engine.wake()

    def _grant(self) -> bool:
        """Ask for more, unless what was moved waits for the disk; True when it was not asked for before."""
        engine, consumer = self._engine, self._consumer
        had = consumer.prefetch_messages
        if engine.gathered_bytes > _STAGED_BYTES_MAX or engine.broker.storage_full:
            consumer.prefetch_messages = 0
            return False
        consumer.prefetch_messages = self._kept + _REDRIVE_PREFETCH
        consumer.prefetch_bytes = consumer.leased_bytes + _REDRIVE_BYTES
        engine.broker.ready_groups[consumer.group] = None
        return not had

    def step(self) -> bool:
        """Called every turn; True when this is over."""
        if not self._session:
            if self._source.deleted:
                self._engine.later(*self._asker, {"redriven": 0})
                return True
            self._begin()
            return False
        # Every message handed out so far has a tag of its own, whatever became of its lease meanwhile.
        nothing_unseen = self._seen == self._consumer.session.next_tag - 1
        nothing_left = nothing_unseen and not self._consumer.group.ready_count
        if self._complete or nothing_left:
            self._complete = True
            self._engine.dead_letters.redriven.discard(self._source)
            self._engine.close_session(self._session, lost=False)
            self._engine.later(*self._asker, {"redriven": self._moved})
        elif self._grant():
            self._engine.wake()
        return self._complete

    def _move(self, tag: int, offset: int, block: bytes) -> None:
        marked = self._source.markers.get(offset)
        if marked is not None and self._groups.get(marked[0].name) is marked[0]:
            session = self._engine.broker.sessions[self._session]
            self._moved += settling.resume(self._engine.broker, session, tag, self._source, offset)
            return
        original, queue, group_name = self._engine.codec.redriven(block)
        broker, now_ms = self._engine.broker, self._engine.clock_ms()
        session = broker.sessions[self._session]
        group = self._groups.get(group_name) if queue == self._target.local_name else None
        if group is not None and not group.deleted:
            ask = lone_ask(self._engine.codec.properties(original), now_ms)
            self._moved += settling.move(broker, session, tag, group, original, now_ms, ask)
        else:
            self._kept += session.extend(tag, tag + 1, now_ms + HOLD_MS_MAX)

    def cancelled(self, consumer: int, refusal: Refusal) -> None:  # noqa: ARG002  a Sink's signature
        """The dead-letter queue was deleted."""
        self._complete = True

    def abort(self, refusal: Refusal) -> None:  # noqa: ARG002  a Sink's signature
        """The broker stops, or an operator ends this; what was not moved stays where it is."""
        self._complete = True
        self._engine.wake()

    def confirm(self, entries: list[ConfirmEntry]) -> None:
        """Never: it publishes nothing through a route."""

    def reply(self, request: int, result: dict[str, Any]) -> None:
        """Never: it asks nothing."""

    def refuse(self, request: int, refusal: Refusal) -> None:
        """Never: it asks nothing."""

    def peeked(self, request: int, entries: list[DeliveryOut]) -> None:
        """Never: it asks nothing."""

    def stale(self, outcome: int, ranges: list[TagRange]) -> None:
        """Never: it settles through core."""

    def replied(self, replied_at_ms: int, blocks: list[bytes]) -> None:
        """Never: it asks nothing."""

    def unsent_bytes(self) -> int:
        """Nothing: it has no peer."""
        return 0
