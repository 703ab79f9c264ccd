import pytest
from tests.unit.core.harness import Core

from penstock.core import definitions, publishing
from penstock.core.broker import Confirm
from penstock.core.facts import Published
from penstock.core.storing import append_internal
from penstock.core.values import DUPLICATE, MEMORY, OFFSET_UNKNOWN, REFUSED, STORED, SYNCED, Refused


def outcomes(core: Core) -> list[tuple[int, str, int, int]]:
    """(status, code, first sequence, offset) of every confirm so far, which are taken."""
    confirms, core.broker.confirms = core.broker.confirms, []
    return [(one.status, one.code, one.first_sequence, one.offset) for one in confirms]


def test_a_stored_block_is_confirmed_with_its_offset(core: Core) -> None:
    queue = core.queue()
    session = core.session()
    core.route(session, 7, "jobs")
    core.publish(session, (1, 3), (4, 1), route=7)
    assert core.broker.confirms == [
        Confirm(session.number, 7, STORED, SYNCED, "", 1, 3, 0),
        Confirm(session.number, 7, STORED, SYNCED, "", 4, 1, 3),
    ]
    assert [fact.first for fact in core.recorded(Published)] == [0, 3]
    assert queue.log.visible == 0, "I3: not visible before its record is durable"
    assert queue in core.broker.published_queues


def test_a_re_sent_block_is_confirmed_again_and_not_stored(core: Core) -> None:
    """I9."""
    core.queue()
    session = core.session()
    core.route(session, 1, "jobs")
    core.publish(session, (1, 3), (4, 1), (1, 3), (4, 1))
    assert outcomes(core)[2:] == [(DUPLICATE, "", 1, 0), (DUPLICATE, "", 4, 3)]
    assert len(core.recorded(Published)) == 2


def test_a_re_send_on_a_new_connection_is_recognised(core: Core) -> None:
    core.queue()
    session = core.session()
    core.route(session, 1, "jobs")
    core.publish(session, (1, 3))
    again = core.session(producer=False)
    definitions.open_producer(core.broker, again, session.producer, 0)
    core.route(again, 9, "jobs")
    core.publish(again, (1, 3), route=9)
    assert outcomes(core)[1] == (DUPLICATE, "", 1, 0)


def test_a_block_that_is_partly_new_is_refused(core: Core) -> None:
    core.queue()
    session = core.session()
    core.route(session, 1, "jobs")
    core.publish(session, (1, 3), (2, 3))
    assert outcomes(core)[1] == (REFUSED, "sequence-order", 2, OFFSET_UNKNOWN)


def test_gaps_are_accepted(core: Core) -> None:
    core.queue()
    session = core.session()
    core.route(session, 1, "jobs")
    core.publish(session, (5, 1), (9, 1))
    assert [outcome[0] for outcome in outcomes(core)] == [STORED, STORED]


def test_a_re_send_of_a_refused_block_is_not_taken_for_a_duplicate(core: Core) -> None:
    """I1: the refusal was lost with the connection, and a later block of the stream was stored meanwhile."""
    core.queue()
    session = core.session()
    core.route(session, 1, "jobs")
    core.broker.storage_full = True
    core.publish(session, (1, 2))
    core.broker.storage_full = False
    core.publish(session, (3, 1), (1, 2), (3, 1))
    assert outcomes(core) == [
        (REFUSED, "disk-full", 1, OFFSET_UNKNOWN),
        (STORED, "", 3, 0),
        (REFUSED, "sequence-order", 1, OFFSET_UNKNOWN),
        (DUPLICATE, "", 3, 0),
    ]


def test_a_duplicate_whose_offset_is_forgotten_is_still_a_duplicate(core: Core) -> None:
    core.queue()
    one, other = core.session(), core.session()
    core.route(one, 1, "jobs")
    core.route(other, 1, "jobs")
    for sequence in range(1, 80):
        core.publish(one, (sequence, 1))
        core.publish(other, (sequence, 1))
    outcomes(core)
    core.publish(one, (1, 1), (79, 1))
    assert outcomes(core) == [(DUPLICATE, "", 1, OFFSET_UNKNOWN), (DUPLICATE, "", 79, 156)]


def test_a_memory_queue_s_confirms_say_memory_whatever_was_asked(core: Core) -> None:
    """I2: a confirm names the level that holds, of re-sends too."""
    core.queue(durable=False)
    session = core.session()
    core.route(session, 1, "jobs")
    core.publish(session, (1, 1), (1, 1), (1, 2))
    assert [(one.status, one.level) for one in core.broker.confirms] == [
        (STORED, MEMORY),
        (DUPLICATE, MEMORY),
        (REFUSED, MEMORY),
    ]
    assert core.recorded(Published) == []
    assert len(core.held) == 1


def test_a_full_disk_does_not_stop_memory_queues(core: Core) -> None:
    core.queue(durable=False)
    session = core.session()
    core.route(session, 1, "jobs")
    core.broker.storage_full = True
    core.publish(session, (1, 1))
    assert outcomes(core)[0][0] == STORED


def test_a_publish_on_no_route_is_refused(core: Core) -> None:
    session = core.session()
    core.publish(session, (1, 2), route=3)
    assert outcomes(core) == [(REFUSED, "unknown-route", 1, OFFSET_UNKNOWN)]
    assert session.confirms_in_line, "I9: what follows must not overtake it"


def test_a_route_follows_its_queue_s_name(core: Core) -> None:
    old = core.queue()
    session = core.session()
    core.route(session, 1, "jobs")
    definitions.delete(core.broker, old, False, False)
    core.publish(session, (1, 1))
    new = core.queue()
    core.publish(session, (2, 1))
    assert outcomes(core) == [(REFUSED, "unknown-queue", 1, OFFSET_UNKNOWN), (STORED, "", 2, 0)]
    assert new.log.next_offset == 1


def test_one_frame_may_fill_several_queues(core: Core) -> None:
    core.queue("a")
    core.queue("b")
    session = core.session()
    core.route(session, 1, "a")
    core.route(session, 2, "b")
    entries = [(1, 0, 1, 2, b"aa"), (2, 0, 1, 1, b"b"), (1, 0, 3, 1, b"a")]
    publishing.publish(core.broker, session, entries, 0)
    assert [(fact.queue, fact.first) for fact in core.recorded(Published)] == [(1, 0), (3, 0), (1, 2)]


def test_a_route_to_nowhere_is_refused(core: Core) -> None:
    core.queue()
    with pytest.raises(Refused) as refused:
        publishing.open_route(core.broker, core.session(), 1, "nowhere", 10)
    assert refused.value.refusal.code == "unknown-queue"


def test_a_route_needs_a_producer_and_room(core: Core) -> None:
    core.queue()
    with pytest.raises(Refused, match="producer"):
        core.route(core.session(producer=False), 1, "jobs")
    session = core.session()
    publishing.open_route(core.broker, session, 1, "jobs", 1)
    publishing.open_route(core.broker, session, 1, "jobs", 1)
    with pytest.raises(Refused) as refused:
        publishing.open_route(core.broker, session, 2, "jobs", 1)
    assert refused.value.refusal.code == "limit-reached"


def test_an_internal_append_belongs_to_no_producer(core: Core) -> None:
    queue = core.queue()
    assert append_internal(core.broker, queue, b"block", 0) == 0
    assert queue.streams == {}
    memory = core.queue("m", durable=False)
    append_internal(core.broker, memory, b"block", 0)
    assert len(core.held) == 1
