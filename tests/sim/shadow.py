"""The shadow: what must hold, computed message by message with no cleverness at all.

Commands are told to it as they are given to the broker, hand-outs and internal moves as the broker decides them; it
checks that they were legal, and says what the broker has to answer. ``replay.py`` rebuilds it from a prefix of the
facts, which is what recovery has to arrive at; ``comparison.py`` holds the two against each other.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import TypeVar

from tests.sim.bodies import id_of, is_selected, uids_of, view_of
from tests.sim.dropping import check_dropped, is_full_for
from tests.sim.exchanges import IN_MEMORY, Sequences, ShadowExchange, ShadowExchanges, Way
from tests.sim.judge import STREAM_RUNS_KEPT, Expected, Judge, Publication, Recorded, next_block
from tests.sim.namespaces import PREFIX, refusal_of_publish
from tests.sim.recurring import ShadowRecurring
from tests.sim.scheduled import check_parts, dues_of, scheduled
from tests.sim.state import (
    SCHEDULED_MARK,
    Block,
    Held,
    Message,
    NotedId,
    Place,
    ShadowConsumer,
    ShadowGroup,
    ShadowQueue,
    ShadowSession,
    Stored,
    Stream,
)
from tests.sim.terms import asked_in
from tests.sim.violation import Violation

from penstock.core.broker import Delivery
from penstock.core.dedup import digest_of
from penstock.core.facts import (
    Declared,
    Discarded,
    Expired,
    GroupDeclared,
    GroupDeleted,
    NamespaceSet,
    Paused,
    Published,
    PublishedTo,
    Scheduled,
)
from penstock.core.records import PUBLISHED_HEADER_BYTES, SCHEDULED_HEADER_BYTES
from penstock.core.values import (
    ACK,
    CANCELLED,
    DUPLICATE,
    DUPLICATE_SCHEDULED,
    EXPIRED,
    EXTEND,
    FILTERED,
    HOLD_MS_MAX,
    MEMORY,
    NACK,
    NO_DELAY,
    OFFSET_UNKNOWN,
    PURGED,
    REFUSED,
    REJECT,
    RELEASE,
    REQUEUE,
    SCHEDULED,
    STARTED,
    STORED,
    GroupSettings,
)

TagRange = tuple[int, int]
WAITING = (Place.READY, Place.DELAYED, Place.TAIL)
"""Where nobody holds a message."""


class Shadow:
    """A broker, naively."""

    def __init__(self, boot_epoch: int) -> None:
        self.boot_epoch = boot_epoch
        self.queues: dict[int, ShadowQueue] = {}
        self.names: dict[str, ShadowQueue] = {}
        self.producers: dict[int, int] = {}
        self.sessions: dict[int, ShadowSession] = {}
        self.recurring: dict[int, ShadowRecurring] = {}
        self.namespaces: dict[str, NamespaceSet] = {}
        self.space_bytes = 0
        """What is stored in the namespace: looked up before a publish."""
        self.storage_full = False
        self.copied: Stored | None = None
        """In a replay: the broker's own copy of a message whose original ends with the next fact about it."""
        self._arrivals = 0
        self.exchanges = ShadowExchanges()
        self.memory_bytes: dict[int, int] = {}
        """What memory queues hold, blocks included that are done and not dropped yet: looked up before a publish."""

    # -- definitions ---------------------------------------------------------------------------------------------------

    def declared(self, fact: Declared) -> None:
        """A queue came to be."""
        start = 0 if fact.settings.durable else self.boot_epoch << 40
        queue = ShadowQueue(fact.queue, fact.group, fact.name, fact.settings, start, start, start, start)
        if fact.queue in self.queues or fact.name in self.names:
            raise Violation("I6", f"queue {fact.queue} {fact.name!r} was declared twice")
        self.queues[fact.queue] = self.names[fact.name] = queue
        queue.used_ms = fact.time_ms

    def group_declared(self, fact: GroupDeclared) -> None:
        """A group came to be: before what is stored from its start on."""
        queue = self.queues[fact.queue]
        known = queue.groups.get(fact.group)
        if known is not None and (known.declared or fact.name or fact.start < known.cursor):
            raise Violation("I6", f"{fact}: {known.label} is there already, at {known.cursor}")
        needed = queue.needed()
        group = known or queue.add_group(fact.group, fact.name, fact.settings, fact.start)
        group.begin(fact.start)
        queue.filled_otherwise = queue.filled_otherwise or not needed.issuperset(queue.needed())
        queue.trim()

    def group_deleted(self, fact: GroupDeleted) -> int:
        """A group is gone, with its consumers and every lease on it; return how many messages it had."""
        queue = self.queues[fact.queue]
        low = queue.durable_low_offset()
        group = queue.groups.pop(fact.group)
        queue.filled_otherwise = True
        self._end_deliveries(group)
        if not group.name:
            default = queue.add_group(group.number, "", GroupSettings(), queue.start_offset)
            default.state_version = group.state_version
        if not queue.groups[queue.default].declared:
            queue.groups[queue.default].skip(low)
        queue.trim()
        return len(group.messages)

    def pause(self, fact: Paused) -> None:
        """Hand-outs stop or go on."""
        queue = self.queues[fact.queue]
        if fact.group:
            queue.groups[fact.group].paused = fact.paused
        else:
            queue.paused = fact.paused

    def delete(self, number: int) -> int:
        """A queue is gone, with its consumers and every lease on it; return how many messages it had."""
        queue = self.queues.pop(number)
        del self.names[queue.name]
        self.exchanges.forget("queue", number)
        for group in queue.groups.values():
            self._end_deliveries(group)
        return queue.open_count() + len(queue.scheduled)

    def _end_deliveries(self, group: ShadowGroup) -> None:
        for session in self.sessions.values():
            for tag in [tag for tag, held in session.tags.items() if held.group is group]:
                self.untag(session, tag)
            for one in [c.number for c in session.consumers.values() if c.group is group]:
                del session.consumers[one]

    def purge(self, group: ShadowGroup) -> int:
        """Everything that is not leased or dying is done; return how many messages went."""
        places = (Place.READY, Place.DELAYED, Place.TAIL)
        gone = [m.offset for m in group.messages.values() if m.place in places]
        group.discard(gone, PURGED)
        return len(gone)

    def expired(self, fact: Expired, now_ms: int) -> None:
        """The time of messages is over: they are on their way to the dead letters."""
        group = self.queues[fact.queue].groups[fact.group]
        offsets = [offset for first, end in fact.ranges for offset in range(first, end)]
        self._check_over(group, offsets, now_ms)
        for offset in offsets if group.settings.where else ():
            message = group.messages[offset]
            if not message.attempts and not is_selected(message.stored.uid):
                raise Violation("I14", f"{group.label} {offset} is not selected and became a dead letter")
        group.condemn(offsets)
        group.queue.idle_ms, group.queue.found_idle_ms = now_ms, 0  # on their way to the dead letters they hold it

    def _check_over(self, group: ShadowGroup, offsets: Iterable[int], now_ms: int) -> None:
        """Only what is over expires, and never while it is leased (SEMANTICS 13)."""
        for offset in offsets:
            message = group.messages.get(offset)
            if message is None or message.place not in WAITING or not message.is_over(now_ms):
                raise Violation("I11", f"{group.label} {offset} expired at {now_ms}: {message}")

    def check_none_overdue(self, now_ms: int) -> None:
        """Whatever nobody holds was let go of when its time was over."""
        for queue in self.queues.values():
            for group in queue.keepers():
                late = [
                    one
                    for one in group.messages.values()
                    if one.place in WAITING and one.is_over(now_ms) and not group.is_unsifted(one)
                ]
                if late:
                    raise Violation("I20", f"{group.label} keeps {late[0]}, which was over long before {now_ms}")

    def discarded(self, fact: Discarded, now_ms: int) -> int:
        """Messages are done unprocessed; return how many that were."""
        group = self.queues[fact.queue].groups[fact.group]
        offsets = [offset for first, end in fact.ranges for offset in range(first, end)]
        for offset in offsets:
            kept = (Place.LEASED, Place.DYING) if fact.reason == CANCELLED else (Place.LEASED, Place.DYING, Place.HELD)
            if offset not in group.messages or group.messages[offset].place in kept:
                raise Violation("I12", f"{fact}: {group.label} {offset} is {group.messages.get(offset)}")
            if fact.reason == FILTERED and (not group.settings.where or is_selected(group.messages[offset].stored.uid)):
                raise Violation("I12", f"{fact}: {group.label} {offset} is selected, and was filtered out")
        if fact.reason == EXPIRED:
            self._check_over(group, offsets, now_ms)
        if fact.reason == PURGED and self.purge(group) != len(offsets):
            raise Violation("I12", f"{fact} does not purge all of {group.label}")
        if fact.reason != PURGED:
            group.discard(offsets, fact.reason)
        return len(offsets)

    # -- publishing ----------------------------------------------------------------------------------------------------

    def publish(
        self, session: int, publications: Iterable[Publication], facts: Sequence[Recorded], now_ms: int
    ) -> list[Expected]:
        """Return what each block's confirm has to say. ``facts`` are what was recorded for them, in order."""
        recorded = deque(facts)
        expected: list[Expected] = []
        for one in publications:
            way = self.sessions[session].ways.get(one[0])
            if way is None:
                expected += self._publish_one(self.sessions[session], one, recorded, now_ms)
            else:
                expected += self._publish_through(self.sessions[session], way, one, recorded, now_ms)
            check_dropped(self, recorded, now_ms)
        if recorded:
            raise Violation("I6", f"stored though it had to be refused: {recorded[0]}")
        return expected

    def _publish_one(
        self, session: ShadowSession, publication: Publication, recorded: deque[Recorded], now_ms: int
    ) -> list[Expected]:
        route, level, first, count, block = publication
        name, number = session.routes.get(route, ("", 0))
        queue = self.queues.get(number) or self.names.get(name)
        level = level if queue is None or queue.settings.durable else MEMORY
        dues = dues_of(block, now_ms)
        waits = dues is not None and max(dues, default=now_ms) > now_ms
        code = self._refusal(route in session.routes, queue, dues is not None, waits)
        if code or queue is None or dues is None:
            return [Expected(route, REFUSED, level, code, first, count, OFFSET_UNKNOWN, -1)]
        session.routes[route] = (name, queue.number)
        stream = queue.streams.setdefault(session.producer, Stream())
        if queue.settings.parts_blocks and not waits:
            return Judge(self, queue, stream, session.producer, now_ms).judged(publication, level, recorded)
        code = self._refusal_of_stream(queue, stream, first, count)
        if code:
            return [Expected(route, REFUSED, level, code, first, count, OFFSET_UNKNOWN, -1)]
        if first <= stream.last:
            return [self._duplicate(queue, stream, Expected(route, DUPLICATE, level, "", first, count, 0, -1))]
        if not recorded:
            raise Violation("I1", f"nothing was recorded for sequence {first} of {queue.name}")
        if waits:
            return [self._scheduled(queue, session.producer, publication, recorded, dues)]
        position, fact = next_block(recorded)
        self.stored(fact, position, uids_of(block))
        if fact[:5] != (queue.number, queue.next_offset - count, count, session.producer, first):
            raise Violation("I6", f"recorded {fact[:5]} for {publication[:4]} of session {session.number}")
        return [Expected(route, STORED, level, "", first, count, queue.next_offset - count, position)]

    def _refusal(self, is_open: bool, queue: ShadowQueue | None, makes_sense: bool, waits: bool) -> str:
        """Why a block has to be refused for what it is; empty when it has to be looked at further."""
        if not makes_sense:
            return "bad-setting"
        if queue is None:
            return "unknown-queue" if is_open else "unknown-route"
        return "unsupported" if waits and (not queue.settings.durable or queue.settings.dedup_window_ms) else ""

    def _refusal_of_stream(self, queue: ShadowQueue, stream: Stream, first: int, count: int) -> str:
        if first <= stream.last:
            stored = all(sequence in stream.offsets for sequence in range(first, first + count))
            return "" if stored and first + count - 1 <= stream.last else "sequence-order"
        if self.storage_full and queue.settings.durable:
            return "disk-full"
        return refusal_of_publish(self, queue)

    def _scheduled(
        self,
        queue: ShadowQueue,
        producer: int,
        publication: Publication,
        recorded: deque[Recorded],
        dues: Sequence[int],
    ) -> Expected:
        route, level, first, count, block = publication
        first_id = queue.next_id
        parts: list[tuple[int, Scheduled]] = []
        while recorded and sum(fact.message_count for _, fact in parts) < count:
            position, fact = recorded.popleft()
            if not isinstance(fact, Scheduled) or (fact.queue, fact.producer) != (queue.number, producer):
                raise Violation("I6", f"{fact[:5]} recorded for a block that is to wait")
            parts.append((position, fact))
            scheduled(queue, fact, position, uids_of(fact.block))
            self.producers[producer] = fact.time_ms
            if queue.name.startswith(PREFIX):
                self.space_bytes += len(fact.block) + SCHEDULED_HEADER_BYTES
        check_parts(parts, dues, first_id)
        uids = tuple(uid for _, fact in parts for uid in uids_of(fact.block))
        if uids != uids_of(block):
            raise Violation("I6", f"messages {uids} are scheduled, {uids_of(block)} were published")
        return Expected(route, SCHEDULED, level, "", first, count, first_id, parts[-1][0])

    def _duplicate(self, queue: ShadowQueue, stream: Stream, expected: Expected) -> Expected:
        offset = stream.offsets[expected.first_sequence]
        if stream.breaks_since(expected.first_sequence) > STREAM_RUNS_KEPT:
            offset = OFFSET_UNKNOWN
        if offset != OFFSET_UNKNOWN and offset & SCHEDULED_MARK:
            waiting = queue.scheduled.get(offset ^ SCHEDULED_MARK)
            position = waiting.position if waiting else -1
            return expected._replace(status=DUPLICATE_SCHEDULED, offset=offset ^ SCHEDULED_MARK, position=position)
        stored = queue.stored.get(offset)
        return expected._replace(offset=offset, position=stored.position if stored else -1)

    def stored(self, fact: Published, position: int, uids: Sequence[int]) -> None:
        """A block entered a log."""
        if len(uids) != fact.message_count:
            raise Violation("I6", f"a block of {len(uids)} messages recorded as {fact.message_count}")
        queue = self.queues[fact.queue]
        self._place(queue, fact.first, uids, fact, position)
        queue.filled_otherwise = queue.filled_otherwise or not fact.producer
        if fact.producer:
            stream = queue.streams.setdefault(fact.producer, Stream())
            stream.last = fact.first_sequence + fact.message_count - 1
            for index in range(fact.message_count):
                stream.offsets[fact.first_sequence + index] = fact.first + index
            self.producers[fact.producer] = fact.time_ms

    def _place(
        self, queue: ShadowQueue, first: int, uids: Sequence[int], fact: Published | PublishedTo, position: int
    ) -> None:
        block_bytes = len(fact.block)
        asked = asked_in(fact.block, len(uids), queue.settings)
        if first != queue.next_offset:
            raise Violation("I6", f"queue {queue.name}: offset {first} given, next is {queue.next_offset}")
        size = max(1, block_bytes // len(uids))
        queue.newest_ms = max(queue.newest_ms, fact.time_ms)
        queue.used_ms = max(queue.used_ms, fact.time_ms)
        for offset, uid in enumerate(uids, first):
            one = asked[offset - first]
            terms = (one.over_ms(queue.settings, fact.time_ms), one.priority)
            stored = queue.stored[offset] = Stored(uid, offset, size, first, position, fact.time_ms, *terms)
            for group in queue.groups.values():
                group.add(stored)
        queue.next_offset += len(uids)
        queue.blocks.append(Block(first, queue.next_offset, block_bytes + PUBLISHED_HEADER_BYTES))
        if queue.name.startswith(PREFIX):
            self.space_bytes += block_bytes + PUBLISHED_HEADER_BYTES
        if not queue.settings.durable:
            self.memory_bytes[queue.number] = (
                self.memory_bytes.get(queue.number, 0) + block_bytes + PUBLISHED_HEADER_BYTES
            )

    # -- publishing through exchanges ----------------------------------------------------------------------------------

    def stored_in_all(self, fact: PublishedTo, position: int, uids: Sequence[int]) -> None:
        """A block entered the logs of all its durable queues."""
        for number, first in fact.targets:
            if number in self.queues:
                self._place(self.queues[number], first, uids, fact, position)
        self.exchanges.took(fact, position)
        self.producers[fact.producer] = fact.time_ms

    def _publish_through(
        self, session: ShadowSession, way: Way, publication: Publication, recorded: deque[Recorded], now_ms: int
    ) -> list[Expected]:
        route, level, first, count, block = publication
        all_of_it = Expected(route, REFUSED, level, "", first, count, OFFSET_UNKNOWN, -1)
        if dues_of(block, 0) is None:
            return [all_of_it._replace(code="bad-setting")]
        exchange = self.exchanges.by_number.get(way.number) or self.exchanges.names.get(way.exchange)
        if exchange is None:
            return [all_of_it._replace(code="unknown-exchange")]
        session.ways[route] = way._replace(number=exchange.number)
        stream = exchange.streams.get(session.producer, Sequences())
        if first <= stream.last:
            return _duplicates(stream, all_of_it)
        if self.storage_full:
            return [all_of_it._replace(code="disk-full")]
        uids = uids_of(block)
        targets = [self.exchanges.queues_for(exchange, way.routing_key, view_of(uid)) for uid in uids]
        expected, start = [], 0
        for end in range(1, count + 1):
            if end == count or targets[end] != targets[start]:
                for low, high in self._runs(targets[start], uids[start:end], now_ms):
                    part = all_of_it._replace(first_sequence=first + start + low, message_count=high - low)
                    run = uids[start + low : start + high]
                    expected.append(self._part(session, exchange, way, part, targets[start], run, recorded, now_ms))
                start = end
        return expected

    def _runs(self, targets: list[int], uids: tuple[int, ...], now_ms: int) -> Iterator[tuple[int, int]]:
        """Where neighbours part because of their ids; what was stored of them by then is known."""
        windows = any(self.queues[number].settings.dedup_window_ms for number in targets)
        if not windows or not any(map(id_of, uids)):
            yield 0, len(uids)
            return
        start = 0
        for end in range(1, len(uids) + 1):
            if (
                end == len(uids)
                or (id_of(uids[end]) and uids[end] in uids[start:end])
                or self._knowing(targets, uids[end], now_ms) != self._knowing(targets, uids[start], now_ms)
            ):
                yield start, end
                start = end

    def _knowing(self, targets: list[int], uid: int, now_ms: int) -> list[int]:
        """Which queues know a message's id."""
        message_id = id_of(uid)
        digest = digest_of(message_id) if message_id else b""
        windows = [number for number in targets if self.queues[number].settings.dedup_window_ms]
        return [number for number in windows if digest in self.queues[number].known_ids(now_ms)]

    def _part(
        self, session: ShadowSession, exchange: ShadowExchange, way: Way, part: Expected, targets: list[int],
        uids: tuple[int, ...], recorded: deque[Recorded], now_ms: int,
    ) -> Expected:  # fmt: skip
        """Neighbours that go the same way: refused, or by one fact in all queues that do not know them (I5)."""
        if not targets and way.mandatory:
            exchange.unroutable += len(uids)
            return part._replace(code="unroutable")
        level = MEMORY if any(not self.queues[number].settings.durable for number in targets) else part.level
        knowing = self._knowing(targets, uids[0], now_ms)
        queues = [self.queues[number] for number in targets if number not in knowing]
        memory = [queue for queue in queues if not queue.settings.durable]
        over = any(self.memory_bytes.get(queue.number, 0) > queue.settings.memory_bytes_max for queue in memory)
        if over or any(is_full_for(queue, len(uids)) for queue in queues):
            return part._replace(code="queue-full")
        offset = queues[0].next_offset if len(queues) == 1 else OFFSET_UNKNOWN
        for queue in memory:
            _, held = _next(recorded, Published, f"a copy for {queue.name}")
            self._place(queue, held.first, uids, held, -1)
        position, fact = _next(recorded, PublishedTo, f"sequence {part.first_sequence} of {exchange.name}")
        wanted = tuple((queue.number, queue.next_offset) for queue in queues if queue.settings.durable)
        told = (exchange.number, len(uids), session.producer, part.first_sequence, level)
        if fact[:5] != told or fact.targets != wanted:
            raise Violation("I5", f"recorded {fact[:8]}, it must be {told} into {wanted}")
        self.stored_in_all(fact, position, uids)
        for queue in queues:
            if queue.settings.dedup_window_ms:
                ids = [id_of(uid) for uid in uids]
                first = queue.next_offset - len(uids)
                queue.ids += [NotedId(digest_of(one), first + at, now_ms) for at, one in enumerate(ids) if one]
        status = DUPLICATE if knowing and not queues else STORED
        return part._replace(status=status, level=level, offset=offset, position=position, kept=bool(queues))

    # -- delivery ------------------------------------------------------------------------------------------------------

    def handed_out(self, delivery: Delivery, now_ms: int) -> None:
        """Check a hand-out and note it."""
        session = self.sessions[delivery.session]
        consumer = session.consumers.get(delivery.consumer)
        queue = self.queues.get(delivery.queue.number)
        if consumer is None or queue is None or consumer.group.queue is not queue:
            raise Violation("I10", f"handed out to a consumer that is gone: {delivery[:5]}")
        if delivery.first_tag != session.next_tag:
            raise Violation("I10", f"tag {delivery.first_tag} given, next is {session.next_tag}")
        group = consumer.group
        if group.paused or queue.paused:
            raise Violation("I10", f"{group.label} is paused and hands out {delivery.first}")
        deadline_ms = _step_up(now_ms + queue.settings.lease_ms)
        for offset in range(delivery.first, delivery.end):
            message = self._check_hand_out(group, consumer, delivery, offset)
            if message.is_over(now_ms):
                raise Violation("I11", f"{group.label} {offset} was handed out, its time was over: {message.stored}")
            self._check_turn(group, consumer, message)
            if not group.spend(now_ms):
                raise Violation("S19", f"{group.label} hands out {offset}, more than its rate of {group.rate} allows")
            tag = (session.number, session.next_tag)
            wrong = group.breaker and group.breaker.hand_out(tag, offset, now_ms, self._is_held)
            if wrong:
                raise Violation("D18", f"{group.label} hands out {offset} at {now_ms}: {wrong}")
            group.put(message, Place.LEASED)
            message.attempts += 1
            message.due_ms = message.due_until_ms = message.held_until_ms = 0
            group.take(offset)
            consumer.leased_messages += 1
            consumer.leased_bytes += message.stored.unit_bytes
            session.tags[session.next_tag] = Held(group, offset, consumer, deadline_ms, message.attempts, now_ms)
            session.next_tag += 1

    def _is_held(self, tag: tuple[int, int]) -> bool:
        session = self.sessions.get(tag[0])
        return session is not None and tag[1] in session.tags

    def look_at_breakers(self) -> None:
        """After a dispatch: where a trial run is over, and somebody could have had more, its group goes on."""
        for queue in self.queues.values():
            for group in queue.groups.values():
                if group.breaker and not (queue.paused or group.paused) and self.consumers_of(group):
                    group.breaker.look(self._is_held)

    def close_breakers(self, queue: ShadowQueue, name: str | None) -> None:
        """An operator had a queue, or one of its groups, go on."""
        for group in queue.groups.values():
            if group.breaker is not None and group.is_tripped and name in (None, group.name):
                group.breaker.reset()

    def _check_hand_out(self, group: ShadowGroup, consumer: ShadowConsumer, delivery: Delivery, offset: int) -> Message:
        message = group.messages.get(offset)
        if message is None:
            raise Violation("I4", f"{group.label} {offset} is done and was handed out")
        if message.place is not Place.READY and not (message.place is Place.TAIL and group.by_priority):
            raise Violation("I10", f"{group.label} {offset} is {message.place.value} and was handed out")
        if group.settings.where and not message.attempts and not is_selected(message.stored.uid):
            raise Violation("I12", f"{group.label} {offset} is not selected and was handed out")
        if offset >= group.queue.visible:
            raise Violation("I3", f"{group.label} {offset} was handed out before durable ({group.queue.visible})")
        if consumer.choosy and not is_selected(message.stored.uid):
            raise Violation("I12", f"{group.label} {offset} was handed to {consumer.name}, which did not select it")
        self._check_order(group, consumer, message)
        if (delivery.attempt, delivery.failures) != (message.attempts + 1, message.failures):
            tried = message.attempts, message.failures
            raise Violation("I8", f"{group.label} {offset}: {delivery[2:4]} after {tried}")
        if message.stored.block_first != delivery.block.first:
            raise Violation("I6", f"{group.label} {offset} is not in the block {delivery.block}")
        if not consumer.can_take(message.stored.unit_bytes):
            raise Violation("I13", f"{consumer.name} was handed {message.stored.unit_bytes} bytes beyond its credit")
        return message

    def _check_order(self, group: ShadowGroup, consumer: ShadowConsumer, message: Message) -> None:
        """Its turn has come; a trial run goes on from what was tried last, where no order is promised."""
        offset = message.offset
        if group.settings.mode == "keyed":
            before = group.before(message)
            if before is not None:
                raise Violation("I7", f"{group.label} {offset} was handed out before {before} of the same key")
        elif group.is_tripped and group.settings.mode == "shared" and not group.by_priority:
            return
        elif (group.by_priority or offset != group.ready[0]) and offset != (first := self.first_for(group, consumer)):
            raise Violation("I7", f"{group.label} {offset} was handed out before {first}")

    def _check_turn(self, group: ShadowGroup, consumer: ShadowConsumer, message: Message) -> None:
        """It is this consumer's turn: the highest priority first; in mode single the active one alone."""
        consumers = self.consumers_of(group)
        if group.settings.mode == "single":
            if consumer is not group.active or not self._is_free(group):
                raise Violation("I10", f"{consumer.name} is not the active consumer of {group.label}, or must wait")
            return
        unit_bytes = message.stored.unit_bytes
        first = [one for one in consumers if one.priority > consumer.priority and one.can_take(unit_bytes)]
        if any(self.first_for(group, one) == message.offset for one in first):
            raise Violation("I10", f"{group.label} {message.offset} went to {consumer.name}, another has priority")

    def first_for(self, group: ShadowGroup, consumer: ShadowConsumer) -> int | None:
        """What comes next for a consumer: by priority where messages have them, or else what is ready again first."""
        best: tuple[tuple[int, ...], int] | None = None
        by_priority = group.by_priority
        for message in group.candidates():
            offset, untouched = message.offset, not message.attempts
            hidden = offset >= group.queue.visible or (
                group.settings.where and untouched and offset >= group.sifted_until
            )
            if group.settings.mode == "keyed":
                hidden = hidden or group.before(message) is not None
            if consumer.choosy:
                hidden = hidden or offset >= consumer.chosen_until or not is_selected(message.stored.uid)
            turn = message.turn if by_priority else (untouched, offset)
            if not hidden and (best is None or (turn, offset) < best):
                best = turn, offset
        return None if best is None else best[1]

    def consumers_of(self, group: ShadowGroup) -> list[ShadowConsumer]:
        """Everyone who consumes from it."""
        return [c for session in self.sessions.values() for c in session.consumers.values() if c.group is group]

    def _is_free(self, group: ShadowGroup) -> bool:
        """Mode single: nobody else holds anything, and nothing is waiting for its next attempt."""
        active = group.active.leased_messages if group.active else 0
        waiting = group.count(Place.DELAYED) + group.count(Place.HELD)
        return group.count(Place.LEASED) == active and not waiting

    def add_consumer(self, session: int, consumer: ShadowConsumer) -> None:
        """A consumer came."""
        self.sessions[session].consumers[consumer.number] = consumer
        group = consumer.group
        if group.settings.mode == "single" and group.active is None:
            group.active = consumer
        self._arrivals += 1
        consumer.arrival = self._arrivals

    def _gone(self, consumer: ShadowConsumer) -> None:
        """A consumer went: mode single has another active one, the first of the highest priority."""
        group = consumer.group
        if group.active is consumer:
            others = sorted(self.consumers_of(group), key=lambda one: one.arrival)
            group.active = max(others, key=lambda one: one.priority, default=None)

    def check_none_starves(self, queue: ShadowQueue, busy: Collection[int] = (), now_ms: int = 0) -> None:
        """After a dispatch: no consumer has credit for the first message that it may be handed.

        ``busy`` are the numbers of groups that something is being read for. What waits for a rate or a breaker is left
        to the quiet phase, where it has to come in the end. What is over and was not let go of yet holds up what is
        behind it.
        """
        for group in queue.groups.values():
            waits = group.paused or queue.paused or group.number in busy or group.rate or group.is_tripped
            if waits:
                continue
            if any(one.is_over(now_ms) and one.place in WAITING for one in group.messages.values()):
                continue
            consumers = self.consumers_of(group)
            if group.settings.mode == "single":
                consumers = [group.active] if group.active and self._is_free(group) else []
            for consumer in consumers:
                first = self.first_for(group, consumer)
                if first is not None and consumer.can_take(group.messages[first].stored.unit_bytes):
                    raise Violation("I20", f"{group.label} {first} is ready, and {consumer.name} has credit")

    def wake(self, now_ms: int) -> None:
        """Time passes for what is delayed."""
        for queue in self.queues.values():
            for group in queue.groups.values():
                for message in group.messages.values():
                    due_ms = message.held_until_ms or message.due_ms
                    if message.place is Place.DELAYED and due_ms <= now_ms and not message.due_until_ms:
                        group.put(message, Place.READY)

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
                self.acknowledged(held.group, held.offset)
            elif outcome == RELEASE:
                self._give_back(held, now_ms + min(duration_ms, HOLD_MS_MAX) if duration_ms else 0)
            elif outcome == REQUEUE:
                self._requeue(held)
            elif outcome in (NACK, REJECT):
                self._fail(held, reason, duration_ms, outcome == REJECT, now_ms)
        return stale

    def acknowledged(self, group: ShadowGroup, offset: int) -> None:
        """A message is done."""
        group.finish(offset)
        group.acked += 1

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
        for consumer in session.consumers.values():
            self._gone(consumer)
        for tag in list(session.tags):
            held = self.untag(session, tag)
            if lost:
                self._lose(session, held, "the connection was lost", now_ms)
            else:
                self._give_back(held)

    def cancel(self, number: int, consumer: int, release: bool) -> None:
        """A consumer ends; its leases stay unless asked otherwise."""
        session = self.sessions[number]
        gone = session.consumers.pop(consumer, None)
        if gone is None:  # its ephemeral group ended with it
            return
        self._gone(gone)
        if release:
            unstarted = [t for t, held in session.tags.items() if held.consumer.number == consumer and not held.started]
            for tag in unstarted:
                self._give_back(self.untag(session, tag))

    def holder(self, group: ShadowGroup, offset: int) -> Held | None:
        """Who holds a message."""
        tags = (held for session in self.sessions.values() for held in session.tags.values())
        return next((held for held in tags if held.group is group and held.offset == offset), None)

    def revoke(self, held: Held, failed: bool, now_ms: int) -> None:
        """A lease was taken away by an operator."""
        for session in self.sessions.values():
            for tag in [tag for tag, one in session.tags.items() if one is held]:
                self.untag(session, tag)
        if failed:
            self._fail(held, "taken away by an operator", NO_DELAY, False, now_ms)
        else:
            self._give_back(held)

    def close_consumer(self, number: int, consumer: int) -> None:
        """A consumer was ended by an operator: what it holds goes back."""
        session = self.sessions[number]
        gone = session.consumers.pop(consumer, None)
        if gone is None:  # its ephemeral group ended with it
            return
        for tag in [tag for tag, held in session.tags.items() if held.consumer is gone]:
            self._give_back(self.untag(session, tag))
        self._gone(gone)

    def untag(self, session: ShadowSession, tag: int) -> Held:
        """End the lease of one tag."""
        held = session.tags.pop(tag)
        held.consumer.leased_messages -= 1
        held.consumer.leased_bytes -= self._unit_bytes(held)
        return held

    def _unit_bytes(self, held: Held) -> int:
        message = held.group.messages.get(held.offset)
        return message.stored.unit_bytes if message is not None else 0

    def _give_back(self, held: Held, due_ms: int = 0) -> None:
        message = held.group.messages[held.offset]
        if held.group.breaker is not None:
            held.group.breaker.give_back(held.offset)
        message.held_until_ms = due_ms
        held.group.put(message, Place.DELAYED if due_ms else Place.READY)

    def _requeue(self, held: Held) -> None:
        group = held.group
        if group.settings.mode == "shared":
            message = group.messages[held.offset]
            message.tail_at = group.queue.next_offset
            if group.breaker is not None:
                group.breaker.give_back(held.offset)
            group.put(message, Place.TAIL)
            group.advance()
        else:
            self._give_back(held)

    def _lose(self, session: ShadowSession, held: Held, reason: str, now_ms: int) -> None:
        if held.started or not session.marks_started:
            self._fail(held, reason, NO_DELAY, False, now_ms)
        else:
            self._give_back(held)

    def _fail(self, held: Held, reason: str, delay_ms: int, rejected: bool, now_ms: int) -> None:
        group, queue = held.group, held.group.queue
        message, settings = group.messages[held.offset], queue.settings
        breaker = group.breaker_for_failures()
        if breaker is not None and rejected:
            breaker.give_back(held.offset)
        elif breaker is not None:
            breaker.count_failure(held.offset, group.acked, now_ms)
        message.failures += 1
        message.history.append((now_ms, held.attempt, held.consumer.name, reason, held.leased_at_ms))
        over = 0 < settings.max_failures <= message.failures
        if (rejected or over) and queue.dead_letter_name != queue.name:
            message.due_ms = message.due_until_ms = 0
            group.put(message, Place.DYING)
            return
        longest = min(settings.backoff_max_ms, settings.backoff_min_ms << min(message.failures - 1, 40))
        low, high = (longest // 2, longest) if delay_ms == NO_DELAY else (min(delay_ms, HOLD_MS_MAX),) * 2
        message.due_ms = now_ms + low
        message.due_until_ms = now_ms + high if high > low else 0
        group.put(message, Place.DELAYED if high else Place.READY)


def _step_up(time_ms: int) -> int:
    return -(-time_ms // 100) * 100


_Stored = TypeVar("_Stored", Published, PublishedTo)


def _next(recorded: deque[Recorded], kind: type[_Stored], what: str) -> tuple[int, _Stored]:
    if not recorded or not isinstance(recorded[0][1], kind):
        raise Violation("I1", f"nothing was recorded for {what}, but {list(recorded)[:1]}")
    position, fact = recorded.popleft()
    assert isinstance(fact, kind)
    return position, fact


def _duplicates(stream: Sequences, block: Expected) -> list[Expected]:
    """What became of a block that was sent before, stretch by stretch."""
    expected: list[Expected] = []
    for sequence in range(block.first_sequence, block.first_sequence + block.message_count):
        outcome = stream.outcomes.get(sequence)
        one = block._replace(first_sequence=sequence, message_count=1, code="sequence-order")
        if outcome is not None:
            level = MEMORY if outcome.kind == IN_MEMORY else block.level
            one = one._replace(status=DUPLICATE, code="", level=level, position=outcome.position, kept=False)
        last = expected[-1] if expected else None
        if last is not None and (last.status, last.level) == (one.status, one.level):
            position = max(last.position, one.position)
            expected[-1] = last._replace(message_count=last.message_count + 1, position=position)
        else:
            expected.append(one)
    return expected
