"""Transactions: publishes, acknowledgements and group state that become durable and visible together, or not at all.

A transaction comes whole, in one request; nothing of it is known here before and nothing stays open between requests.
It is looked at from end to end first, and nothing is changed while anything could still be refused; then its facts are
recorded in one batch of the journal, which a crash keeps or loses as a whole (I5). What it publishes becomes visible
with that batch, like every publish.

    is it too large --> where does it publish --> are its tags held --> is its state as it was read --> is there room
          |                    |                         |                       |                           |
    transaction-too-large  unknown-queue,         transaction-stale      transaction-conflict            disk-full,
                           unsupported                                                                   memory-full,
                                                                                                         queue-full

Its blocks are those of no producer: they have no sequences, and a transaction whose answer was lost is not sent again.
Whoever acknowledged something in it learns from its redelivery that it did not happen.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from penstock.core.bounds import is_full_for
from penstock.core.broker import Broker
from penstock.core.dedup import NO_ID, DedupWindow, digest_of
from penstock.core.definitions import find_queue
from penstock.core.dropping import drop_oldest
from penstock.core.facts import GroupStateSet
from penstock.core.group import Group
from penstock.core.groups import find_group
from penstock.core.groupstate import ABSENT, check_state, has_changed, last_version, state_values
from penstock.core.intake import note
from penstock.core.namespacing import full_text, stop_code
from penstock.core.queue import Queue
from penstock.core.records import PUBLISHED_HEADER_BYTES
from penstock.core.session import Session
from penstock.core.settling import TagRange, acknowledge
from penstock.core.storing import append_internal
from penstock.core.values import DROP_OLDEST, Refused

_NAMED_MAX: Final = 5
"""Stale tag ranges that an error names: enough to see which, short enough to read."""

TransactedBlock = tuple[str, str, int, bytes]
"""(exchange, routing key, message count, block)"""
StateWrite = tuple[str, str, str, int, bytes]
"""(queue, group, key, version that was read, new value or nothing)"""


class Transaction(NamedTuple):
    """What is to happen together. Tag ranges ascend and do not overlap."""

    acks: Sequence[TagRange]
    blocks: Sequence[TransactedBlock]
    writes: Sequence[StateWrite]


class TransactionLimits(NamedTuple):
    """The most one transaction may have: messages published, messages acknowledged and values set; and their bytes."""

    operations_max: int
    size_bytes_max: int


class Placed(NamedTuple):
    """Where messages of a block are; a duplicate was there before, by its message id."""

    offset: int
    message_count: int
    duplicate: bool


class _Checked(NamedTuple):
    """A transaction that nothing stands against."""

    queues: list[Queue]
    changes: dict[Group, dict[str, bytes]]


def transact(
    broker: Broker, session: Session, transaction: Transaction, limits: TransactionLimits, now_ms: int
) -> list[list[Placed]]:
    """Carry out a transaction; return where the messages of each block are. Raises Refused with nothing changed."""
    checked = _check(broker, session, transaction, limits, now_ms)
    with broker.recorder.together():
        taken = [part for first, last in transaction.acks for part in session.take(first, last + 1)]
        if taken:
            acknowledge(broker, taken)
        placed = [
            _append(broker, queue, count, block, now_ms)
            for queue, (_, _, count, block) in zip(checked.queues, transaction.blocks, strict=True)
        ]
        for group, changes in checked.changes.items():
            _set_state(broker, group, changes)
        for queue in dict.fromkeys(checked.queues):
            if queue.settings.overflow == DROP_OLDEST:
                drop_oldest(broker, queue)
    return placed


# -- looking at it -----------------------------------------------------------------------------------------------------


def _check(
    broker: Broker, session: Session, transaction: Transaction, limits: TransactionLimits, now_ms: int
) -> _Checked:
    _check_size(transaction, limits)
    queues = [_target(broker, exchange, key) for exchange, key, _, _ in transaction.blocks]
    _check_acks(session, transaction.acks)
    changes = _check_writes(broker, transaction.writes)
    if queues or changes:
        _check_room(broker, queues, transaction.blocks, now_ms)
    return _Checked(queues, changes)


def _check_room(broker: Broker, queues: Sequence[Queue], blocks: Sequence[TransactedBlock], now_ms: int) -> None:
    code = broker.stop_code(durable=True)
    if code:
        what = "disk" if code == "disk-full" else "memory"
        raise Refused(code, f"the broker's {what} is full; what it acknowledges alone would be taken")
    wanted: dict[Queue, tuple[int, int]] = {}
    for queue, (_, _, count, block) in zip(queues, blocks, strict=True):
        messages, size_bytes = wanted.get(queue, (0, 0))
        wanted[queue] = messages + count, size_bytes + len(block) + PUBLISHED_HEADER_BYTES
    for queue, (messages, size_bytes) in wanted.items():
        if code := stop_code(queue, now_ms):
            raise Refused(code, f"nothing was done: {full_text(queue)}")
        if is_full_for(queue, messages, size_bytes):
            raise Refused(
                "queue-full",
                f"nothing was done: queue {queue.name!r} is at its bound (max_messages {queue.settings.max_messages},"
                f" max_bytes {queue.settings.max_bytes}, 0 for none); do it again when consumers have made room",
            )


def _check_size(transaction: Transaction, limits: TransactionLimits) -> None:
    acks, blocks, writes = transaction
    operations = sum(last + 1 - first for first, last in acks) + sum(block[2] for block in blocks) + len(writes)
    size_bytes = sum(len(block[3]) for block in blocks) + sum(len(write[2]) + len(write[4]) for write in writes)
    if operations > limits.operations_max or size_bytes > limits.size_bytes_max:
        raise Refused(
            "transaction-too-large",
            f"{operations} operations with {size_bytes} bytes; at most {limits.operations_max} with"
            f" {limits.size_bytes_max} (limits.transaction_operations_max, limits.transaction_bytes_max)",
        )


def _target(broker: Broker, exchange: str, routing_key: str) -> Queue:
    if exchange:
        raise Refused("unsupported", f"a transaction publishes to queues by name, not through exchange {exchange!r}")
    queue = find_queue(broker, routing_key)
    if not queue.durable:
        raise Refused("unsupported", f"queue {queue.name!r} is kept in memory: transactions are for durable queues")
    return queue


def _check_acks(session: Session, acks: Sequence[TagRange]) -> None:
    stale: list[TagRange] = []
    for first, last in acks:
        leases = session.leases_of(first, last + 1)
        held = sum(min(lease.first_tag + lease.count, last + 1) - max(lease.first_tag, first) for lease in leases)
        if held != last + 1 - first:
            stale.append((first, last))
        for group in dict.fromkeys(lease.consumer.group for lease in leases):
            _check_lasting(group)
    if stale:
        names = ", ".join(f"{first} to {last}" if last > first else str(first) for first, last in stale[:_NAMED_MAX])
        more = f" and {len(stale) - _NAMED_MAX} more" if len(stale) > _NAMED_MAX else ""
        raise Refused(
            "transaction-stale",
            f"nothing was done: this connection does not hold the deliveries with tags {names}{more} any more;"
            " those messages are delivered again, the others are still held",
        )


def _check_writes(broker: Broker, writes: Sequence[StateWrite]) -> dict[Group, dict[str, bytes]]:
    changes: dict[Group, dict[str, bytes]] = {}
    for queue_name, group_name, key, expected, value in writes:
        group = find_group(find_queue(broker, queue_name), group_name)
        _check_lasting(group)
        changed = changes.setdefault(group, {})
        if key in changed:
            raise Refused("bad-setting", f"the transaction sets {key!r} of group {group.name!r} twice")
        if has_changed(group, key, expected):
            found = state_values(group).get(key)
            raise Refused(
                "transaction-conflict",
                f"nothing was done: {key!r} in the state of group {group.name!r} of queue {queue_name!r} has version"
                f" {found.version if found else ABSENT}, not {expected}; read it again and decide anew",
            )
        changed[key] = value
    for group, changed in changes.items():
        check_state(group, changed)
    return changes


def _check_lasting(group: Group) -> None:
    """A group in memory forgets with the broker what it has done: no transaction can promise anything for it."""
    if not group.durable:
        where = f"group {group.name!r} of queue {group.queue.name!r}"
        raise Refused("unsupported", f"{where} is kept in memory: transactions are for durable groups")


# -- carrying it out ---------------------------------------------------------------------------------------------------


def _append(broker: Broker, queue: Queue, count: int, block: bytes, now_ms: int) -> list[Placed]:
    """Store a block; in a queue that deduplicates, what is new in it."""
    ids = broker.block_reader.message_ids(block) if queue.dedup is not None else ()
    if queue.dedup is None or not ids:
        return [Placed(append_internal(broker, queue, block, now_ms, count), count, False)]
    digests = [NO_ID if one is None else digest_of(one) for one in ids]
    placed = _placed(queue.dedup, digests, queue.log.next_offset, now_ms)
    first = 0
    for offset, message_count, duplicate in placed:
        end = first + message_count
        if not duplicate:
            part = broker.block_reader.slice(block, first, end)
            append_internal(broker, queue, part, now_ms, message_count)
            note(broker, queue, offset, digests[first:end], now_ms)
        first = end
    return placed


def _placed(window: DedupWindow, digests: Sequence[bytes], next_offset: int, now_ms: int) -> list[Placed]:
    """Say of each message where it is or will be; neighbours that are new together."""
    live_from = window.live_from(now_ms)
    fresh: dict[bytes, int] = {}
    placed: list[Placed] = []
    for digest in digests:
        known = fresh.get(digest, window.find(digest, live_from))
        if known is not None:
            placed.append(Placed(known, 1, True))
            continue
        if digest is not NO_ID:
            fresh[digest] = next_offset
        if placed and not placed[-1].duplicate:
            placed[-1] = placed[-1]._replace(message_count=placed[-1].message_count + 1)
        else:
            placed.append(Placed(next_offset, 1, False))
        next_offset += 1
    return placed


def _set_state(broker: Broker, group: Group, changes: dict[str, bytes]) -> None:
    version = last_version(group)
    for key, value in changes.items():
        version += 1
        broker.emit(True, GroupStateSet(group.queue.number, group.number, version, key, value))
