import pytest

from penstock.net.budget import ABORT_SLACK_BYTES, ANSWERS_BYTES, CONSUMERS_COUNTED_MAX, WriteBudget

PREFETCH_MAX = 1_000_000
REPLIES = 7_000
FRAME = 1_000


@pytest.fixture
def budget() -> WriteBudget:
    return WriteBudget(PREFETCH_MAX, REPLIES, FRAME)


def grant(budget: WriteBudget, consumer: int, prefetch_bytes: object, command: str = "consume") -> bool:
    rose = budget.asked(1, command, {"consumer": consumer, "prefetch_bytes": prefetch_bytes})
    budget.answered(1, granted=True)
    return rose


def test_without_consumers_only_answers_may_wait(budget: WriteBudget) -> None:
    assert budget.pause_bytes == ANSWERS_BYTES + FRAME
    assert budget.abort_bytes == ABORT_SLACK_BYTES + 2 * FRAME


def test_credit_counts_as_soon_as_it_is_asked_for(budget: WriteBudget) -> None:
    assert budget.asked(1, "consume", {"consumer": 1, "prefetch_bytes": 500}), "deliveries may be ahead of the answer"
    assert budget.asked(0, "consume", {"consumer": 2, "prefetch_bytes": 700}), "and some ask for no answer"
    assert budget.abort_bytes == ABORT_SLACK_BYTES + 2 * (FRAME + 1_200)


def test_granted_credit_raises_both_bounds(budget: WriteBudget) -> None:
    assert grant(budget, 1, 500)
    assert grant(budget, 2, 700)
    assert budget.pause_bytes == ANSWERS_BYTES + FRAME + 1_200
    assert budget.abort_bytes == ABORT_SLACK_BYTES + 2 * (FRAME + 1_200)


def test_refused_credit_is_free_for_others(budget: WriteBudget) -> None:
    grant(budget, 2, 300)
    for consumer in (1, 2):
        budget.asked(1, "consume", {"consumer": consumer, "prefetch_bytes": 500})
        budget.answered(1, granted=False)
    assert not grant(budget, 3, 400), "700 are taken of the 800 that were asked for at once"
    assert budget.pause_bytes == ANSWERS_BYTES + FRAME + 800


def test_the_bounds_do_not_sink_while_deliveries_may_wait(budget: WriteBudget) -> None:
    grant(budget, 1, 500)
    assert not grant(budget, 1, 100, "flow")
    budget.asked(2, "cancel", {"consumer": 1})
    assert budget.pause_bytes == ANSWERS_BYTES + FRAME + 500
    assert not grant(budget, 2, 400), "the credit of a cancelled consumer is free for others"


def test_credit_counts_up_to_the_server_s_cap(budget: WriteBudget) -> None:
    grant(budget, 1, 10 * PREFETCH_MAX)
    assert budget.pause_bytes == ANSWERS_BYTES + FRAME + PREFETCH_MAX


def test_many_consumers_do_not_lift_the_bounds_without_end(budget: WriteBudget) -> None:
    for consumer in range(100):
        grant(budget, consumer, PREFETCH_MAX)
    assert budget.pause_bytes == ANSWERS_BYTES + FRAME + CONSUMERS_COUNTED_MAX * PREFETCH_MAX


def test_an_open_reply_box_raises_both_bounds_once(budget: WriteBudget) -> None:
    for _ in range(2):
        budget.asked(1, "reply_open", {})
        budget.answered(1, granted=True)
    grant(budget, 1, 10 * PREFETCH_MAX)
    assert budget.pause_bytes == ANSWERS_BYTES + FRAME + PREFETCH_MAX + REPLIES
    assert budget.abort_bytes == ABORT_SLACK_BYTES + 2 * (FRAME + PREFETCH_MAX + REPLIES)


@pytest.mark.parametrize("nonsense", ["many", -5, None, 1.5])
def test_nonsense_counts_for_nothing(nonsense: object, budget: WriteBudget) -> None:
    grant(budget, 1, nonsense)
    assert budget.pause_bytes == ANSWERS_BYTES + FRAME
