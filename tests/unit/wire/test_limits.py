from penstock_client.wire import limits
from penstock_client.wire.blocks import BLOCK_HEADER_BYTES
from penstock_client.wire.entries import PUBLISH_ENTRY, SETTLE_HEADER, TAG_RANGE


def test_the_largest_frame_carries_the_largest_body_with_its_envelope() -> None:
    overhead_bytes = PUBLISH_ENTRY.size + BLOCK_HEADER_BYTES + limits.ENVELOPE_BYTES_MAX + 10

    assert overhead_bytes <= limits.FRAME_BYTES_MAX_SLACK
    assert limits.FRAME_BYTES_MAX_LIMIT == limits.BODY_BYTES_MAX_LIMIT + limits.FRAME_BYTES_MAX_SLACK


def test_the_largest_frame_length_fits_its_field() -> None:
    assert limits.FRAME_BYTES_MAX_LIMIT < 2**32


def test_the_largest_settle_fits_the_smallest_frame_limit_a_ready_connection_has() -> None:
    settle_bytes = SETTLE_HEADER.size + limits.SETTLE_RANGES_MAX * TAG_RANGE.size + limits.REASON_BYTES_MAX

    assert settle_bytes <= limits.FRAME_BYTES_MAX_SLACK + 8 * 1024


def test_a_peer_before_ready_gets_less_memory_than_promised() -> None:
    assert 2 * (limits.FRAME_BYTES_MAX_BEFORE_READY + limits.FRAME_HEADER_BYTES) <= 16 * 1024
