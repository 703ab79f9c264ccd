import random

from hypothesis import given
from hypothesis import strategies as st

from penstock.core.runs import OutstandingRuns, Run, RunState


def runs_of(*states: tuple[int, int, int, int]) -> OutstandingRuns:
    runs = OutstandingRuns()
    runs.restore([RunState(*state, 0, False) for state in states])
    return runs


def test_fresh_neighbours_are_one_run() -> None:
    runs = OutstandingRuns()
    runs.append_fresh(0, 5)
    runs.append_fresh(5, 9)
    assert runs.states() == [RunState(0, 9, 1, 0, 0, False)]
    assert len(runs) == 1


def test_fresh_messages_do_not_join_what_was_tried_twice() -> None:
    runs = runs_of((0, 5, 2, 0))
    runs.append_fresh(5, 9)
    runs.append_fresh(12, 13)
    assert [run.state()[:3] for run in runs] == [(0, 5, 2), (5, 9, 1), (12, 13, 1)]


def test_an_offset_is_found_in_its_run_only() -> None:
    runs = runs_of((2, 5, 1, 0), (8, 9, 3, 1))
    assert [run and run.first for run in map(runs.find, range(10))] == [
        None, None, 2, 2, 2, None, None, None, 8, None,
    ]  # fmt: skip


def test_removing_counts_what_was_there() -> None:
    runs = runs_of((0, 10, 1, 0), (20, 30, 1, 0))
    assert runs.remove(0, 3) == 3, "from the front"
    assert runs.remove(5, 6) == 1, "from the middle"
    assert runs.remove(8, 25) == 7, "across a gap"
    assert runs.remove(0, 5) == 2, "some of it gone before"
    assert runs.remove(40, 50) == 0
    assert [run[:2] for run in runs.states()] == [(6, 8), (25, 30)]
    assert runs.message_count() == 7


def test_what_is_handed_out_again_joins_what_has_the_same_history() -> None:
    runs = runs_of((0, 3, 1, 0), (3, 6, 2, 0))
    runs.handed_out(0, 3)
    assert runs.states() == [RunState(0, 6, 2, 0, 0, False)]
    assert len(runs) == 1


def test_a_failure_keeps_its_due_time_until_the_next_hand_out() -> None:
    runs = runs_of((0, 3, 1, 0))
    runs.failed(1, 2, 5000, False)
    assert runs.states()[1] == RunState(1, 2, 1, 1, 5000, False)
    runs.handed_out(1, 2)
    assert runs.states()[1] == RunState(1, 2, 2, 1, 0, False)
    runs.failed(2, 3, 0, True)
    assert runs.states()[2].dying


def test_states_are_the_same_for_the_same_state() -> None:
    """I18: how runs came to be split is not part of the state."""
    split, whole = runs_of((0, 2, 1, 0), (2, 6, 1, 0)), runs_of((0, 6, 1, 0))
    assert split.states() == whole.states()
    assert len(split) == 2, "reading the state does not change it"


def test_runs_join_only_where_they_touch() -> None:
    assert Run(0, 3, 1, 0).joins(Run(3, 5, 1, 0))
    assert not Run(0, 3, 1, 0).joins(Run(4, 5, 1, 0))
    assert not Run(0, 3, 1, 0).joins(Run(3, 5, 1, 1))


@given(seed=st.integers(0, 1 << 32))
def test_runs_equal_a_dictionary_of_messages(seed: int) -> None:
    """I8, I12, against the naive form."""
    rng = random.Random(seed)
    runs, naive, cursor = OutstandingRuns(), dict[int, list[int]](), 0
    for _ in range(40):
        first = rng.randrange(cursor + 1)
        end = min(cursor, first + rng.randrange(8))
        held = all(offset in naive for offset in range(first, end)) and first < end
        match rng.randrange(4):
            case 0:
                count = rng.randint(1, 6)
                runs.append_fresh(cursor, cursor + count)
                naive.update({cursor + index: [1, 0, 0] for index in range(count)})
                cursor += count + rng.randrange(2)
            case 1 if first < end:
                assert runs.remove(first, end) == sum(
                    naive.pop(offset, None) is not None for offset in range(first, end)
                )
            case 2 if held:
                runs.handed_out(first, end)
                for offset in range(first, end):
                    naive[offset] = [naive[offset][0] + 1, naive[offset][1], 0]
            case 3 if held:
                runs.failed(first, end, 77, False)
                for offset in range(first, end):
                    naive[offset] = [naive[offset][0], naive[offset][1] + 1, 77]
    found = {o: [run.attempts, run.failures, run.due_ms] for run in runs for o in range(run.first, run.end)}
    assert found == naive
    assert runs.firsts == [run.first for run in runs]
