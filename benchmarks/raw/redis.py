"""RESP on a raw socket: pipelined XADD; XREADGROUP with the XACK of what the previous one returned."""

import re
from collections.abc import Iterator, Sequence

from benchmarks.jobs import Job
from benchmarks.raw.base import RECEIVE_BYTES, RawFailed, connect, endless, queue_names

_GROUP = b"workers"
_COUNT = re.compile(rb"\*1\r\n\*2\r\n\$\d+\r\n[^\r]+\r\n\*(\d+)\r\n")
_NOTHING = re.compile(rb"(?:\*-1|_)\r\n")
_ENTRY_BYTES_MIN = 30


def command(*words: bytes) -> bytes:
    """Return one encoded command."""
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)


class RedisWire:
    """One Redis connection."""

    window = 4000

    def __init__(self, job: Job) -> None:
        self.socket = connect(job.port)
        self._job = job
        self._names = [name.encode() for name in queue_names(job)]
        self._body = b"x" * job.body_bytes
        self._single = command(b"XADD", self._names[0], b"*", b"b", self._body)
        self._buffer = b""
        rest = rb"\r\n\*2\r\n\$1\r\nb\r\n\$%d\r\n[^\r]{%d}\r\n" % (job.body_bytes, job.body_bytes)
        self._entry = re.compile(rb"\$\d+\r\n(\d+-\d+)" + rest)
        words = [b"XREADGROUP", b"GROUP", _GROUP, b"one", b"COUNT", b"%d" % job.batch, b"BLOCK", b"100"]
        self._read = command(*words, b"STREAMS", self._names[0], b">")

    def declare(self) -> None:
        """Create the group of the first queue; other streams come into being with their first message."""
        self.socket.sendall(command(b"XGROUP", b"CREATE", self._names[0], _GROUP, b"0", b"MKSTREAM"))
        answer = self.socket.recv(RECEIVE_BYTES)
        if not answer.startswith((b"+OK", b"-BUSYGROUP")):
            raise RawFailed(answer.decode(errors="replace"))

    def open_publish(self) -> None:
        """Nothing to prepare."""

    def chunks(self, order: Sequence[int]) -> Iterator[tuple[bytes, int]]:
        """Yield pipelines of XADD."""
        each = [command(b"XADD", name, b"*", b"b", self._body) for name in self._names]
        batch = self._job.batch
        if len(order) == 1:
            return endless([(each[0] * batch, batch)])
        parts = [order[start : start + batch] for start in range(0, len(order), batch)]
        return endless([(b"".join(each[index] for index in part), len(part)) for part in parts])

    def single(self) -> bytes:
        """Return one XADD."""
        return self._single

    def confirmed(self, data: bytes) -> int:
        """Each XADD answers with one bulk string, its id."""
        if b"ERR" in data:
            raise RawFailed(data[:200].decode(errors="replace"))
        return data.count(b"$")

    def open_consume(self) -> bytes:
        """Return the first XREADGROUP."""
        return self._read

    def received(self, data: bytes) -> tuple[int, bytes]:
        """Collect a whole XREADGROUP answer, then ack it and ask for more."""
        self._buffer += data
        found = _COUNT.search(self._buffer)
        if not found:
            if _NOTHING.search(self._buffer):
                self._buffer = b""
                return 0, self._read
            if b"ERR" in self._buffer:
                raise RawFailed(self._buffer[:200].decode(errors="replace"))
            return 0, b""
        count = int(found[1])
        if len(self._buffer) < count * (self._job.body_bytes + _ENTRY_BYTES_MIN):
            return 0, b""
        ids = self._entry.findall(self._buffer)
        if len(ids) < count:
            return 0, b""
        self._buffer = b""
        return count, command(b"XACK", self._names[0], _GROUP, *ids) + self._read
