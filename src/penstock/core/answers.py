"""Confirms of whole blocks that are not stored."""

from __future__ import annotations

from penstock.core.broker import Confirm
from penstock.core.queue import SCHEDULED_MARK, Stream
from penstock.core.storing import Publication
from penstock.core.values import DUPLICATE, DUPLICATE_SCHEDULED, OFFSET_UNKNOWN, REFUSED


def refusal(session: int, publication: Publication, code: str) -> Confirm:
    """Nothing of it is stored: ``code`` says why."""
    route, level, first_sequence, count, _ = publication
    return Confirm(session, route, REFUSED, level, code, first_sequence, count, OFFSET_UNKNOWN)


def resent(session: int, publication: Publication, stream: Stream) -> Confirm:
    """Its first sequence was seen before: it was stored then, or refused, or it breaks the order. Refused is also what
    was stored in part, by a queue that cut blocks then and was altered since.
    """
    route, level, first_sequence, count, _ = publication
    if first_sequence + count - 1 > stream.last_sequence or stream.was_refused(first_sequence, count):
        return refusal(session, publication, "sequence-order")
    status, offset = kept_as(stream, first_sequence)
    return Confirm(session, route, status, level, "", first_sequence, count, offset)


def kept_as(stream: Stream, sequence: int) -> tuple[int, int]:
    """Return how a re-send of what was stored is confirmed: (status, offset or schedule id)."""
    offset = stream.offset_of(sequence)
    if offset != OFFSET_UNKNOWN and offset & SCHEDULED_MARK:
        return DUPLICATE_SCHEDULED, offset ^ SCHEDULED_MARK
    return DUPLICATE, offset
