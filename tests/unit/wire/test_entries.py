import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock_client.wire import entries, limits
from penstock_client.wire.blocks import encode_block
from penstock_client.wire.entries import (
    CONFIRM_ENTRY,
    DELIVER_ENTRY,
    SETTLE_HEADER,
    Confirmation,
    Delivery,
    Level,
    Outcome,
    Publication,
    Settlement,
)
from penstock_client.wire.errors import ErrorCode, WireError

BLOCK = encode_block([b"one", b"two"])
U32 = st.integers(0, 2**32 - 1)
U64 = st.integers(0, 2**64 - 1)
RANGES = st.lists(st.tuples(U64, U64).map(lambda pair: (min(pair), max(pair))), max_size=20)


def malformed(decode: object, payload: bytes) -> bool:
    assert callable(decode)
    with pytest.raises(WireError) as caught:
        decode(payload)
    return caught.value.code is ErrorCode.MALFORMED_FRAME


# The layouts, byte for byte


def test_the_layouts_of_data_frames_are_these_bytes() -> None:
    assert (
        entries.encode_publish_entry(0x01020304, Level.WRITTEN, 5).hex(" ", 4) == "04030201 01000000 05000000 00000000"
    )
    assert CONFIRM_ENTRY.pack(1, 2, 1, 116, 3, 4, 5, 0, 6).hex(" ", 4) == (
        "01000000 02017400 03000000 00000000 04000000 05000000 00000000 00000000 06000000 00000000"
    )
    assert DELIVER_ENTRY.pack(1, 2, 3, 4, 5, 6, 7, 8, 0).hex(" ", 4) == (
        "01000000 02000000 03000000 04000000 05000000 00000000 06000000 00000000 07000000 00000000 08000000 00000000"
    )
    assert entries.encode_settle(Outcome.NACK, [(1, 2)], 3, "why").hex(" ", -4) == (
        "02000000 03000000 01000000 03000000 01000000 00000000 02000000 00000000 776879"
    )
    assert entries.encode_stale(Outcome.ACK, [(1, 2)]).hex(" ", 4) == (
        "01000000 01000000 01000000 00000000 02000000 00000000"
    )


# Publish


def test_a_publish_frame_carries_blocks_for_several_routes() -> None:
    single = encode_block([b"x"])
    payload = entries.encode_publish_entry(1, Level.SYNCED, 2**64 - 1) + BLOCK
    payload += entries.encode_publish_entry(2**32 - 1, Level.WRITTEN, 0) + single

    assert entries.decode_publish(payload) == [
        Publication(1, Level.SYNCED, 2**64 - 1, 2, BLOCK),
        Publication(2**32 - 1, Level.WRITTEN, 0, 1, single),
    ]


def test_an_empty_publish_frame_has_no_entries() -> None:
    assert entries.decode_publish(b"") == []


@pytest.mark.parametrize("kept", [1, 15, 16, 47, -1])
def test_a_cut_publish_frame_is_malformed(kept: int) -> None:
    assert malformed(entries.decode_publish, (entries.encode_publish_entry(1, 0, 1) + BLOCK)[:kept])


@pytest.mark.parametrize(("offset", "value"), [(4, Level.MEMORY), (4, 255), (5, 1), (6, 1), (7, 1)])
def test_an_unknown_level_or_a_reserved_bit_is_malformed(offset: int, value: int) -> None:
    payload = bytearray(entries.encode_publish_entry(1, 0, 1) + BLOCK)
    payload[offset] = value

    assert malformed(entries.decode_publish, bytes(payload))


def test_the_entries_of_a_publish_frame_are_limited() -> None:
    entry = entries.encode_publish_entry(1, 0, 1) + encode_block([b""])

    assert len(entries.decode_publish(entry * limits.PUBLISH_ENTRIES_MAX)) == limits.PUBLISH_ENTRIES_MAX
    assert malformed(entries.decode_publish, entry * (limits.PUBLISH_ENTRIES_MAX + 1))


# Confirm


@given(
    st.lists(st.builds(Confirmation, U32, *[st.integers(0, 255)] * 2, st.integers(0, 65_535), U64, U32, U32, U64, U64))
)
def test_property_confirms_survive_the_way(confirmations: list[Confirmation]) -> None:
    payload = b"".join(CONFIRM_ENTRY.pack(*confirmation) for confirmation in confirmations)

    assert len(payload) == 40 * len(confirmations)
    assert entries.decode_confirm(payload) == confirmations


def test_a_cut_confirm_frame_is_malformed() -> None:
    assert malformed(entries.decode_confirm, bytes(39))


# Deliver


def test_a_deliver_frame_carries_runs_of_several_queues() -> None:
    first = Delivery(1, 2, 3, 4, 5, 6, 7, 8, 2, BLOCK)
    second = Delivery._make([*[2**32 - 1] * 4, *[2**64 - 1] * 3, 2**32 - 1, 1, encode_block([b""])])
    payload = b"".join(DELIVER_ENTRY.pack(*entry[:8], 0) + entry.block for entry in (first, second))

    assert entries.decode_deliver(payload) == [first, second]
    assert entries.decode_deliver(b"") == []


@pytest.mark.parametrize("kept", [1, 47, 48, 79, -1])
def test_a_cut_deliver_frame_is_malformed(kept: int) -> None:
    assert malformed(entries.decode_deliver, (DELIVER_ENTRY.pack(*[0] * 9) + BLOCK)[:kept])


# Settle and stale


@given(st.sampled_from(Outcome), RANGES, U32, st.text(max_size=50))
def test_property_settlements_survive_the_way(
    outcome: Outcome, ranges: list[tuple[int, int]], duration_ms: int, reason: str
) -> None:
    payload = entries.encode_settle(outcome, ranges, duration_ms, reason)

    assert entries.decode_settle(payload) == Settlement(outcome, duration_ms, reason, ranges)


@given(st.sampled_from(Outcome), RANGES)
def test_property_stale_tags_survive_the_way(outcome: Outcome, ranges: list[tuple[int, int]]) -> None:
    assert entries.decode_stale(entries.encode_stale(outcome, ranges)) == (outcome, ranges)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        bytes(SETTLE_HEADER.size - 1),
        SETTLE_HEADER.pack(0, 0, 0, 0, 0, 0),
        SETTLE_HEADER.pack(8, 0, 0, 0, 0, 0),
        SETTLE_HEADER.pack(1, 1, 0, 0, 0, 0),
        SETTLE_HEADER.pack(1, 0, 1, 0, 0, 0),
        SETTLE_HEADER.pack(1, 0, 0, 0, 1, 0),
        SETTLE_HEADER.pack(1, 0, 0, 0, 2**32 - 1, 0),
        SETTLE_HEADER.pack(1, 0, 0, 0, 0, 2**32 - 1),
        SETTLE_HEADER.pack(1, 0, 0, 0, 0, 1),
        SETTLE_HEADER.pack(1, 0, 0, 0, 0, 0) + b"x",
        SETTLE_HEADER.pack(1, 0, 0, 0, 0, limits.REASON_BYTES_MAX + 1) + bytes(limits.REASON_BYTES_MAX + 1),
        SETTLE_HEADER.pack(1, 0, 0, 0, limits.SETTLE_RANGES_MAX + 1, 0) + bytes(16 * (limits.SETTLE_RANGES_MAX + 1)),
        entries.encode_settle(Outcome.ACK, [(2, 1)]),
    ],
)
def test_a_settle_frame_that_does_not_add_up_is_malformed(payload: bytes) -> None:
    assert malformed(entries.decode_settle, payload)


@pytest.mark.parametrize(
    "payload", [b"", bytes(7), entries.encode_stale(1, [(1, 1)])[:-1], entries.encode_stale(1, [(2, 1)])]
)
def test_a_stale_frame_that_does_not_add_up_is_malformed(payload: bytes) -> None:
    assert malformed(entries.decode_stale, payload)


def test_as_many_ranges_as_allowed_are_taken() -> None:
    payload = entries.encode_settle(Outcome.ACK, [(1, 1)] * limits.SETTLE_RANGES_MAX)

    assert len(entries.decode_settle(payload).ranges) == limits.SETTLE_RANGES_MAX


def test_a_long_reason_is_cut_at_a_character_and_marked() -> None:
    reason = entries.cut_reason("é" * 3_000)

    assert len(reason) <= limits.REASON_BYTES_MAX
    assert reason.decode() == "é" * ((limits.REASON_BYTES_MAX - 3) // 2) + "…"
    assert entries.cut_reason("x" * limits.REASON_BYTES_MAX) == b"x" * limits.REASON_BYTES_MAX


def test_a_reason_that_is_no_text_stays_within_its_limit() -> None:
    noise = b"\xff" * limits.REASON_BYTES_MAX
    settlement = entries.decode_settle(SETTLE_HEADER.pack(Outcome.NACK, 0, 0, 0, 0, len(noise)) + noise)

    assert len(settlement.reason.encode()) <= limits.REASON_BYTES_MAX
    assert entries.cut_reason("\udc80") == b"?"
