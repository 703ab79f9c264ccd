"""What one consumer holds over one connection, and what is said of it to the broker.

Every message has a mark (``delivery.py``). Handing out and acknowledging set marks and nothing else; a flush finds the
marks that the broker does not know yet, as runs, and sends them as tag ranges:

    HELD --handed out--> HANDED --flush: STARTED--> STARTED        what is settled before the flush was never started:
      |                     |                          |           only what is still open then is marked (SEMANTICS 2)
      |                     +------ack--> ACKED <--ack-+
      |                                     | flush: ACK
      +--release, nack, reject--> SETTLED <-+                      connection lost: whatever is not SETTLED is LOST

A flush happens by count, FLUSH_S after the first mark, and before the consumer would wait. Leases of everything open
are extended every third of a lease by a timer that depends on no handler (SEMANTICS 3).

Holdings end with their connection: tags of one session mean other messages in the next (SEMANTICS 1), so an outcome of
a lost message is counted and never sent.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from penstock_client.delivery import ACKED, HANDED, HELD, LOST, SETTLED, STARTED, TRANSACTED, Delivery
from penstock_client.errors import RequestTimeout, StaleDelivery
from penstock_client.link import read_reply
from penstock_client.wire.entries import Outcome, TagRange, encode_settle
from penstock_client.wire.frames import FrameType
from penstock_client.wire.limits import SETTLE_RANGES_MAX

if TYPE_CHECKING:
    from penstock_client.answering import Replier
    from penstock_client.link import Link

FLUSH_S: Final = 0.002
ACKS_MAX: Final = 1000
"""Acks gathered at the most before they are sent."""

TICKS_PER_LEASE: Final = 12
TICKS_PER_EXTENSION: Final = 4
"""Leases are extended every third of a lease; the ticks between notice a blocked loop."""

_HELD_RUNS: Final = re.compile(bytes((HELD, 0x2B)))
_HANDED_RUNS: Final = re.compile(bytes((HANDED, 0x2B)))
_ACKED_RUNS: Final = re.compile(bytes((ACKED, 0x2B)))
_LEASED_RUNS: Final = re.compile(b"[" + bytes((HELD,)) + b"-" + bytes((STARTED, TRANSACTED)) + b"]+")
_LOSE: Final = bytes(LOST if mark <= ACKED or mark == TRANSACTED else mark for mark in range(256))
_WITH_APPLICATION: Final = (HANDED, STARTED, TRANSACTED)

log: Final = logging.getLogger("penstock_client")


class Settling(NamedTuple):
    """An outcome that is not an ack. ``duration_ms`` is a nack's delay."""

    outcome: Outcome
    duration_ms: int = 0
    reason: str = ""


class Holdings:
    """The deliveries of one consumer over one connection. All of it happens on the loop."""

    def __init__(
        self,
        link: Link,
        address: tuple[str, str],
        acks_max: int,
        request_timeout_s: float,
        count_stale: Callable[[int], None],
        replier: Replier,
    ) -> None:
        self.link = link
        self.address = address
        """The queue and the group that these are deliveries of."""
        self.replier = replier
        self.room = self._acks_max = acks_max
        self._lease_s = 0.0
        self._request_timeout_s = request_timeout_s
        self._count_stale = count_stale
        self._loop = asyncio.get_running_loop()
        self._runs: dict[int, Delivery] = {}
        self._touched: deque[Delivery] = deque()
        self._others: dict[Settling, list[int]] = {}
        self._flush_timer: asyncio.TimerHandle | None = None
        self._tick_timer: asyncio.TimerHandle | None = None
        self._ticks = 0
        self._tick_due_s = 0.0
        self._asked_until_s: dict[int, float] = {}
        self._finish_waiters: list[asyncio.Future[None]] = []

    # -- what the application does -------------------------------------------------------------------------------------

    def take(self, delivery: Delivery, lease_s: float) -> None:
        """Hold a run of messages that arrived. A lease of 0 does not end."""
        delivery.holdings = self
        self._runs[delivery.first_tag] = delivery
        self._lease_s = lease_s
        if self._tick_timer is None and lease_s:
            self._plan_tick()

    def touched(self, delivery: Delivery) -> None:
        """Marks of a run have changed since the last flush."""
        delivery.clean = False
        self._touched.append(delivery)
        if self._flush_timer is None:
            self._flush_timer = self._loop.call_later(FLUSH_S, self.flush)

    def settled(self, delivery: Delivery) -> None:
        """One message of a run has an outcome."""
        if delivery.clean:
            self.touched(delivery)
        self.room -= 1
        if self.room <= 0:
            self.flush()

    def settle(self, delivery: Delivery, index: int, settling: Settling) -> None:
        """Give an open message an outcome other than an ack."""
        delivery.marks[index] = SETTLED
        self._others.setdefault(settling, []).append(delivery.first_tag + index)
        self.settled(delivery)

    async def ack_confirmed(self, places: Sequence[tuple[Delivery, int]]) -> None:
        """Acknowledge open messages and return when that is durable."""
        tags = []
        for delivery, index in places:
            delivery.marks[index] = SETTLED
            tags.append(delivery.first_tag + index)
            if delivery.clean:
                self.touched(delivery)
        await self._ask(encode_settle(Outcome.ACK, tag_ranges(tags)))

    async def extend(self, delivery: Delivery, index: int, seconds: float) -> None:
        """Hold an open message for so long from now; until then the automatic extension leaves it alone."""
        tag = delivery.first_tag + index
        self._asked_until_s[tag] = self._loop.time() + seconds
        await self._ask(encode_settle(Outcome.EXTEND, [(tag, tag)], max(1, round(seconds * 1000))))

    async def _ask(self, payload: bytes) -> None:
        try:
            async with asyncio.timeout(self._request_timeout_s):
                frame = await self.link.ask(FrameType.SETTLE, payload)
        except TimeoutError as error:
            raise RequestTimeout(f"no answer within {self._request_timeout_s:g} s") from error
        read_reply(frame)

    # -- what is said to the broker ------------------------------------------------------------------------------------

    def flush(self) -> None:
        """Send every outcome that the broker does not know, and mark as started what the application still has."""
        if self._flush_timer is not None:
            self._flush_timer.cancel()
            self._flush_timer = None
        self.room = self._acks_max
        if self.link.error is not None:
            self.lose()
            return
        acked: list[TagRange] = []
        started: list[TagRange] = []
        while self._touched:
            delivery = self._touched.popleft()
            delivery.clean = True
            _collect(delivery, _ACKED_RUNS, SETTLED, acked)
            _collect(delivery, _HANDED_RUNS, STARTED, started)
            if delivery.marks.count(SETTLED) == len(delivery.marks):
                self._runs.pop(delivery.first_tag, None)
        self._send(Settling(Outcome.ACK), acked)
        others, self._others = self._others, {}
        for settling, tags in others.items():
            self._send(settling, tag_ranges(tags))
        self._send(Settling(Outcome.STARTED), started)
        if self._finish_waiters:
            self._notify()

    def release_unhanded(self) -> None:
        """Give back everything the application was not handed."""
        released: list[TagRange] = []
        for delivery in list(self._runs.values()):
            _collect(delivery, _HELD_RUNS, SETTLED, released)
            if delivery.marks.count(SETTLED) == len(delivery.marks):
                del self._runs[delivery.first_tag]
        self._send(Settling(Outcome.RELEASE), released)

    def _send(self, settling: Settling, ranges: list[TagRange]) -> None:
        outcome, duration_ms, reason = settling
        for start in range(0, len(ranges), SETTLE_RANGES_MAX):
            part = ranges[start : start + SETTLE_RANGES_MAX]
            self.link.send(FrameType.SETTLE, encode_settle(outcome, part, duration_ms, reason))

    # -- leases --------------------------------------------------------------------------------------------------------

    def _plan_tick(self) -> None:
        self._tick_due_s = self._loop.time() + self._lease_s / TICKS_PER_LEASE
        self._tick_timer = self._loop.call_at(self._tick_due_s, self._tick)

    def _tick(self) -> None:
        late_s = self._loop.time() - self._tick_due_s
        self._ticks += 1
        blocked = late_s > self._lease_s / 4
        if blocked and self._runs:
            queue = next(iter(self._runs.values())).queue
            log.warning(
                "the event loop was blocked for %.1f s while messages of queue %r were held, lease %.1f s: they"
                " may be delivered twice; do blocking work in a thread (asyncio.to_thread) or use penstock_client.sync",
                *(late_s, queue, self._lease_s),
            )
        if blocked or self._ticks % TICKS_PER_EXTENSION == 0:
            self._extend_open()
        self._plan_tick()

    def _extend_open(self) -> None:
        now_s = self._loop.time()
        self._asked_until_s = {t: s for t, s in self._asked_until_s.items() if s > now_s + self._lease_s}
        ranges: list[TagRange] = []
        for delivery in self._runs.values():
            for first, last in _ranges(delivery, _LEASED_RUNS):
                ranges += self._without_asked(first, last)
        self._send(Settling(Outcome.EXTEND, round(self._lease_s * 1000)), ranges)

    def _without_asked(self, first: int, last: int) -> Iterator[TagRange]:
        """Leave out what the application extended further than this would."""
        for tag in sorted(tag for tag in self._asked_until_s if first <= tag <= last):
            if first < tag:
                yield first, tag - 1
            first = tag + 1
        if first <= last:
            yield first, last

    # -- the end -------------------------------------------------------------------------------------------------------

    async def finished(self) -> None:
        """Return when the application has settled everything it was handed, or the connection is gone."""
        while any(delivery.marks.find(mark) >= 0 for delivery in self._runs.values() for mark in _WITH_APPLICATION):
            waiter: asyncio.Future[None] = self._loop.create_future()
            self._finish_waiters.append(waiter)
            await waiter

    def stop_extending(self) -> None:
        """Let the leases of what is still open run out."""
        if self._tick_timer is not None:
            self._tick_timer.cancel()

    def lose(self) -> None:
        """The connection is gone: what is open or not yet said is delivered again, whatever the application says."""
        self.stop_extending()
        if self._flush_timer is not None:
            self._flush_timer.cancel()
            self._flush_timer = None
        late = sum(map(len, self._others.values()))
        self._others.clear()
        self._touched.clear()
        for delivery in self._runs.values():
            late += delivery.marks.count(ACKED)
            delivery.marks[:] = delivery.marks.translate(_LOSE)
            delivery.clean = False  # nothing is to be looked at any more
        self._runs.clear()
        if late:
            self._count_stale(late)
        self._notify()

    def note_lost(self, delivery: Delivery, index: int) -> None:
        """The application settled a message whose connection is gone."""
        delivery.marks[index] = SETTLED
        self._count_stale(1)

    def stale_error(self) -> StaleDelivery:
        """What a caller gets who must know."""
        return StaleDelivery("the connection that this message came by was lost: it is delivered again")

    def _notify(self) -> None:
        waiters, self._finish_waiters = self._finish_waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)


def _ranges(delivery: Delivery, pattern: re.Pattern[bytes]) -> list[TagRange]:
    base = delivery.first_tag
    return [(base + match.start(), base + match.end() - 1) for match in pattern.finditer(delivery.marks)]


def _collect(delivery: Delivery, pattern: re.Pattern[bytes], mark: int, ranges: list[TagRange]) -> None:
    """Give every run that matches a new mark, and add it to ``ranges``."""
    base = delivery.first_tag
    for first, last in _ranges(delivery, pattern):
        delivery.marks[first - base : last + 1 - base] = bytes((mark,)) * (last + 1 - first)
        if ranges and ranges[-1][1] == first - 1:
            ranges[-1] = (ranges[-1][0], last)
        else:
            ranges.append((first, last))


def tag_ranges(tags: Sequence[int]) -> list[TagRange]:
    """Return the (first, last) ranges of tags in any order."""
    ranges: list[TagRange] = []
    for tag in sorted(tags):
        if ranges and ranges[-1][1] == tag - 1:
            ranges[-1] = (ranges[-1][0], tag)
        else:
            ranges.append((tag, tag))
    return ranges
