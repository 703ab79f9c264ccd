"""How much may wait to be written to one connection.

What waits is deliveries, bounded by the credit its consumers were granted, replies, bounded by its reply box, and
answers, bounded by ceasing to read more requests. A peer that honestly uses its credit never meets either bound; one
that does not read meets the second:

    0 ......... pause_bytes ................ abort_bytes
      writing     requests are not read        the peer is cut off: slow-peer
"""

from typing import Any, Final

ANSWERS_BYTES: Final = 256 * 1024
"""Answers that may wait before requests are no longer read."""

ABORT_SLACK_BYTES: Final = 1024 * 1024
"""Above twice the credit: what was on its way while reading was being stopped."""

CONSUMERS_COUNTED_MAX: Final = 4
"""Credit beyond that of so many consumers with the largest prefetch does not raise the bounds: they must be a bound."""

_CREDIT_COMMANDS: Final = frozenset({"consume", "flow", "reply_open"})
_REPLY_BOX: Final = -1
"""Stands for the reply box among the consumers, whose numbers are not negative."""


class WriteBudget:
    """Follows the credit of one connection's consumers.

    The bounds rise with the credit asked for and do not sink: deliveries of a cancelled consumer may still wait.
    """

    __slots__ = (
        "_asked",
        "_bytes_max",
        "_credit",
        "_credit_peak",
        "_prefetch_bytes_max",
        "_reply_bytes_max",
        "_unit_bytes_max",
    )

    def __init__(self, prefetch_bytes_max: int, reply_bytes_max: int, frame_bytes_max: int) -> None:
        self._prefetch_bytes_max = prefetch_bytes_max
        self._reply_bytes_max = reply_bytes_max
        self._bytes_max = prefetch_bytes_max * CONSUMERS_COUNTED_MAX
        self._unit_bytes_max = frame_bytes_max  # one message is delivered even if larger than the credit
        self._asked: dict[int, tuple[int, int | None]] = {}
        """By request: a consumer, and its credit before."""
        self._credit: dict[int, int] = {}
        self._credit_peak = 0

    @property
    def pause_bytes(self) -> int:
        """Above this, requests are not read."""
        return ANSWERS_BYTES + self._unit_bytes_max + self._credit_peak

    @property
    def abort_bytes(self) -> int:
        """Above this, the peer is cut off."""
        return ABORT_SLACK_BYTES + 2 * (self._unit_bytes_max + self._credit_peak)

    def asked(self, request: int, command: str, arguments: dict[str, Any]) -> bool:
        """Count the credit that a command asks for, before it is carried out: its answer may wait for the disk, while
        deliveries leave. True when the bounds rose.
        """
        consumer: Any = _REPLY_BOX if command == "reply_open" else arguments.get("consumer")
        if type(consumer) is not int:
            return False
        if command == "cancel":
            self.ended(consumer)
        if command not in _CREDIT_COMMANDS:
            return False
        if request:
            self._asked[request] = (consumer, self._credit.get(consumer))
        self._credit[consumer] = self._credit_of(consumer, arguments)
        return self._raise()

    def _credit_of(self, consumer: int, arguments: dict[str, Any]) -> int:
        if consumer == _REPLY_BOX:
            return self._reply_bytes_max
        wanted = arguments.get("prefetch_bytes", self._prefetch_bytes_max)
        return max(0, min(wanted, self._prefetch_bytes_max)) if type(wanted) is int else 0

    def _raise(self) -> bool:
        box_bytes = self._credit.get(_REPLY_BOX, 0)
        peak = min(self._bytes_max, sum(self._credit.values()) - box_bytes) + box_bytes
        rose = peak > self._credit_peak
        self._credit_peak = max(peak, self._credit_peak)
        return rose

    def answered(self, request: int, granted: bool) -> None:
        """Take an answer: what was refused does not count any more."""
        if not self._asked or (asked := self._asked.pop(request, None)) is None or granted:
            return
        consumer, before = asked
        if before is None:
            self.ended(consumer)
        else:
            self._credit[consumer] = before

    def ended(self, consumer: int) -> None:
        """Forget a consumer's credit."""
        self._credit.pop(consumer, None)
