from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.dedup import DIGEST_BYTES, NO_ID, DedupWindow, digest_of, split_digests

A, B, C, D = (digest_of(name) for name in "ABCD")


def known(window: DedupWindow, now_ms: int, digests: Sequence[bytes] = (A, B, C, D)) -> list[int | None]:
    live_from = window.live_from(now_ms)
    return [window.find(digest, live_from) for digest in digests]


def test_an_id_is_known_with_its_offset_for_the_window_s_time() -> None:
    window = DedupWindow(1000, 10)
    window.note(7, A + B, 5000)
    assert known(window, 5000) == [7, 8, None, None]
    assert known(window, 5999) == [7, 8, None, None]
    assert known(window, 6000) == [None, None, None, None]


def test_ids_of_different_times_end_at_different_times() -> None:
    window = DedupWindow(1000, 10)
    window.note(0, A, 1000)
    window.note(1, B, 1000)
    window.note(2, C, 1500)
    window.note(3, D, 1900)
    assert known(window, 2000) == [None, None, 2, 3]
    assert known(window, 2500) == [None, None, None, 3]
    assert len(window) == 4, "what is too old leaves only when another is noted"


def test_the_count_is_hard() -> None:
    window = DedupWindow(1 << 40, 2)
    window.note(0, A + B, 1)
    window.note(2, C, 2)
    assert known(window, 2) == [None, 1, 2, None]
    window.note(3, A + D + NO_ID, 2)
    assert known(window, 2) == [3, None, None, 4]
    assert len(window) == 2


def test_an_id_that_was_forgotten_may_be_noted_again() -> None:
    window = DedupWindow(1000, 10)
    window.note(0, A, 0)
    window.note(1, A, 1000)
    assert known(window, 1000, [A]) == [1]


def test_messages_without_ids_take_offsets_and_no_room() -> None:
    window = DedupWindow(1000, 2)
    window.note(5, NO_ID + A + NO_ID + B, 0)
    assert known(window, 0) == [6, 8, None, None]
    assert window.is_new([NO_ID, NO_ID])


@pytest.mark.parametrize(
    ("digests", "new"), [([C, D], True), ([], True), ([C, A], False), ([C, C], False), ([NO_ID, NO_ID, C], True)]
)
def test_a_block_is_new_when_no_id_is_known_or_there_twice(digests: list[bytes], new: bool) -> None:
    window = DedupWindow(1000, 10)
    window.note(0, A + B, 0)
    assert window.is_new(digests) is new


def test_ids_of_any_text_have_digests_and_no_two_the_same() -> None:
    ids = ["", "a", "a ", "\N{SNOWMAN}", "\udc80", "x" * 100_000]
    digests = [digest_of(one) for one in ids]
    assert len(set(digests)) == len(ids)
    assert {len(one) for one in digests} == {DIGEST_BYTES}
    assert digest_of("a").hex() == "130e9c3779649669bdfb0a7011aa09", "kept on disk: may not change"


def test_what_leaves_is_cut_off_in_the_end() -> None:
    window = DedupWindow(1000, 100)
    for number in range(3000):
        window.note(number, digest_of(str(number)), number)
    digests, noted, times, firsts = window.columns()
    assert (len(digests) // DIGEST_BYTES, len(noted) // 8, len(times) // 8, len(firsts) // 8) == (100, 100, 100, 100)
    assert len(window._noted) < 2000
    assert len(window._mark_times) < 2000
    assert known(window, 2999, [digest_of("2900"), digest_of("2899")]) == [2900, None]


def test_a_window_comes_back_from_its_columns() -> None:
    """I18."""
    window = DedupWindow(1000, 3)
    window.note(0, A + B, 0)
    window.note(2, C + D, 600)
    again = DedupWindow(1000, 3)
    again.note(9, A, 0)
    again.restore(window.columns())
    assert again.columns() == window.columns()
    for now_ms in (600, 1000, 1600):
        assert known(again, now_ms) == known(window, now_ms)
    for one in (window, again):
        one.note(4, A, 1100)
    assert again.columns() == window.columns()


def test_an_empty_window_comes_back() -> None:
    window = DedupWindow(1000, 3)
    window.restore(DedupWindow(1000, 3).columns())
    assert known(window, 0) == [None] * 4


_notes = st.lists(st.tuples(st.integers(0, 3), st.lists(st.integers(0, 9), max_size=4, unique=True)), max_size=60)


@given(notes=_notes, window_ms=st.sampled_from([1, 2, 5, 100]), count_max=st.sampled_from([1, 2, 5, 100]))
def test_a_window_knows_what_a_list_of_everything_says(
    notes: list[tuple[int, list[int]]], window_ms: int, count_max: int
) -> None:
    window = DedupWindow(window_ms, count_max)
    everything: list[tuple[bytes, int, int]] = []
    now_ms = offset = 0

    def wanted() -> dict[bytes, int]:
        return {digest: at for digest, at, time_ms in everything[-count_max:] if time_ms > now_ms - window_ms}

    for pause_ms, ids in notes:
        now_ms += pause_ms
        new = [digest for digest in map(_digest, ids) if digest not in wanted()]
        if new:
            window.note(offset, b"".join(new), now_ms)
            everything += [(digest, offset + index, now_ms) for index, digest in enumerate(new)]
            offset += len(new)
        live_from = window.live_from(now_ms)
        found = {_digest(one): window.find(_digest(one), live_from) for one in range(10)}
        assert {digest: at for digest, at in found.items() if at is not None} == wanted()
    assert split_digests(window.columns()[0]) == [digest for digest, _, _ in everything[-count_max:]][-len(window) :]


_digest: Callable[[int], bytes] = lambda number: digest_of(str(number))  # noqa: E731


def test_an_id_that_counts_in_both_windows_counts_on() -> None:
    window = DedupWindow(1000, 10)
    for offset, (digest, time_ms) in enumerate(((A, 1000), (B, 1500), (C, 1900))):
        window.note(offset, digest, time_ms)
    window.alter(5000, 10, 2100)
    assert known(window, 2100) == [None, 1, 2, None], "A had left the window"
    assert known(window, 6499) == [None, 1, 2, None]
    window.alter(300, 10, 2100)
    assert known(window, 2100) == [None, None, 2, None]
    assert len(window) == 1
    assert known(window, 2200) == [None, None, None, None]


def test_a_smaller_count_keeps_the_latest() -> None:
    window = DedupWindow(1000, 10)
    window.note(0, A + B + C, 1000)
    window.alter(1000, 2, 1000)
    assert known(window, 1000) == [None, 1, 2, None]
    window.note(3, D, 1001)
    assert known(window, 1001) == [None, None, 2, 3]
