"""Deliberately broken breakers (T27)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Final
from unittest.mock import patch

from penstock.core import delivery
from penstock.core.breaker import CLOSED, Breaker


@contextmanager
def breaker_never_opens() -> Iterator[None]:
    """Whatever fails, everything is handed out."""
    with patch.object(Breaker, "failed", lambda *_: False):
        yield


@contextmanager
def breaker_does_not_wait() -> Iterator[None]:
    """An open breaker tries again at once."""
    original = Breaker._open

    def _open(self: Breaker, now_ms: int) -> None:
        original(self, now_ms)
        self.retry_ms = now_ms

    with patch.object(Breaker, "_open", _open):
        yield


@contextmanager
def breaker_waits_no_longer() -> Iterator[None]:
    """A trial run that failed does not double the wait."""
    original = Breaker._open

    def _open(self: Breaker, now_ms: int) -> None:
        self._next_wait_ms = self._wait_ms
        original(self, now_ms)

    with patch.object(Breaker, "_open", _open):
        yield


@contextmanager
def trial_runs_one_too_long() -> Iterator[None]:
    """Each hands out a message more."""
    original = Breaker.allowed

    def allowed(self: Breaker) -> int:
        return original(self) and original(self) + 1

    with patch.object(Breaker, "allowed", allowed), patch.object(Breaker, "handed_out", _note):
        yield


def _note(self: Breaker, part: Any) -> None:
    self._run.append(part)
    self._handed_out += part.end - part.first


@contextmanager
def trial_runs_overlap() -> Iterator[None]:
    """The next one does not wait for what the one before handed out."""
    with patch.object(Breaker, "_is_over", lambda _: True):
        yield


@contextmanager
def failed_trial_goes_on() -> Iterator[None]:
    """A failure of a trial run changes nothing."""
    original = Breaker.failed

    def failed(self: Breaker, *rest: int) -> bool:
        return self.state == CLOSED and original(self, *rest)

    with patch.object(Breaker, "failed", failed):
        yield


@contextmanager
def first_trial_closes() -> Iterator[None]:
    """One message that went well is proof enough."""
    original = Breaker._begin_run

    def begin_run(self: Breaker, size: int) -> None:
        original(self, size)
        if size > 1:
            self.close()

    with patch.object(Breaker, "_begin_run", begin_run):
        yield


@contextmanager
def given_back_is_done() -> Iterator[None]:
    """A trial run succeeds with what was given back."""
    with patch.object(Breaker, "given_back", lambda *_: None):
        yield


@contextmanager
def nobody_looks_again() -> Iterator[None]:
    """What an open breaker holds back is forgotten."""
    with patch.object(delivery, "_look_again", lambda *_: None):
        yield


Mutants = tuple[Callable[[], AbstractContextManager[None]], ...]

BREAKER_MUTANTS: Final[Mutants] = (
    breaker_never_opens,
    breaker_does_not_wait,
    trial_runs_one_too_long,
    failed_trial_goes_on,
    nobody_looks_again,
)
RARE_BREAKER_MUTANTS: Final[Mutants] = (
    breaker_waits_no_longer,
    trial_runs_overlap,
    first_trial_closes,
    given_back_is_done,
)
"""What they do wrong takes longer trials than a seed of the whole broker mostly has: the model of breakers alone
catches them, as it does the others.
"""
