"""Standard input and output as an event loop needs them: in a thread, and never waiting where a stop cannot reach.

A process at the other end of a pipe may stop reading for ever. A plain ``write`` would then hold its thread, and with
it the end of the process. So every wait is a ``poll`` of a tenth of a second between looks at a stop flag.

What was written into a pipe is not yet read: a reader that closes early never sees the rest. ``PipeWriter.write``
returns only when the pipe is empty again, so that the caller may acknowledge what it wrote.
"""

import array
import fcntl
import os
import select
import stat
import termios
import threading
import time
from collections.abc import Iterator
from typing import Final

POLL_MS: Final = 100
"""How long a stop may go unnoticed."""

READ_BYTES: Final = 1024 * 1024
"""One read of input: large enough that its cost per line vanishes."""

WRITE_BYTES_PIPE: Final = select.PIPE_BUF
"""What a pipe that polls as writable takes without blocking."""

WRITE_BYTES_FILE: Final = 1024 * 1024
"""One write to a regular file."""

DRAIN_POLL_SECONDS_MIN: Final = 0.000_05
DRAIN_POLL_SECONDS_MAX: Final = 0.005
"""Looks at a pipe that is not empty yet: from a reader's wake-up time to one that costs no CPU worth noticing."""


class StopRequestedError(Exception):
    """A stop was asked for while the other end was not ready."""


class LineTooLongError(Exception):
    """The input holds a line longer than a message may be."""

    def __init__(self, line_number: int, size_bytes_max: int) -> None:
        super().__init__(f"line {line_number} is longer than {size_bytes_max:,} bytes")


class PipeWriter:
    """Writes to a descriptor: all of it, or an exception.

    Args:
        descriptor: an open file descriptor: a pipe, a file or a terminal.
        stop: set from another thread to end a wait for a reader that does not read.
    """

    def __init__(self, descriptor: int, stop: threading.Event) -> None:
        self._descriptor = descriptor
        self._stop = stop
        mode = os.fstat(descriptor).st_mode
        self._is_pipe = stat.S_ISFIFO(mode)
        self._chunk_bytes = WRITE_BYTES_FILE if stat.S_ISREG(mode) else WRITE_BYTES_PIPE
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLOUT)

    @property
    def is_pipe(self) -> bool:
        """True when a reader may close before it has read everything."""
        return self._is_pipe

    def write(self, data: bytes) -> None:
        """Write all of `data` and wait until a pipe's reader has taken it.

        Raises:
            BrokenPipeError: the reader is gone; some of `data` may have been read.
            StopRequestedError: a stop was asked for and the reader does not read.
        """
        view = memoryview(data)
        while view:
            self._wait_writable()
            view = view[os.write(self._descriptor, view[: self._chunk_bytes]) :]
        if self._is_pipe:
            self._wait_taken()

    def _wait_writable(self) -> None:
        while not self._poll.poll(POLL_MS):
            if self._stop.is_set():
                raise StopRequestedError

    def _wait_taken(self) -> None:
        pause = DRAIN_POLL_SECONDS_MIN
        while self._unread_bytes():
            if any(events & (select.POLLERR | select.POLLHUP) for _, events in self._poll.poll(0)):
                raise BrokenPipeError
            if self._stop.wait(pause):
                self._last_look()
                return
            pause = min(pause * 2, DRAIN_POLL_SECONDS_MAX)

    def _last_look(self) -> None:
        """After a stop: one more chance for a reader that is reading, then give up."""
        time.sleep(POLL_MS / 1000)
        if self._unread_bytes():
            raise StopRequestedError

    def _unread_bytes(self) -> int:
        unread = array.array("i", [0])
        fcntl.ioctl(self._descriptor, termios.FIONREAD, unread)
        return unread[0]


class LineReader:
    """Reads lines without their line feed, as soon as they are there.

    Args:
        descriptor: an open file descriptor: a pipe, a file or a terminal.
        stop: set from another thread to end the reading.
        line_bytes_max: the longest line taken; bounds memory.
    """

    def __init__(self, descriptor: int, stop: threading.Event, line_bytes_max: int) -> None:
        self._descriptor = descriptor
        self._stop = stop
        self._line_bytes_max = line_bytes_max
        self._partial: list[bytes] = []
        self._partial_bytes = 0
        self._ended = False
        self._lines_read = 0
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLIN)
        self.bytes_read = 0

    def read(self) -> list[bytes]:
        """Return the next lines, at least one; an empty list at the end of input or after a stop."""
        while not self._ended:
            lines = self._take(self._read_some())
            if lines:
                self._lines_read += len(lines)
                return lines
        return []

    def __iter__(self) -> Iterator[list[bytes]]:
        return iter(self.read, [])

    def _read_some(self) -> bytes:
        while not self._poll.poll(POLL_MS):
            if self._stop.is_set():
                break
        return b"" if self._stop.is_set() else os.read(self._descriptor, READ_BYTES)

    def _take(self, data: bytes) -> list[bytes]:
        self.bytes_read += len(data)
        if not data:
            return self._finish()
        head, found, _ = data.partition(b"\n")
        self._check_length(len(head))
        if not found:
            self._partial.append(data)
            self._partial_bytes += len(data)
            return []
        lines = data.split(b"\n")
        lines[0] = b"".join((*self._partial, head))
        last = lines.pop()
        self._partial, self._partial_bytes = [last], len(last)
        return lines

    def _finish(self) -> list[bytes]:
        """The input ended: what follows the last line feed is a line too, unless a stop cut it off."""
        self._ended = True
        return [b"".join(self._partial)] if self._partial_bytes and not self._stop.is_set() else []

    def _check_length(self, more_bytes: int) -> None:
        if self._partial_bytes + more_bytes > self._line_bytes_max:
            raise LineTooLongError(self._lines_read + 1, self._line_bytes_max)
