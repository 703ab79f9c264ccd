from tests.unit.net.harness import Peer, advance

from penstock.app import Broker
from penstock.net.heartbeat import SILENT_CHECKS_MAX, TICK_MS, Heartbeat, Pulse, TimerWheel
from penstock_client.wire.frames import FrameType


class Recorder:
    def __init__(self, again: int = 0) -> None:
        self.calls = 0
        self.again = again

    def due(self) -> int:
        self.calls += 1
        return self.again


def test_the_wheel_asks_when_due_and_not_before() -> None:
    wheel, timed = TimerWheel(), Recorder()
    wheel.set(timed, 3)
    wheel.advance()
    wheel.advance()
    assert timed.calls == 0
    wheel.advance()
    wheel.advance()
    assert timed.calls == 1
    assert not len(wheel)


def test_who_wants_to_be_asked_again_is() -> None:
    wheel, timed = TimerWheel(), Recorder(again=2)
    wheel.set(timed, 1)
    for _ in range(5):
        wheel.advance()
    assert timed.calls == 3


def test_a_new_appointment_replaces_the_old_one() -> None:
    wheel, timed = TimerWheel(), Recorder()
    wheel.set(timed, 1)
    wheel.set(timed, 2)
    wheel.advance()
    assert timed.calls == 0
    wheel.advance()
    assert timed.calls == 1


def test_who_is_removed_is_not_asked() -> None:
    wheel, timed = TimerWheel(), Recorder()
    wheel.set(timed, 1)
    wheel.remove(timed)
    wheel.remove(timed)
    wheel.advance()
    assert timed.calls == 0


def test_who_is_removed_by_another_of_the_same_tick_is_not_asked() -> None:
    wheel, victim = TimerWheel(), Recorder()

    class Remover:
        def due(self) -> int:
            wheel.remove(victim)
            return 0

    wheel.set(Remover(), 1)
    wheel.set(victim, 1)
    wheel.advance()
    assert victim.calls == 0


def test_a_peer_is_dead_after_two_silent_intervals_and_not_before() -> None:
    heartbeat = Heartbeat(10_000)
    checks = [heartbeat.check(heard=False, spoke=True) for _ in range(SILENT_CHECKS_MAX)]
    assert checks == [Pulse.NOTHING] * (SILENT_CHECKS_MAX - 1) + [Pulse.DEAD]
    assert heartbeat.check_ticks * TICK_MS * SILENT_CHECKS_MAX == 2 * 10_000


def test_one_sign_of_life_starts_the_count_anew() -> None:
    heartbeat = Heartbeat(10_000)
    for _ in range(10):
        for _ in range(SILENT_CHECKS_MAX - 1):
            assert heartbeat.check(heard=False, spoke=True) is Pulse.NOTHING
        heartbeat.check(heard=True, spoke=True)


def test_own_silence_asks_for_a_ping() -> None:
    assert Heartbeat(10_000).check(heard=True, spoke=False) is Pulse.PING


def ticks_of(heartbeat_ms: int) -> int:
    return heartbeat_ms // TICK_MS


async def test_a_quiet_connection_is_pinged_within_its_heartbeat(broker: Broker) -> None:
    peer = Peer(broker).ready(heartbeat_ms=2_000)
    advance(broker, ticks_of(2_000))
    assert [frame.type for frame in peer.frames()] == [FrameType.PING]


async def test_a_silent_peer_is_told_and_closed_after_two_heartbeats(broker: Broker) -> None:
    peer = Peer(broker).ready(heartbeat_ms=2_000)
    advance(broker, ticks_of(4_000) - 1)
    assert not peer.transport.ended
    advance(broker, ticks_of(1_000) + 1)
    assert peer.closed_with()["error"] == "heartbeat-timeout"
    assert not broker.engine.sinks


async def test_a_peer_that_answers_pings_lives_on(broker: Broker) -> None:
    peer = Peer(broker).ready(heartbeat_ms=2_000)
    for _ in range(10):
        advance(broker, ticks_of(2_000))
        assert FrameType.PING in {frame.type for frame in peer.frames()}
        peer.send(FrameType.PONG)
    assert not peer.transport.ended


async def test_a_peer_is_not_blamed_for_what_the_broker_does_not_read(broker: Broker) -> None:
    peer = Peer(broker).ready(heartbeat_ms=2_000)
    broker.hub.set_pressure(True)
    peer.send(FrameType.PING)
    advance(broker, ticks_of(20_000))
    assert not peer.transport.ended


async def test_a_peer_that_neither_reads_nor_writes_dies_even_while_it_is_not_read(broker: Broker) -> None:
    peer = Peer(broker).ready(heartbeat_ms=2_000)
    peer.transport.stuck = True
    while peer.transport.reading:
        peer.send(FrameType.PING, bytes(60_000), 1)
        broker.hub.flush()
    advance(broker, ticks_of(20_000))
    assert peer.transport.aborted


async def test_a_peer_that_reads_slowly_lives_on(broker: Broker) -> None:
    peer = Peer(broker).ready(heartbeat_ms=2_000)
    peer.transport.stuck = True
    while peer.transport.reading:
        peer.send(FrameType.PING, bytes(60_000), 1)
        broker.hub.flush()
    for _ in range(20):
        peer.transport.unsent_bytes -= 1000
        advance(broker, ticks_of(1_000))
    assert not peer.transport.closed
