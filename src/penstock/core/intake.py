"""Publishing into queues that look at what comes: those that deduplicate by message id, and those with a bound.

Each message of a block is judged for itself, and neighbours with one fate are a *run*: a block is stored in parts where
it has to be, and confirmed by several entries, which together cover its sequences in order. A message is

    a duplicate   when its id is in the window, whatever its sequence says: confirmed with the first one's offset
    seen before   when its sequence was answered before: as any re-send is (SEMANTICS 6)
    refused       when the queue takes nothing now, or has no room and rejects
    dropped       when the queue has no room and drops what is newest
    stored        otherwise, and its id noted

Duplicates and what is dropped use their sequences up too, in facts of their own, so that a re-send is recognised later.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from penstock.core.answers import kept_as, resent
from penstock.core.bounds import is_over, is_overrun, room
from penstock.core.broker import Broker, Confirm
from penstock.core.dedup import NO_ID, digest_of
from penstock.core.dropping import bound_dead_letters, drop_oldest
from penstock.core.facts import (
    Noted,
    Overflowed,
    Repeated,
)
from penstock.core.namespacing import note_stored, stop_code
from penstock.core.overflow import dead_letter_newest
from penstock.core.queue import Queue, Stream
from penstock.core.records import PUBLISHED_HEADER_BYTES
from penstock.core.session import Session
from penstock.core.storing import Publication, store
from penstock.core.values import (
    DROP_NEWEST,
    DROP_OLDEST,
    DROPPED_NEWEST,
    DUPLICATE,
    MEMORY,
    OFFSET_UNKNOWN,
    REFUSED,
    STORED,
)


class Verdict(NamedTuple):
    """What becomes of a message, or of a run of them: the first one's ``offset``, and whether it was seen before."""

    status: int
    code: str
    offset: int
    is_seen: bool


class Intake(NamedTuple):
    """A block on its way in."""

    broker: Broker
    session: Session
    queue: Queue
    stream: Stream
    publication: Publication
    now_ms: int


def take_in(intake: Intake) -> None:
    """Store what may be stored of a block; the Confirms of its runs go to ``broker.confirms``, in order.

    What has to leave the queue for it leaves in the same batch: no crash comes between.
    """
    with intake.broker.recorder.together():
        _take_in(intake)
        look_at_bounds(intake.broker, intake.queue)


def _take_in(intake: Intake) -> None:
    broker, _, queue, stream, publication, _ = intake
    route, _, first_sequence, count, block = publication
    if not queue.durable:
        intake = intake._replace(publication=(route, MEMORY, first_sequence, count, block))
    if first_sequence <= stream.last_sequence and not queue.settings.parts_blocks:
        broker.confirms.append(resent(intake.session.number, intake.publication, stream))
    else:
        digests = digests_in(broker, block) if queue.dedup is not None else None
        fitting = 0 if (blocked := _blocked(intake)) else room(queue, _unit_bytes(intake.publication), count)
        is_new = queue.dedup is None or digests is None or queue.dedup.is_new(digests)
        if is_new and first_sequence > stream.last_sequence and count <= fitting:
            _store(intake, intake.publication, digests)
        else:
            for verdict, first, end in _runs(_judge(intake, digests or [NO_ID] * count, blocked, fitting)):
                _carry_out(intake, verdict, first, end, digests)


def look_at_bounds(broker: Broker, queue: Queue) -> None:
    """After something came in: drop what is too much, or have confirms wait."""
    settings = queue.settings
    if settings.overflow == DROP_OLDEST:
        drop_oldest(broker, queue)
    elif settings.overflow_dead_letter and (target := broker.names.get(queue.dead_letter_name)) is not None:
        bound_dead_letters(broker, target)
    if is_over(queue):
        broker.full_queues[queue] = None


def _unit_bytes(publication: Publication) -> int:
    """What a message of the block takes, on average (decision 0004)."""
    return max(1, (len(publication[4]) + PUBLISHED_HEADER_BYTES) // publication[3])


def digests_in(broker: Broker, block: bytes) -> list[bytes] | None:
    """Return what is kept of each message's id, NO_ID for none; None when no message has one."""
    ids = broker.block_reader.message_ids(block)
    return [NO_ID if one is None else digest_of(one) for one in ids] if ids else None


def _blocked(intake: Intake) -> str:
    """Why the queue takes nothing new now; empty when it does."""
    broker, queue = intake.broker, intake.queue
    if broker.stops_producers and (code := broker.stop_code(queue.durable)):
        return code
    return "queue-full" if is_overrun(queue) else stop_code(queue, intake.now_ms)


def _judge(intake: Intake, digests: Sequence[bytes], blocked: str, fitting: int) -> list[Verdict]:
    """Return a verdict for each message; offsets of new ones are those they will get."""
    queue, stream = intake.queue, intake.stream
    live_from = queue.dedup.live_from(intake.now_ms) if queue.dedup is not None else 0
    first_offset = next_offset = queue.log.next_offset
    fresh: dict[bytes, int] = {}
    verdicts: list[Verdict] = []
    for sequence, digest in enumerate(digests, intake.publication[2]):
        is_seen = sequence <= stream.last_sequence
        offset = fresh.get(digest)
        if offset is None and queue.dedup is not None:
            offset = queue.dedup.find(digest, live_from)
        if not is_seen and blocked:
            verdict = Verdict(REFUSED, blocked, OFFSET_UNKNOWN, is_seen)
        elif offset is not None:
            verdict = Verdict(DUPLICATE, "", offset, is_seen)
        elif is_seen:
            verdict = _seen(queue, stream, sequence)
        elif next_offset - first_offset >= fitting:
            verdict = _overflowing(queue, is_seen)
        else:
            verdict = Verdict(STORED, "", next_offset, is_seen)
            if digest is not NO_ID:
                fresh[digest] = next_offset
            next_offset += 1
        verdicts.append(verdict)
    return verdicts


def _seen(queue: Queue, stream: Stream, sequence: int) -> Verdict:
    if not stream.was_refused(sequence):
        status, offset = kept_as(stream, sequence)
        return Verdict(status, "", offset, is_seen=True)
    if queue.settings.overflow == DROP_NEWEST:
        return _overflowing(queue, is_seen=True)
    return Verdict(REFUSED, "sequence-order", OFFSET_UNKNOWN, is_seen=True)


def _overflowing(queue: Queue, is_seen: bool) -> Verdict:
    if queue.settings.overflow == DROP_NEWEST:
        return Verdict(DROPPED_NEWEST, "", OFFSET_UNKNOWN, is_seen)
    return Verdict(REFUSED, "queue-full", OFFSET_UNKNOWN, is_seen)


def _runs(verdicts: Sequence[Verdict]) -> Iterator[tuple[Verdict, int, int]]:
    """Join neighbours with one fate and consecutive offsets: (the first one's verdict, first index, end index)."""
    first = 0
    for index in range(1, len(verdicts) + 1):
        if index == len(verdicts) or not _follows(verdicts[first], verdicts[index], index - first):
            yield verdicts[first], first, index
            first = index


def _follows(head: Verdict, other: Verdict, distance: int) -> bool:
    offset = head.offset if head.offset == OFFSET_UNKNOWN else head.offset + distance
    return other == head._replace(offset=offset)


def _carry_out(intake: Intake, verdict: Verdict, first: int, end: int, digests: Sequence[bytes] | None) -> None:
    """Do what was judged of messages ``first`` to ``end`` of the block, and confirm it."""
    broker, session, queue, _, publication, now_ms = intake
    route, level, first_sequence, _, block = publication
    sequence, count = first_sequence + first, end - first
    if verdict.status == STORED:
        part = broker.block_reader.slice(block, first, end)
        _store(intake, (route, level, sequence, count, part), digests and digests[first:end])
        return
    if verdict.status == DUPLICATE and not verdict.is_seen:
        broker.emit(queue.durable, Repeated(queue.number, verdict.offset, count, session.producer, sequence, now_ms))
    elif verdict.status == DROPPED_NEWEST and not verdict.is_seen:
        with broker.recorder.together():
            if queue.settings.overflow_dead_letter:
                dead_letter_newest(broker, queue, block, first, end, now_ms)
            broker.emit(queue.durable, Overflowed(queue.number, count, session.producer, sequence, now_ms))
    _confirm(intake, verdict, sequence, count)


def _store(intake: Intake, part: Publication, digests: Sequence[bytes] | None) -> None:
    broker, queue = intake.broker, intake.queue
    _, _, first_sequence, count, _ = part
    with broker.recorder.together():
        offset = store(broker, queue, intake.session.producer, intake.stream, part, intake.now_ms)
        if queue.ages is not None:
            broker.note_age(queue, offset, intake.now_ms)
        if digests is not None:
            note(broker, queue, offset, digests, intake.now_ms)
    note_stored(queue, len(part[4]) + PUBLISHED_HEADER_BYTES)
    _confirm(intake, Verdict(STORED, "", offset, is_seen=False), first_sequence, count)


def note(broker: Broker, queue: Queue, first: int, digests: Sequence[bytes], now_ms: int) -> None:
    """Have the queue remember the ids of messages from offset ``first`` on."""
    if any(digest is not NO_ID for digest in digests):
        broker.emit(queue.durable, Noted(queue.number, first, now_ms, b"".join(digests)))


def _confirm(intake: Intake, verdict: Verdict, first_sequence: int, count: int) -> None:
    route, level, _, _, _ = intake.publication
    status, code, offset, _ = verdict
    confirm = Confirm(intake.session.number, route, status, level, code, first_sequence, count, offset)
    intake.broker.confirms.append(confirm)
