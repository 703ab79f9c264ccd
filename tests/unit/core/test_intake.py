"""Publishing into queues that deduplicate: each message for itself, the confirms in parts."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.core.harness import Core

from penstock.core.bounds import OVERRUN_BYTES
from penstock.core.dedup import DIGEST_BYTES, NO_ID, digest_of
from penstock.core.definitions import alter
from penstock.core.facts import (
    Noted,
    Published,
    Repeated,
)
from penstock.core.session import Session
from penstock.core.values import DUPLICATE, OFFSET_UNKNOWN, REFUSED, STORED
from penstock_client.wire.blocks import decode_bodies, encode_block


def block_of(*ids: str | None) -> bytes:
    return encode_block(
        [(one or "-").encode() for one in ids], properties=[{"message_id": one} if one else None for one in ids]
    )


def publish(core: Core, session: Session, first: int, *ids: str | None) -> list[tuple[int, str, int, int, int]]:
    """Publish a block; return (status, code, first sequence, count, offset) of its confirms."""
    core.publish(session, (first, len(ids)), block=block_of(*ids))
    confirms, core.broker.confirms = core.broker.confirms, []
    return [(one.status, one.code, one.first_sequence, one.message_count, one.offset) for one in confirms]


def producer(core: Core, **settings: Any) -> Session:
    core.queue(**{"dedup_window_ms": 1000, **settings})
    session = core.session()
    core.route(session, 1, "jobs")
    return session


def test_new_ids_are_stored_and_noted_in_one_step(core: Core) -> None:
    session = producer(core)
    assert publish(core, session, 1, "a", None, "b") == [(STORED, "", 1, 3, 0)]
    noted = core.recorded(Noted)[0]
    assert core.facts[-2:] == [core.recorded(Published)[0], noted], "neighbours, so that one batch has both"
    assert noted == Noted(1, 0, core.now_ms, digest_of("a") + NO_ID + digest_of("b"))


def test_messages_without_ids_are_stored_each_time_and_nothing_is_noted(core: Core) -> None:
    session = producer(core)
    assert publish(core, session, 1, None, None) == [(STORED, "", 1, 2, 0)]
    core.publish(session, (3, 1))
    assert core.recorded(Noted) == []
    assert [one.offset for one in core.broker.confirms] == [2]


def test_a_known_id_is_confirmed_with_the_first_one_s_offset(core: Core) -> None:
    session = producer(core)
    publish(core, session, 1, "a", "b")
    assert publish(core, session, 3, "b") == [(DUPLICATE, "", 3, 1, 1)]
    assert core.recorded(Repeated) == [Repeated(1, 1, 1, session.producer, 3, core.now_ms)]
    assert core.broker.queues[1].log.next_offset == 2


def test_ids_are_known_whoever_publishes_them(core: Core) -> None:
    publish(core, producer(core), 1, "a")
    other = core.session()
    core.route(other, 1, "jobs")
    assert publish(core, other, 1, "a") == [(DUPLICATE, "", 1, 1, 0)]


def test_a_block_of_both_is_stored_in_parts_and_confirmed_in_order(core: Core) -> None:
    session = producer(core)
    publish(core, session, 1, "a", "b", "c")
    assert publish(core, session, 4, "x", "y", "b", "c", "z", "a", None) == [
        (STORED, "", 4, 2, 3),
        (DUPLICATE, "", 6, 2, 1),
        (STORED, "", 8, 1, 5),
        (DUPLICATE, "", 9, 1, 0),
        (STORED, "", 10, 1, 6),
    ]
    stored = [decode_bodies(fact.block) for fact in core.recorded(Published)[1:]]
    assert stored == [[b"x", b"y"], [b"z"], [b"-"]]
    assert [fact.first_sequence for fact in core.recorded(Published)[1:]] == [4, 8, 10]
    assert {len(fact.digests) // DIGEST_BYTES for fact in core.recorded(Noted)[1:]} == {2, 1}


def test_an_id_twice_in_one_block_is_stored_once(core: Core) -> None:
    session = producer(core)
    assert publish(core, session, 1, "a", "a", "b") == [
        (STORED, "", 1, 1, 0),
        (DUPLICATE, "", 2, 1, 0),
        (STORED, "", 3, 1, 1),
    ]


def test_after_its_window_an_id_is_new(core: Core) -> None:
    session = producer(core)
    publish(core, session, 1, "a")
    core.pass_time(1000)
    assert publish(core, session, 2, "a") == [(STORED, "", 2, 1, 1)]
    assert publish(core, session, 3, "a") == [(DUPLICATE, "", 3, 1, 1)]


def test_past_the_count_an_id_is_new(core: Core) -> None:
    session = producer(core, dedup_count_max=2)
    publish(core, session, 1, "a", "b", "c")
    assert publish(core, session, 4, "a", "c") == [(STORED, "", 4, 1, 3), (DUPLICATE, "", 5, 1, 2)]


def test_a_re_send_of_duplicates_is_recognised_after_their_ids_are_forgotten(core: Core) -> None:
    """I9: what was confirmed as a duplicate has used up its sequence."""
    session = producer(core)
    publish(core, session, 1, "a", "b")
    publish(core, session, 3, "b", "a")
    core.pass_time(5000)
    assert publish(core, session, 3, "b", "a") == [(DUPLICATE, "", 3, 1, 1), (DUPLICATE, "", 4, 1, 0)]


def test_ids_are_looked_at_from_the_alteration_on(core: Core) -> None:
    queue = core.queue()
    session = core.session()
    core.route(session, 1, "jobs")
    block = encode_block([b"x"], properties=[{"message_id": "m"}])
    core.publish(session, (1, 1), block=block)
    alter(core.broker, queue, {"dedup_window_ms": 1000}, core.now_ms)
    core.publish(session, (2, 1), (3, 1), block=block)
    assert [(one.status, one.offset) for one in core.broker.confirms] == [(STORED, 0), (STORED, 1), (DUPLICATE, 1)]
    alter(core.broker, queue, {"dedup_window_ms": 0}, core.now_ms)
    core.publish(session, (4, 1), block=block)
    assert (core.broker.confirms[-1].status, queue.dedup) == (STORED, None)


def test_a_re_send_of_what_was_refused_is_refused_unless_its_id_is_known_by_now(core: Core) -> None:
    """I1: it was not stored."""
    session = producer(core)
    core.broker.storage_full = True
    assert publish(core, session, 1, "a", "b") == [(REFUSED, "disk-full", 1, 2, OFFSET_UNKNOWN)]
    core.broker.storage_full = False
    publish(core, session, 3, "b")
    assert publish(core, session, 1, "a", "b") == [
        (REFUSED, "sequence-order", 1, 1, OFFSET_UNKNOWN),
        (DUPLICATE, "", 2, 1, 0),
    ]


def test_a_block_whose_end_was_lost_with_a_crash_is_stored_to_its_end(core: Core) -> None:
    """Its parts may have been in two batches: unlike elsewhere, a block that is partly seen is taken."""
    session = producer(core)
    publish(core, session, 1, None, None)
    assert publish(core, session, 1, None, None, "a", None) == [(DUPLICATE, "", 1, 2, 0), (STORED, "", 3, 2, 2)]


def test_a_full_disk_takes_neither_new_ones_nor_duplicates(core: Core) -> None:
    session = producer(core)
    publish(core, session, 1, "a")
    core.broker.storage_full = True
    assert publish(core, session, 2, "a", "b") == [(REFUSED, "disk-full", 2, 2, OFFSET_UNKNOWN)]
    assert publish(core, session, 1, "a") == [(DUPLICATE, "", 1, 1, 0)]


def test_a_memory_queue_deduplicates_in_memory(core: Core) -> None:
    session = producer(core, durable=False)
    core.facts.clear()
    first = core.broker.queues[1].log.start_offset
    publish(core, session, 1, "a")
    assert publish(core, session, 2, "a", "b") == [(DUPLICATE, "", 2, 1, first), (STORED, "", 3, 1, first + 1)]
    assert core.facts == []


def test_a_memory_queue_far_above_its_bound_refuses(core: Core) -> None:
    session = producer(core, durable=False, memory_bytes_max=4096)
    core.broker.queues[1].log.live_bytes += 4097 + OVERRUN_BYTES
    assert publish(core, session, 1, "a") == [(REFUSED, "queue-full", 1, 1, OFFSET_UNKNOWN)]


def test_a_purge_forgets_messages_and_not_their_ids(core: Core) -> None:
    from penstock.core.definitions import purge

    session = producer(core)
    publish(core, session, 1, "a")
    purge(core.broker, core.broker.queues[1].keepers())
    assert publish(core, session, 2, "a") == [(DUPLICATE, "", 2, 1, 0)]


@pytest.mark.parametrize("dedup", [0, 1000])
def test_only_queues_that_deduplicate_look_into_blocks(core: Core, dedup: int) -> None:
    session = producer(core, dedup_window_ms=dedup)
    looked: list[bytes] = []
    reader = core.broker.block_reader
    core.broker.block_reader = type("Reader", (), {"message_ids": looked.append, "slice": reader.slice})()
    core.publish(session, (1, 1))
    assert len(looked) == (1 if dedup else 0)
