"""The judge is judged: every kind of wrong history must be found, and a right one must pass."""

from tests.process.checker import check
from tests.process.history import (
    AckConfirmed,
    Acked,
    AckRefused,
    Confirmed,
    Delivered,
    Event,
    MessageId,
    Published,
    Unknown,
)

ONE, TWO = MessageId(1, 1), MessageId(1, 2)
BODY = b"checksum"


def delivered(
    message: MessageId = ONE,
    offset: int = 0,
    attempt: int = 1,
    life: int = 0,
    consumer: str = "c",
    checksum: bytes = BODY,
) -> Delivered:
    return Delivered(consumer, life, message, offset, attempt, checksum)


def stored(message: MessageId = ONE, offset: int | None = 0) -> list[Event]:
    return [Published(message, BODY), Confirmed(message, offset)]


def done(delivery: Delivered) -> list[Event]:
    return [delivery, Acked(delivery), AckConfirmed(delivery)]


def broken(events: list[Event]) -> list[str]:
    return [violation.partition(":")[0] for violation in check(events)]


def test_a_message_confirmed_delivered_and_acknowledged_is_in_order() -> None:
    assert check([*stored(), *done(delivered())]) == []


def test_a_redelivery_after_a_kill_is_in_order() -> None:
    first = delivered()
    assert check([*stored(), first, Acked(first), *done(delivered(attempt=1, life=1))]) == []


def test_an_unknown_outcome_may_be_there_or_not() -> None:
    unknown: list[Event] = [Published(ONE, BODY), Unknown(ONE, "connection lost")]
    assert check(unknown) == []
    assert check([*unknown, *done(delivered())]) == []


def test_a_confirmed_message_that_is_never_delivered_is_a_loss() -> None:
    assert broken(stored()) == ["I1"]


def test_a_delivered_message_that_is_neither_acknowledged_nor_brought_back_is_a_loss() -> None:
    assert broken([*stored(), delivered()]) == ["I1"]


def test_a_message_whose_acknowledgement_was_refused_must_come_back() -> None:
    first = delivered()
    refused: list[Event] = [*stored(), first, Acked(first), AckRefused(first)]
    assert broken(refused) == ["I1"]
    assert check([*refused, *done(delivered(attempt=2))]) == []


def test_a_late_refusal_of_an_old_delivery_does_not_undo_the_new_one() -> None:
    old, new = delivered(), delivered(attempt=2, life=1)
    assert check([*stored(), old, *done(new), Acked(old), AckRefused(old)]) == []


def test_a_delivery_after_a_confirmed_acknowledgement_is_a_resurrection() -> None:
    again = delivered(attempt=2, life=1)
    assert broken([*stored(), *done(delivered()), again, Acked(again)]) == ["I4"]


def test_another_body_is_an_alteration() -> None:
    assert broken([*stored(), *done(delivered(checksum=b"other"))]) == ["I6"]


def test_a_message_nobody_published_is_an_invention() -> None:
    assert broken(done(delivered())) == ["I6"]


def test_two_offsets_for_one_message_mean_it_was_stored_twice() -> None:
    assert "I6" in broken([*stored(), *done(delivered(offset=0)), *done(delivered(offset=5, attempt=2))])
    assert broken([*stored(offset=1), *done(delivered(offset=0))]) == ["I6"]


def test_one_offset_for_two_messages_is_a_position_used_twice() -> None:
    assert "I6" in broken([*stored(ONE, 0), *stored(TWO, 0), *done(delivered(ONE, 0)), *done(delivered(TWO, 0))])


def test_an_offset_a_confirm_no_longer_knew_is_learned_from_the_delivery() -> None:
    assert check([*stored(offset=None), *done(delivered(offset=3))]) == []


def test_offsets_of_one_producer_against_its_order_are_found() -> None:
    events = [*stored(ONE, 1), *stored(TWO, 0), *done(delivered(TWO, 0)), *done(delivered(ONE, 1))]
    assert broken(events) == ["I7"]


def test_first_deliveries_to_one_consumer_against_offset_order_are_found() -> None:
    events = [*stored(ONE, 0), *stored(TWO, 1), *done(delivered(TWO, 1)), *done(delivered(ONE, 0))]
    assert broken(events) == ["I7"]


def test_first_deliveries_to_two_consumers_or_in_two_lives_have_no_common_order() -> None:
    both = [*stored(ONE, 0), *stored(TWO, 1)]
    assert check([*both, *done(delivered(TWO, 1)), *done(delivered(ONE, 0, consumer="other"))]) == []
    assert check([*both, *done(delivered(TWO, 1)), *done(delivered(ONE, 0, life=1))]) == []


def test_a_redelivery_out_of_offset_order_is_in_order() -> None:
    both = [*stored(ONE, 0), *stored(TWO, 1)]
    assert check([*both, delivered(ONE, 0), *done(delivered(TWO, 1)), *done(delivered(ONE, 0, attempt=2))]) == []


def test_an_attempt_that_does_not_grow_within_a_life_is_found() -> None:
    first, second = delivered(attempt=2), delivered(attempt=2)
    assert broken([*stored(), first, Acked(first), AckRefused(first), *done(second)]) == ["I8"]


def test_a_publish_without_an_outcome_or_with_two_is_found() -> None:
    assert broken([Published(ONE, BODY), *done(delivered())]) == ["outcome"]
    assert broken([*stored(), Unknown(ONE, "?"), *done(delivered())]) == ["outcome"]


def test_a_violation_names_the_message_and_the_invariant() -> None:
    assert check(stored(offset=7)) == ["I1: message 1 of producer 1 was confirmed at offset 7 and never delivered"]
