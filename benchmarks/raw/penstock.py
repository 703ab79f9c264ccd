"""Penstock's own protocol on a raw socket: PUBLISH frames of blocks; DELIVER frames with one SETTLE for their tags."""

import struct
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any, Final

from benchmarks.jobs import Job
from benchmarks.raw.base import RECEIVE_BYTES, RawFailed, connect, queue_names
from penstock_client.wire.blocks import encode_block
from penstock_client.wire.control import pack, unpack
from penstock_client.wire.entries import (
    CONFIRM_ENTRY,
    ConfirmStatus,
    Level,
    Outcome,
    decode_confirm,
    decode_deliver,
    encode_publish_entry,
    encode_settle,
)
from penstock_client.wire.frames import PREAMBLE, Frame, FrameReader, FrameType, encode_frame, encode_frame_header
from penstock_client.wire.limits import FRAME_HEADER_BYTES

_PREFETCH_MESSAGES: Final = 20_000
_PREFETCH_BYTES: Final = 32 * 1024 * 1024
_HEARTBEAT_MS: Final = 30_000
_BLOCK_BYTES_MAX: Final = 128 * 1024
"""Of bodies in one block, as the SDK does it."""
_CONSUMER: Final = 1
_SEQUENCE: Final = struct.Struct("<Q")
_LONE_CONFIRM: Final = (
    encode_frame_header(FrameType.CONFIRM, CONFIRM_ENTRY.size)
    + CONFIRM_ENTRY.pack(0, ConfirmStatus.STORED, Level.SYNCED, 0, 0, 0, 0, 0, 0)[:8]
)
_ONE: Final = struct.pack("<I", 1)
_LONE_CONFIRM_BYTES: Final = FRAME_HEADER_BYTES + CONFIRM_ENTRY.size
"""One entry for route 0, which publishes one message at a time when it gets these."""
_FRAMES_A_SEND: Final = 64
"""Frames of one message are sent this many at a time: they are pipelined, only not coalesced."""


class PenstockWire:
    """One Penstock connection."""

    def __init__(self, job: Job) -> None:
        self.socket = connect(job.port)
        self._job = job
        self._names = queue_names(job)
        self._reader = FrameReader()
        self._request = 0
        self._waiting: list[Frame] = []
        self._body = b"x" * job.body_bytes
        self._next_sequence = 1
        block = encode_block([self._body])
        entry = encode_publish_entry(0, Level.SYNCED, 0)
        single = encode_frame(FrameType.PUBLISH, entry + block)
        self._single_head = single[: -len(block) - _SEQUENCE.size]
        self._single_tail = block
        ready = self._handshake()
        self._reader.frame_bytes_max = ready["frame_bytes_max"]
        self.window: int = min(ready["window_messages"], ready["window_bytes"] // (job.body_bytes + 64))

    def _handshake(self) -> dict[str, Any]:
        hello = {"client": "benchmarks", "version": "1", "heartbeat_ms": _HEARTBEAT_MS}
        self.socket.sendall(PREAMBLE + encode_frame(FrameType.HELLO, pack(hello)))
        self._expect(FrameType.WELCOME)
        login = {"mechanism": "ANONYMOUS", "response": b""}
        self.socket.sendall(encode_frame(FrameType.AUTH, pack(login)))
        return unpack(self._expect(FrameType.READY).payload)

    def declare(self) -> None:
        """Declare the queues, pipelined."""
        for name in self._names:
            self._send(FrameType.QUEUE_DECLARE, {"queue": name, "durable": self._job.durable})
        for _ in self._names:
            self._expect(FrameType.OK)

    def open_publish(self) -> None:
        """Open a producer and a route to each queue; a route's number is the queue's."""
        self._send(FrameType.PRODUCER_OPEN, {"producer": None})
        for route, name in enumerate(self._names):
            self._send(FrameType.ROUTE_OPEN, {"route": route, "exchange": "", "routing_key": name})
        for _ in range(len(self._names) + 1):
            self._expect(FrameType.OK)

    def chunks(self, order: Sequence[int]) -> Iterator[tuple[bytes, int]]:
        """Yield frames: blocks to one queue, or one block for each queue that a batch of ``order`` names."""
        if len(order) > 1:
            return self._spread(order)
        return self._one_each() if self._job.batch == 1 else self._blocks()

    def _blocks(self) -> Iterator[tuple[bytes, int]]:
        count = max(1, min(self._job.batch, _BLOCK_BYTES_MAX // self._job.body_bytes))
        block = self._block(count)
        while True:
            entry = encode_publish_entry(0, Level.SYNCED, self._next_sequence)
            self._next_sequence += count
            yield encode_frame(FrameType.PUBLISH, entry + block), count

    def _one_each(self) -> Iterator[tuple[bytes, int]]:
        while True:
            yield b"".join(self.single() for _ in range(_FRAMES_A_SEND)), _FRAMES_A_SEND

    def _spread(self, order: Sequence[int]) -> Iterator[tuple[bytes, int]]:
        sequences = [1] * len(self._names)
        batch = self._job.batch
        block = cache(self._block)
        while True:
            for start in range(0, len(order), batch):
                parts: list[bytes] = []
                for route, count in Counter(order[start : start + batch]).items():
                    parts += encode_publish_entry(route, Level.SYNCED, sequences[route]), block(count)
                    sequences[route] += count
                yield encode_frame(FrameType.PUBLISH, b"".join(parts)), len(order[start : start + batch])

    def _block(self, count: int) -> bytes:
        return encode_block([self._body] * count)

    def single(self) -> bytes:
        """Return a frame of one message."""
        sequence = self._next_sequence
        self._next_sequence = sequence + 1
        return self._single_head + _SEQUENCE.pack(sequence) + self._single_tail

    def confirmed(self, data: bytes) -> int:
        """Count confirmed messages; a lone confirm of one message is recognised without decoding."""
        if len(data) == _LONE_CONFIRM_BYTES and data[:20] == _LONE_CONFIRM and data[28:32] == _ONE:
            return 1
        count = 0
        for frame in self._reader.feed(data):
            if frame.type == FrameType.CONFIRM:
                for entry in decode_confirm(frame.payload):
                    if entry.status != ConfirmStatus.STORED:
                        raise RawFailed(f"a publish was not stored: {entry}")
                    count += entry.count
            else:
                self._other(frame)
        return count

    def open_consume(self) -> bytes:
        """Return the CONSUME frame."""
        request = {
            "consumer": _CONSUMER,
            "queue": self._names[0],
            "group": "",
            "prefetch_messages": _PREFETCH_MESSAGES,
            "prefetch_bytes": _PREFETCH_BYTES,
            "name": "benchmark",
        }
        self._request += 1
        return encode_frame(FrameType.CONSUME, pack(request), self._request)

    def received(self, data: bytes) -> tuple[int, bytes]:
        """Count deliveries; ack the range of tags that each frame carried."""
        count = 0
        answer = b""
        for frame in self._reader.feed(data):
            if frame.type == FrameType.DELIVER:
                ranges = [(one.first_tag, one.first_tag + one.count - 1) for one in decode_deliver(frame.payload)]
                count += sum(last - first + 1 for first, last in ranges)
                answer += encode_frame(FrameType.SETTLE, encode_settle(Outcome.ACK, _merged(ranges)))
            elif frame.type != FrameType.OK:
                self._other(frame)
        return count, answer

    def _other(self, frame: Frame) -> None:
        if frame.type == FrameType.PING:
            self.socket.send(encode_frame(FrameType.PONG, frame.payload, frame.request))
        elif frame.type != FrameType.PONG:
            raise RawFailed(f"a frame of type {frame.type:#x}: {frame.payload[:200]!r}")

    def _send(self, kind: FrameType, arguments: dict[str, Any]) -> None:
        self._request += 1
        self.socket.sendall(encode_frame(kind, pack(arguments), self._request))

    def _expect(self, kind: FrameType) -> Frame:
        """Return the next frame, which must be of ``kind``; answers PING meanwhile."""
        while True:
            while not self._waiting:
                data = self.socket.recv(RECEIVE_BYTES)
                if not data:
                    raise RawFailed(f"the broker closed the connection instead of sending {kind.name}")
                self._waiting = self._reader.feed(data)
            frame = self._waiting.pop(0)
            if frame.type == kind:
                return frame
            self._other(frame)


def _merged(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Join ranges that follow one another."""
    merged = ranges[:1]
    for first, last in ranges[1:]:
        if first == merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], last)
        else:
            merged.append((first, last))
    return merged
