from typing import Any

import pytest
from tests.unit.net.harness import OFFER, Peer, advance, running_broker

from penstock.app import Broker
from penstock.settings import ServerSettings, Settings
from penstock_client.wire import control
from penstock_client.wire.errors import ErrorCode
from penstock_client.wire.frames import PREAMBLE, FrameType, encode_frame
from penstock_client.wire.limits import FRAME_BYTES_MAX_BEFORE_READY

HELLO = {"client": "test", "version": "1", "heartbeat_ms": 0}


async def test_hello_is_answered_by_preamble_and_welcome_auth_by_ready(broker: Broker) -> None:
    peer = Peer(broker)
    peer.hello()
    (welcome,) = peer.frames()
    assert control.unpack(welcome.payload) == {
        "server": "penstock",
        "version": OFFER.version,
        "mechanisms": ["ANONYMOUS"],
        "boot_epoch": OFFER.boot_epoch,
        "heartbeat_ms": OFFER.heartbeat_ms,
    }
    peer.authenticate()
    (ready,) = peer.frames()
    assert ready.request == 2
    assert control.unpack(ready.payload) == {
        "session": peer.connection.session,
        "frame_bytes_max": OFFER.frame_bytes_max,
        "body_bytes_max": OFFER.body_bytes_max,
        "window_messages": OFFER.window_messages,
        "window_bytes": OFFER.window_bytes,
        "heartbeat_ms": OFFER.heartbeat_ms,
    }


async def test_the_same_bytes_one_at_a_time_give_the_same_handshake(broker: Broker) -> None:
    peer = Peer(broker)
    auth = encode_frame(FrameType.AUTH, control.pack({"mechanism": "ANONYMOUS", "response": b""}), 2)
    for byte in PREAMBLE + encode_frame(FrameType.HELLO, control.pack(HELLO), 1) + auth:
        peer.receive(bytes((byte,)))
    assert [frame.type for frame in peer.frames()] == [FrameType.WELCOME, FrameType.READY]


@pytest.mark.parametrize(("wished_ms", "agreed_ms"), [(0, 10_000), (2_000, 2_000), (1, 500), (60_000, 10_000)])
async def test_the_shorter_heartbeat_is_agreed_down_to_a_minimum(
    wished_ms: int, agreed_ms: int, broker: Broker
) -> None:
    peer = Peer(broker)
    peer.hello(heartbeat_ms=wished_ms)
    assert control.unpack(peer.frames()[0].payload)["heartbeat_ms"] == agreed_ms


async def test_an_http_request_gets_a_preamble_and_a_readable_close(broker: Broker) -> None:
    peer = Peer(broker)
    peer.receive(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert peer.transport.written.startswith(PREAMBLE)
    assert peer.closed_with() == {
        "code": ErrorCode.PROTOCOL_VERSION,
        "error": "protocol-version",
        "message": "this is not the Penstock protocol: no preamble",
    }


async def test_another_major_version_is_told_both_versions(broker: Broker) -> None:
    peer = Peer(broker)
    peer.receive(PREAMBLE[:5] + bytes((9, 0, 0)))
    closed = peer.closed_with()
    assert closed["error"] == "protocol-version"
    assert "9" in closed["message"]


async def test_an_oversized_frame_before_ready_is_refused_by_its_header_alone(broker: Broker) -> None:
    peer = Peer(broker)
    oversized = encode_frame(FrameType.HELLO, bytes(FRAME_BYTES_MAX_BEFORE_READY + 1), 1)
    peer.receive(PREAMBLE + oversized[:12])
    assert peer.closed_with()["error"] == "frame-too-large"


async def test_a_peer_before_ready_makes_the_broker_hold_no_more_than_a_frame(broker: Broker) -> None:
    peer = Peer(broker)
    peer.receive(PREAMBLE + encode_frame(FrameType.HELLO, bytes(FRAME_BYTES_MAX_BEFORE_READY), 1)[:-1])
    held_bytes = peer.connection._wire.reader.buffered_bytes
    assert held_bytes <= 16 * 1024, "I15"


@pytest.mark.parametrize("frame_type", [kind for kind in FrameType if kind not in (FrameType.HELLO, FrameType.CLOSE)])
async def test_only_hello_is_legal_first(frame_type: FrameType, broker: Broker) -> None:
    peer = Peer(broker)
    peer.receive(PREAMBLE + encode_frame(frame_type, control.pack({}), 1))
    assert peer.closed_with()["error"] == "unexpected-frame"


@pytest.mark.parametrize("frame_type", [kind for kind in FrameType if kind not in (FrameType.AUTH, FrameType.CLOSE)])
async def test_only_auth_is_legal_after_hello(frame_type: FrameType, broker: Broker) -> None:
    peer = Peer(broker)
    peer.hello()
    peer.send(frame_type, {}, 3)
    assert peer.closed_with()["error"] == "unexpected-frame"
    assert peer.transport.written.count(PREAMBLE) == 1


@pytest.mark.parametrize(
    "hello",
    [
        {"client": 7},
        {"client": "x" * 256},
        {"client": "a\nb"},
        {"client": "x", "heartbeat_ms": -1},
        {"client": "x", "heartbeat_ms": "soon"},
        {"client": "x", "heartbeat_ms": True},
    ],
)
async def test_a_hello_with_bad_values_is_malformed(hello: dict[str, Any], broker: Broker) -> None:
    peer = Peer(broker)
    peer.receive(PREAMBLE + encode_frame(FrameType.HELLO, control.pack(hello), 1))
    assert peer.closed_with()["error"] == "malformed-frame"


@pytest.mark.parametrize(
    ("auth", "error"),
    [
        ({"mechanism": "PLAIN", "response": b"\0guest\0guest"}, "authentication-failed"),
        ({"mechanism": "ANONYMOUS", "response": b"someone"}, "authentication-failed"),
        ({"mechanism": "ANONYMOUS", "response": "text"}, "malformed-frame"),
        ({}, "authentication-failed"),
    ],
)
async def test_an_auth_that_shows_no_identity_is_refused(auth: dict[str, Any], error: str, broker: Broker) -> None:
    peer = Peer(broker)
    peer.hello()
    peer.send(FrameType.AUTH, auth, 2)
    assert peer.closed_with()["error"] == error
    assert not broker.engine.sinks


async def test_keys_that_are_not_known_are_left_for_later_versions(broker: Broker) -> None:
    peer = Peer(broker)
    peer.hello(flavour="vanilla")
    assert [frame.type for frame in peer.frames()] == [FrameType.WELCOME]


@pytest.mark.parametrize("sent", [b"", PREAMBLE[:3], PREAMBLE], ids=["silent", "in-preamble", "before-hello"])
async def test_a_slow_handshake_ends_within_five_seconds(sent: bytes, broker: Broker) -> None:
    peer = Peer(broker)
    if sent:
        peer.receive(sent)
    advance(broker, 19)
    assert not peer.transport.written
    advance(broker, 1)
    assert peer.closed_with()["error"] == "handshake-timeout"


async def test_bytes_do_not_prolong_the_handshake(broker: Broker) -> None:
    peer = Peer(broker)
    peer.hello()
    peer.receive(encode_frame(FrameType.AUTH, bytes(100), 2)[:12])
    for _ in range(19):
        advance(broker, 1)
        peer.receive(b"\0")
    advance(broker, 1)
    assert peer.closed_with()["error"] == "handshake-timeout", "I15"


async def test_the_handshake_timeout_is_configured() -> None:
    async with running_broker(Settings(server=ServerSettings(handshake_timeout_ms=1_000))) as broker:
        peer = Peer(broker)
        advance(broker, 4)
        assert peer.closed_with()["error"] == "handshake-timeout"


async def test_a_peer_that_gives_up_in_the_handshake_is_answered(broker: Broker) -> None:
    peer = Peer(broker)
    peer.receive(PREAMBLE + encode_frame(FrameType.CLOSE, control.pack({}), 3))
    assert peer.transport.written.startswith(PREAMBLE)
    assert [(frame.type, frame.request) for frame in peer.frames()] == [(FrameType.CLOSED, 3)]
