import dataclasses
from pathlib import Path

import pytest
from examples.stdlib_index.check import Verdict, compare, handed_over, plain_index
from examples.stdlib_index.extract import FileIndex
from examples.stdlib_index.library import Library
from examples.stdlib_index.pipeline import Collected


@pytest.fixture
def plain(tmp_path: Path) -> dict[str, FileIndex]:
    for name in ("a.py", "b.py", "c.py"):
        (tmp_path / name).write_text(f"import {name[0]}\n")
    return {record.file: record for record in plain_index(Library(tmp_path, ["a.py", "b.py", "c.py"], 0))}


def deliver(collected: Collected, record: FileIndex, offset: int, worker: str = "worker-1", attempt: int = 1) -> None:
    headers = {"file": record.file, "worker": worker, "attempt": attempt, "failures": attempt - 1}
    collected.add(offset, record.encode(), headers)


def collect_all(plain: dict[str, FileIndex]) -> Collected:
    collected = Collected()
    for offset, record in enumerate(plain.values()):
        deliver(collected, record, offset)
    return collected


def failed(verdicts: list[Verdict]) -> list[str]:
    return [verdict.claim for verdict in verdicts if not verdict.holds]


def test_an_index_that_came_through_whole_passes(plain: dict[str, FileIndex]) -> None:
    assert failed(compare(plain, collect_all(plain))) == []


def test_a_lost_file_is_named(plain: dict[str, FileIndex]) -> None:
    collected = collect_all(plain)
    del collected.records["b.py"]
    verdicts = compare(plain, collected)
    assert failed(verdicts) == ["every file was processed, nothing lost"]
    assert verdicts[0].detail == "2 of 3 files: b.py"


def test_an_invented_file_is_named(plain: dict[str, FileIndex]) -> None:
    collected = collect_all(plain)
    deliver(collected, dataclasses.replace(plain["a.py"], file="ghost.py"), offset=9)
    assert failed(compare(plain, collected)) == ["nothing was invented"]


@pytest.mark.parametrize("change", [{"sha256": "0"}, {"lines": 7}, {"definitions": ()}, {"imports": ("z",)}])
def test_an_altered_record_is_found(plain: dict[str, FileIndex], change: dict[str, object]) -> None:
    collected = collect_all(plain)
    collected.records["a.py"] = dataclasses.replace(plain["c.py"], file="a.py", **change)  # type: ignore[arg-type]
    assert failed(compare(plain, collected)) == ["nothing was altered"]


def test_a_duplicate_that_says_something_else_counts_as_altered(plain: dict[str, FileIndex]) -> None:
    collected = collect_all(plain)
    deliver(collected, dataclasses.replace(plain["a.py"], lines=99), offset=9)
    assert failed(compare(plain, collected)) == ["nothing was altered"]


def test_an_empty_run_proves_nothing() -> None:
    assert failed(compare({}, Collected())) == ["every file was processed, nothing lost"]


def test_a_job_done_twice_is_counted_and_kept_once(plain: dict[str, FileIndex]) -> None:
    collected = collect_all(plain)
    deliver(collected, plain["a.py"], offset=9, worker="worker-2", attempt=2)
    assert (len(collected.records), collected.jobs_repeated, collected.jobs_redelivered) == (3, 1, 1)
    assert collected.workers["a.py"] == {"worker-1", "worker-2"}
    assert failed(compare(plain, collected)) == []


def test_a_result_redelivered_from_its_own_offset_is_not_a_repeated_job(plain: dict[str, FileIndex]) -> None:
    collected = collect_all(plain)
    deliver(collected, plain["a.py"], offset=0)
    assert (collected.results, collected.results_redelivered, collected.jobs_repeated) == (4, 1, 0)


def test_jobs_of_a_killed_worker_must_be_done_by_another(plain: dict[str, FileIndex]) -> None:
    collected = collect_all(plain)
    deliver(collected, plain["a.py"], offset=9, worker="worker-2")
    assert handed_over(["a.py"], "worker-1", collected).holds
    assert handed_over(["a.py", "b.py"], "worker-1", collected) == Verdict(
        "the jobs worker-1 held when it was killed were done by others", False, "1 of 2 jobs: b.py"
    )


def test_a_worker_killed_with_nothing_in_hand_proves_nothing() -> None:
    assert not handed_over([], "worker-1", Collected()).holds
