"""What a worker asks of its queue and of its process, checked where it is said."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from penstock_client.rates import Rate, per_second
from penstock_client.worker.retry import Retry

CONCURRENCY: Final = 10
CONCURRENCY_MAX: Final = 10_000
"""Handlers of one worker at once: each costs a task, blocking ones a thread. More is more processes' work."""


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """How a worker runs. ``prefetch`` None follows the concurrency; ``lease`` is in seconds; a rate is the group's."""

    concurrency: int = CONCURRENCY
    prefetch: int | None = None
    results: str | None = None
    lease: float | None = None
    dead_letter: str | None = None
    group: str = ""
    rate: Rate | None = None
    rate_burst: int | None = None
    declare: bool = True
    name: str = ""

    def __post_init__(self) -> None:
        """Raises ValueError for what makes no sense."""
        if not 1 <= self.concurrency <= CONCURRENCY_MAX:
            raise ValueError(f"concurrency is from 1 to {CONCURRENCY_MAX}, not {self.concurrency}")
        if self.prefetch is not None and self.prefetch < self.concurrency:
            raise ValueError(f"a prefetch of {self.prefetch} leaves some of {self.concurrency} handlers idle for ever")

        if self.rate is not None:
            per_second(self.rate)

    @property
    def prefetch_messages(self) -> int:
        """Messages held at the most. A quarter more than are worked on: the next is there when one is done, and little
        is held that another process could have worked on; a worker of few long jobs hoards none.
        """
        return self.prefetch if self.prefetch is not None else self.concurrency + self.concurrency // 4

    def rates(self) -> dict[str, Any]:
        """The rate at which all workers of the group are handed messages, for what is declared with it."""
        return {"rate": None if self.rate is None else per_second(self.rate), "rate_burst": self.rate_burst}

    def queue_settings(self, retry: Retry) -> dict[str, Any]:
        """What the queue is declared with: what was said, as ``Queue.declare`` takes it."""
        said = {
            "lease": self.lease,
            "max_failures": retry.max_failures,
            "backoff": retry.backoff,
            "dead_letter": self.dead_letter,
            **(self.rates() if not self.group else {}),
        }
        return {name: value for name, value in said.items() if value is not None}
