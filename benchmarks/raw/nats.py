"""The NATS text protocol on a raw socket: PUB with a reply inbox; pull requests and acks by subject."""

import json
import re
import secrets
from collections.abc import Iterator, Sequence
from typing import Any

from benchmarks.jobs import Job
from benchmarks.raw.base import RECEIVE_BYTES, RawFailed, connect, endless, queue_names

_ACK_SUBJECT = re.compile(rb"MSG \S+ 1 (\$JS\.ACK\.\S+) \d+\r\n")
_EXPIRES_NS = 120 * 10**9
_ALREADY = (10058, 10148, 10013)
"""API error codes that say that the stream or the consumer is there already."""


class NatsWire:
    """One NATS connection, its replies on an inbox of its own."""

    window = 4000

    def __init__(self, job: Job) -> None:
        self.socket = connect(job.port)
        self._job = job
        self._inbox = f"_INBOX.{secrets.token_hex(6)}"
        self._names = queue_names(job)
        self._stream = job.queue
        self._body = b"x" * job.body_bytes
        self._tail = b""
        self._wanted = 0
        options = {"verbose": False, "pedantic": False, "headers": True, "no_responders": True}
        self.socket.sendall(f"CONNECT {json.dumps(options)}\r\nSUB {self._inbox}.* 1\r\nPING\r\n".encode())
        self._read_until(b"PONG\r\n")
        self._single = self._publish_to(self._names[0])

    def declare(self) -> None:
        """Create the stream."""
        self._api(
            f"STREAM.CREATE.{self._stream}",
            {"name": self._stream, "subjects": [f"{self._stream}.>"], "storage": "file", "retention": "limits"},
        )

    def open_publish(self) -> None:
        """Nothing to prepare."""

    def chunks(self, order: Sequence[int]) -> Iterator[tuple[bytes, int]]:
        """Yield runs of PUB."""
        each = [self._publish_to(name) for name in self._names]
        batch = self._job.batch
        if len(order) == 1:
            return endless([(each[0] * batch, batch)])
        parts = [order[start : start + batch] for start in range(0, len(order), batch)]
        return endless([(b"".join(each[index] for index in part), len(part)) for part in parts])

    def single(self) -> bytes:
        """Return one PUB."""
        return self._single

    def confirmed(self, data: bytes) -> int:
        """Each publish is answered by one flat JSON object."""
        if b'"error"' in data or b"-ERR" in data or b"NATS/1.0" in data:
            raise RawFailed(data[:300].decode(errors="replace"))
        if b"PING\r\n" in data:
            self.socket.send(b"PONG\r\n")
        return data.count(b"}")

    def open_consume(self) -> bytes:
        """Create the durable consumer; return the first two pull requests, so that one is always waiting."""
        configuration = {"durable_name": "workers", "ack_policy": "explicit", "max_ack_pending": 20_000}
        self._api(
            f"CONSUMER.DURABLE.CREATE.{self._stream}.workers",
            {"stream_name": self._stream, "config": configuration},
        )
        return self._request_more() + self._request_more()

    def received(self, data: bytes) -> tuple[int, bytes]:
        """Ack every message whose header line is complete; keep at least one pull request waiting."""
        data = self._tail + data
        whole = data.rfind(b"\r\n") + 2
        lines, self._tail = (data[:whole], data[whole:]) if whole > 1 else (b"", data)
        if b"-ERR" in lines or b"NATS/1.0" in lines:
            raise RawFailed(lines[:300].decode(errors="replace"))
        acks = _ACK_SUBJECT.findall(lines)
        answer = b"".join(b"PUB %b 0\r\n\r\n" % subject for subject in acks)
        self._wanted -= len(acks)
        while self._wanted <= self._job.batch:
            answer += self._request_more()
        if b"PING\r\n" in lines:
            answer += b"PONG\r\n"
        return len(acks), answer

    def _publish_to(self, name: str) -> bytes:
        return f"PUB {name}.m {self._inbox}.p {len(self._body)}\r\n".encode() + self._body + b"\r\n"

    def _request_more(self) -> bytes:
        self._wanted += self._job.batch
        request = json.dumps({"batch": self._job.batch, "expires": _EXPIRES_NS})
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{self._stream}.workers"
        return f"PUB {subject} {self._inbox}.d {len(request)}\r\n{request}\r\n".encode()

    def _api(self, subject: str, request: dict[str, Any]) -> None:
        text = json.dumps(request)
        self.socket.sendall(f"PUB $JS.API.{subject} {self._inbox}.a {len(text)}\r\n{text}\r\n".encode())
        answer = self._read_until(b"}\r\n")
        reply: dict[str, Any] = json.loads(answer[answer.index(b"{") : answer.rindex(b"}") + 1])
        error = reply.get("error")
        if error and error["err_code"] not in _ALREADY:
            raise RawFailed(str(error))

    def _read_until(self, end: bytes) -> bytes:
        data = b""
        while not data.endswith(end):
            more = self.socket.recv(RECEIVE_BYTES)
            if not more:
                raise RawFailed("nats-server closed the connection")
            data += more.replace(b"PING\r\n", b"")
        return data
