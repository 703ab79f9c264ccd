"""Transactions in the shadow: what has to be refused, and what has to happen, operation by operation."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence

from tests.sim.bodies import id_of, uids_of
from tests.sim.dropping import check_dropped, is_full_for
from tests.sim.judge import Recorded
from tests.sim.namespaces import refusal_of_publish
from tests.sim.shadow import Shadow
from tests.sim.state import NotedId, ShadowGroup, ShadowQueue
from tests.sim.violation import Violation

from penstock.core.dedup import digest_of
from penstock.core.facts import GroupStateSet, Published
from penstock.core.groupstate import ANY_VERSION
from penstock.core.transacting import StateWrite, TransactedBlock, Transaction

Placed = list[list[int]]
"""[offset, message count, duplicate] for each part of a block."""


def refusal(shadow: Shadow, session: int, transaction: Transaction) -> str:
    """Return the code that a transaction has to be refused with; empty when nothing stands against it."""
    return (
        _refusal_of_blocks(shadow, transaction.blocks)
        or _refusal_of_acks(shadow, session, transaction)
        or _refusal_of_writes(shadow, transaction.writes)
        or ("disk-full" if shadow.storage_full and (transaction.blocks or transaction.writes) else "")
        or _refusal_of_full_queues(shadow, transaction.blocks)
    )


def _refusal_of_full_queues(shadow: Shadow, blocks: Sequence[TransactedBlock]) -> str:
    counts: Counter[str] = Counter()
    for _, name, count, _ in blocks:
        counts[name] += count
    codes = (
        refusal_of_publish(shadow, shadow.names[name])
        or ("queue-full" if is_full_for(shadow.names[name], count) else "")
        for name, count in counts.items()
    )
    return next(filter(None, codes), "")


def _refusal_of_blocks(shadow: Shadow, blocks: Sequence[TransactedBlock]) -> str:
    for _, name, _, _ in blocks:
        queue = shadow.names.get(name)
        if queue is None:
            return "unknown-queue"
        if not queue.settings.durable:
            return "unsupported"
    return ""


def _refusal_of_acks(shadow: Shadow, session: int, transaction: Transaction) -> str:
    tags = [tag for first, last in transaction.acks for tag in range(first, last + 1)]
    held = shadow.sessions[session].tags
    if any(not _is_lasting(held[tag].group) for tag in tags if tag in held):
        return "unsupported"
    return "" if all(tag in held for tag in tags) else "transaction-stale"


def _refusal_of_writes(shadow: Shadow, writes: Sequence[StateWrite]) -> str:
    for name, group_name, key, expected, _ in writes:
        group = _group(shadow, name, group_name)
        if group is None:
            return "unknown-group" if name in shadow.names else "unknown-queue"
        if not _is_lasting(group):
            return "unsupported"
        if expected not in (ANY_VERSION, group.state.get(key, (0, b""))[0]):
            return "transaction-conflict"
    return ""


def _group(shadow: Shadow, queue: str, name: str) -> ShadowGroup | None:
    found = shadow.names.get(queue)
    return next((group for group in found.groups.values() if group.name == name), None) if found else None


def _is_lasting(group: ShadowGroup) -> bool:
    return group.queue.settings.durable and not group.settings.ephemeral


def carry_out(
    shadow: Shadow, session: int, transaction: Transaction, stored: Sequence[Recorded], now_ms: int
) -> list[Placed]:
    """Do what a transaction says; return what its answer has to say. ``stored`` are the blocks recorded for it."""
    for first, last in transaction.acks:
        for tag in range(first, last + 1):
            held = shadow.untag(shadow.sessions[session], tag)
            shadow.acknowledged(held.group, held.offset)
    recorded = deque(stored)
    placed = [_store(shadow, shadow.names[name], block, recorded, now_ms) for _, name, _, block in transaction.blocks]
    check_dropped(shadow, recorded, now_ms)
    if recorded:
        raise Violation("I6", f"a transaction stored more than it published: {recorded[0]}")
    return placed


def _store(shadow: Shadow, queue: ShadowQueue, block: bytes, recorded: deque[Recorded], now_ms: int) -> Placed:
    known = queue.known_ids(now_ms) if queue.settings.dedup_window_ms else {}
    parts: Placed = []
    noted: list[NotedId] = []
    new: list[int] = []
    for uid in uids_of(block):
        message_id = id_of(uid) if queue.settings.dedup_window_ms else None
        digest = digest_of(message_id) if message_id else None
        if digest is not None and digest in known:
            parts.append([known[digest], 1, True])
            continue
        offset = queue.next_offset + len(new)
        new.append(uid)
        if digest is not None:
            known[digest] = offset
            noted.append(NotedId(digest, offset, now_ms))
        if parts and not parts[-1][2]:
            parts[-1][1] += 1
        else:
            parts.append([offset, 1, False])
    for offset, count, duplicate in parts:
        if not duplicate:
            _take_recorded(shadow, queue, recorded, (offset, count), new[:count])
            new = new[count:]
    queue.ids += noted
    return parts


def _take_recorded(
    shadow: Shadow, queue: ShadowQueue, recorded: deque[Recorded], wanted: tuple[int, int], uids: Sequence[int]
) -> None:
    if not recorded:
        raise Violation("I5", f"a transaction recorded nothing for {wanted} of {queue.name}")
    position, fact = recorded.popleft()
    if not isinstance(fact, Published) or fact[:5] != (queue.number, *wanted, 0, 0):
        raise Violation("I6", f"a transaction recorded {fact[:5]}, it had to be {wanted} of {queue.name}")
    shadow.stored(fact, position, uids)


def set_state(shadow: Shadow, fact: GroupStateSet) -> None:
    """A key in a group's state was set, or removed; its version was never used."""
    group = shadow.queues[fact.queue].groups[fact.group]
    if fact.version != max(group.state_version, group.number << 32) + 1:
        raise Violation("I6", f"{fact}: the latest version in the state of {group.label} is {group.state_version}")
    group.state_version = fact.version
    if fact.value:
        group.state[fact.key] = (fact.version, fact.value)
    else:
        group.state.pop(fact.key, None)


def check_states(shadow: Shadow, writes: Sequence[StateWrite]) -> None:
    """After a transaction: every key that it set is what it set."""
    for queue, name, key, _, value in writes:
        group = _group(shadow, queue, name)
        assert group is not None
        if group.state.get(key, (0, b""))[1] != value:
            raise Violation(
                "I5", f"a transaction set {key} of {group.label} to {value!r}, it is {group.state.get(key)}"
            )
