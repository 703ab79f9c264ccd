import pytest
from tests.unit.core.harness import Core

from penstock.core.broker import Broker
from penstock.core.facts import (
    Declared,
    Deleted,
    ProducerOpened,
    ProducersExpired,
    Published,
)
from penstock.core.values import QueueSettings
from penstock.net.codec import WireBlockCodec


def test_a_published_fact_needs_its_position(core: Core) -> None:
    with pytest.raises(TypeError):
        core.broker.apply(Published(1, 0, 1, 1, 1, 0, 0, b""))


def test_facts_of_memory_queues_are_not_recorded(core: Core) -> None:
    queue = core.queue(durable=False)
    worker = core.fill(queue, 3)
    core.facts.clear()
    core.consume(worker, queue)
    core.dispatch()
    core.settle(worker, 1, (1, 3))
    assert core.facts == []
    assert queue.group.counters.acked == 3


def test_a_memory_queue_s_offsets_are_of_this_life() -> None:
    """I6: no offset is used twice, though the messages of an earlier life are gone."""
    fact = Declared(1, 2, "m", QueueSettings(durable=False), 0)
    starts = []
    for boot_epoch in (1, 2):
        broker = Broker(Core(), boot_epoch, WireBlockCodec())
        broker.apply(fact)
        starts.append(broker.queues[1].log.start_offset)
    assert starts == [1 << 40, 2 << 40]


def test_numbers_are_never_given_again(core: Core) -> None:
    core.broker.apply(Declared(5, 9, "old", QueueSettings(), 0))
    core.broker.apply(Deleted(5))
    core.broker.apply(ProducerOpened(7, 0))
    core.broker.apply(ProducersExpired((7, 8)))
    assert core.queue().number == 10
    assert core.session().producer == 8


def test_blocks_are_dropped_once_every_message_in_them_is_done(core: Core) -> None:
    queue = core.queue()
    worker = core.fill(queue, 2, 2)
    core.consume(worker, queue)
    core.dispatch()
    core.settle(worker, 1, (2, 3))
    assert core.broker.dropped == []
    core.settle(worker, 1, (1, 1))
    assert [(block.first, block.end) for block in core.broker.dropped] == [(0, 2)]


def test_a_deleted_queue_drops_its_blocks(core: Core) -> None:
    queue = core.queue()
    core.fill(queue, 2, 2)
    core.broker.apply(Deleted(queue.number))
    assert len(core.broker.dropped) == 2
    assert queue.deleted
    assert core.broker.names == {}


def test_what_a_purge_leaves_is_dropped_in_slices(core: Core) -> None:
    queue = core.queue()
    core.fill(queue, *[1] * 10)
    core.broker._drop_blocks_max = 4
    core.broker.apply(Deleted(queue.number))
    counts = [len(core.broker.dropped)]
    while core.broker.draining:
        core.broker.dropped.clear()
        core.broker.drain()
        counts.append(len(core.broker.dropped))
    assert counts == [4, 4, 2]


def test_expired_producers_are_forgotten_with_their_streams(core: Core) -> None:
    """I13."""
    queue = core.queue()
    session = core.fill(queue, 1)
    core.broker.apply(ProducersExpired((session.producer,)))
    assert queue.streams == {}
    assert core.broker.producers == {}
