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

_CREDIT_COMMANDS: Final = frozenset({"consume", "flow"})
_REPLY_BOX: Final = -1
"""Stands for the reply box among the consumers, whose numbers are not negative."""


class WriteBudget:
    """Follows the credit of one connection's consumers.

    The bounds rise with the credit and do not sink: deliveries of a cancelled consumer may still wait.
    """

    __slots__ = (
        "_asked",
        "_box_bytes",
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
        self._asked: dict[int, tuple[int, int]] = {}
        self._credit: dict[int, int] = {}
        self._credit_peak = 0
        self._box_bytes = 0

    @property
    def pause_bytes(self) -> int:
        """Above this, requests are not read."""
        return ANSWERS_BYTES + self._unit_bytes_max + self._credit_peak

    @property
    def abort_bytes(self) -> int:
        """Above this, the peer is cut off."""
        return ABORT_SLACK_BYTES + 2 * (self._unit_bytes_max + self._credit_peak)

    def asked(self, request: int, command: str, arguments: dict[str, Any]) -> None:
        """Note a command that may change the credit, for when it is answered."""
        if command == "reply_open":
            self._asked[request] = (_REPLY_BOX, self._reply_bytes_max)
            return
        consumer = arguments.get("consumer")
        if request and type(consumer) is int:
            if command in _CREDIT_COMMANDS:
                wanted = arguments.get("prefetch_bytes", self._prefetch_bytes_max)
                credit = wanted if type(wanted) is int else 0
                self._asked[request] = (consumer, max(0, min(credit, self._prefetch_bytes_max)))
            elif command == "cancel":
                self.ended(consumer)

    def answered(self, request: int, granted: bool) -> bool:
        """Take an answer; return True when the bounds rose."""
        if not self._asked or (asked := self._asked.pop(request, None)) is None or not granted:
            return False
        consumer, credit = asked
        if consumer == _REPLY_BOX:
            self._box_bytes = credit
        else:
            self._credit[consumer] = credit
        peak = min(self._bytes_max, sum(self._credit.values())) + self._box_bytes
        rose = peak > self._credit_peak
        self._credit_peak = max(peak, self._credit_peak)
        return rose

    def ended(self, consumer: int) -> None:
        """Forget a consumer's credit."""
        self._credit.pop(consumer, None)
