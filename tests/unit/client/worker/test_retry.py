"""What a failure means: again, later, or never."""

from datetime import timedelta
from typing import Any

import pytest

from penstock_client.received import delay_ms
from penstock_client.wire.entries import NO_DELAY
from penstock_client.worker import InvalidPayload, Reject, Retry, RetryLater, Verdict


def raised(error: Exception) -> Exception:
    """An exception with a traceback."""
    try:
        raise error
    except Exception as caught:  # noqa: BLE001  whatever the test made
        return caught


def test_an_exception_is_tried_again_after_the_queue_s_backoff_and_told_with_its_traceback() -> None:
    outcome = Retry().outcome(raised(ValueError("no stock")), 1)
    assert (outcome.verdict, outcome.delay) == (Verdict.RETRIED, None)
    assert outcome.reason.startswith("ValueError: no stock\n\nTraceback (most recent call last):\n")
    assert "raise error" in outcome.reason
    assert isinstance(outcome.error, ValueError)


def test_what_a_handler_says_on_purpose_has_no_traceback() -> None:
    assert Retry().outcome(raised(Reject("not ours")), 1)[:1] == (Verdict.REJECTED,)
    assert Retry().outcome(raised(Reject("not ours")), 1).reason == "not ours"
    assert Retry().outcome(raised(Reject()), 1).reason == "Reject"
    later = Retry().outcome(raised(RetryLater(90)), 1)
    assert (later.verdict, later.delay, later.reason) == (Verdict.RETRIED, 90, "again in 90 s")
    assert Retry().outcome(raised(RetryLater(2.5, "rate limited")), 1).reason == "rate limited"


def test_saying_so_comes_before_every_rule() -> None:
    retry = Retry(on=KeyError, never=Exception, delay=lambda failures, error: 1.0)
    assert retry.outcome(raised(RetryLater(90)), 1).delay == 90
    assert Retry(invalid=True).outcome(raised(Reject("no")), 1).verdict is Verdict.REJECTED


@pytest.mark.parametrize(
    ("retry", "error", "verdict"),
    [
        (Retry(on=OSError), ConnectionError(), Verdict.RETRIED),
        (Retry(on=OSError), ValueError(), Verdict.REJECTED),
        (Retry(on=(OSError, KeyError)), KeyError(), Verdict.RETRIED),
        (Retry(never=ValueError), UnicodeError(), Verdict.REJECTED),
        (Retry(never=(ValueError, KeyError)), OSError(), Verdict.RETRIED),
        (Retry(on=OSError, never=ConnectionError), ConnectionResetError(), Verdict.REJECTED),
        (Retry(), InvalidPayload("bad"), Verdict.REJECTED),
        (Retry(invalid=True), InvalidPayload("bad"), Verdict.RETRIED),
        (Retry(invalid=True, on=OSError), InvalidPayload("bad"), Verdict.REJECTED),
    ],
)
def test_rules_are_by_kind_of_exception(retry: Retry, error: Exception, verdict: Verdict) -> None:
    assert retry.outcome(raised(error), 1).verdict is verdict


def test_a_delay_may_depend_on_how_often_it_failed_and_on_what_failed() -> None:
    retry = Retry(delay=lambda failures, error: None if isinstance(error, KeyError) else 10.0 * failures)
    assert retry.outcome(raised(OSError()), 3).delay == 30
    assert retry.outcome(raised(KeyError()), 3).delay is None


def test_an_exception_that_says_much_keeps_its_name_and_the_end_of_its_traceback() -> None:
    def even(levels: int) -> None:
        if not levels:
            raise ValueError("the end")
        odd(levels - 1)

    def odd(levels: int) -> None:
        even(levels - 1)

    try:
        even(200)
    except ValueError as error:
        reason = Retry().outcome(error, 1).reason
    head, _, rest = reason.partition("\n\n")
    assert head == "ValueError: the end"
    assert len(reason.encode()) <= 4096
    assert reason.endswith("ValueError: the end\n")
    assert rest.startswith(("Traceback", "...\n"))


def test_a_message_that_fills_a_reason_leaves_its_traceback_out() -> None:
    reason = Retry().outcome(raised(ValueError("x" * 5000)), 1).reason
    assert reason == "ValueError: " + "x" * 5000


class Speechless(Exception):
    def __str__(self) -> str:
        raise LookupError("words")


def test_an_exception_that_cannot_say_what_it_is_is_a_failure_like_any_other() -> None:
    reason = Retry().outcome(raised(Speechless()), 1).reason
    assert reason.startswith("Speechless: (what it says cannot be told: LookupError)\n\n")
    meant = Retry(never=(), on=Speechless).outcome(type("Never", (Reject, Speechless), {})(), 1)
    assert meant.verdict is Verdict.REJECTED


@pytest.mark.parametrize("delay", [lambda failures, error: {}[failures], lambda failures, error: "soon"])
def test_a_delay_that_cannot_be_told_is_the_failure(delay: Any) -> None:
    outcome = Retry(delay=delay).outcome(raised(OSError()), 1)
    assert (outcome.verdict, outcome.delay) == (Verdict.RETRIED, None)
    assert outcome.reason.startswith(("KeyError: 1", "ValueError: could not convert"))


def test_a_delay_without_end_is_the_longest_there_is() -> None:
    assert (delay_ms(float("inf")), delay_ms(float("nan")), delay_ms(-1)) == (NO_DELAY - 1, 0, 0)
    with pytest.raises(TypeError):
        RetryLater(timedelta(1), "later")  # type: ignore[arg-type]
