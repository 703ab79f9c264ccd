"""The shadow: what must hold, computed message by message with no cleverness at all.

Commands are told to it as they are given to the broker, hand-outs and internal moves as the broker decides them; it
checks that they were legal, and says what the broker has to answer. ``replay.py`` rebuilds it from a prefix of the
facts, which is what recovery has to arrive at; ``comparison.py`` holds the two against each other.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence

from tests.sim.bodies import uids_of
from tests.sim.judge import STREAM_RUNS_KEPT, Expected, Judge, Publication, Recorded
from tests.sim.state import Block, Held, Message, Place, ShadowConsumer, ShadowQueue, ShadowSession, Stream
from tests.sim.violation import Violation

from penstock.core.broker import Delivery
from penstock.core.facts import PUBLISHED_HEADER_BYTES, Declared, Published
from penstock.core.values import (
    ACK,
    DUPLICATE,
    EXTEND,
    HOLD_MS_MAX,
    MEMORY,
    NACK,
    NO_DELAY,
    OFFSET_UNKNOWN,
    REFUSED,
    REJECT,
    RELEASE,
    STARTED,
    STORED,
)

TagRange = tuple[int, int]


class Shadow:
    """A broker, naively."""

    def __init__(self, boot_epoch: int) -> None:
        self.boot_epoch = boot_epoch
        self.queues: dict[int, ShadowQueue] = {}
        self.names: dict[str, ShadowQueue] = {}
        self.producers: dict[int, int] = {}
        self.sessions: dict[int, ShadowSession] = {}
        self.storage_full = False

    # -- definitions ---------------------------------------------------------------------------------------------------

    def declared(self, fact: Declared) -> None:
        """A queue came to be."""
        start = 0 if fact.settings.durable else self.boot_epoch << 40
        queue = ShadowQueue(fact.queue, fact.group, fact.name, fact.settings, start, start, start, start)
        if fact.queue in self.queues or fact.name in self.names:
            raise Violation("I6", f"queue {fact.queue} {fact.name!r} was declared twice")
        self.queues[fact.queue] = self.names[fact.name] = queue

    def delete(self, number: int) -> int:
        """A queue is gone, with its consumers and every lease on it; return how many messages it had."""
        queue = self.queues.pop(number)
        del self.names[queue.name]
        for session in self.sessions.values():
            for tag in [tag for tag, held in session.tags.items() if held.queue == number]:
                self.untag(session, tag)
            for one in [c.number for c in session.consumers.values() if c.queue == number]:
                del session.consumers[one]
        return len(queue.messages)

    def purge(self, number: int) -> int:
        """Everything that is not leased or dying is done; return how many messages went."""
        queue = self.queues[number]
        gone = [m.offset for m in queue.messages.values() if m.place in (Place.READY, Place.DELAYED)]
        for offset in gone:
            queue.finish(offset)
        queue.purged += len(gone)
        if gone:
            queue.cursor = queue.visible = queue.next_offset
        return len(gone)

    # -- publishing ----------------------------------------------------------------------------------------------------

    def publish(
        self, session: int, publications: Iterable[Publication], facts: Sequence[Recorded], now_ms: int
    ) -> list[Expected]:
        """Return what each block's confirm has to say. ``facts`` are what was recorded for them, in order."""
        recorded = deque(facts)
        expected = [
            part for one in publications for part in self._publish_one(self.sessions[session], one, recorded, now_ms)
        ]
        if recorded:
            raise Violation("I6", f"stored though it had to be refused: {recorded[0]}")
        return expected

    def _publish_one(
        self, session: ShadowSession, publication: Publication, recorded: deque[Recorded], now_ms: int
    ) -> list[Expected]:
        route, level, first, count, block = publication

        def refused(code: str) -> list[Expected]:
            return [Expected(route, REFUSED, level, code, first, count, OFFSET_UNKNOWN, -1)]

        if route not in session.routes:
            return refused("unknown-route")
        name, number = session.routes[route]
        queue = self.queues.get(number) or self.names.get(name)
        if queue is None:
            return refused("unknown-queue")
        session.routes[route] = (name, queue.number)
        if not queue.settings.durable:
            level = MEMORY
        stream = queue.streams.setdefault(session.producer, Stream())
        if queue.settings.dedup_window_ms:
            return Judge(self, queue, stream, session.producer, now_ms).judged(publication, level, recorded)
        if first <= stream.last:
            if first + count - 1 > stream.last or first not in stream.offsets:
                return refused("sequence-order")
            return [self._duplicate(queue, stream, Expected(route, DUPLICATE, level, "", first, count, 0, -1))]
        if self.storage_full and queue.settings.durable:
            return refused("disk-full")
        if not recorded:
            raise Violation("I1", f"nothing was recorded for sequence {first} of {queue.name}")
        position, fact = recorded.popleft()
        self.stored(fact, position, uids_of(block))
        if fact[:5] != (queue.number, queue.next_offset - count, count, session.producer, first):
            raise Violation("I6", f"recorded {fact[:5]} for {publication[:4]} of session {session.number}")
        return [Expected(route, STORED, level, "", first, count, queue.next_offset - count, position)]

    def _duplicate(self, queue: ShadowQueue, stream: Stream, expected: Expected) -> Expected:
        offset = stream.offsets[expected.first_sequence]
        if stream.breaks_since(expected.first_sequence) > STREAM_RUNS_KEPT:
            offset = OFFSET_UNKNOWN
        message = queue.messages.get(offset)
        return expected._replace(offset=offset, position=message.position if message else -1)

    def stored(self, fact: Published, position: int, uids: Sequence[int]) -> None:
        """A block entered a log."""
        queue = self.queues[fact.queue]
        if fact.first != queue.next_offset:
            raise Violation("I6", f"queue {queue.name}: offset {fact.first} given, next is {queue.next_offset}")
        if len(uids) != fact.message_count:
            raise Violation("I6", f"a block of {len(uids)} messages recorded as {fact.message_count}")
        size = max(1, len(fact.block) // fact.message_count)
        for index, uid in enumerate(uids):
            offset = fact.first + index
            queue.messages[offset] = Message(uid, offset, size, fact.first, position)
            queue.ready.append(offset)
        queue.next_offset += fact.message_count
        queue.blocks.append(Block(fact.first, queue.next_offset, len(fact.block) + PUBLISHED_HEADER_BYTES))
        if fact.producer:
            stream = queue.streams.setdefault(fact.producer, Stream())
            stream.last = fact.first_sequence + fact.message_count - 1
            for index in range(fact.message_count):
                stream.offsets[fact.first_sequence + index] = fact.first + index
            self.producers[fact.producer] = fact.time_ms

    # -- delivery ------------------------------------------------------------------------------------------------------

    def handed_out(self, delivery: Delivery, now_ms: int) -> None:
        """Check a hand-out and note it."""
        session = self.sessions[delivery.session]
        consumer = session.consumers.get(delivery.consumer)
        queue = self.queues.get(delivery.queue.number)
        if consumer is None or queue is None or consumer.queue != queue.number:
            raise Violation("I10", f"handed out to a consumer that is gone: {delivery[:5]}")
        if delivery.first_tag != session.next_tag:
            raise Violation("I10", f"tag {delivery.first_tag} given, next is {session.next_tag}")
        deadline_ms = _step_up(now_ms + queue.settings.lease_ms)
        for offset in range(delivery.first, delivery.end):
            message = self._check_hand_out(queue, consumer, delivery, offset)
            queue.put(message, Place.LEASED)
            message.attempts += 1
            message.due_ms = message.due_until_ms = 0
            if offset >= queue.cursor:
                queue.cursor = offset + 1
            else:
                queue.redelivered += 1
            consumer.leased_messages += 1
            consumer.leased_bytes += message.unit_bytes
            session.tags[session.next_tag] = Held(queue.number, offset, consumer, deadline_ms, message.attempts)
            session.next_tag += 1

    def _check_hand_out(self, queue: ShadowQueue, consumer: ShadowConsumer, delivery: Delivery, offset: int) -> Message:
        message = queue.messages.get(offset)
        if message is None:
            raise Violation("I4", f"{queue.name} {offset} is done and was handed out")
        if message.place is not Place.READY:
            raise Violation("I10", f"{queue.name} {offset} is {message.place.value} and was handed out")
        if offset >= queue.visible:
            raise Violation("I3", f"{queue.name} {offset} was handed out before it was durable ({queue.visible})")
        if offset != queue.ready[0]:
            raise Violation("I7", f"{queue.name} {offset} was handed out before {queue.ready[0]}")
        if (delivery.attempt, delivery.failures) != (message.attempts + 1, message.failures):
            raise Violation("I8", f"{queue.name} {offset}: {delivery[2:4]} after {message.attempts, message.failures}")
        if message.block_first != delivery.block.first:
            raise Violation("I6", f"{queue.name} {offset} is not in the block {delivery.block}")
        if not consumer.can_take(message.unit_bytes):
            raise Violation("I13", f"consumer {consumer} was handed {message.unit_bytes} bytes beyond its credit")
        return message

    def check_none_starves(self, queue: ShadowQueue) -> None:
        """After a dispatch: no consumer has credit for the first message that is ready."""
        if queue.ready and queue.ready[0] < queue.visible:
            unit_bytes = queue.messages[queue.ready[0]].unit_bytes
            for session in self.sessions.values():
                for consumer in session.consumers.values():
                    if consumer.queue == queue.number and consumer.can_take(unit_bytes):
                        raise Violation("I20", f"{queue.name} {queue.ready[0]} is ready, and {consumer} has credit")

    def wake(self, now_ms: int) -> None:
        """Time passes for what is delayed."""
        for queue in self.queues.values():
            for message in queue.messages.values():
                if message.place is Place.DELAYED and message.due_ms <= now_ms and not message.due_until_ms:
                    queue.put(message, Place.READY)

    # -- settling ------------------------------------------------------------------------------------------------------

    def settle(
        self, number: int, outcome: int, ranges: Iterable[TagRange], duration_ms: int, reason: str, now_ms: int
    ) -> list[TagRange]:
        """Apply an outcome; return the ranges that are stale."""
        session = self.sessions[number]
        stale = []
        taken: list[Held] = []
        for first, last in ranges:
            tags = [tag for tag in session.tags if first <= tag <= last]
            if len(tags) != last + 1 - first:
                stale.append((first, last))
            if outcome == EXTEND:
                for tag in tags:
                    session.tags[tag].deadline_ms = _step_up(now_ms + min(duration_ms, HOLD_MS_MAX))
            elif outcome == STARTED:
                session.marks_started = True
                for tag in tags:
                    session.tags[tag].started = True
            else:
                taken += [self.untag(session, tag) for tag in tags]
        for held in taken:
            if outcome == ACK:
                self.acknowledged(held.queue, held.offset)
            elif outcome == RELEASE:
                self._give_back(held)
            elif outcome in (NACK, REJECT):
                self._fail(held, reason, duration_ms, outcome == REJECT, now_ms)
        return stale

    def acknowledged(self, queue: int, offset: int) -> None:
        """A message is done."""
        self.queues[queue].finish(offset)
        self.queues[queue].acked += 1

    def expire(self, now_ms: int) -> int:
        """End the leases whose deadline has passed; return how many."""
        count = 0
        for session in self.sessions.values():
            due = [tag for tag, held in session.tags.items() if held.deadline_ms <= now_ms]
            count += len(due)
            for tag in due:
                self._lose(session, self.untag(session, tag), "the lease expired", now_ms)
        return count

    def close_session(self, number: int, lost: bool, now_ms: int) -> None:
        """A connection is gone."""
        session = self.sessions.pop(number)
        for tag in list(session.tags):
            held = self.untag(session, tag)
            if lost:
                self._lose(session, held, "the connection was lost", now_ms)
            else:
                self._give_back(held)

    def cancel(self, number: int, consumer: int, release: bool) -> None:
        """A consumer ends; its leases stay unless asked otherwise."""
        session = self.sessions[number]
        del session.consumers[consumer]
        if release:
            unstarted = [t for t, held in session.tags.items() if held.consumer.number == consumer and not held.started]
            for tag in unstarted:
                self._give_back(self.untag(session, tag))

    def untag(self, session: ShadowSession, tag: int) -> Held:
        """End the lease of one tag."""
        held = session.tags.pop(tag)
        held.consumer.leased_messages -= 1
        held.consumer.leased_bytes -= self._unit_bytes(held)
        return held

    def _unit_bytes(self, held: Held) -> int:
        queue = self.queues.get(held.queue)
        return queue.messages[held.offset].unit_bytes if queue is not None else 0

    def _give_back(self, held: Held) -> None:
        queue = self.queues[held.queue]
        queue.put(queue.messages[held.offset], Place.READY)

    def _lose(self, session: ShadowSession, held: Held, reason: str, now_ms: int) -> None:
        if held.started or not session.marks_started:
            self._fail(held, reason, NO_DELAY, False, now_ms)
        else:
            self._give_back(held)

    def _fail(self, held: Held, reason: str, delay_ms: int, rejected: bool, now_ms: int) -> None:
        queue = self.queues[held.queue]
        message, settings = queue.messages[held.offset], queue.settings
        message.failures += 1
        message.history.append((now_ms, held.attempt, held.consumer.name, reason))
        over = 0 < settings.max_failures <= message.failures
        if (rejected or over) and queue.dead_letter_name != queue.name:
            message.due_ms = message.due_until_ms = 0
            queue.put(message, Place.DYING)
            return
        longest = min(settings.backoff_max_ms, settings.backoff_min_ms << min(message.failures - 1, 40))
        low, high = (longest // 2, longest) if delay_ms == NO_DELAY else (min(delay_ms, HOLD_MS_MAX),) * 2
        message.due_ms = now_ms + low
        message.due_until_ms = now_ms + high if high > low else 0
        queue.put(message, Place.DELAYED if high else Place.READY)


def _step_up(time_ms: int) -> int:
    return -(-time_ms // 100) * 100
