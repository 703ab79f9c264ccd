"""What a full queue drops: into its dead letters, where it was asked to."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from penstock.core.broker import Broker
from penstock.core.definitions import declare
from penstock.core.queue import Queue
from penstock.core.storing import append_internal

FULL: Final = "dropped: the queue was full"
TOO_OLD: Final = "dropped: too old"
"""Reasons in a dead letter's provenance."""
_LETTERS_MAX: Final = 256
"""In one block: some 400 bytes of provenance each."""


def dead_letter_newest(broker: Broker, queue: Queue, block: bytes, start: int, stop: int, now_ms: int) -> None:
    """Put messages ``start`` to ``stop`` of a block, for which the queue had no room, into its dead-letter queue, if it
    has one.
    """
    if queue.dead_letter_name == queue.name:
        return
    target = dead_letter_queue(broker, queue, now_ms, queues_max=0)
    provenance = {
        "queue": queue.local_name,
        "attempts": 0,
        "reason": FULL,
        "published_at_ms": now_ms,
        "failures": [],
    }
    for first in range(start, stop, _LETTERS_MAX):
        end = min(stop, first + _LETTERS_MAX)
        letters = broker.block_reader.dead_letters(block, first, end, provenance)
        append_internal(broker, target, letters, now_ms, end - first)


def dead_letter_queue(broker: Broker, queue: Queue, now_ms: int, queues_max: int) -> Queue:
    """Return the queue that a queue's dead letters go to; it is declared when it is first needed."""
    name = queue.dead_letter_name
    found = broker.names.get(name)
    if found is not None:
        return found
    # It is its own dead-letter queue, which means it has none: a dead letter does not die again (SEMANTICS 11). It is
    # durable whatever its source is: durable queues may share it.
    settings = replace(broker.dead_letter_settings, lease_ms=queue.settings.lease_ms, max_failures=0, dead_letter=name)
    return declare(broker, name, settings, now_ms, max(queues_max, len(broker.queues) + 1), automatic=True)[0]
