"""Alarms: what an operator should know of before somebody complains.

A queue has an alarm where its settings ask for one: on how many messages it holds, and on the age of the oldest. A
group raises one while its breaker is not closed. Whoever composes the broker has them looked at about once a second,
so neither publishing nor delivering pays for them. An alarm of a queue is raised at its limit, and released a tenth
below it, so that what stays about there does not raise it again and again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from penstock.core.bounds import needed_messages
from penstock.core.group import Group
from penstock.core.queue import Queue

if TYPE_CHECKING:
    from penstock.engine.engine import Engine

MESSAGES: Final = "messages"
AGE_MS: Final = "age_ms"
BREAKER: Final = "breaker"
"""What alarms are about."""
HYSTERESIS_DIVISOR: Final = 10
Key = tuple[int, int, str]
"""The number of a queue, that of a group or 0, and what the alarm is about."""


class Alarm(NamedTuple):
    """Something has been at its limit since then, ms since 1970. ``group`` is None where it is about the queue."""

    queue: str
    group: str | None
    what: str
    value: int
    limit: int
    since_ms: int


class Alarms:
    """The alarms that are raised now. ``on_raised`` and ``on_released`` are told of each, once."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._raised: dict[Key, Alarm] = {}
        self._looking = False
        self.on_raised: Callable[[Alarm], None] = lambda _: None
        self.on_released: Callable[[Alarm], None] = lambda _: None

    def check(self) -> None:
        """Look at every queue that has an alarm: at once, unless the journal has to be read for an age."""
        broker = self._engine.broker
        queues = list(broker.watched_queues)
        if (queues or broker.tripped_groups or self._raised) and not self._looking:
            self._looking = True
            oldest = self._engine.oldest
            wanted = [oldest.of_queue(queue) if queue.settings.alarm_age_ms else None for queue in queues]
            oldest.look(wanted, lambda ages_ms: self._judge(dict(zip(queues, ages_ms, strict=True))))

    def raised(self, queue: Queue | None = None) -> list[dict[str, Any]]:
        """Return those that are raised, of one queue or of all, the longest first."""
        found = [alarm for key, alarm in self._raised.items() if queue is None or key[0] == queue.number]
        return [alarm._asdict() for alarm in sorted(found, key=lambda alarm: alarm.since_ms)]

    def _judge(self, ages_ms: dict[Queue, int | None]) -> None:
        self._looking = False
        before, self._raised = self._raised, {}
        for queue, age_ms in ages_ms.items():
            if queue in self._engine.broker.watched_queues:  # it may have been deleted meanwhile
                self._raised |= self._at_limit(queue, age_ms or 0, before)
        for group in self._engine.broker.tripped_groups:
            self._raised |= _tripped(group)
        for key, alarm in self._raised.items():
            if key not in before:
                self.on_raised(alarm)
        for key, alarm in before.items():
            if key not in self._raised:
                self.on_released(alarm)

    def _at_limit(self, queue: Queue, age_ms: int, before: dict[Key, Alarm]) -> Iterator[tuple[Key, Alarm]]:
        settings, now_ms = queue.settings, self._engine.clock_ms()
        messages = needed_messages(queue) if settings.alarm_messages else 0
        for what, value, limit in (
            (MESSAGES, messages, settings.alarm_messages),
            (AGE_MS, age_ms, settings.alarm_age_ms),
        ):
            known = before.get((queue.number, 0, what))
            low = limit - limit // HYSTERESIS_DIVISOR if known else limit
            if limit and value >= low:
                since_ms = known.since_ms if known else now_ms
                yield (queue.number, 0, what), Alarm(queue.name, None, what, value, limit, since_ms)


def _tripped(group: Group) -> Iterator[tuple[Key, Alarm]]:
    breaker, queue = group.breaker, group.queue
    if breaker is not None:
        alarm = Alarm(queue.name, group.name, BREAKER, breaker.failed_count, breaker.failures, breaker.since_ms)
        yield (queue.number, group.number, BREAKER), alarm
