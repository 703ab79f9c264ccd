"""Counting who needs a shared block."""

from __future__ import annotations

from array import array
from unittest.mock import patch

import pytest

from penstock.engine import shared as module
from penstock.engine.shared import SharedBlocks


def test_a_block_ends_with_its_last_queue() -> None:
    shared = SharedBlocks()
    shared.add(10, 3)
    assert [shared.release(10) for _ in range(3)] == [False, False, True]
    assert len(shared) == 0


def test_a_block_that_is_not_shared_ends_with_its_only_queue() -> None:
    shared = SharedBlocks()
    shared.add(10, 2)
    assert shared.release(9)
    assert shared.release(11)
    assert len(shared) == 1


def test_more_queues_than_have_it_cannot_be_done_with_it() -> None:
    shared = SharedBlocks()
    shared.add(10, 1)
    shared.release(10)
    with pytest.raises(AssertionError, match="as many queues"):
        shared.release(10)


def test_positions_only_grow() -> None:
    shared = SharedBlocks()
    shared.add(10, 2)
    with pytest.raises(AssertionError, match="grows at its end"):
        shared.add(10, 2)


def test_what_is_over_is_swept_out() -> None:
    shared = SharedBlocks()
    with patch.object(module, "_SWEEP_ENTRIES_MIN", 2):
        for position in range(6):
            shared.add(position, 1)
        for position in (0, 2, 4, 5):
            assert shared.release(position)
        assert array("Q", [1, 3]).tobytes() == shared.positions()
        assert shared.release(3)
        assert len(shared) == 1


def test_recovery_counts_again_and_forgets_what_is_shared_no_more() -> None:
    before = SharedBlocks()
    for position in (1, 2, 3):
        before.add(position, 2)
    after = SharedBlocks()
    after.restore(before.positions())
    after.add(4, 0)
    assert [after.claim(position) for position in (1, 1, 2, 4, 4, 4, 99)] == [
        True,
        False,
        True,
        True,
        False,
        False,
        True,
    ]
    after.settle()
    assert len(after) == 2
    assert [after.release(1), after.release(1), after.release(2)] == [False, True, True]
