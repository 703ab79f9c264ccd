"""Reply boxes: addresses that end with their session, and a bound on what waits for a peer that does not read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.replies import FULL, GONE, ReplyBoxes
from penstock.core.values import Refused

BYTES_MAX = 1000


@pytest.fixture
def boxes() -> ReplyBoxes:
    return ReplyBoxes(boot_epoch=7, bytes_max=BYTES_MAX)


def test_an_address_leads_to_the_session_that_opened_it(boxes: ReplyBoxes) -> None:
    addresses = [boxes.open(session) for session in (1, 2, 30)]

    assert [boxes.target(address) for address in addresses] == [1, 2, 30]
    assert len(boxes) == 3


def test_opening_again_finds_the_same_box_with_what_waits_in_it(boxes: ReplyBoxes) -> None:
    address = boxes.open(1)
    boxes.put(1, 400, 1)

    assert boxes.open(1) == address
    assert boxes.waiting_bytes(1) == 400


def test_the_address_of_a_session_that_ended_leads_nowhere(boxes: ReplyBoxes) -> None:
    address = boxes.open(1)
    boxes.open(2)
    boxes.close(1)

    assert boxes.target(address) is None


def test_the_address_of_an_earlier_boot_leads_nowhere(boxes: ReplyBoxes) -> None:
    later = ReplyBoxes(boot_epoch=8, bytes_max=BYTES_MAX)
    later.open(1)

    assert later.target(boxes.open(1)) is None


def test_a_session_without_a_box_has_no_address(boxes: ReplyBoxes) -> None:
    boxes.open(1)

    assert boxes.target("$reply.7.2") is None


def test_closing_a_session_that_never_asked_changes_nothing(boxes: ReplyBoxes) -> None:
    boxes.close(1)

    assert len(boxes) == 0


@pytest.mark.parametrize(
    "address",
    ["$reply.", "$reply.7", "$reply.7.", "$reply.7.1.1", "$reply..1", "$reply.7.01", "$reply.07.1", "$reply.7.+1",
     "$reply.7.-1", "$reply.7.1 ", "$reply.7.\u0661", "$reply.\u0667.1", "$reply.7.1\n", "$reply.7." + "1" * 4301],
)  # fmt: skip
def test_what_only_looks_like_an_address_leads_nowhere(boxes: ReplyBoxes, address: str) -> None:
    boxes.open(1)

    assert boxes.target(address) is None


@pytest.mark.parametrize("address", ["", "jobs", "$reply", "reply.7.1", "$REPLY.7.1"])
def test_what_is_no_reply_address_is_refused_by_name(boxes: ReplyBoxes, address: str) -> None:
    with pytest.raises(Refused, match="is not a reply address") as caught:
        boxes.target(address)

    assert caught.value.refusal.code == "bad-name"


def test_replies_beyond_the_bound_find_no_room_until_some_are_written(boxes: ReplyBoxes) -> None:
    boxes.open(1)

    assert boxes.put(1, 600, 1)
    assert boxes.put(1, 400, 1)
    assert not boxes.put(1, 1, 1)
    boxes.written(1, 999)
    assert boxes.put(1, 1, 1)
    assert not boxes.put(1, 1, 1)


def test_an_empty_box_takes_one_reply_however_large(boxes: ReplyBoxes) -> None:
    boxes.open(1)

    assert boxes.put(1, 50 * BYTES_MAX, 1)
    assert not boxes.put(1, 1, 1)
    boxes.written(1, 0)
    assert boxes.put(1, 1, 1)


def test_other_bytes_that_wait_do_not_count_as_replies(boxes: ReplyBoxes) -> None:
    boxes.open(1)
    boxes.put(1, 100, 1)
    boxes.written(1, 10**9)

    assert boxes.waiting_bytes(1) == 100


def test_one_full_box_leaves_the_others_alone(boxes: ReplyBoxes) -> None:
    boxes.open(1)
    boxes.open(2)
    boxes.put(1, BYTES_MAX, 1)

    assert not boxes.put(1, 1, 1)
    assert boxes.put(2, 1, 1)


def test_every_reply_is_counted_once_in_messages(boxes: ReplyBoxes) -> None:
    boxes.open(1)
    boxes.put(1, 10, 3)
    boxes.put(1, BYTES_MAX, 100)

    assert boxes.refuse(4, GONE) == GONE
    assert boxes.refuse(5, FULL) == FULL
    assert (boxes.delivered_count, boxes.gone_count, boxes.full_count) == (3, 4, 5)


@given(st.text(max_size=30), st.integers(0, 3))
def test_no_text_leads_to_a_session_but_its_own_address(tail: str, session: int) -> None:
    boxes = ReplyBoxes(boot_epoch=1, bytes_max=BYTES_MAX)
    own = {boxes.open(number): number for number in range(1, 4)}
    address = f"$reply.1.{session}{tail}"

    assert boxes.target(address) == own.get(address)


@given(st.lists(st.tuples(st.integers(1, 700), st.integers(0, 1500))))
def test_what_is_let_in_and_not_written_stays_within_the_bound(steps: list[tuple[int, int]]) -> None:
    boxes = ReplyBoxes(boot_epoch=1, bytes_max=BYTES_MAX)
    boxes.open(1)
    unwritten: list[int] = []
    for size, read in steps:
        while unwritten and sum(unwritten) > read:
            unwritten.pop(0)  # the peer has read some, in order
        if not boxes.put(1, size, 1):
            boxes.written(1, sum(unwritten))
            if not boxes.put(1, size, 1):
                assert unwritten
                assert sum(unwritten) + size > BYTES_MAX
                continue
        unwritten.append(size)
        assert sum(unwritten) <= BYTES_MAX
