"""Publishing into queues that look at every message: those that deduplicate by message id.

Each message of a block is judged for itself, and neighbours with one fate are a *run*: a block of new messages and
duplicates is stored in parts and confirmed by several entries, which together cover its sequences in order. It is

    a duplicate   when its id is in the window, whatever its sequence says: confirmed with the first one's offset
    seen before   when its sequence was answered before: as any re-send is (SEMANTICS 6)
    refused       when the queue takes nothing now
    stored        otherwise, and its id noted

Duplicates use their sequences up too (Repeated), so that a re-send of them is recognised after their ids are forgotten.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from penstock.core.broker import Broker, Confirm
from penstock.core.dedup import NO_ID, DedupWindow, digest_of
from penstock.core.facts import Noted, Repeated
from penstock.core.queue import Queue, Stream
from penstock.core.session import Session
from penstock.core.storing import Publication, store
from penstock.core.values import DUPLICATE, OFFSET_UNKNOWN, REFUSED, STORED


class Verdict(NamedTuple):
    """What becomes of a message, or of a run of them: the first one's ``offset``, and whether it was seen before."""

    status: int
    code: str
    offset: int
    is_seen: bool


class Intake(NamedTuple):
    """A block on its way in. ``blocked`` is why the queue takes nothing now, or empty."""

    broker: Broker
    session: Session
    queue: Queue
    window: DedupWindow
    stream: Stream
    publication: Publication
    blocked: str
    now_ms: int


def take_in(intake: Intake) -> None:
    """Store what is new in a block; the Confirms of its runs go to ``broker.confirms``, in order."""
    _, _, first_sequence, count, block = intake.publication
    digests = _digests(intake.broker, block, count)
    if first_sequence > intake.stream.last_sequence and not intake.blocked and intake.window.is_new(digests):
        _store(intake, intake.publication, digests)
        return
    for verdict, first, end in _runs(_judge(intake, digests)):
        route, level, _, _, _ = intake.publication
        if verdict.status == STORED:
            part = intake.broker.block_reader.slice(block, first, end)
            _store(intake, (route, level, first_sequence + first, end - first, part), digests[first:end])
        else:
            if verdict.status == DUPLICATE and not verdict.is_seen:
                _note_repeated(intake, first_sequence + first, end - first, verdict.offset)
            _confirm(intake, verdict, first_sequence + first, end - first)


def _digests(broker: Broker, block: bytes, count: int) -> list[bytes]:
    ids = broker.block_reader.message_ids(block)
    return [NO_ID if one is None else digest_of(one) for one in ids] if ids else [NO_ID] * count


def _judge(intake: Intake, digests: Sequence[bytes]) -> list[Verdict]:
    """Return a verdict for each message; offsets of new ones are those they will get."""
    window, stream = intake.window, intake.stream
    live_from = window.live_from(intake.now_ms)
    next_offset = intake.queue.log.next_offset
    fresh: dict[bytes, int] = {}
    verdicts: list[Verdict] = []
    for sequence, digest in enumerate(digests, intake.publication[2]):
        is_seen = sequence <= stream.last_sequence
        offset = fresh.get(digest)
        if offset is None:
            offset = window.find(digest, live_from)
        if not is_seen and intake.blocked:
            verdict = Verdict(REFUSED, intake.blocked, OFFSET_UNKNOWN, is_seen)
        elif offset is not None:
            verdict = Verdict(DUPLICATE, "", offset, is_seen)
        elif is_seen:
            verdict = _seen(stream, sequence)
        else:
            verdict = Verdict(STORED, "", next_offset, is_seen)
            if digest is not NO_ID:
                fresh[digest] = next_offset
            next_offset += 1
        verdicts.append(verdict)
    return verdicts


def _seen(stream: Stream, sequence: int) -> Verdict:
    if stream.was_refused(sequence):
        return Verdict(REFUSED, "sequence-order", OFFSET_UNKNOWN, is_seen=True)
    return Verdict(DUPLICATE, "", stream.offset_of(sequence), is_seen=True)


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


def _store(intake: Intake, part: Publication, digests: Sequence[bytes]) -> None:
    broker, queue = intake.broker, intake.queue
    _, _, first_sequence, count, _ = part
    with broker.recorder.together():
        offset = store(broker, queue, intake.session.producer, intake.stream, part, intake.now_ms)
        note(broker, queue, offset, digests, intake.now_ms)
    _confirm(intake, Verdict(STORED, "", offset, is_seen=False), first_sequence, count)


def note(broker: Broker, queue: Queue, first: int, digests: Sequence[bytes], now_ms: int) -> None:
    """Have the queue remember the ids of messages from offset ``first`` on."""
    if any(digest is not NO_ID for digest in digests):
        broker.emit(queue.durable, Noted(queue.number, first, now_ms, b"".join(digests)))


def _note_repeated(intake: Intake, first_sequence: int, count: int, offset: int) -> None:
    producer = intake.session.producer
    fact = Repeated(intake.queue.number, offset, count, producer, first_sequence, intake.now_ms)
    intake.broker.emit(intake.queue.durable, fact)


def _confirm(intake: Intake, verdict: Verdict, first_sequence: int, count: int) -> None:
    route, level, _, _, _ = intake.publication
    status, code, offset, _ = verdict
    confirm = Confirm(intake.session.number, route, status, level, code, first_sequence, count, offset)
    intake.broker.confirms.append(confirm)
