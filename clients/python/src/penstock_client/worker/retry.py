"""What a failure means: again, later, or never."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from penstock_client.errors import text_of
from penstock_client.received import reason_of
from penstock_client.worker.errors import InvalidPayload
from penstock_client.worker.outcomes import Outcome, Verdict

Exceptions = type[Exception] | tuple[type[Exception], ...]


class Reject(Exception):
    """Raised by a handler: this message will never succeed. It goes to the dead letters at once."""


class RetryLater(Exception):
    """Raised by a handler: again after ``seconds``. It counts a failure, so that what waits for ever dies at last."""

    def __init__(self, seconds: float, reason: str = "") -> None:
        super().__init__(reason or f"again in {seconds:g} s")
        self.seconds = float(seconds)


@dataclass(frozen=True, slots=True)
class Retry:
    """When a message whose handler raised is tried again.

    ``max_failures`` (0: no limit) and ``backoff`` (shortest and longest wait in seconds) are settings of the queue: the
    broker counts and waits, whatever becomes of this process. None leaves them as the queue has them.

    ``on`` are the exceptions that are worth another attempt, ``never`` those among them that are not: what is not worth
    one goes to the dead letters at once. ``delay`` is called with (failures, exception), this failure counted, and
    returns the seconds to wait, or None for the queue's backoff; what it raises is the failure then. With ``invalid`` a
    body that is not what the handler takes is tried again too, for senders and handlers that are deployed at different
    times.
    """

    max_failures: int | None = None
    backoff: tuple[float, float] | None = None
    on: Exceptions = Exception
    never: Exceptions = ()
    delay: Callable[[int, Exception], float | None] | None = None
    invalid: bool = False

    def outcome(self, error: Exception, failures: int) -> Outcome:
        """Return what becomes of a message whose handler raised ``error``, its ``failures``th failure."""
        if isinstance(error, RetryLater):
            return Outcome(Verdict.RETRIED, delay=error.seconds, reason=_said(error), error=error)
        if isinstance(error, Reject) or (isinstance(error, InvalidPayload) and not self.invalid):
            return Outcome(Verdict.REJECTED, reason=_said(error), error=error)
        if isinstance(error, self.never) or not isinstance(error, self.on):
            return Outcome(Verdict.REJECTED, reason=reason_of(error), error=error)
        try:
            delay = None if self.delay is None else self.delay(failures, error)
            delay = None if delay is None else float(delay)
        except Exception as failure:  # noqa: BLE001  the application's code, as the handler is
            return Outcome(Verdict.RETRIED, reason=reason_of(failure), error=failure)
        return Outcome(Verdict.RETRIED, delay=delay, reason=reason_of(error), error=error)


def _said(error: Exception) -> str:
    """What was said on purpose needs no traceback."""
    return text_of(error) or type(error).__name__


DEFAULT: Final = Retry()
