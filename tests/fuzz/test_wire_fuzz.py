"""T16 for the wire: whatever the bytes, documented errors only; however they are cut, the same frames.

Two ways in: hypothesis looks for structure, and a seeded mutator, cheaper by far, wears down the conformance vectors by
brute number. The number of examples follows the hypothesis profile (``make fuzz``, ``make nightly``).
"""

import itertools
import json
import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from penstock_client.wire import control
from penstock_client.wire.blocks import (
    BlockChecker,
    block_extent,
    decode_block,
    decode_bodies,
    encode_block,
    slice_block,
)
from penstock_client.wire.connection import Connection, Role, State
from penstock_client.wire.entries import (
    decode_confirm,
    decode_deliver,
    decode_publish,
    decode_settle,
    decode_stale,
)
from penstock_client.wire.errors import WireError
from penstock_client.wire.frames import PREAMBLE, Frame, FrameReader, FrameType, encode_frame
from penstock_client.wire.replies import decode_replied, decode_reply
from penstock_client.wire.structure import value_ends
from penstock_client.wire.transaction import decode_transaction

VECTORS = Path(__file__).parents[2] / "clients" / "conformance" / "vectors.json"
MUTANTS_PER_EXAMPLE = 2_000
"""Mutated frames for each example of the profile: 200,000 by default, 20 million nightly, over all shards."""

SHARDS = 8
CHECKER = BlockChecker(100_000)

DATA_DECODERS: dict[int, Callable[[bytes], Any]] = {
    FrameType.PUBLISH: decode_publish,
    FrameType.CONFIRM: decode_confirm,
    FrameType.DELIVER: decode_deliver,
    FrameType.PEEKED: decode_deliver,
    FrameType.SETTLE: decode_settle,
    FrameType.STALE: decode_stale,
    FrameType.REPLY: decode_reply,
    FrameType.REPLIED: decode_replied,
    FrameType.TRANSACT: decode_transaction,
}


WITH_BLOCKS = {
    FrameType.PUBLISH,
    FrameType.DELIVER,
    FrameType.PEEKED,
    FrameType.REPLY,
    FrameType.REPLIED,
    FrameType.TRANSACT,
}


def decode(frame: Frame) -> None:
    """Decode a frame as far as either end would. Raises WireError alone."""
    decoder: Callable[[bytes], Any] = DATA_DECODERS.get(frame.type, control.unpack)
    value = decoder(frame.payload)
    if frame.type in WITH_BLOCKS:
        for entry in value.blocks if frame.type == FrameType.TRANSACT else value:
            exercise_block(entry.block)


def exercise_block(block: bytes) -> None:
    count = block_extent(block, 0)[1]
    CHECKER.check(block)
    parts = [slice_block(block, 0, 1), slice_block(block, count // 2, count)]
    for part in parts:
        assert block_extent(part, 0)[0] == len(part)
    decode_bodies(block)
    columns = decode_block(block)
    assert len(columns.bodies) == count


def events(data: bytes, cuts: Sequence[int], role: Role | None = None) -> list[object]:
    """Return the frames of ``data`` cut at ``cuts``, and the error that ends them, if any."""
    receive = connection(role).receive if role else FrameReader(1_000).feed
    seen: list[object] = []
    edges = [0, *sorted(cut for cut in cuts if cut <= len(data)), len(data)]
    try:
        for start, stop in itertools.pairwise(edges):
            seen.extend(receive(data[start:stop]))
        seen.extend(receive(b""))
    except WireError as error:
        seen.append((error.code, error.message))
    return seen


def connection(role: Role) -> Connection:
    result = Connection(role)
    for sender, frame_type in (
        (Role.CLIENT, FrameType.HELLO),
        (Role.SERVER, FrameType.WELCOME),
        (Role.CLIENT, FrameType.AUTH),
    ):
        if sender is role:
            result.sending(frame_type)
        else:
            preamble = PREAMBLE if result.state < State.AWAITING_AUTH else b""
            list(result.receive(preamble + encode_frame(frame_type)))
    if role is Role.SERVER:
        result.sending(FrameType.READY)
    else:
        list(result.receive(encode_frame(FrameType.READY, control.pack({"frame_bytes_max": 1_000_000}))))
    return result


FRAMES = st.builds(
    encode_frame,
    st.sampled_from([*FrameType, 0, 0x47, 255]),
    st.binary(max_size=60),
    st.integers(0, 2**32 - 1),
    st.sampled_from([0, 0, 0, 0, 0, 0, 1]),
)
STREAMS = st.tuples(
    st.sampled_from([PREAMBLE, PREAMBLE, PREAMBLE, b"", b"PNSTK\x02\x00\x00", b"GET "]),
    st.lists(FRAMES | st.binary(max_size=30), max_size=12).map(b"".join),
).map(b"".join)
CUTS = st.lists(st.integers(0, 400), max_size=20)


@given(STREAMS, CUTS)
@example(PREAMBLE + encode_frame(FrameType.PING) + encode_frame(FrameType.PING, flags=1), [])
def test_fuzz_every_cut_of_a_stream_gives_the_same_frames(data: bytes, cuts: list[int]) -> None:
    whole = events(data, [])

    assert events(data, cuts) == whole
    assert events(data, range(len(data))) == whole


@given(st.sampled_from(Role), st.lists(FRAMES, max_size=12).map(b"".join), CUTS)
def test_fuzz_every_cut_gives_a_connection_the_same_frames(role: Role, data: bytes, cuts: list[int]) -> None:
    whole = events(data, [], role)

    assert events(data, cuts, role) == whole
    assert events(data, range(len(data)), role) == whole


@given(st.sampled_from(FrameType), st.binary(max_size=300))
def test_fuzz_a_payload_of_anything_is_decoded_or_refused(frame_type: FrameType, payload: bytes) -> None:
    with suppress(WireError):
        decode(Frame(frame_type, 0, 0, payload))


@given(st.integers(1, 5), st.lists(st.binary(max_size=40), min_size=5, max_size=5))
def test_fuzz_a_block_of_any_columns_is_decoded_or_refused(count: int, columns: list[bytes]) -> None:
    blank = encode_block([b""])
    sizes = [len(column) for column in columns]
    bits = sum(1 << index for index, size in enumerate(sizes) if size)
    fields = [32 + sum(sizes), count, bits | 0 << 16, *sizes]
    header = b"".join(field.to_bytes(4, "little") for field in fields)
    assert len(header) == 32 <= len(blank)
    with suppress(WireError):
        exercise_block(header + b"".join(columns))


@given(st.binary(max_size=200), st.integers(1, 4))
def test_fuzz_a_walk_ends_within_its_bytes(data: bytes, count: int) -> None:
    try:
        ends = value_ends(data, count)
    except ValueError:
        return
    assert ends == sorted(set(ends))
    assert ends[0] > 0
    assert ends[-1] <= len(data)


def mutated(rng: random.Random, data: bytes) -> bytes:
    """Return ``data`` with one to four small wounds."""
    wounded = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        place = rng.randrange(len(wounded) + 1)
        kind = rng.randrange(6)
        if kind == 0 and wounded:
            wounded[place - 1] = rng.randrange(256)
        elif kind == 1 and wounded:
            wounded[place - 1] ^= 1 << rng.randrange(8)
        elif kind == 2:
            del wounded[place : place + rng.randint(1, 8)]
        elif kind == 3:
            wounded[place:place] = rng.randbytes(rng.randint(1, 8))
        elif kind == 4:
            wounded[place : place + 4] = rng.choice((b"\xff\xff\xff\xff", bytes(4), b"\x00\x00\x00\x80", b"\x01\0\0\0"))
        else:
            start = rng.randrange(len(wounded) + 1)
            wounded[place:place] = wounded[start : start + rng.randint(1, 64)]
    return bytes(wounded)


@pytest.mark.parametrize("shard", range(SHARDS))
def test_fuzz_wounded_vectors_are_decoded_or_refused(shard: int) -> None:
    frames = [bytes.fromhex(vector["bytes"]) for vector in json.loads(VECTORS.read_text())["frames"]]
    rng = random.Random(shard)
    for _ in range(settings().max_examples * MUTANTS_PER_EXAMPLE // SHARDS):
        data = mutated(rng, rng.choice(frames))
        with suppress(WireError):
            for frame in FrameReader(10_000).feed(PREAMBLE + data):
                decode(frame)
        with suppress(WireError):
            decode(Frame(FrameType.PUBLISH if len(data) < 12 else data[4], 0, 0, data[12:]))
