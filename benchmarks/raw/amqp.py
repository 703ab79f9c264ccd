"""AMQP 0-9-1 frames on a raw socket: persistent basic.publish with confirms; basic.deliver with ranged acks.

frame   | type u8 | channel u16 | size u32 | payload | 0xCE |        big-endian
method  payload: | class u16 | method u16 | arguments |
"""

import struct
from collections.abc import Iterator, Sequence
from typing import Final

from benchmarks.jobs import Job
from benchmarks.raw.base import RECEIVE_BYTES, RawFailed, connect, endless, queue_names

_FRAME: Final = struct.Struct(">BHI")
_METHOD_FRAME: Final = 1
_FRAME_END: Final = b"\xce"
_FRAME_OVERHEAD: Final = 8
_CONFIRM: Final = struct.Struct(">BHIHHQBB")
"""A whole basic.ack frame: type, channel, size, class, method, delivery tag, multiple, end."""
_CONFIRM_BYTES: Final = _CONFIRM.size
_BASIC, _ACK, _DELIVER, _CHANNEL_CLOSE = 60, 80, (60, 60), (20, 40)
_PREFETCH: Final = 4000
_PERSISTENT: Final = struct.pack(">HB", 0x1000, 2)


def _short(text: str) -> bytes:
    data = text.encode()
    return bytes((len(data),)) + data


def _long(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


def _frame(kind: int, channel: int, payload: bytes) -> bytes:
    return _FRAME.pack(kind, channel, len(payload)) + payload + _FRAME_END


def _method(channel: int, class_id: int, method_id: int, arguments: bytes = b"") -> bytes:
    return _frame(_METHOD_FRAME, channel, struct.pack(">HH", class_id, method_id) + arguments)


class AmqpWire:
    """One AMQP connection with one channel."""

    window = 4000

    def __init__(self, job: Job) -> None:
        self.socket = connect(job.port)
        self._job = job
        self._names = queue_names(job)
        self._buffer = b""
        self._confirmed_up_to = 0
        self._confirmed_above: set[int] = set()
        self._delivery_bytes = 0
        self._handshake()
        self._single = self._publish_to(self._names[0])

    def _handshake(self) -> None:
        self.socket.sendall(b"AMQP\x00\x00\x09\x01")
        self._expect(10, 10)
        login = _long(b"") + _short("PLAIN") + _long(b"\x00guest\x00guest") + _short("en_US")
        self.socket.sendall(_method(0, 10, 11, login))
        limits = self._expect(10, 30)
        channels, frame_bytes, _ = struct.unpack(">HIH", limits)
        self.socket.sendall(_method(0, 10, 31, struct.pack(">HIH", channels, frame_bytes, 0)))
        self.socket.sendall(_method(0, 10, 40, _short("/") + _short("") + b"\x00"))
        self._expect(10, 41)
        self.socket.sendall(_method(1, 20, 10, _short("")))
        self._expect(20, 11)

    def declare(self) -> None:
        """Declare the durable queues."""
        queue_type = _short("x-queue-type") + b"S" + _long(self._job.flavour.encode())
        for name in self._names:
            self.socket.sendall(_method(1, 50, 10, b"\x00\x00" + _short(name) + b"\x02" + _long(queue_type)))
            self._expect(50, 11)

    def open_publish(self) -> None:
        """Turn confirms on."""
        self.socket.sendall(_method(1, 85, 10, b"\x00"))
        self._expect(85, 11)

    def chunks(self, order: Sequence[int]) -> Iterator[tuple[bytes, int]]:
        """Yield runs of basic.publish."""
        each = [self._publish_to(name) for name in self._names]
        batch = self._job.batch
        if len(order) == 1:
            return endless([(each[0] * batch, batch)])
        parts = [order[start : start + batch] for start in range(0, len(order), batch)]
        return endless([(b"".join(each[index] for index in part), len(part)) for part in parts])

    def single(self) -> bytes:
        """Return one basic.publish."""
        return self._single

    def confirmed(self, data: bytes) -> int:
        """Take basic.ack frames: one tag, or all tags up to one."""
        data = self._buffer + data
        whole = len(data) - len(data) % _CONFIRM_BYTES
        self._buffer = data[whole:]
        count = 0
        for _, _, _, class_id, method_id, tag, multiple, _ in _CONFIRM.iter_unpack(data[:whole]):
            if (class_id, method_id) != (_BASIC, _ACK):
                raise RawFailed(f"method {class_id}.{method_id} instead of a confirm: {data[:200]!r}")
            if multiple:
                above = {one for one in self._confirmed_above if one > tag}
                count += tag - self._confirmed_up_to - (len(self._confirmed_above) - len(above))
                self._confirmed_up_to, self._confirmed_above = tag, above
            else:
                self._confirmed_above.add(tag)
                count += 1
        return count

    def open_consume(self) -> bytes:
        """Set the prefetch; return basic.consume."""
        self.socket.sendall(_method(1, 60, 10, struct.pack(">IHB", 0, _PREFETCH, 0)))
        self._expect(60, 11)
        arguments = b"\x00\x00" + _short(self._names[0]) + _short("c") + b"\x00" + _long(b"")
        return _method(1, 60, 20, arguments)

    def received(self, data: bytes) -> tuple[int, bytes]:
        """Count deliveries, all of the same size here, and ack up to the last whole one."""
        self._buffer += data
        if not self._delivery_bytes and not self._learn_delivery_bytes():
            return 0, b""
        count = len(self._buffer) // self._delivery_bytes
        if not count:
            return 0, b""
        last = (count - 1) * self._delivery_bytes
        tag = self._delivery_tag(last)
        self._buffer = self._buffer[last + self._delivery_bytes :]
        return count, _method(1, _BASIC, _ACK, struct.pack(">QB", tag, 1))

    def _learn_delivery_bytes(self) -> bool:
        """Skip consume-ok, then measure the first delivery: method, header and body frame."""
        while len(self._buffer) >= _FRAME.size and len(self._buffer) >= (size := self._frame_bytes()):
            method = struct.unpack_from(">HH", self._buffer, _FRAME.size)
            if method == _DELIVER:
                break
            if method == _CHANNEL_CLOSE:
                raise RawFailed(f"channel closed: {self._buffer!r}")
            self._buffer = self._buffer[size:]
        end = 0
        for _ in range(3):
            if len(self._buffer) < end + _FRAME.size:
                return False
            end += _FRAME.unpack_from(self._buffer, end)[2] + _FRAME_OVERHEAD
        if len(self._buffer) < end:
            return False
        self._delivery_bytes = end
        return True

    def _delivery_tag(self, offset: int) -> int:
        start = offset + _FRAME.size
        if struct.unpack_from(">HH", self._buffer, start) != _DELIVER:
            raise RawFailed("a delivery of another size than the first")
        tag: int = struct.unpack_from(">Q", self._buffer, start + 4 + len(_short("c")))[0]
        return tag

    def _publish_to(self, name: str) -> bytes:
        body = b"x" * self._job.body_bytes
        header = struct.pack(">HHQ", _BASIC, 0, len(body)) + _PERSISTENT
        method = _method(1, _BASIC, 40, b"\x00\x00" + _short("") + _short(name) + b"\x00")
        return method + _frame(2, 1, header) + _frame(3, 1, body)

    def _expect(self, class_id: int, method_id: int) -> bytes:
        """Read one method frame; return its arguments. Raises RawFailed for any other method."""
        while len(self._buffer) < _FRAME.size or len(self._buffer) < self._frame_bytes():
            more = self.socket.recv(RECEIVE_BYTES)
            if not more:
                raise RawFailed(f"RabbitMQ closed the connection instead of {class_id}.{method_id}")
            self._buffer += more
        size = self._frame_bytes()
        frame, self._buffer = self._buffer[:size], self._buffer[size:]
        got = struct.unpack_from(">HH", frame, _FRAME.size)
        if got != (class_id, method_id):
            raise RawFailed(f"method {got} instead of {class_id}.{method_id}: {frame!r}")
        return frame[_FRAME.size + 4 : -1]

    def _frame_bytes(self) -> int:
        size: int = _FRAME.unpack_from(self._buffer)[2]
        return size + _FRAME_OVERHEAD
