import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock_client.wire.errors import ErrorCode, WireError
from penstock_client.wire.frames import (
    PREAMBLE,
    Frame,
    FrameReader,
    FrameType,
    encode_frame,
    encode_frame_header,
)
from penstock_client.wire.limits import FRAME_BYTES_MAX_BEFORE_READY, FRAME_HEADER_BYTES


def greeted(frame_bytes_max: int = FRAME_BYTES_MAX_BEFORE_READY) -> FrameReader:
    reader = FrameReader(frame_bytes_max)
    assert reader.feed(PREAMBLE) == []
    return reader


def code_of(reader: FrameReader, data: bytes) -> ErrorCode:
    with pytest.raises(WireError) as caught:
        reader.feed(data)
    return caught.value.code


def test_a_frame_is_a_little_endian_header_of_twelve_bytes_and_its_payload() -> None:
    assert (
        encode_frame(FrameType.PING, b"abc", request=0x01020304)
        == bytes.fromhex("03000000 05 00 0000 04030201") + b"abc"
    )
    assert encode_frame_header(FrameType.PING, 3, 0x01020304) + b"abc" == encode_frame(
        FrameType.PING, b"abc", 0x01020304
    )


def test_frames_come_out_as_they_were_encoded() -> None:
    data = encode_frame(FrameType.PING, b"x", 7) + encode_frame(FrameType.CLOSE)

    assert greeted().feed(data) == [Frame(FrameType.PING, 0, 7, b"x"), Frame(FrameType.CLOSE, 0, 0, b"")]


@pytest.mark.parametrize("size", [0, 1, FRAME_BYTES_MAX_BEFORE_READY])
def test_a_frame_up_to_the_limit_is_taken(size: int) -> None:
    assert greeted().feed(encode_frame(FrameType.HELLO, bytes(size)))[0].payload == bytes(size)


@pytest.mark.parametrize("length", [FRAME_BYTES_MAX_BEFORE_READY + 1, 2**31, 2**32 - 1])
def test_a_frame_above_the_limit_is_refused_by_its_header_alone(length: int) -> None:
    assert code_of(greeted(), encode_frame_header(FrameType.HELLO, length)) is ErrorCode.FRAME_TOO_LARGE


def test_a_raised_limit_holds_for_the_next_frame() -> None:
    reader = greeted()
    reader.frame_bytes_max = 10_000

    assert len(reader.feed(encode_frame(FrameType.PUBLISH, bytes(10_000)))) == 1


@pytest.mark.parametrize("header", ["00000000 05 01 0000 00000000", "00000000 05 00 0100 00000000"])
def test_flags_and_reserved_bits_are_malformed(header: str) -> None:
    assert code_of(greeted(), bytes.fromhex(header)) is ErrorCode.MALFORMED_FRAME


@pytest.mark.parametrize("data", [b"G", b"GET / HTTP/1.1\r\n", b"PNSTX\x01\x00\x00", b"\x00"])
def test_another_protocol_is_refused_at_its_first_wrong_byte(data: bytes) -> None:
    assert code_of(FrameReader(), data) is ErrorCode.PROTOCOL_VERSION


def test_a_wrong_byte_is_refused_even_when_it_comes_alone() -> None:
    reader = FrameReader()
    assert reader.feed(b"PN") == []

    assert code_of(reader, b"X") is ErrorCode.PROTOCOL_VERSION


def test_another_major_version_is_refused_by_number() -> None:
    with pytest.raises(WireError, match="protocol 2, this side speaks 1"):
        FrameReader().feed(b"PNSTK\x02\x00\x00")


def test_another_minor_version_and_the_last_byte_are_taken() -> None:
    reader = FrameReader()

    assert reader.feed(b"PNSTK\x01\x09\x07" + encode_frame(FrameType.HELLO)) == [Frame(FrameType.HELLO, 0, 0, b"")]
    assert reader.peer_minor == 9


def test_nothing_fed_gives_nothing() -> None:
    reader = FrameReader()

    assert reader.feed(b"") == []
    assert reader.feed(PREAMBLE[:3]) == []
    assert reader.feed(b"") == []
    assert reader.feed(PREAMBLE[3:]) == []
    assert reader.feed(encode_frame(FrameType.PING)[:5]) == []
    assert reader.feed(b"") == []
    assert reader.buffered_bytes == 5


def test_frames_before_bad_bytes_are_given_out_and_the_error_follows() -> None:
    reader = greeted()

    assert len(reader.feed(encode_frame(FrameType.PING) + encode_frame(FrameType.PING, flags=1))) == 1
    assert reader.error is not None
    assert reader.buffered_bytes == 0
    assert code_of(reader, b"") is ErrorCode.MALFORMED_FRAME
    assert code_of(reader, encode_frame(FrameType.PING)) is ErrorCode.MALFORMED_FRAME


def test_an_error_is_final() -> None:
    reader = FrameReader()
    code_of(reader, b"X")

    assert code_of(reader, PREAMBLE) is ErrorCode.PROTOCOL_VERSION


def test_frames_can_be_taken_one_at_a_time() -> None:
    reader = FrameReader()
    data = PREAMBLE + encode_frame(FrameType.HELLO, b"1") + encode_frame(FrameType.AUTH, b"2") + b"\x01"

    assert [frame.payload for frame in reader.feed(data, 1)] == [b"1"]
    assert reader.buffered_bytes == FRAME_HEADER_BYTES + 2
    assert [frame.payload for frame in reader.feed(b"", 1)] == [b"2"]
    assert reader.feed(b"", 1) == []
    assert reader.buffered_bytes == 1


def test_a_limit_raised_between_two_frames_of_one_read_holds_for_the_second() -> None:
    reader = greeted()
    reader.feed(encode_frame(FrameType.AUTH) + encode_frame(FrameType.PUBLISH, bytes(9_000)), 1)
    reader.frame_bytes_max = 9_000

    assert len(reader.feed(b"")) == 1


@pytest.mark.parametrize("read_bytes", [1, 2, 100, 4_095, 4_096, 5_000])
def test_a_large_frame_in_reads_of_any_size_comes_out_whole(read_bytes: int) -> None:
    payload = bytes(range(256)) * 200
    data = PREAMBLE + encode_frame(FrameType.PUBLISH, payload, 3)
    reader = FrameReader(len(payload))
    frames = [f for i in range(0, len(data), read_bytes) for f in reader.feed(data[i : i + read_bytes])]

    assert frames == [Frame(FrameType.PUBLISH, 0, 3, payload)]
    assert type(frames[0].payload) is bytes
    assert reader.buffered_bytes == 0


def test_reads_of_mixed_sizes_keep_their_order() -> None:
    payload = bytes(range(256)) * 100
    data = encode_frame(FrameType.PUBLISH, payload)
    reader = greeted(len(payload))
    cuts = [0, 3, 5_000, 5_001, 5_003, 10_000, 15_000, 15_010, len(data)]
    frames = [f for start, stop in itertools.pairwise(cuts) for f in reader.feed(data[start:stop])]

    assert [frame.payload for frame in frames] == [payload]


@given(st.lists(st.tuples(st.integers(0, 255), st.integers(0, 2**32 - 1), st.binary(max_size=300)), max_size=8))
def test_property_any_frames_survive_the_way(frames: list[tuple[int, int, bytes]]) -> None:
    data = PREAMBLE + b"".join(encode_frame(kind, payload, request) for kind, request, payload in frames)

    assert FrameReader().feed(data) == [Frame(kind, 0, request, payload) for kind, request, payload in frames]
