"""T15: frames that promise more than they hold. Refused by their first bytes, with little memory and little time.

Memory is measured. Time is not: the 20 ms of T15 are a figure to report, not a condition of a test.
"""

import tracemalloc
from collections.abc import Callable

import pytest

from penstock_client.wire import control
from penstock_client.wire.blocks import BLOCK_HEADER, BLOCK_HEADER_BYTES, BlockChecker, block_extent
from penstock_client.wire.connection import Connection, Role, State
from penstock_client.wire.entries import SETTLE_HEADER, STALE_HEADER, decode_publish, decode_settle, decode_stale
from penstock_client.wire.errors import ErrorCode, WireError
from penstock_client.wire.frames import PREAMBLE, FrameReader, FrameType, encode_frame_header
from penstock_client.wire.limits import (
    BLOCK_BYTES_MULTI_MAX,
    CONTROL_BYTES_MAX,
    ENVELOPE_BYTES_MAX,
    FRAME_BYTES_MAX_BEFORE_READY,
    SETTLE_RANGES_MAX,
)

MEMORY_BYTES_MAX = 8 * 1024 * 1024


def peak_bytes(action: Callable[[], object]) -> int:
    """Return how much memory Python objects took at most while ``action`` ran."""
    tracemalloc.start()
    try:
        action()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def refused(action: Callable[[], object]) -> ErrorCode:
    """Run what must be refused within the memory allowed; return its code."""
    codes = []

    def run() -> None:
        with pytest.raises(WireError) as caught:
            action()
        codes.append(caught.value.code)

    assert peak_bytes(run) < MEMORY_BYTES_MAX
    return codes[0]


@pytest.mark.parametrize("length", [2**30, 2**32 - 1])
@pytest.mark.parametrize("ready", [False, True])
def test_a_giant_frame_is_refused_by_its_header(length: int, ready: bool) -> None:
    connection = Connection(Role.SERVER)
    if ready:
        connection.state = State.AWAITING_READY
        connection.sending(FrameType.READY)
    data = PREAMBLE + encode_frame_header(FrameType.PUBLISH, length)

    assert refused(lambda: list(connection.receive(data))) is ErrorCode.FRAME_TOO_LARGE


@pytest.mark.parametrize("read_bytes", [1, 2, 100])
def test_a_frame_that_never_ends_costs_little_more_than_its_bytes(read_bytes: int) -> None:
    size = 1_000_000
    reader = FrameReader(size)
    reader.feed(PREAMBLE + encode_frame_header(FrameType.PUBLISH, size))
    read = bytes(read_bytes)

    def feed() -> None:
        for _ in range((size - 1) // read_bytes):
            assert not reader.feed(bytes(read))

    assert peak_bytes(feed) < 2.5 * size
    assert len(reader._parts) == 2


@pytest.mark.parametrize("read_bytes", [1, 2])
def test_a_peer_before_ready_costs_less_than_promised(read_bytes: int) -> None:
    connection = Connection(Role.SERVER)
    list(connection.receive(PREAMBLE + encode_frame_header(FrameType.HELLO, FRAME_BYTES_MAX_BEFORE_READY)))
    read = bytes(read_bytes)

    def feed() -> None:
        for _ in range((FRAME_BYTES_MAX_BEFORE_READY - 1) // read_bytes):
            assert not list(connection.receive(read))

    assert peak_bytes(feed) < 16 * 1024


def claims(header: bytes, size: int) -> bytes:
    """Nested containers that each claim as many elements as the bytes that follow could hold."""
    return header * (size // len(header))


NESTED = [
    b"\x91" * CONTROL_BYTES_MAX,
    b"\x81\xa1a" * (CONTROL_BYTES_MAX // 3),
    claims(b"\xdd\x00\x00\xff\x00", CONTROL_BYTES_MAX),
    claims(b"\xdc\xff\xf0", CONTROL_BYTES_MAX),
    claims(b"\x81\xa1a\xdd\x00\x00\xff\x00", CONTROL_BYTES_MAX),
    claims(b"\xdf\x00\x00\x7f\x00\xa1a", CONTROL_BYTES_MAX),
    b"\xdd\xff\xff\xff\xff" + b"\x90" * 60_000,
    b"\xdf\xff\xff\xff\xff" + b"\xa1a\x90" * 20_000,
    b"\x81\xa1a\xc6\xff\xff\xff\xff",
    b"\x81\xa1a\xdb\xff\xff\xff\xff",
    b"\x81\xa1a" + b"\x91" * 1_500 + b"\xc0",
]


@pytest.mark.parametrize("payload", NESTED, ids=range(len(NESTED)))
def test_a_control_map_of_promises_is_refused(payload: bytes) -> None:
    assert len(payload) <= CONTROL_BYTES_MAX
    assert refused(lambda: control.unpack(payload)) is ErrorCode.MALFORMED_FRAME


@pytest.mark.parametrize("element", [b"\x90", b"\x80", b"\x00", b"\xa0", b"\xc4\x00"])
def test_the_widest_honest_control_map_stays_within_its_memory(element: bytes) -> None:
    count = (CONTROL_BYTES_MAX - 8) // len(element)
    payload = b"\x81\xa1a\xdd" + count.to_bytes(4, "big") + element * count

    assert peak_bytes(lambda: control.unpack(payload)) < MEMORY_BYTES_MAX


def column_bomb(count: int, bodies: bytes, headers: bytes) -> bytes:
    size = BLOCK_HEADER_BYTES + len(bodies) + len(headers)
    return BLOCK_HEADER.pack(size, count, 5, 0, len(bodies), 0, len(headers), 0, 0) + bodies + headers


@pytest.mark.parametrize("payload", NESTED, ids=range(len(NESTED)))
def test_a_column_of_promises_is_refused(payload: bytes) -> None:
    single = column_bomb(1, b"\x91\xc4\x00", b"\x91" + claims(payload, ENVELOPE_BYTES_MAX // 2))
    several = column_bomb(2, b"\x92\xc4\x00\xc4\x00", b"\x92" + claims(payload, BLOCK_BYTES_MULTI_MAX // 2))
    for block in (single, several):
        assert block_extent(block, 0)[0] == len(block)
        assert refused(lambda block=block: BlockChecker(1_000).check(block)) is ErrorCode.BAD_BLOCK  # type: ignore[misc]


def test_lengths_inside_data_frames_are_refused_before_anything_is_made_of_them() -> None:
    publish = bytes(16) + BLOCK_HEADER.pack(2**32 - 1, 2**32 - 1, 1, 0, 2**32 - 33, 0, 0, 0, 0)

    assert refused(lambda: decode_publish(publish)) is ErrorCode.MALFORMED_FRAME
    assert refused(lambda: decode_settle(SETTLE_HEADER.pack(1, 0, 0, 0, 2**32 - 1, 2**32 - 1)))
    assert refused(lambda: decode_settle(SETTLE_HEADER.pack(1, 0, 0, 0, SETTLE_RANGES_MAX, 0)))
    assert refused(lambda: decode_stale(STALE_HEADER.pack(1, 0, 0, 2**32 - 1))) is ErrorCode.MALFORMED_FRAME
