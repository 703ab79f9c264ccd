"""The broker's state held against the shadow's (I8, I10, I12, I13)."""

from __future__ import annotations

from array import array
from typing import Any

from tests.sim.namespaces import compare_namespaces
from tests.sim.scheduled import check_counts
from tests.sim.shadow import Shadow
from tests.sim.state import Failed, Message, Place, ShadowGroup, ShadowQueue
from tests.sim.violation import Violation

from penstock.core import finding
from penstock.core.broker import Broker
from penstock.core.dedup import split_digests
from penstock.core.definitions import describe
from penstock.core.group import Group
from penstock.core.groupstate import StateItem
from penstock.core.queue import Queue
from penstock.core.values import DEADLINE_STEP_MS, ELSEWHERE, FAILURES_KEPT_MAX, PURGED, Failure


def compare(broker: Broker, shadow: Shadow) -> None:
    """Raise Violation where the two differ."""
    _same("I18", "queues", sorted(broker.queues), sorted(shadow.queues))
    _same(
        "I18", "names", {n: q.number for n, q in broker.names.items()}, {n: q.number for n, q in shadow.names.items()}
    )
    _same("I18", "producers", sorted(broker.producers), sorted(shadow.producers))
    found = {number: one.values() for number, one in broker.recurrings.by_number.items()}
    _same("I18", "recurring schedules", found, {number: one.state() for number, one in shadow.recurring.items()})
    compare_namespaces(broker, shadow)
    for number, queue in broker.queues.items():
        compare_queue(broker, queue, shadow.queues[number])
    compare_exchanges(broker, shadow)
    compare_leases(broker, shadow)


def adopt_delays(broker: Broker, shadow: Shadow) -> None:
    """Look up the due times that jitter decided, checking that they are within what the settings allow."""
    for number, mine in shadow.queues.items():
        for group in mine.groups.values():
            for message in group.messages.values():
                if message.due_until_ms:
                    run = broker.queues[number].groups[group.number].outstanding.find(message.offset)
                    if run is None or not message.due_ms <= run.due_ms <= message.due_until_ms:
                        found = run and run.state()
                        raise Violation("I8", f"{group.label} {message.offset}: backoff {found} not {message}")
                    message.due_ms, message.due_until_ms = run.due_ms, 0


def adopt_sieves(broker: Broker, shadow: Shadow) -> None:
    """How far selectors have looked: what is behind is not ready yet."""
    for number, queue in broker.queues.items():
        for group in queue.groups.values():
            mine = shadow.queues[number].groups[group.number]
            mine.sifted_until = group.sieve.until if group.sieve is not None else 0
            for consumer in group.consumers:
                if consumer.choice is not None:
                    known = shadow.sessions[consumer.session.number].consumers[consumer.number]
                    known.chosen_until = consumer.choice.until


def compare_queue(broker: Broker, queue: Queue, mine: ShadowQueue) -> None:
    """Every count, and every message."""
    log = queue.log
    wanted = (mine.name, mine.settings, mine.paused)
    _same("I18", "settings", (queue.name, queue.settings, queue.paused), wanted)
    _same("I12", f"{mine.name} log", (log.start_offset, log.next_offset), (mine.start_offset, mine.next_offset))
    found = [(block.first, block.end, block.size_bytes) for block in log.all_blocks()]
    _same("I12", f"{mine.name} bytes", log.live_bytes, sum(size_bytes for _, _, size_bytes in found))
    if log in broker.draining:  # what no one needs is dropped in slices
        found = [block for block in found if block[1] > log.start_offset]
    _same("I12", f"{mine.name} blocks", found, [(b.first, b.end, b.size_bytes) for b in mine.blocks])
    counts, wanted_counts = _described(broker, queue), _counted(mine)
    if any(group.index is not None and group.index.unseen_count for group in queue.groups.values()):
        for one in (counts, wanted_counts):  # what waits for its next attempt is known when its key is
            one["ready"] += one.pop("scheduled")
    _same("I12", f"{mine.name} counts", counts, wanted_counts)
    _compare_schedule(queue, mine)
    _same("I18", f"{mine.name} groups", sorted(queue.groups), sorted(mine.groups))
    for number, group in queue.groups.items():
        if group.declared or len(queue.groups) == 1:
            _compare_group(group, mine.groups[number])
            _compare_found(broker, group, mine.groups[number])
    streams = {producer: stream.last_sequence for producer, stream in queue.streams.items() if stream.last_sequence}
    _compare_ids(queue, mine)
    _same("I12", f"{mine.name} dropped newest", queue.dropped_newest, mine.dropped_newest)
    _same("I9", f"{mine.name} streams", streams, {p: s.last for p, s in mine.streams.items() if s.last})


def _compare_schedule(queue: Queue, mine: ShadowQueue) -> None:
    """What waits, by id, and in the same number by time."""
    check_counts(mine)
    schedule = queue.schedule
    if schedule is None:
        _same("I12", f"{mine.name} schedule", {}, mine.scheduled)
        return
    entries = list(schedule.entries())
    found = {number: entry.due_ms for entry in entries for number in range(entry.first_id, entry.end_id)}
    _same("I12", f"{mine.name} scheduled", found, {n: one.due_ms for n, one in sorted(mine.scheduled.items())})
    sums = (sum(entry.message_count for entry in entries), sum(entry.size_bytes for entry in entries))
    _same("I12", f"{mine.name} schedule's sums", (schedule.message_count, schedule.live_bytes), sums)
    wanted = {one.entry: one.entry_bytes for one in mine.scheduled.values()}
    _same("I12", f"{mine.name} entries", {e.first_id: e.size_bytes for e in entries}, dict(sorted(wanted.items())))
    wheel = schedule._wheel
    in_wheel = [n for level in wheel._levels for b in level.values() for n in b.ids[b.taken :]] if wheel else None
    _same("I13", f"{mine.name} by time", sorted(in_wheel or ()), [entry.first_id for entry in entries])


def _compare_group(group: Group, mine: ShadowGroup) -> None:
    wanted = (mine.name, mine.settings, mine.declared, mine.paused)
    _same("I18", f"{mine.label}", (group.name, group.settings, group.declared, group.paused), wanted)
    waiting = group.returned_count + group.delayed_count + (group.index.unseen_count if group.index else 0)
    places = (waiting, group.tail_count, group.leased_count, group.dying_count, len(group.held))
    returned = sum(offset < mine.cursor or offset in mine.passed for offset in mine.ready)
    counted = (
        returned + mine.count(Place.DELAYED),
        *map(mine.count, (Place.TAIL, Place.LEASED, Place.DYING, Place.HELD)),
    )
    if mine.by_priority:  # its lanes keep what is at the tail in its place among the others
        counted = (counted[0] + counted[1], 0, *counted[2:])
    _same("I7", f"{mine.label} lanes", group.lanes is not None, mine.by_priority)
    if group.index is None:
        _same("I12", f"{mine.label} delayed", group.delayed_count, mine.count(Place.DELAYED))
    _same("I12", f"{mine.label} returned, delayed, tail, leased, dying", places, counted)
    counters = (mine.acked, mine.dead, mine.redelivered, tuple(mine.discarded))
    _same("I12", f"{mine.label} counters", group.counters.values(), counters)
    _same("I12", f"{mine.label} open", group.open_count, len(mine.messages))
    _same("I18", f"{mine.label} state", {k: (v, data) for k, v, data in _state(group)}, mine.state)
    version = group.state.version if group.state is not None else 0
    _same("I18", f"{mine.label} state version", version, mine.state_version)
    _compare_messages(group, mine)


def compare_exchanges(broker: Broker, shadow: Shadow) -> None:
    """Every exchange with its bindings, counts and streams."""
    exchanges, mine = broker.exchanges, shadow.exchanges
    _same(
        "I18",
        "exchanges",
        {n: e.number for n, e in exchanges.names.items()},
        {n: e.number for n, e in mine.names.items()},
    )
    _same("I18", "bindings", exchanges.binding_count, sum(len(one.rules) for one in mine.by_number.values()))
    for number, exchange in exchanges.by_number.items():
        other = mine.by_number[number]
        found = [(*b.destination, b.routing_key, b.arguments) for b in exchange.bindings]
        _same("I18", f"{exchange.name} bindings", found, [tuple(rule) for rule in other.rules])
        counts = (exchange.settings, exchange.published, exchange.unrouted)
        _same("I12", f"{exchange.name} counts", counts, (other.settings, other.published, other.unrouted))
        streams = {p: s.last_sequence for p, s in exchange.streams.items() if s.last_sequence}
        _same("I9", f"{exchange.name} streams", streams, {p: s.last for p, s in other.streams.items() if s.last})


def _state(group: Group) -> list[StateItem]:
    return group.state.items() if group.state is not None else []


def compare_leases(broker: Broker, shadow: Shadow) -> None:
    """Every lease, and what every consumer holds."""
    _same("I10", "sessions", sorted(broker.sessions), sorted(shadow.sessions))
    for number, session in broker.sessions.items():
        tags = {}
        for lease in session.leases:
            for index in range(lease.count):
                where = (lease.consumer.group.number, lease.first + index)
                tags[lease.first_tag + index] = (*where, lease.deadline_ms, lease.started, lease.attempts)
        mine = shadow.sessions[number]
        held = {t: (h.group.number, h.offset, h.deadline_ms, h.started, h.attempt) for t, h in mine.tags.items()}
        _same("I10", f"leases of session {number}", tags, held)
        credit = {c.number: (c.leased_messages, c.leased_bytes) for c in session.consumers.values()}
        _same("I13", "credit", credit, {c.number: (c.leased_messages, c.leased_bytes) for c in mine.consumers.values()})


_DEAD = (Place.DYING, Place.HELD)


def _compare_messages(group: Group, mine: ShadowGroup) -> None:
    found: dict[int, tuple[int, int, int, int]] = {}
    for run in group.outstanding:
        for offset in range(run.first, run.end):
            found[offset] = (run.attempts, run.failures, run.due_ms, int(run.dying))
    counted = {
        m.offset: (m.attempts, m.failures, m.due_ms, (m.place in _DEAD) + m.expired)
        for m in mine.messages.values()
        if m.offset < mine.cursor or m.offset in mine.passed
    }
    _same("I8", f"{mine.label} attempts, failures, due, dying", found, counted)
    _same("I12", f"{mine.label} cursor", group.next_offset, mine.cursor)
    passed = {offset for first, end in group.passed for offset in range(first, end)}
    _same("I12", f"{mine.label} passed", passed, mine.passed)
    history = {m.offset: _kept(m.history) for m in mine.messages.values() if m.history}
    told = {o: [_exact(f, mine.messages.get(o)) for f in fs] for o, fs in group.history.items()}
    _same("I8", f"{mine.label} history", told, history)


def _compare_ids(queue: Queue, mine: ShadowQueue) -> None:
    """What is kept of message ids is what counted when the last one was noted."""
    found: dict[bytes, int] = {}
    if queue.dedup is not None:
        digests, noted, _, _ = queue.dedup.columns()
        found = dict(zip(split_digests(digests), array("Q", noted), strict=True))
    wanted = mine.known_ids(max(mine.ids[-1].time_ms, mine.ids_ms)) if mine.ids else {}
    _same("I9", f"{mine.name} message ids", found, wanted)


def _compare_found(broker: Broker, group: Group, mine: ShadowGroup) -> None:
    """What a search would say of every message. At time 0, so that whoever was due once counts as scheduled."""
    held = finding.holdings(broker, group)
    found: dict[int, str] = {}
    while (span := finding.next_span(group, max(found, default=-1) + 1, held, 0)) is not None:
        found |= dict.fromkeys(range(span.first, span.end), span.state)
    states = {Place.LEASED: finding.LEASED, Place.DYING: finding.DYING, Place.HELD: finding.HELD}
    there = [m for m in mine.messages.values() if m.offset < group.queue.log.visible]
    wanted = {
        m.offset: states.get(m.place, finding.SCHEDULED if m.due_ms else finding.READY) for m in there if not m.expired
    }
    wanted |= {m.offset: finding.EXPIRED for m in there if m.expired}
    _same("I12", f"{mine.label} found by state", found, wanted)


def _exact(failure: Failure, message: Message | None) -> Failed:
    """A failure as the shadow has it: adjacent hand-outs of one step share a lease, and the first one's time."""
    for one in message.history if message is not None else ():
        if one[:4] == failure[:4] and 0 <= one[4] - failure.leased_at_ms < DEADLINE_STEP_MS:
            return one
    return (*failure,)


def _kept(history: list[Failed]) -> list[Failed]:
    if len(history) <= FAILURES_KEPT_MAX:
        return history
    return [history[0], *history[1 - FAILURES_KEPT_MAX :]]


def _described(broker: Broker, queue: Queue) -> dict[str, Any]:
    found = describe(broker, queue)
    return {key: found[key] for key in (*_KEYS, *_TOTALS)}


_KEYS = ("ready", "upcoming", "scheduled", "leased", "messages", "unscheduled", "published")
_TOTALS = ("acked", "dead_lettered", "redelivered", "purged", "elsewhere")


def _counted(mine: ShadowQueue) -> dict[str, int]:
    keepers, groups = mine.keepers(), mine.groups.values()
    totals = ([g.acked, g.dead, g.redelivered, g.discarded[PURGED], g.discarded[ELSEWHERE]] for g in groups)
    return {
        "ready": sum(group.count(Place.READY) + group.count(Place.TAIL) for group in keepers),
        "scheduled": sum(group.count(Place.DELAYED) for group in keepers),
        "leased": sum(group.count(Place.LEASED) for group in keepers),
        "messages": mine.open_count(),
        "upcoming": len(mine.scheduled),
        "unscheduled": mine.unscheduled,
        **dict(zip(_TOTALS, map(sum, zip(*totals, strict=True)), strict=True)),
        "published": mine.next_offset - mine.first_offset,
    }


def _same(invariant: str, what: str, found: object, wanted: object) -> None:
    if found != wanted:
        raise Violation(invariant, f"{what}: the broker has {_cut(found)}, it must be {_cut(wanted)}")


def _cut(value: object) -> str:
    text = repr(value)
    return text if len(text) < 600 else text[:600] + "..."
