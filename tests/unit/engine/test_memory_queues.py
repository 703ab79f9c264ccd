"""``durable=False``: confirms at once, and late confirms as the only backpressure."""

from tests.unit.engine.harness import Bench, Peer

from penstock.core.values import ACK, DUPLICATE, MEMORY, REFUSED, STORED

BODY = b"x" * 1000


def memory_queue(bench: Bench, memory_bytes_max: int = 4096) -> Peer:
    bench.declare("fast", durable=False, memory_bytes_max=memory_bytes_max)
    peer = bench.peer().open("fast")
    bench.work()
    return peer


def confirmed(peer: Peer) -> list[int]:
    return [entry[4] for entry in peer.confirms]


def test_a_confirm_comes_with_the_turn_and_says_memory(bench: Bench) -> None:
    """I2."""
    peer = memory_queue(bench)
    peer.publish(1, BODY)
    bench.engine.turn()
    assert peer.confirms == [(1, STORED, MEMORY, "", 1, 1, bench.boot_epoch << 40)]
    assert bench.engine.begin() is None, "nothing of it is written"


def test_above_its_bound_a_queue_confirms_no_more_until_there_is_room(bench: Bench) -> None:
    """I13, I20."""
    peer = memory_queue(bench)
    for sequence in range(1, 8):
        peer.publish(sequence, BODY)
        bench.work()
    assert confirmed(peer) == [1, 2, 3]
    peer.consume("fast")
    bench.work()
    peer.settle(ACK, (1, 2))
    bench.work()
    assert confirmed(peer) == [1, 2, 3]
    peer.settle(ACK, (3, 4))
    bench.work()
    assert confirmed(peer) == [1, 2, 3, 4, 5, 6, 7]


def test_a_purge_makes_room(bench: Bench) -> None:
    peer = memory_queue(bench)
    for sequence in range(1, 8):
        peer.publish(sequence, BODY)
    bench.work()
    bench.peer().call("queue_purge", queue="fast")
    assert confirmed(peer) == [1, 2, 3, 4, 5, 6, 7]


def test_re_sends_wait_behind_what_is_held(bench: Bench) -> None:
    """I9."""
    peer = memory_queue(bench)
    for sequence in (1, 2, 3, 4, 5, 1, 5):
        peer.publish(sequence, BODY)
        bench.work()
    assert confirmed(peer) == [1, 2, 3]
    bench.peer().call("queue_purge", queue="fast")
    assert confirmed(peer) == [1, 2, 3, 4, 5, 1, 5]
    assert [entry[1] for entry in peer.confirms][-2:] == [DUPLICATE, DUPLICATE]


def test_refusals_wait_behind_what_is_held(bench: Bench) -> None:
    """I9: the queue was deleted while its confirms were held."""
    peer = memory_queue(bench)
    for sequence in range(1, 6):
        peer.publish(sequence, BODY)
    bench.work()
    bench.peer().ask("queue_delete", queue="fast")
    peer.publish(6, BODY)
    bench.work()
    assert confirmed(peer) == [1, 2, 3, 4, 5, 6]
    assert peer.confirms[-1][1] == REFUSED


def test_a_confirm_does_not_overtake_an_earlier_refusal(bench: Bench) -> None:
    """I9: the refusal waits for a commit, the confirm of a memory queue would not."""
    peer = bench.peer().open()
    peer.publish(1, BODY)
    bench.engine.turn()
    peer.ask("queue_declare", queue="fast", durable=False, memory_bytes_max=4096)
    peer.ask("route_open", route=1, routing_key="fast")
    for sequence in range(2, 8):
        peer.publish(sequence, BODY)
    bench.engine.turn()
    assert peer.confirms == []
    bench.work()
    assert confirmed(peer) == [1]
    bench.peer().call("queue_purge", queue="fast")
    assert confirmed(peer) == [1, 2, 3, 4, 5, 6, 7]


def test_confirms_of_a_route_that_was_closed_still_arrive(bench: Bench) -> None:
    """I20."""
    peer = memory_queue(bench)
    peer.publish(1, BODY)
    peer.ask("route_close", route=1)
    bench.work()
    assert confirmed(peer) == [1]


def test_a_publisher_that_is_gone_at_once_stops_no_one(bench: Bench) -> None:
    """Its confirm found no session (seed 22)."""
    peer = memory_queue(bench)
    peer.publish(1, BODY)
    bench.engine.close_session(peer.session)
    other = bench.peer().open("fast")
    other.publish(1, BODY)
    bench.work()
    assert (confirmed(peer), confirmed(other)) == ([], [1])


def test_held_confirms_of_a_lost_session_are_forgotten(bench: Bench) -> None:
    peer = memory_queue(bench)
    for sequence in range(1, 8):
        peer.publish(sequence, BODY)
    bench.work()
    bench.engine.close_session(peer.session)
    bench.peer().call("queue_purge", queue="fast")
    assert confirmed(peer) == []
    assert not bench.engine.backpressure.is_holding


def test_a_restart_empties_a_memory_queue_and_keeps_its_name(bench: Bench) -> None:
    peer = memory_queue(bench)
    peer.publish(1, BODY)
    bench.work()
    bench.start()
    info = bench.peer().call("queue_describe", queue="fast")
    assert (info["messages"], info["durable"], info["start_offset"]) == (0, False, bench.boot_epoch << 40)


def test_a_memory_queue_s_dead_letters_are_durable(bench: Bench) -> None:
    """Durable queues may share their queue."""
    peer = memory_queue(bench)
    peer.publish(1, BODY)
    peer.consume("fast")
    bench.work()
    peer.settle(4, (1, 1))
    bench.work()
    bench.start()
    info = bench.peer().call("queue_describe", queue="fast.dead")
    assert (info["durable"], info["messages"]) == (True, 1)


def test_room_made_in_slices_is_made_to_the_end(bench: Bench) -> None:
    """I20: the last slices waited for a turn that no one asked for (seed 70914)."""
    peer = memory_queue(bench)
    for sequence in range(1, 30):
        peer.publish(sequence, BODY)
    peer.consume("fast")
    bench.work()
    bench.engine.broker._drop_blocks_max = 3
    peer.settle(ACK, (1, 29))
    bench.work()
    assert confirmed(peer) == list(range(1, 30))
