"""Recovery: the newest snapshot, then every fact after it, in order.

A snapshot is taken queue by queue while the broker works, so each queue's part says up to which journal position it
has applied the facts; older ones are skipped for that queue. A queue that was deleted while the snapshot was taken has
no part, and its facts find no queue: they are skipped too.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from penstock.core.broker import Broker
from penstock.core.facts import (
    Altered,
    Declared,
    Deleted,
    GroupAltered,
    GroupDeclared,
    GroupDeleted,
    MovedTo,
    NamespaceSet,
    Paused,
)
from penstock.core.group import Group
from penstock.core.groupstate import GroupState, StateValue
from penstock.core.matching import Destination
from penstock.core.queue import Queue, SequenceRun, Stream
from penstock.core.records import (
    ACKED,
    ASKED,
    DEAD,
    DISCARDED,
    DUE,
    DUE_MOVED,
    EXPIRED,
    FAILED,
    GROUP_STATE,
    HELD,
    LEASED,
    MOVED,
    MOVED_TO,
    NOTED,
    OVERFLOWED,
    PUBLISHED,
    PUBLISHED_HEADER,
    PUBLISHED_HEADER_BYTES,
    PUBLISHED_TO,
    REPEATED,
    RESUMED,
    SCHEDULED,
    SCHEDULED_HEADER,
    SCHEDULED_MOVED,
    UNSCHEDULED,
    block_bytes_of,
    decode,
    decode_shared,
)
from penstock.core.runs import RunState
from penstock.core.schedule import SCHEDULE_COLUMNS, Entry, Schedule
from penstock.core.terms import ScheduledTerms, Terms
from penstock.core.values import EPHEMERAL_NUMBERS_FROM, Failure, GroupSettings, QueueSettings
from penstock.engine.exchange_snapshots import exchange_fingerprints, restore_part
from penstock.storage.errors import Damaged

if TYPE_CHECKING:
    from penstock.engine.engine import Engine
    from penstock.storage.interface import RecoveredBatch

_new: Final = tuple.__new__
"""Builds a NamedTuple in a third of the time that calling its class takes; for what is built per block."""
_HEAD_BYTES: Final = struct.Struct("<I")
_QUEUE_NUMBER: Final = struct.Struct("<Q")
_MOVES: Final = frozenset({MOVED, SCHEDULED_MOVED, DUE_MOVED})
_QUEUE_FACTS: Final = frozenset(
    {
        *(LEASED, ACKED, FAILED, EXPIRED, DEAD, DISCARDED, HELD, RESUMED, NOTED, ASKED, REPEATED, OVERFLOWED),
        *(DUE, UNSCHEDULED, GROUP_STATE),
    }
)


class Recovery:
    """Rebuilds an engine's state before it serves. ``last_ms`` ends as the time of the last batch: the broker's clock
    must not run behind it.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._applied: dict[int, int] = {}
        self._end = 0
        self.last_ms = 0
        self.record_count = 0

    def restore(self, parts: list[bytes]) -> None:
        """Start from a snapshot's parts."""
        broker = self._engine.broker
        state = json.loads(parts[0])
        broker.next_number = state["next_number"]
        broker.next_producer = state["next_producer"]
        broker.producers = {int(producer): last_ms for producer, last_ms in state["producers"].items()}
        broker.recurrings.restore(state["recurring"])
        for values in state["namespaces"]:
            broker.apply(NamespaceSet(*values))
        self.last_ms = state["time_ms"]
        self._engine.blocks.shared.restore(parts[1])
        queues_start = 2 + state["exchange_parts"]
        for part in parts[2:queues_start]:
            restore_part(broker.exchanges, part)
        for part in parts[queues_start:]:
            number, applied = _restore_queue(broker, part)
            self._applied[number] = applied

    def replay(self, batch: RecoveredBatch) -> None:
        """Apply one batch of facts."""
        self.last_ms = max(self.last_ms, batch.time_ms)
        self._end = batch.end
        self.record_count += len(batch.records)
        broker = self._engine.broker
        queues, applied = broker.queues, self._applied
        unpack_published, unpack_scheduled = PUBLISHED_HEADER.unpack_from, SCHEDULED_HEADER.unpack_from
        for position, payload in batch.records:
            kind = payload[0]
            if kind == PUBLISHED:
                _, _, _, count, number, _, producer, sequence, time_ms = unpack_published(payload)
                queue = queues.get(number)
                if queue is not None and position >= applied.get(number, 0):
                    broker.apply_published(queue, count, len(payload), position, producer, sequence, time_ms)
            elif kind == SCHEDULED:
                _, _, _, count, number, first, producer, sequence, time_ms, due_ms = unpack_scheduled(payload)
                queue = queues.get(number)
                if queue is not None and position >= applied.get(number, 0):
                    entry = _new(Entry, (first, count, due_ms, len(payload), position))
                    broker.apply_scheduled(queue, entry, producer, sequence, time_ms)
            elif kind in _MOVES:
                self._replay_moved(position, payload)
            elif kind in (PUBLISHED_TO, MOVED_TO):
                self._replay_shared(position, payload)
            elif kind in _QUEUE_FACTS:
                number = _QUEUE_NUMBER.unpack_from(payload, 8)[0]
                if number in queues and position >= applied.get(number, 0):
                    broker.apply(decode(payload))
            else:
                self._replay_definition(position, payload)
        broker.dropped.clear()

    def check_end(self, snapshot_position: int, path: str) -> None:
        """Raise Damaged, naming the journal at ``path``, when it ends before something that the snapshot knows.

        That was durable when the snapshot was written. To go on would mix two pasts, and what is recorded next would
        be at positions that the snapshot's queues take for applied (I18).
        """
        end = max(self._end, snapshot_position)
        if max(self._applied.values(), default=0) > end:
            raise Damaged(
                "the journal ends before what the newest snapshot was taken from: its end was damaged or lost."
                " Restore a backup; or move the newest snapshot away, to start without what came after this",
                path=path,
                position=end,
            )

    def finish(self) -> None:
        """Everything is applied: make it ready to serve."""
        engine = self._engine
        engine.broker.reopen(engine.clock_ms())
        count_live, claim = engine.blocks.count_live, engine.blocks.shared.claim
        for queue in engine.broker.queues.values():
            for block in queue.log.all_blocks():
                if claim(block.position):
                    count_live(block.position, block.size_bytes)
            if queue.schedule is not None:
                for position, size_bytes in queue.schedule.kept():
                    count_live(position, size_bytes)
            engine.broker.ready_groups |= dict.fromkeys(group for group in queue.groups.values() if group.sieve)
        engine.blocks.shared.settle()
        engine.blocks.durable_position = engine.journal.durable_position

    def _replay_moved(self, position: int, payload: memoryview) -> None:
        kind, _, _, _, number, first, _, _, _ = PUBLISHED_HEADER.unpack_from(payload)
        queue = self._engine.broker.queues.get(number)
        if queue is None or position < self._applied.get(number, 0):
            return
        if kind != SCHEDULED_MOVED:
            queue.log.relocate(first, position)
        elif queue.schedule is not None:
            queue.schedule.relocate(first, position)

    def _replay_shared(self, position: int, payload: memoryview) -> None:
        """Apply a block of several queues to those whose state is older than it."""
        broker, applied = self._engine.broker, self._applied
        fact = decode_shared(payload, with_block=False)
        if len(fact.targets) > 1:
            self._engine.blocks.shared.add(position, 0)
        targets = tuple(target for target in fact.targets if position >= applied.get(target[0], 0))
        if isinstance(fact, MovedTo):
            for number, first in targets:
                if (queue := broker.queues.get(number)) is not None:
                    queue.log.relocate(first, position)
        else:
            size_bytes = PUBLISHED_HEADER_BYTES + block_bytes_of(payload)
            broker.apply_published_to(fact, targets, size_bytes, position)

    def _replay_definition(self, position: int, payload: memoryview) -> None:
        fact, broker = decode(payload), self._engine.broker
        if isinstance(fact, Declared) and fact.queue in broker.queues:
            return
        if isinstance(fact, Deleted) and fact.queue not in broker.queues:
            broker.exchanges.forget(Destination.to_queue(fact.queue))
            return
        if isinstance(fact, (GroupDeclared, GroupDeleted, Altered, GroupAltered, Paused)) and (
            fact.queue not in broker.queues or position < self._applied.get(fact.queue, 0)
        ):
            return
        broker.apply(fact)


def snapshot_head(broker: Broker, time_ms: int, exchange_parts: int) -> bytes:
    """The part of a snapshot that belongs to no queue.

    The positions of shared blocks follow it, then ``exchange_parts`` parts of exchanges, then a part for each queue.
    """
    return json.dumps(
        {
            "next_number": broker.next_number,
            "next_producer": broker.next_producer,
            "producers": broker.producers,
            "namespaces": broker.namespaces.values(),
            "recurring": [one.values() for one in broker.recurrings.by_name.values()],
            "time_ms": time_ms,
            "exchange_parts": exchange_parts,
        }
    ).encode()


def snapshot_queue(queue: Queue, applied: int) -> tuple[bytes, ...]:
    """One queue's part, to be joined off the loop: a JSON head after its length, then the columns whose sizes it names:
    the log's three, two for what each group has passed, those of the message ids where the queue deduplicates, those of
    due times and priorities where there are any, those of its schedule where it had one.
    """
    columns: tuple[bytes, ...] = ()
    head: dict[str, Any] = {
        "queue": queue.number,
        "group": queue.group.number,
        "name": queue.name,
        "settings": queue.settings.as_map(),
        "created_at_ms": queue.created_at_ms,
        "paused": queue.paused,
        "applied": applied,
    }
    if queue.durable:
        durable = [group for group in queue.groups.values() if group.durable]
        columns = queue.log.columns()
        for group in durable:
            columns += group.passed.columns()
        if queue.dedup is not None:
            columns += queue.dedup.columns()
        if queue.terms is not None:
            columns += queue.terms.columns(queue.log.start_offset)
        if queue.schedule is not None:
            columns += queue.schedule.columns()
            head["schedule"] = (queue.schedule.next_id, queue.schedule.cancelled_count)
            if queue.schedule.terms is not None:
                columns += queue.schedule.terms.columns(queue.schedule.first_id)
        head |= {
            "start": queue.log.start_offset,
            "next": queue.log.next_offset,
            "dropped_newest": queue.dropped_newest,
            "ages": queue.ages.state() if queue.ages is not None else None,
            "terms": queue.terms is not None,
            "groups": [_snapshot_group(group) for group in durable],
            "streams": [
                (p, s.last_sequence, [run.values() for run in s.runs], list(s.gaps)) for p, s in queue.streams.items()
            ],
        }
    head["columns"] = [len(column) for column in columns]
    text = json.dumps(head).encode()
    return _HEAD_BYTES.pack(len(text)), text, *columns


def _snapshot_group(group: Group) -> dict[str, Any]:
    return {
        "number": group.number,
        "name": group.name,
        "settings": group.settings.as_json(),
        "declared": group.declared,
        "paused": group.paused,
        "cursor": group.next_offset,
        "counters": group.counters.values(),
        "runs": group.outstanding.states(),
        "history": list(group.history.items()),
        "held": [(offset, *marker) for offset, marker in group.held.items()],
        "state": _snapshot_state(group.state),
    }


def _snapshot_state(state: GroupState | None) -> list[Any] | None:
    if state is None:
        return None
    return [state.version, [(key, version, data.hex()) for key, version, data in state.items()]]


def _restore_queue(broker: Broker, part: bytes) -> tuple[int, int]:
    start = _HEAD_BYTES.size
    end = start + _HEAD_BYTES.unpack_from(part)[0]
    head = json.loads(part[start:end])
    settings = QueueSettings(**head["settings"])
    broker.apply(Declared(head["queue"], head["group"], head["name"], settings, head["created_at_ms"]))
    queue = broker.queues[head["queue"]]
    if settings.durable:
        columns = []
        for size in head["columns"]:
            start, end = end, end + size
            columns.append(part[start:end])
        passed = _restore_columns(queue, head, columns)
        for index, state in enumerate(head["groups"]):
            group = _restore_group(broker, queue, state)
            group.passed.restore((passed[2 * index], passed[2 * index + 1]))
        _restore_streams(queue, head["streams"])
    queue.paused = head["paused"]
    return head["queue"], head["applied"]


def _restore_columns(queue: Queue, head: dict[str, Any], columns: list[bytes]) -> list[bytes]:
    """Take over a queue's columns; return those of what its groups have passed, two a group."""
    firsts, sizes, positions, *rest = columns
    queue.log.restore(head["start"], head["next"], (firsts, sizes, positions))
    queue.dropped_newest = head["dropped_newest"]
    if queue.ages is not None:
        queue.ages.restore(head["ages"])
    passed, rest = rest[: 2 * len(head["groups"])], rest[2 * len(head["groups"]) :]
    if queue.dedup is not None:
        digests, noted, times, mark_firsts, *rest = rest
        queue.dedup.restore((digests, noted, times, mark_firsts))
    if head["terms"]:
        due_firsts, dues, firsts, priorities, *rest = rest
        queue.terms = queue.terms or Terms(queue.settings.ttl_ms)
        queue.terms.restore((due_firsts, dues, firsts, priorities))
        queue.choose_lanes()
    if "schedule" in head:
        queue.schedule = Schedule()
        next_id, cancelled_count = head["schedule"]
        queue.schedule.restore(next_id, cancelled_count, rest[:SCHEDULE_COLUMNS])
        if len(rest) > SCHEDULE_COLUMNS:
            ttl_firsts, ttls, firsts, priorities = rest[SCHEDULE_COLUMNS:]
            queue.schedule.terms = ScheduledTerms()
            queue.schedule.terms.restore((ttl_firsts, ttls, firsts, priorities))
    return passed


def _restore_group(broker: Broker, queue: Queue, state: dict[str, Any]) -> Group:
    settings = GroupSettings.from_json(state["settings"])
    if state["declared"]:
        broker.apply(GroupDeclared(queue.number, state["number"], state["name"], settings, state["cursor"], 0))
    group = queue.groups[state["number"]]
    group.next_offset = state["cursor"]
    group.paused = state["paused"]
    group.counters.restore(state["counters"])
    group.outstanding.restore([RunState(*run) for run in state["runs"]])
    group.held = {offset: (target, marker) for offset, target, marker in state["held"]}
    group.history = {offset: [Failure(*failure) for failure in failures] for offset, failures in state["history"]}
    if state["state"] is not None:
        version, items = state["state"]
        group.state = GroupState(version)
        group.state.values = {key: StateValue(one, bytes.fromhex(data)) for key, one, data in items}
    return group


def _restore_streams(queue: Queue, streams: list[Any]) -> None:
    for producer, last_sequence, runs, gaps in streams:
        stream = queue.streams[producer] = Stream()
        stream.last_sequence = last_sequence
        stream.runs.extend(SequenceRun(*run) for run in runs)
        stream.gaps.extend((first, end) for first, end in gaps)


def fingerprint(broker: Broker) -> Iterator[Any]:
    """The durable state as comparable values: equal states, equal sequences (I18)."""
    yield broker.next_number, broker.next_producer, sorted(broker.producers)
    yield from exchange_fingerprints(broker.exchanges)
    yield sorted(broker.namespaces.values())
    yield sorted(one.values().items() for one in broker.recurrings.by_name.values())
    for number in sorted(number for number in broker.queues if number < EPHEMERAL_NUMBERS_FROM):
        queue = broker.queues[number]
        yield number, queue.name, queue.settings, queue.group.number, queue.paused
        if queue.durable:
            yield queue.log.start_offset, queue.log.next_offset, [tuple(block) for block in queue.log.all_blocks()]
            if queue.schedule is not None:
                yield queue.schedule.next_id, queue.schedule.cancelled_count, list(queue.schedule.entries())
                terms = queue.schedule.terms
                yield terms.columns(queue.schedule.first_id) if terms is not None else ()
            for group in sorted(queue.groups.values(), key=lambda group: group.number):
                if group.durable:
                    yield group.number, group.name, group.settings, group.declared, group.paused
                    yield group.next_offset, group.passed.columns(), group.counters.values(), group.outstanding.states()
                    yield sorted(group.history.items()), sorted(group.held.items())
                    yield (group.state.version, group.state.items()) if group.state is not None else ()
            yield sorted(
                (p, s.last_sequence, tuple(run.values() for run in s.runs), tuple(s.gaps))
                for p, s in queue.streams.items()
                if s.last_sequence
            )
            yield queue.dropped_newest
            yield queue.dedup.columns() if queue.dedup is not None else ()
            yield queue.terms.columns(queue.log.start_offset) if queue.terms is not None else ()
