"""A breaker while its downstream comes and goes: core against the shadow, in every mode (decision 0018).

``PENSTOCK_BREAKER_SEEDS`` says how many runs of each mode.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest
from tests.model.core import CoreUnderTest, Publishing
from tests.sim.breaker_mutants import BREAKER_MUTANTS, RARE_BREAKER_MUTANTS
from tests.sim.violation import Violation

from penstock.core.breaker import TRIAL
from penstock.core.group import Group
from penstock.core.session import Session
from penstock.core.values import ACK, MODES, NACK, REJECT, RELEASE, REQUEUE, GroupSettings, QueueSettings

SEEDS = int(os.environ.get("PENSTOCK_BREAKER_SEEDS", "60"))
_STEPS = 150
_DRAIN_STEPS_MAX = 3_000


class Outage:
    """One group with consumers whose downstream is there or not."""

    def __init__(self, seed: int, mode: str) -> None:
        self.rng = rng = random.Random(f"breaker {seed} {mode}")
        self.core = CoreUnderTest()
        longest_ms = rng.choice([0, 100, 2000])
        queue_settings = QueueSettings(
            lease_ms=rng.choice([300, 5000]),
            max_failures=0,
            backoff_min_ms=min(longest_ms, 100),
            backoff_max_ms=longest_ms,
            dead_letter="a",  # nothing dies
        )
        self.core.declare("a", queue_settings)
        self.queue = self.core.broker.names["a"]
        rate = rng.choice([None, None, 200.0])
        settings = GroupSettings(
            mode=mode,
            breaker_failures=rng.choice([1, 2, 5, 8]),
            breaker_wait_ms=rng.choice([10, 700]),
            rate_per_s=rate,
            rate_burst=4 if rate else None,
        )
        self.core.declare_group(self.queue, "work", settings, 0)
        self.group: Group = self.queue.group_names["work"]
        self.workers = [self._worker(number) for number in (1, 2)]
        self.sequence = 1
        self.is_up = True
        self.closings = self.longest_run = 0

    def _worker(self, number: int) -> Session:
        session = self.core.open_session()
        if number == 1:
            self.core.open_producer(session, None)
            self.core.open_route(session, 1, "a")
        self.core.consume(session, self.group, number, (self.rng.choice([1, 3, 20]), 1 << 30))
        return session

    def step(self) -> None:
        """Something happens."""
        rng = self.rng
        kind = rng.random()
        if kind < 0.15:
            self.publish()
        elif kind < 0.2:
            self.is_up = not self.is_up
        elif kind < 0.35:
            self.core.pass_time(rng.choice([1, 10, 100, 700, 5000, 60_000]))
        elif kind < 0.37:
            self.core.pause(self.group, rng.random() < 0.3)
        else:
            self.work(rng.choice([ACK if self.is_up else NACK] * 12 + [ACK, NACK, REJECT, RELEASE, REQUEUE]))
        self.dispatch()

    def publish(self) -> None:
        """Some more messages."""
        uids = self.core.new_uids(self.rng.choice([1, 2, 9]))
        self.core.publish(self.workers[0], [Publishing(1, 0, self.sequence, uids)])
        self.sequence += len(uids)
        self.core.make_visible(self.queue.number, 99)

    def work(self, outcome: int) -> None:
        """A worker is done with some of what it holds."""
        worker = self.rng.choice(self.workers)
        held = [tag for lease in worker.leases for tag in range(lease.first_tag, lease.first_tag + lease.count)]
        if held:
            tags = sorted(self.rng.sample(held, min(len(held), self.rng.choice([1, 1, 2, 20]))))
            self.core.settle(worker, outcome, [(tag, tag) for tag in tags], 0, "why")

    def dispatch(self) -> None:
        """Hand out, and see how the breaker fares."""
        was_tripped = self.group.is_tripped
        self.core.dispatch()
        assert self.group.is_tripped == (self.group in self.core.broker.tripped_groups)
        self.closings += was_tripped and not self.group.is_tripped
        breaker = self.group.breaker
        assert breaker is not None
        if breaker.state == TRIAL:
            self.longest_run = max(self.longest_run, breaker.size)

    def drain(self) -> None:
        """The downstream is back: everything gets done, though nobody does anything but wait."""
        self.core.pause(self.group, paused=False)
        for _ in range(_DRAIN_STEPS_MAX):
            for worker in self.workers:
                self.core.settle(worker, ACK, [(1, worker.next_tag - 1)] if worker.next_tag > 1 else [], 0, "")
            self.dispatch()
            if not self.group.open_count:
                return
            if not self.group.leased_count:
                due_ms = self.group.next_due_ms()
                assert due_ms is not None, "I20: messages wait, and nobody will look at them again"
                self.core.pass_time(max(0, due_ms - self.core.now_ms))
                self.dispatch()
        raise AssertionError(f"I20: {self.group.open_count} messages are left")


def run_outage(seed: int, mode: str) -> Outage:
    """Return a run, with everything done in the end."""
    outage = Outage(seed, mode)
    for _ in range(_STEPS):
        outage.step()
    outage.drain()
    return outage


@pytest.mark.parametrize("mode", MODES)
def test_a_breaker_lets_through_what_it_may_and_everything_in_the_end(mode: str) -> None:
    closings, longest_run = 0, 0
    for seed in range(SEEDS):
        outage = run_outage(seed, mode)
        closings += outage.closings
        longest_run = max(longest_run, outage.longest_run)
    assert closings > SEEDS // 4, "breakers open and close, or this says nothing"
    assert longest_run >= 5


@pytest.mark.parametrize("mutant", BREAKER_MUTANTS + RARE_BREAKER_MUTANTS, ids=lambda mutant: mutant.__name__)
def test_every_broken_breaker_is_caught(mutant: Callable[[], AbstractContextManager[None]]) -> None:
    """T27."""
    for seed in range(SEEDS):
        try:
            with mutant():
                run_outage(seed, "shared")
        except (Violation, AssertionError):
            return
    pytest.fail(f"{mutant.__name__} lived through {SEEDS} seeds")
