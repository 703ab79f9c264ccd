"""What a transaction decides: all of it, or the reason why nothing."""

from collections.abc import Sequence
from typing import Any

import pytest
from tests.unit.core.harness import Core

from penstock.core.facts import (
    Acked,
    Discarded,
    GroupStateSet,
    Noted,
    Published,
)
from penstock.core.groupstate import ABSENT, ANY_VERSION, state_values
from penstock.core.queue import Queue
from penstock.core.session import Session
from penstock.core.transacting import (
    Placed,
    StateWrite,
    TransactedBlock,
    Transaction,
    TransactionLimits,
    transact,
)
from penstock.core.values import DROPPED, Refused
from penstock_client.wire.blocks import decode_bodies, encode_block

LIMITS = TransactionLimits(100, 10_000)


@pytest.fixture
def core() -> Core:
    return Core()


def block(queue: str, *bodies: bytes, ids: Sequence[str | None] | None = None) -> TransactedBlock:
    properties = [{"message_id": one} if one else None for one in ids] if ids else None
    return "", queue, len(bodies), encode_block(bodies, properties=properties)


def write(queue: str, key: str, value: bytes, version: int = ABSENT, group: str = "") -> StateWrite:
    return queue, group, key, version, value


def carry_out(
    core: Core,
    session: Session,
    *,
    acks: Sequence[tuple[int, int]] = (),
    blocks: Sequence[TransactedBlock] = (),
    writes: Sequence[StateWrite] = (),
    limits: TransactionLimits = LIMITS,
) -> list[list[Placed]]:
    return transact(core.broker, session, Transaction(acks, blocks, writes), limits, core.now_ms)


def refusal(core: Core, session: Session, **parts: Any) -> str:
    """Return the code of a refusal, having seen that nothing changed."""
    before, leases = list(core.facts), [(lease.first_tag, lease.count) for lease in session.leases]
    with pytest.raises(Refused) as refused:
        carry_out(core, session, **parts)
    assert core.facts == before
    assert [(lease.first_tag, lease.count) for lease in session.leases] == leases
    return refused.value.refusal.code


def holding(core: Core, queue: Queue, count: int) -> Session:
    """A session that holds the first messages of a queue under tags 1, 2, ..."""
    session = core.fill(queue, count)
    core.consume(session, queue)
    core.dispatch()
    return session


def test_everything_happens_with_neighbouring_facts(core: Core) -> None:
    jobs, out = core.queue(), core.queue("out")
    session = holding(core, jobs, 4)
    before = len(core.facts)
    placed = carry_out(
        core,
        session,
        acks=[(1, 2), (4, 4)],
        blocks=[block("out", b"a", b"b"), block("jobs", b"c")],
        writes=[write("jobs", "seen", b"\x07")],
    )
    assert [type(fact) for fact in core.facts[before:]] == [Acked, Published, Published, GroupStateSet]
    assert core.facts[before] == Acked(jobs.number, jobs.group.number, ((0, 2), (3, 4)))
    assert placed == [[Placed(0, 2, False)], [Placed(4, 1, False)]]
    assert (out.log.next_offset, jobs.log.next_offset, jobs.group.counters.acked) == (2, 5, 3)
    assert state_values(jobs.group)["seen"].data == b"\x07"
    assert {out, jobs} <= set(core.broker.published_queues)


def test_acks_of_several_groups_are_one_fact_each(core: Core) -> None:
    queue = core.queue()
    billing, audit = core.group(queue, "billing"), core.group(queue, "audit")
    session = core.fill(queue, 2)
    core.consume(session, queue, number=1, group=billing)
    core.consume(session, queue, number=2, group=audit)
    core.dispatch()
    carry_out(core, session, acks=[(1, 4)])
    assert [(fact.group, fact.ranges) for fact in core.recorded(Acked)] == [
        (billing.number, ((0, 2),)),
        (audit.number, ((0, 2),)),
    ]


def test_what_it_publishes_has_no_producer(core: Core) -> None:
    queue = core.queue()
    carry_out(core, core.session(producer=False), blocks=[block("jobs", b"a")])
    [fact] = core.recorded(Published)
    assert (fact.producer, fact.first_sequence) == (0, 0)
    assert not queue.streams


@pytest.mark.parametrize("acks", [[(5, 5)], [(1, 3), (9, 9)], [(0, 2)], [(2, 4)]])
def test_a_stale_delivery_fails_the_whole(core: Core, acks: list[tuple[int, int]]) -> None:
    session = holding(core, core.queue(), 3)
    core.queue("out")
    assert refusal(core, session, acks=acks, blocks=[block("out", b"a")]) == "transaction-stale"


def test_the_refusal_names_the_first_stale_ranges(core: Core) -> None:
    session = holding(core, core.queue(), 3)
    with pytest.raises(Refused, match=r"tags 4 to 5, 7, 9, 11, 13 and 1 more any more"):
        carry_out(core, session, acks=[(1, 1), (4, 5), (7, 7), (9, 9), (11, 11), (13, 13), (15, 15)])


def test_a_tag_of_another_session_is_stale(core: Core) -> None:
    holding(core, core.queue(), 3)
    assert refusal(core, core.session(), acks=[(1, 1)]) == "transaction-stale"


def test_it_cannot_publish_where_nothing_is_or_nothing_lasts(core: Core) -> None:
    core.queue()
    core.queue("memory", durable=False)
    session = core.session()
    good = block("jobs", b"a")
    assert refusal(core, session, blocks=[good, block("nowhere", b"a")]) == "unknown-queue"
    assert refusal(core, session, blocks=[good, block("memory", b"a")]) == "unsupported"
    assert refusal(core, session, blocks=[good, ("events", "jobs", 1, b"")]) == "unsupported"


def test_groups_in_memory_are_no_part_of_it(core: Core) -> None:
    queue = core.queue()
    watch = core.group(queue, "watch", ephemeral=True)
    session = core.fill(queue, 1)
    core.consume(session, queue, group=watch)
    core.dispatch()
    assert refusal(core, session, acks=[(1, 1)]) == "unsupported"
    assert refusal(core, session, writes=[write("jobs", "seen", b"\x07", group="watch")]) == "unsupported"


def test_a_full_disk_takes_what_acknowledges_alone(core: Core) -> None:
    session = holding(core, core.queue(), 2)
    core.broker.storage_full = True
    assert refusal(core, session, acks=[(1, 1)], blocks=[block("jobs", b"a")]) == "disk-full"
    assert refusal(core, session, writes=[write("jobs", "seen", b"\x07")]) == "disk-full"
    assert carry_out(core, session, acks=[(1, 2)]) == []


def test_it_is_bounded_in_operations_and_bytes(core: Core) -> None:
    session = holding(core, core.queue(), 3)
    parts: dict[str, Any] = {
        "acks": [(1, 2)],
        "blocks": [block("jobs", b"a", b"b")],
        "writes": [write("jobs", "seen", b"\x07")],
    }
    size_bytes = len(parts["blocks"][0][3]) + len("seen") + 1
    assert refusal(core, session, **parts, limits=TransactionLimits(4, 1000)) == "transaction-too-large"
    assert refusal(core, session, **parts, limits=TransactionLimits(5, size_bytes - 1)) == "transaction-too-large"
    assert refusal(core, session, acks=[(1, 1 << 63)]) == "transaction-too-large"
    carry_out(core, session, **parts, limits=TransactionLimits(5, size_bytes))


def test_state_is_compared_and_set(core: Core) -> None:
    queue = core.queue()
    session = core.session()
    carry_out(core, session, writes=[write("jobs", "seen", b"\x01"), write("jobs", "total", b"\x02")])
    version = state_values(queue.group)["seen"].version
    assert refusal(core, session, writes=[write("jobs", "seen", b"\x03")]) == "transaction-conflict"
    assert refusal(core, session, writes=[write("jobs", "new", b"\x03", version)]) == "transaction-conflict"
    with pytest.raises(Refused, match=f"'seen'.* has version {version}, not 1; read it again"):
        carry_out(core, session, writes=[write("jobs", "seen", b"\x03", 1)])
    carry_out(core, session, writes=[write("jobs", "seen", b"\x03", version), write("jobs", "total", b"", ANY_VERSION)])
    assert {key: value.data for key, value in state_values(queue.group).items()} == {"seen": b"\x03"}


def test_state_that_cannot_be_is_refused(core: Core) -> None:
    core.queue()
    session = core.session()
    good = write("jobs", "seen", b"\x07")
    assert refusal(core, session, writes=[good, write("nowhere", "seen", b"\x07")]) == "unknown-queue"
    assert refusal(core, session, writes=[good, write("jobs", "seen", b"\x07", group="who")]) == "unknown-group"
    assert refusal(core, session, writes=[good, good]) == "bad-setting"
    assert refusal(core, session, writes=[good, write("jobs", "", b"\x07")]) == "bad-name"
    assert refusal(core, session, writes=[write("jobs", "seen", b"x" * 5000)]) == "limit-reached"


def test_known_ids_are_not_stored_again(core: Core) -> None:
    queue = core.queue(dedup_window_ms=1000)
    session = core.session()
    carry_out(core, session, blocks=[block("jobs", b"a", ids=["a"])])
    [parts] = carry_out(
        core, session, blocks=[block("jobs", b"b", b"-", b"a", b"c", b"b", ids=["b", None, "a", "c", "b"])]
    )
    assert parts == [Placed(1, 2, False), Placed(0, 1, True), Placed(3, 1, False), Placed(1, 1, True)]
    assert [decode_bodies(fact.block) for fact in core.recorded(Published)] == [[b"a"], [b"b", b"-"], [b"c"]]
    assert [fact.first for fact in core.recorded(Noted)] == [0, 1, 3]
    assert queue.log.next_offset == 4


def test_a_block_without_ids_needs_no_looking_at(core: Core) -> None:
    core.queue(dedup_window_ms=1000)
    assert carry_out(core, core.session(), blocks=[block("jobs", b"a", b"b")]) == [[Placed(0, 2, False)]]
    assert core.recorded(Noted) == []


def test_an_id_that_is_too_old_is_new(core: Core) -> None:
    core.queue(dedup_window_ms=1000)
    session = core.session()
    carry_out(core, session, blocks=[block("jobs", b"a", ids=["a"])])
    core.now_ms += 1000
    assert carry_out(core, session, blocks=[block("jobs", b"a", ids=["a"])]) == [[Placed(1, 1, False)]]


@pytest.mark.parametrize("overflow", ["backpressure", "reject", "drop_newest"])
def test_a_queue_at_its_bound_refuses_all_of_it(core: Core, overflow: str) -> None:
    """An answer that waited for room would hold what else it does."""
    session = holding(core, core.queue(max_messages=2, overflow=overflow), 2)
    core.queue("out")
    if overflow == "backpressure":  # there what comes is taken until it is above
        carry_out(core, session, blocks=[block("jobs", b"a")])
    assert refusal(core, session, acks=[(1, 1)], blocks=[block("out", b"a"), block("jobs", b"a")]) == "queue-full"


def test_its_blocks_for_one_queue_need_room_together(core: Core) -> None:
    session = core.session()
    core.queue(max_messages=2, overflow="reject")
    two = [block("jobs", b"a"), block("jobs", b"b")]
    assert refusal(core, session, blocks=[*two, block("jobs", b"c")]) == "queue-full"
    assert carry_out(core, session, blocks=two) == [[Placed(0, 1, False)], [Placed(1, 1, False)]]


def test_a_queue_that_drops_the_oldest_takes_it_and_drops(core: Core) -> None:
    queue = core.queue(max_messages=2, overflow="drop_oldest")
    carry_out(core, core.session(), blocks=[block("jobs", b"a", b"b", b"c")])
    assert core.recorded(Discarded) == [Discarded(queue.number, queue.group.number, DROPPED, ((0, 1),))]


def test_full_memory_takes_what_acknowledges_alone(core: Core) -> None:
    session = holding(core, core.queue(), 2)
    core.broker.set_watermarks(disk_low=False, memory_full=True)
    assert refusal(core, session, acks=[(1, 1)], blocks=[block("jobs", b"a")]) == "memory-full"
    assert carry_out(core, session, acks=[(1, 2)]) == []
