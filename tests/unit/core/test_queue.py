from penstock.core.facts import (
    Acked,
    GroupDeclared,
    Leased,
)
from penstock.core.group import Group
from penstock.core.queue import Queue, Stream
from penstock.core.values import OFFSET_UNKNOWN, GroupSettings, QueueSettings


def test_a_stream_answers_re_sends_with_the_offset_of_the_original() -> None:
    """I9."""
    stream = Stream()
    stream.advance(1, 3, 10)
    stream.advance(4, 2, 13)
    stream.advance(6, 1, 40)
    assert len(stream.runs) == 2
    assert [stream.offset_of(sequence) for sequence in range(1, 8)] == [10, 11, 12, 13, 14, 40, OFFSET_UNKNOWN]
    assert stream.last_sequence == 6


def test_a_stream_remembers_what_it_refused() -> None:
    """I1: a re-send of a refused block is no duplicate."""
    stream = Stream()
    stream.advance(3, 1, 0)
    stream.advance(4, 1, 1)
    stream.advance(9, 1, 2)
    assert [sequence for sequence in range(1, 12) if stream.was_refused(sequence)] == [1, 2, 5, 6, 7, 8]


def test_what_may_have_been_refused_longer_ago_than_is_remembered_is_no_duplicate() -> None:
    """I1: rather sent twice than taken for stored."""
    stream = Stream()
    for sequence in range(2, 2 * 1100, 2):
        stream.advance(sequence, 1, sequence)
    assert stream.was_refused(1), "its gap is forgotten"
    assert stream.was_refused(2)
    kept_from = stream.gaps[0][0]
    assert not stream.was_refused(kept_from + 1)


def test_what_is_dropped_block_after_block_is_one_gap() -> None:
    """I13: a queue that is full for long does not crowd out what else was refused."""
    stream = Stream()
    stream.advance(3, 1, 0)
    for first in range(4, 4000, 2):
        stream.skip(first, 1)
    stream.advance(4100, 1, 1)
    assert list(stream.gaps) == [(1, 3), (4, 4100)]


def test_a_block_is_refused_when_any_of_it_was() -> None:
    stream = Stream()
    stream.advance(1, 5, 0)
    stream.skip(6, 5)
    stream.advance(11, 5, 5)
    refused = [
        (first, count)
        for first, count in ((1, 5), (1, 6), (6, 1), (10, 3), (11, 5))
        if stream.was_refused(first, count)
    ]
    assert refused == [(1, 6), (6, 1), (10, 3)]


def test_a_stream_forgets_old_offsets_but_not_what_it_stored() -> None:
    """I13."""
    stream = Stream()
    for sequence in range(1, 200):
        stream.advance(sequence, 1, 2 * sequence)
    assert len(stream.runs) == 64
    assert stream.offset_of(1) == OFFSET_UNKNOWN
    assert stream.offset_of(199) == 398


def test_a_queue_names_its_dead_letter_queue() -> None:
    assert Queue(1, 2, "jobs", QueueSettings(), 0, 0).dead_letter_name == "jobs.dead"
    assert Queue(1, 2, "jobs", QueueSettings(dead_letter="graveyard"), 0, 0).dead_letter_name == "graveyard"


def queue_of(count: int) -> Queue:
    """A queue of ``count`` messages in one block."""
    queue = Queue(1, 2, "jobs", QueueSettings(), 0, 0)
    queue.log.append(count, 100, 1)
    return queue


def declared(queue: Queue, number: int, name: str, start: int = 0, ephemeral: bool = False) -> Group:
    settings = GroupSettings(ephemeral=ephemeral)
    group = queue.add_group(number, name, settings)
    group.apply_declared(GroupDeclared(1, number, name, settings, start, 0))
    return group


def take(group: Group, end: int) -> None:
    """Hand out and acknowledge everything below ``end``."""
    first = group.next_offset
    group.apply_leased(Leased(1, group.number, first, end))
    group.apply_acked(Acked(1, group.number, ((first, end),)))


def test_a_queue_is_done_with_what_all_its_groups_are_done_with() -> None:
    queue = queue_of(10)
    take(declared(queue, 2, ""), 4)
    assert queue.low_offset == 4
    declared(queue, 3, "billing")
    assert queue.low_offset == 0


def test_a_default_group_that_nobody_uses_keeps_nothing_for_itself() -> None:
    """SEMANTICS 9."""
    queue = queue_of(10)
    assert queue.low_offset == 0, "a queue without a group keeps everything"
    take(declared(queue, 3, "billing"), 7)
    assert queue.low_offset == 7


def test_an_ephemeral_group_holds_messages_back_and_lets_none_go() -> None:
    queue = queue_of(10)
    take(declared(queue, 3, "watcher", ephemeral=True), 7)
    assert queue.low_offset == 0, "without a lasting group everything is kept for those to come"
    take(declared(queue, 4, "billing"), 9)
    assert (queue.low_offset, queue.durable_low_offset) == (7, 9)


def test_what_an_ephemeral_group_holds_back_is_not_for_a_default_group_that_begins_anew() -> None:
    """I18: after a restart it would not be there."""
    queue = queue_of(10)
    declared(queue, 3, "watcher", ephemeral=True)
    group = declared(queue, 2, "")
    take(group, 4)
    queue.remove_group(group)
    assert queue.group.next_offset == 4


def test_a_removed_default_group_is_undeclared_again() -> None:
    queue = queue_of(10)
    group = declared(queue, 2, "")
    take(group, 4)
    queue.remove_group(group)
    assert group.deleted
    assert not queue.group.declared
    assert queue.groups == {2: queue.group}
