"""A client of the simulated broker: keeps the protocol's rules, and checks everything that reaches it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.sim.bodies import SELECTOR, addresses_in, block_of, routed_block_of, uids_of
from tests.sim.exchanges import Way
from tests.sim.judge import Expected
from tests.sim.mail import replies_in
from tests.sim.namespaces import PREFIX, check_told, refusal_of_session, said
from tests.sim.options import SPACE
from tests.sim.state import ShadowConsumer, ShadowGroup, ShadowQueue
from tests.sim.transacting import carry_out, check_states, refusal
from tests.sim.violation import Violation

from penstock.core.transacting import Transaction
from penstock.core.values import (
    DROP_OLDEST,
    DROPPED_NEWEST,
    REFUSED,
    STORED,
    SYNCED,
    WRITTEN,
    Refusal,
    Refused,
)
from penstock.engine.interface import ConfirmEntry, DeliveryOut, ReplyIn, TagRange
from penstock_client.wire.blocks import decode_routing

if TYPE_CHECKING:
    from tests.sim.world import World

Asks = list[dict[str, Any] | None]
_REMEMBERED_TAGS = 40
_REMEMBERED_BLOCKS = 6
_REMEMBERED_ADDRESSES = 10


@dataclass(slots=True)
class Sent:
    """A block that was published and not yet confirmed."""

    queue: str
    first_sequence: int
    level: int
    block: bytes
    uids: tuple[int, ...]
    confirmed_count: int = 0
    """Of its messages; less than all when it was stored in parts."""
    asks: bool = False
    """True when its messages ask to be delivered later."""
    way: Way | None = None
    """Through an exchange, whose name is in ``queue`` then: sequences are counted by it."""

    @property
    def route(self) -> str:
        """What tells its route from others."""
        return f"{self.queue} {self.way.routing_key} {self.way.mandatory}" if self.way else self.queue


@dataclass(slots=True)
class Asked:
    """A request without an answer yet. ``wanted`` is what the answer has to say, ``position`` what must be durable."""

    command: str
    position: int
    wanted: dict[str, Any] = field(default_factory=dict)
    code: str = ""
    """Not empty: it has to be refused with this."""
    queue: int = 0
    sent: dict[str, Any] = field(default_factory=dict)
    may_refuse: bool = False
    """True when, between asking and doing, it may have become impossible."""


class Connection:
    """One connection of a client: the sink that the engine speaks to."""

    def __init__(self, client: Client, world: World) -> None:
        self.client = client
        self.world = world
        self.session = 0
        self.requests: dict[int, Asked] = {}
        self.refused: list[int] = []
        self.routes: dict[str, int] = {}
        self.streams: dict[int, str] = {}
        """By route: the queue or exchange whose sequences its blocks have."""
        self.expected: dict[int, deque[Expected]] = {}
        """By route, one for all of an exchange's: confirms come in order, refusals among them."""
        self.consumers: list[int] = []
        self.tags: list[int] = []
        self.old_tags: deque[int] = deque(maxlen=_REMEMBERED_TAGS)
        self.stale_ranges: list[TagRange] = []
        self.producer_known = False
        self.address = ""
        """Of its reply box, once it has one."""
        self.aborted = False

    # -- what the engine says ------------------------------------------------------------------------------------------

    def confirm(self, entries: list[ConfirmEntry]) -> None:
        """Confirms arrive: in order, at their level, and true (I1, I2, I9)."""
        self._alive("confirm")
        for entry in entries:
            self.world.trace(f"{self.client.name} < confirm {entry}")
            waiting = self.expected.get(entry[0])
            if not waiting:
                raise Violation("I9", f"{entry} confirms nothing that was published")
            expected = waiting.popleft()
            if tuple(entry) != expected[:7]:
                raise Violation("I9", f"confirm {entry}, expected {expected}")
            self._check_level(expected)
            self.client.confirmed(expected, self.streams[entry[0]])

    def _check_level(self, expected: Expected) -> None:
        history = self.world.history
        if expected.status == REFUSED or expected.position < 0:
            return
        if expected.level == SYNCED:
            history.relied_on(expected.position, "I2", f"confirm {expected}")
        elif expected.level == WRITTEN and expected.position >= history.written_end:
            raise Violation("I2", f"confirm {expected} left before it was written ({history.written_end:#x})")

    def check_room(self, expected: Expected, name: str, uid: int) -> None:
        """A queue at its bound lets its producers wait (I13)."""
        queue = self.world.shadow.names.get(name)
        if queue is None or queue.filled_otherwise or expected.status != STORED or not queue.settings.max_messages:
            return
        if queue.settings.overflow == DROP_OLDEST:  # see dropping.py
            return
        if self.world.history.identity.get((queue.number, expected.offset)) != uid:
            return  # it was stored in an earlier queue of that name
        before = sum(offset < expected.offset + expected.message_count for offset in queue.needed())
        if before > queue.settings.max_messages:
            raise Violation("I13", f"{expected} left with {before} messages in {queue.name}: {queue.settings}")

    def deliver(self, entries: list[DeliveryOut]) -> None:
        """Messages arrive: as handed out, in that order, as they were published (I6, I7)."""
        self._alive("deliver")
        for entry in entries:
            self.world.trace(f"{self.client.name} < deliver {entry[:5]} x {entry.message_count}")
            out = self.world.probe.outgoing[self.session].popleft()
            arrived = (*entry[:4], entry.offset, entry.offset + entry.message_count)
            if arrived != (*out[:4], out.first, out.end):
                raise Violation("I7", f"{arrived} was delivered, {out} was handed out")
            self._check_bodies(out.queue, entry)
            last = entry.first_tag + entry.message_count
            self.tags += range(entry.first_tag, last)
            self.client.asked += sorted(addresses_in(entry.block))
            self.world.delivered += entry.message_count

    def _check_bodies(self, queue: int, entry: DeliveryOut) -> None:
        for index, uid in enumerate(uids_of(entry.block)):
            stored = self.world.history.identity.get((queue, entry.offset + index))
            self._check_way(uid, entry.block)
            if stored != uid:
                raise Violation("I6", f"queue {queue} {entry.offset + index} is message {stored}, {uid} was delivered")
        if len(uids_of(entry.block)) != entry.message_count:
            raise Violation("I6", f"{entry.message_count} messages announced, {len(uids_of(entry.block))} delivered")

    def _check_way(self, uid: int, block: bytes) -> None:
        way = self.world.history.ways.get(uid)
        if decode_routing(block) != way:
            raise Violation("I6", f"message {uid} came by {way}, and is delivered as {decode_routing(block)}")

    def reply(self, request: int, result: dict[str, Any]) -> None:
        """A request succeeded: what it did is durable (I4)."""
        asked = self._answered(request, "reply", result)
        if asked.code and not asked.may_refuse:
            raise Violation("I10", f"{asked.command} succeeded with {result}, it had to be refused: {asked.code}")
        wrong = {key: result.get(key) for key, value in asked.wanted.items() if result.get(key) != value}
        if wrong:
            raise Violation("I12", f"{asked.command} answered {wrong}, not {asked.wanted}")
        if asked.command == "find":
            self._check_found(asked, result)
        if asked.command == "queue_describe":
            self._check_age(asked.sent, result["oldest_age_ms"])
        if asked.command == "producer_open":
            self.client.producer = result["producer"]
            self.producer_known = True
        elif asked.command == "reply_open":
            self.address = result["address"]
            self.world.probe.mail.opened(self.session, self.address)

    def _check_age(self, sent: dict[str, Any], age_ms: int | None) -> None:
        """The oldest message is as old as it was when somebody asked, or as now; what came due while the broker
        was down may be older than what it is behind.
        """
        entered_ms = sent["entered_ms"]
        if entered_ms is None or age_ms is None:
            is_right = entered_ms is age_ms
        else:
            oldest_ms = self.world.now_ms - entered_ms if sent["exact"] else age_ms
            is_right = sent["asked_ms"] - entered_ms <= age_ms <= oldest_ms
        if not is_right:
            raise Violation("I12", f"the oldest message is {age_ms} ms old at {self.world.now_ms}: {sent}")

    def _check_found(self, asked: Asked, result: dict[str, Any]) -> None:
        """A search says nothing that is not so: bodies, state and order; and it goes on behind what it found."""
        sent, offset = asked.sent, asked.sent["offset"] - 1
        for entry in result["found"]:
            if entry["offset"] <= offset:
                raise Violation("I7", f"find went back from {offset} to {entry['offset']}")
            offset = entry["offset"]
            one = DeliveryOut(0, entry["attempts"], entry["failures"], 0, offset, 0, 0, entry["block"], 1)
            self._check_bodies(asked.queue, one)
            if sent["state"] not in (None, entry["state"]) or sent["text"] not in entry["block"]:
                raise Violation("I12", f"find for {sent} found {entry}")
        if len(result["found"]) > sent["count"] or (result["next_offset"] or offset + 1) <= offset:
            raise Violation("I13", f"find for {sent} found {len(result['found'])}, next {result['next_offset']}")

    def refuse(self, request: int, refusal: Refusal) -> None:
        """A request was refused."""
        asked = self._answered(request, "refuse", refusal)
        self.refused.append(request)
        if asked.wanted and not asked.code:
            raise Violation("I12", f"{asked.command} was refused: {refusal}")
        if asked.code and refusal.code != asked.code:
            raise Violation("I12", f"{asked.command} was refused with {refusal}, not {asked.code}")
        if asked.command == "producer_open":
            self.client.forget_producer()

    def peeked(self, request: int, entries: list[DeliveryOut]) -> None:
        """Messages were looked at."""
        asked = self._answered(request, "peeked", [entry[4] for entry in entries])
        if asked.command == "scheduled_peek":
            self._check_scheduled(asked.queue, entries)
            return
        before = -1
        for entry in entries:
            if entry.offset <= before:
                raise Violation("I7", f"peek went back from {before} to {entry.offset}")
            before = entry.offset + entry.message_count - 1
            self._check_bodies(asked.queue, entry)

    def _check_scheduled(self, queue: int, entries: list[DeliveryOut]) -> None:
        """What is shown is what was scheduled under these ids."""
        for entry in entries:
            for index, uid in enumerate(uids_of(entry.block)):
                stored = self.world.history.waiting.get((queue, entry.offset + index))
                if stored != uid:
                    raise Violation("I6", f"schedule id {entry.offset + index} is message {stored}, {uid} was shown")

    def stale(self, outcome: int, ranges: list[TagRange]) -> None:
        """A settle named tags that are not held."""
        self._alive("stale")
        self.stale_ranges += ranges

    def cancelled(self, consumer: int, refusal: Refusal) -> None:
        """The broker ended a consumer."""
        self._alive("cancelled")
        if self.client.space:
            check_told(refusal)
        self.world.trace(f"{self.client.name} < cancelled {consumer} {refusal.code}")
        if consumer in self.consumers:
            self.consumers.remove(consumer)

    def replied(self, replied_at_ms: int, blocks: list[bytes]) -> None:
        """Replies arrive."""
        self._alive("replied")
        for block in blocks:
            self.world.trace(f"{self.client.name} < replied {replies_in(block)}")
            self.world.probe.mail.arrived(self.session, block)

    def unsent_bytes(self) -> int:
        """What the peer has not read."""
        return self.world.probe.mail.unsent_bytes(self.session)

    def abort(self, refusal: Refusal) -> None:
        """The broker stops."""
        self.aborted = True

    def _alive(self, effect: str) -> None:
        if self.world.clients[self.client.number].connection is not self:
            raise Violation("I2", f"{effect} reached a connection that is gone")
        if self.world.storage_failed:
            raise Violation("I2", f"{effect} left after storage had failed")

    def _answered(self, request: int, kind: str, answer: object) -> Asked:
        self._alive(kind)
        self.world.trace(f"{self.client.name} < {kind} {request} {answer}")
        if self.client.space:
            check_told(answer)
        asked = self.requests.pop(request, None)
        if asked is None:
            raise Violation("I20", f"request {request} was answered twice, or never made: {kind} {answer}")
        if asked.position >= 0:
            self.world.history.relied_on(asked.position, "I4", f"the answer to {asked.command}")
        return asked

    # -- what the client asks ------------------------------------------------------------------------------------------

    def request(self, command: str, **arguments: Any) -> bool:
        """Send a request; False when it was refused on the spot."""
        return self.ask(Asked(command, -1), arguments)

    def ask(self, asked: Asked, arguments: dict[str, Any]) -> bool:
        """Send a request with expectations; the facts it records have to be durable before its answer."""
        world = self.world
        number = world.next_request()
        world.trace(f"{self.client.name} > {asked.command} {number} {arguments}")
        self.requests[number] = asked
        world.probe.last_position = -1
        world.engine.request(self.session, number, asked.command, said(arguments) if self.client.space else arguments)
        asked.position = world.probe.last_position
        return number not in self.refused

    def consume(
        self,
        number: int,
        group: ShadowGroup | None,
        prefetch_messages: int,
        prefetch_bytes: int,
        priority: int = 0,
        exclusive: bool = False,
        choosy: bool = False,
    ) -> None:
        """Start a consumer of a group; of a queue that does not exist where there is none."""
        queue = group.queue.name if group else "nowhere"
        name = f"worker-{number}"
        arguments = {"consumer": number, "queue": queue, "group": group.name if group else "", "name": name}
        options = {"priority": priority, "exclusive": exclusive, "where": SELECTOR if choosy else None}
        credit = {"prefetch_messages": prefetch_messages, "prefetch_bytes": prefetch_bytes}
        if self.request("consume", **arguments, **credit, **options):
            assert group is not None, "a queue that does not exist has no consumers"
            others = [one for one in self.world.shadow.consumers_of(group) if one.name != "redrive"]
            if others and (exclusive or any(one.exclusive for one in others)):
                raise Violation("I10", f"{name} of {group.label}: exclusive beside {[one.name for one in others]}")
            consumer = ShadowConsumer(
                number, group, prefetch_messages, prefetch_bytes, name, priority, exclusive, choosy
            )
            self.world.shadow.add_consumer(self.session, consumer)
            self.consumers.append(number)

    def declare(self, asked: Asked, name: str, settings: dict[str, Any]) -> None:
        """Declare a queue, new or again: that it is used."""
        known = self.world.shadow.names.get(name)
        created = self.ask(asked, {"queue": name, **settings})
        queue = self.world.shadow.names.get(name)
        if created and queue is not None:
            queue.used_ms = self.world.now_ms
            queue.declarer = queue.declarer if known else self.session

    def alter(self, queue: ShadowQueue, changes: dict[str, Any]) -> None:
        """Give a queue other settings; with another expiry its time begins anew."""
        before = queue.settings.expires_ms
        self.request("queue_alter", queue=queue.name, **changes)
        if queue.settings.expires_ms != before:
            queue.used_ms, queue.found_idle_ms = self.world.now_ms, 0

    def open_route(self, sent: Sent) -> int:
        """Return the route of a block, opening it first."""
        number = self.routes.get(sent.route)
        if number is None:
            number = self.routes[sent.route] = len(self.routes) + 1
            same = [known for known, stream in self.streams.items() if sent.way and stream == sent.queue]
            self.expected[number] = self.expected[same[0]] if same else deque()
            self.streams[number] = sent.queue
        session, shadow = self.world.shadow.sessions[self.session], self.world.shadow
        if number in session.routes or number in session.ways:
            return number
        if sent.way is None:
            if self.request("route_open", route=number, routing_key=sent.queue):
                session.routes[number] = (sent.queue, shadow.names[sent.queue].number)
        else:
            name, _, key, mandatory = sent.way
            if self.request("route_open", route=number, exchange=name, routing_key=key, mandatory=mandatory):
                session.ways[number] = sent.way._replace(number=shadow.exchanges.names[name].number)
        return number

    def publish(self, blocks: list[Sent]) -> None:
        """Send one PUBLISH frame."""
        world = self.world
        entries = [
            (self.open_route(sent), sent.level, sent.first_sequence, len(sent.uids), sent.block) for sent in blocks
        ]
        world.trace(
            f"{self.client.name} > publish {[(s.queue, e[1:4], s.uids) for s, e in zip(blocks, entries, strict=True)]}"
        )
        world.check_stored_once(blocks)
        world.probe.look_at_memory()
        world.probe.stored.clear()
        asking = [index for index, sent in enumerate(blocks) if sent.asks]
        world.probe.publishing = True
        world.engine.publish(self.session, entries, asking)
        world.probe.publishing = False
        for expected in world.shadow.publish(self.session, entries, world.probe.stored, world.now_ms):
            self.expected[expected.route].append(expected)
            if expected.status == DROPPED_NEWEST:
                self._note_dropped(blocks, expected)
        world.probe.stored.clear()

    def answer(self, entries: list[ReplyIn], answered: bool) -> None:
        """Send one REPLY frame."""
        world = self.world
        number = world.next_request() if answered else 0
        outcomes = world.probe.mail.sent(entries)
        world.trace(f"{self.client.name} > reply {[entry.address for entry in entries]} {outcomes} {number}")
        if answered:
            self.requests[number] = Asked("reply", -1, {"outcomes": outcomes})
        world.engine.reply(self.session, entries, number)

    def transact(self, transaction: Transaction) -> None:
        """Send a transaction, valid or not: all of it happens, or nothing and the right refusal."""
        world, probe = self.world, self.world.probe
        number = world.next_request()
        world.trace(f"{self.client.name} > transact {number} {transaction.acks} {transaction.writes}")
        probe.look_at_memory()
        code = refusal(world.shadow, self.session, transaction)
        asked = self.requests[number] = Asked("transact", -1, code=code)
        probe.begin_transaction(number)
        world.engine.transact(self.session, number, self._said(transaction))
        stored, probe.transaction = list(probe.stored), 0
        probe.stored.clear()
        if code and probe.last_position >= 0:
            raise Violation("I5", f"a transaction that had to be refused ({code}) did something")
        if not code:
            placed = carry_out(world.shadow, self.session, transaction, stored, world.now_ms)
            check_states(world.shadow, transaction.writes)
            asked.wanted, asked.position = {"placed": placed}, probe.last_position
        probe.adopt()

    def _said(self, transaction: Transaction) -> Transaction:
        if not self.client.space:
            return transaction
        blocks = [
            (exchange, name.removeprefix(PREFIX), count, block) for exchange, name, count, block in transaction.blocks
        ]
        writes = [
            (name.removeprefix(PREFIX), group, key, version, value)
            for name, group, key, version, value in transaction.writes
        ]
        return Transaction(transaction.acks, blocks, writes)

    def _note_dropped(self, blocks: list[Sent], expected: Expected) -> None:
        """A re-send after a crash may drop them, and bury them, once more: their dead letters have no original."""
        for sent in blocks:
            first = expected.first_sequence - sent.first_sequence
            if sent.queue == self.streams[expected.route] and 0 <= first < len(sent.uids):
                uids = sent.uids[first : first + expected.message_count]
                self.world.history.resent |= dict.fromkeys(uids)

    def settle(self, outcome: int, ranges: list[TagRange], duration_ms: int, reason: str, answered: bool) -> None:
        """Settle ranges of tags, valid or not."""
        world = self.world
        number = world.next_request() if answered else 0
        world.trace(f"{self.client.name} > settle {outcome} {ranges} {duration_ms} {reason} {number}")
        self.stale_ranges.clear()
        world.probe.last_position = -1
        world.probe.settling = True
        world.engine.settle(self.session, outcome, ranges, duration_ms, reason, number)
        world.probe.settling = False
        stale = world.shadow.settle(self.session, outcome, ranges, duration_ms, reason, world.now_ms)
        world.probe.adopt()
        if answered:
            code = "stale-delivery" if stale else ""
            self.requests[number] = Asked("settle", world.probe.last_position, {"stale": 0}, code)
        elif self.stale_ranges != stale:
            raise Violation("I10", f"settling {ranges}: {self.stale_ranges} reported stale, {stale} are")


class Client:
    """What a client keeps over its connections: its producer, its sequences, what is not confirmed yet."""

    def __init__(self, number: int, world: World) -> None:
        self.number = number
        self.name = f"client-{number}"
        self.world = world
        self.producer: int | None = None
        self.sequences: dict[str, int] = {}
        self.unconfirmed: list[Sent] = []
        self.recent: deque[Sent] = deque(maxlen=_REMEMBERED_BLOCKS)
        self.asked: deque[str] = deque(maxlen=_REMEMBERED_ADDRESSES)
        """Who waits for replies: addresses in the messages that were delivered, over all connections and boots."""
        self.connection: Connection | None = None
        self.resend = False
        self.space = SPACE if number in world.options.insiders else ""
        """The namespace that it connects to."""

    def try_to_connect(self) -> None:
        """Open a connection, or be refused as the namespace has it."""
        code = refusal_of_session(self.world.shadow) if self.space else ""
        try:
            self.connect()
        except Refused as refused:
            self.connection = None
            if refused.refusal.code != code:
                raise Violation("I13", f"{self.name} was refused: {refused.refusal}, it must be {code!r}") from refused
        else:
            if code:
                raise Violation("I13", f"{self.name} was let in, it had to be refused: {code}")

    def connect(self) -> Connection:
        """Open a connection and ask for the producer of before, if any."""
        connection = Connection(self, self.world)
        self.connection = connection
        self.world.trace(f"{self.name} connects")
        connection.session = self.world.engine.open_session(connection, self.name, self.space)
        self.resend = bool(self.unconfirmed)
        if connection.request("producer_open", producer=self.producer):
            session = self.world.engine.broker.sessions[connection.session]
            self.world.shadow.sessions[connection.session].producer = session.producer
            connection.producer_known = self.producer is not None
        return connection

    def disconnect(self, lost: bool) -> None:
        """Drop the connection."""
        assert self.connection is not None
        self.world.trace(f"{self.name} disconnects, lost={lost}")
        session, self.connection = self.connection.session, None
        self.world.engine.close_session(session, lost)

    def forget_producer(self) -> None:
        """The producer expired: nothing can be sent again under it."""
        self.producer = None
        self.sequences.clear()
        self.unconfirmed.clear()
        self.recent.clear()
        self.resend = False

    def send_again(self) -> None:
        """After a reconnect: everything unconfirmed, the same blocks, in order."""
        assert self.connection is not None
        self.resend = False
        for name in sorted({sent.queue for sent in self.unconfirmed}):
            self.world.ensure_declared(self.connection, name)
            self.world.ensure_exchange(self.connection, name)
        for sent in self.unconfirmed:
            sent.confirmed_count = 0
        if self.unconfirmed:
            self.connection.publish(list(self.unconfirmed))

    def send_new(
        self, queues: list[str], level: int, counts: list[int], draw_asks: Callable[[int], Asks | None]
    ) -> None:
        """Publish new messages, one block to each queue; ``draw_asks`` says what so many messages ask."""
        assert self.connection is not None
        blocks = []
        for name, count in zip(queues, counts, strict=True):
            uids = self.world.draw_uids(name, count)
            first = self.sequences.get(name, 1)
            self.sequences[name] = first + count
            asks = draw_asks(count)
            block = block_of(uids, self.world.options.deduplicates(name), self.connection.address, asks)
            blocks.append(Sent(name, first, level, block, uids, asks=any(asks or ())))
        self.unconfirmed += blocks
        self.connection.publish(blocks)

    def send_through(self, way: Way, level: int, count: int, asks: Asks | None) -> None:
        """Publish new messages through an exchange; half of the clients say the way in the block themselves."""
        assert self.connection is not None
        uids = self.world.draw_uids_for(way.exchange, way.routing_key, count)
        self.world.history.ways.update(dict.fromkeys(uids, (way.exchange, way.routing_key)))
        first = self.sequences.get(way.exchange, 1)
        self.sequences[way.exchange] = first + count
        block = routed_block_of(uids, (way.exchange, way.routing_key) if self.number % 2 else None, asks)
        sent = Sent(way.exchange, first, level, block, uids, way=way, asks=any(asks or ()))
        self.unconfirmed.append(sent)
        self.connection.publish([sent])

    def confirmed(self, expected: Expected, stream: str) -> None:
        """The outcome of a block, or of a part of it, is known."""
        for sent in self.unconfirmed:
            first = expected.first_sequence - sent.first_sequence
            if sent.queue == stream and 0 <= first < len(sent.uids):
                assert self.connection is not None
                self.connection.check_room(expected, stream, sent.uids[first])
                if expected.status not in (REFUSED, DROPPED_NEWEST) and expected.kept:
                    self.world.check_confirmed(sent.uids[first : first + expected.message_count], expected)
                sent.confirmed_count += expected.message_count
                if sent.confirmed_count == len(sent.uids):
                    self.unconfirmed.remove(sent)
                    if expected.status != REFUSED:
                        self.recent.append(sent)
                return
