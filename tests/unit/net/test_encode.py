import pytest

from penstock.core.values import Refusal
from penstock.engine.interface import DeliveryOut
from penstock.net import encode
from penstock_client.wire import control
from penstock_client.wire.blocks import encode_block
from penstock_client.wire.entries import Confirmation, decode_confirm, decode_deliver, decode_stale
from penstock_client.wire.errors import ErrorCode
from penstock_client.wire.frames import PREAMBLE, Frame, FrameReader, FrameType
from penstock_client.wire.replies import decode_replied


def frames_of(buffers: list[bytes]) -> list[Frame]:
    reader = FrameReader(1 << 30)
    return reader.feed(PREAMBLE + b"".join(buffers))


def delivery(first_tag: int, body: bytes) -> DeliveryOut:
    return DeliveryOut(3, 2, 1, first_tag, 77, 1_700_000_000_000, 30_000, encode_block([body]), 1)


def test_one_confirm_is_encoded_as_any_other() -> None:
    entry = (5, 2, 1, "bad-block", 9, 4, 1 << 63)
    (frame,) = frames_of(encode.encode_confirms([entry]))
    assert (frame.type, frame.request) == (FrameType.CONFIRM, 0)
    assert decode_confirm(frame.payload) == [Confirmation(5, 2, 1, ErrorCode.BAD_BLOCK, 9, 4, 0, 0, 1 << 63)]
    (frame,) = frames_of(encode.encode_confirms([entry, entry]))
    assert decode_confirm(frame.payload) == 2 * [Confirmation(5, 2, 1, ErrorCode.BAD_BLOCK, 9, 4, 0, 0, 1 << 63)]


def test_very_many_confirms_are_spread_over_frames_in_order() -> None:
    entries = [(1, 0, 0, "", sequence, 1, sequence) for sequence in range(encode.CONFIRMS_PER_FRAME_MAX + 1)]
    frames = frames_of(encode.encode_confirms(entries))
    assert len(frames) == 2
    sequences = [confirm.first_sequence for frame in frames for confirm in decode_confirm(frame.payload)]
    assert sequences == list(range(encode.CONFIRMS_PER_FRAME_MAX + 1))


def test_a_delivery_keeps_every_field() -> None:
    (frame,) = frames_of(encode.encode_deliveries([delivery(40, b"body")], 1 << 20))
    (entry,) = decode_deliver(frame.payload)
    assert frame.type == FrameType.DELIVER
    assert (entry.consumer, entry.attempt, entry.failures, entry.partition) == (3, 2, 1, 0)
    assert (entry.first_tag, entry.offset, entry.published_at_ms, entry.lease_ms) == (40, 77, 1_700_000_000_000, 30_000)
    assert entry.block == encode_block([b"body"])


def test_deliveries_are_spread_over_frames_within_the_limit() -> None:
    frames = frames_of(encode.encode_deliveries([delivery(tag, bytes(400)) for tag in range(10)], 1_000))
    assert len(frames) == 5
    assert max(len(frame.payload) for frame in frames) <= 1_000
    assert [entry.first_tag for frame in frames for entry in decode_deliver(frame.payload)] == list(range(10))


def test_replies_are_spread_over_frames_within_the_limit() -> None:
    blocks = [encode_block([bytes(400), b"%d" % number]) for number in range(10)]
    frames = frames_of(encode.encode_replied(1_700_000_000_000, blocks, 1_000))
    assert {(frame.type, frame.request) for frame in frames} == {(FrameType.REPLIED, 0)}
    assert len(frames) == 5
    assert max(len(frame.payload) for frame in frames) <= 1_000
    replied = [entry for frame in frames for entry in decode_replied(frame.payload)]
    assert [(entry.replied_at_ms, entry.count) for entry in replied] == [(1_700_000_000_000, 2)] * 10
    assert [entry.block for entry in replied] == blocks


def test_nothing_peeked_is_an_empty_frame() -> None:
    (frame,) = frames_of(encode.encode_peeked(6, []))
    assert (frame.type, frame.request, frame.payload) == (FrameType.PEEKED, 6, b"")


def test_stale_and_cancelled_name_what_they_are_about() -> None:
    stale, cancelled = frames_of(
        [encode.encode_stale_frame(1, [(4, 6)]), encode.encode_cancelled(8, Refusal("queue-deleted", "gone"))]
    )
    assert decode_stale(stale.payload) == (1, [(4, 6)])
    assert control.unpack(cancelled.payload) == {
        "consumer": 8,
        "code": 104,
        "error": "queue-deleted",
        "message": "gone",
    }


@pytest.mark.parametrize("code", list(ErrorCode))
def test_every_label_has_its_number(code: ErrorCode) -> None:
    assert encode.code_of(code.label) is code


def test_a_label_the_protocol_does_not_know_is_an_internal_error() -> None:
    assert encode.code_of("no-such-label") is ErrorCode.INTERNAL
