from hypothesis import given
from hypothesis import strategies as st

from penstock.core.facts import AskedRun
from penstock.core.operands import PRIORITY_DEFAULT
from penstock.core.terms import ScheduledTerms, Terms

NOW_MS = 1_700_000_000_000


def awake(ttl_ms: int = 0) -> Terms:
    terms = Terms(ttl_ms)
    terms.wake()
    return terms


def test_what_is_due_is_let_go_of_once_its_time_has_come() -> None:
    terms = awake()
    terms.arrived(0, 5, NOW_MS, 1000)
    terms.arrived(5, 7, NOW_MS, 0)
    terms.arrived(7, 9, NOW_MS, 500)
    assert terms.take_due(NOW_MS + 499, 1000)[0] == []
    assert terms.take_due(NOW_MS + 500, 1000)[0] == [(7, 9)]
    assert terms.live_until(5, 9, NOW_MS + 500) == 7
    assert terms.live_until(0, 5, NOW_MS + 500) == 5
    assert list(terms.due_within(0, 9, NOW_MS + 1000)) == [(0, 5), (7, 9)]
    assert terms.take_due(NOW_MS + 1000, 1000)[0] == [(0, 5)]
    assert terms.next_ms() is None


def test_due_times_are_rounded_up_so_that_neighbours_share_one() -> None:
    terms = awake(1000)
    terms.arrived(0, 1, NOW_MS + 1)
    terms.arrived(1, 2, NOW_MS + 100)
    terms.arrived(2, 3, NOW_MS + 101)
    assert terms.take_due(NOW_MS + 1099, 1000)[0] == []
    assert terms.take_due(NOW_MS + 1100, 1000)[0] == [(0, 2)]


def test_messages_that_join_a_span_that_was_let_go_of_are_found() -> None:
    """Scheduled messages may enter the log long after they were due."""
    terms = awake(100)
    terms.arrived(0, 1, NOW_MS)
    assert terms.take_due(NOW_MS + 5000, 1000)[0] == [(0, 1)]
    terms.arrived(1, 2, NOW_MS)
    assert terms.take_due(NOW_MS + 5000, 1000)[0] == [(0, 2)]


def test_a_message_that_asks_for_less_than_its_queue_gives_is_due_earlier() -> None:
    terms = awake(1000)
    terms.arrived(0, 4, NOW_MS)
    terms.arrived(0, 2, NOW_MS, 200)
    terms.arrived(2, 4, NOW_MS, 0)
    assert terms.take_due(NOW_MS + 200, 1000)[0] == [(0, 2)]
    assert (2, 4) in terms.take_due(NOW_MS + 1000, 1000)[0]
    assert terms.next_ms() is None


def test_until_it_is_awake_nothing_is_due_and_then_everything_is_known() -> None:
    terms = Terms(100)
    terms.arrived(0, 3, NOW_MS)
    assert terms.take_due(NOW_MS + 100, 10) == ([], 10)
    assert terms.next_ms() is None
    terms.wake()
    terms.wake()
    assert terms.take_due(NOW_MS + 100, 1000)[0] == [(0, 3)]


def test_a_snapshot_restores_due_times_and_priorities() -> None:
    terms = Terms(0)
    terms.arrived(0, 3, NOW_MS, 500)
    terms.prioritise(1, 2, 9)
    restored = Terms(0)
    restored.restore(terms.columns(0))
    assert restored.columns(0) == terms.columns(0)
    restored.wake()
    assert restored.take_due(NOW_MS + 500, 1000)[0] == [(0, 3)]
    assert restored.priorities is not None
    assert not restored.trim(1)
    assert restored.trim(2)
    assert restored.priorities is None


RUNS = st.lists(
    st.builds(AskedRun, st.sampled_from([0, 5]), st.integers(1, 4), st.sampled_from([4, 9])), min_size=1, max_size=8
)


@given(blocks=st.lists(RUNS, max_size=5), first=st.integers(1, 60), size=st.integers(1, 20))
def test_what_scheduled_messages_ask_for_is_kept_by_id(blocks: list[list[AskedRun]], first: int, size: int) -> None:
    terms, naive, number = ScheduledTerms(), [(0, PRIORITY_DEFAULT)] * 300, 1
    for runs in blocks:
        terms.note(number, runs)
        for ttl_ms, count, priority in runs:
            naive[number : number + count] = [(ttl_ms, priority)] * count
            number += count
        number += 2
    restored = ScheduledTerms()
    restored.restore(terms.columns(0))
    wanted = naive[first : first + size]
    for one in (terms, restored):
        found = [(run.ttl_ms, run.priority) for run in one.runs(first, first + size) for _ in range(run.message_count)]
        assert found == (wanted if any(w != (0, PRIORITY_DEFAULT) for w in wanted) else [])
