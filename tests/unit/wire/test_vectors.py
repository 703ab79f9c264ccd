"""The conformance vectors say what the code does; a change of either is a change of the protocol."""

import json
from typing import Any

import pytest
from clients.conformance import generate

from penstock_client.wire import control
from penstock_client.wire.connection import CLIENT_TYPES, SERVER_TYPES
from penstock_client.wire.errors import WireError
from penstock_client.wire.frames import PREAMBLE, FrameReader, FrameType, encode_frame

DOCUMENT: dict[str, Any] = json.loads(generate.VECTORS.read_text(encoding="utf-8"))
FRAMES: list[dict[str, Any]] = DOCUMENT["frames"]
REFUSED: list[dict[str, Any]] = DOCUMENT["refused"]
NAMES = [vector["name"] for vector in FRAMES]
FIXED = {
    *(FrameType.PUBLISH, FrameType.CONFIRM, FrameType.DELIVER, FrameType.PEEKED, FrameType.SETTLE, FrameType.STALE),
    *(FrameType.TRANSACT, FrameType.REPLY, FrameType.REPLIED),
}
PLAIN_BYTES = {FrameType.PING, FrameType.PONG, FrameType.CLOSED}


def native(value: Any) -> Any:
    """Undo what JSON needed."""
    if isinstance(value, dict):
        return bytes.fromhex(value["hex"]) if value.keys() == {"hex"} else {k: native(v) for k, v in value.items()}
    return [native(element) for element in value] if isinstance(value, list) else value


def test_the_file_is_what_the_code_writes() -> None:
    assert generate.VECTORS.read_text(encoding="utf-8") == generate.text(), "run python -m clients.conformance.generate"


def test_every_frame_type_has_a_vector() -> None:
    assert {vector["type"] for vector in FRAMES} == {frame_type.name for frame_type in FrameType}


def test_names_are_unique() -> None:
    names = NAMES + [vector["name"] for vector in REFUSED]

    assert len(names) == len(set(names))


@pytest.mark.parametrize("vector", FRAMES, ids=NAMES)
def test_a_vector_is_one_frame_that_its_sender_may_send(vector: dict[str, Any]) -> None:
    (frame,) = FrameReader().feed(PREAMBLE + bytes.fromhex(vector["bytes"]))

    assert (frame.type, FrameType(frame.type).name) == (vector["type_number"], vector["type"])
    assert frame.request == vector["request"]
    if frame.type in CLIENT_TYPES ^ SERVER_TYPES:
        assert vector["direction"] == ("client-to-server" if frame.type in CLIENT_TYPES else "server-to-client")


@pytest.mark.parametrize("vector", [v for v in FRAMES if FrameType[v["type"]] not in FIXED], ids=lambda v: v["name"])
def test_a_control_vector_is_encoded_from_what_it_says(vector: dict[str, Any]) -> None:
    value = native(vector["decoded"])
    payload = value["payload"] if vector["type_number"] in PLAIN_BYTES else control.pack(value)

    assert encode_frame(vector["type_number"], payload, vector["request"]).hex() == vector["bytes"]


@pytest.mark.parametrize("vector", REFUSED, ids=lambda v: v["name"])
def test_a_refused_vector_is_refused_with_its_code(vector: dict[str, Any]) -> None:
    def receive() -> None:
        for frame in FrameReader().feed(PREAMBLE + bytes.fromhex(vector["bytes"])):
            generate.decoded(frame.type, frame.payload)

    with pytest.raises(WireError) as caught:
        receive()
    assert (caught.value.code.label, caught.value.code) == (vector["error"], vector["code"])
