"""T3: seeds of the simulator, the canaries that it must catch (T27), and that a seed is one history (I17, T23).

``PENSTOCK_SIM_SEEDS`` and ``PENSTOCK_SIM_OPERATIONS`` say how much; nightly is 100,000 x 2,000.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest
from tests.sim.mutants import MUTANTS
from tests.sim.runner import run
from tests.sim.violation import Violation

SEEDS = int(os.environ.get("PENSTOCK_SIM_SEEDS", "2000"))
OPERATIONS = int(os.environ.get("PENSTOCK_SIM_OPERATIONS", "500"))
_SEEDS_PER_TEST = 100
_MUTANT_SEEDS = 800


@pytest.mark.parametrize("first", range(1, SEEDS + 1, _SEEDS_PER_TEST))
def test_no_seed_breaks_an_invariant(first: int) -> None:
    for seed in range(first, min(first + _SEEDS_PER_TEST, SEEDS + 1)):
        try:
            run(seed, OPERATIONS)
        except Exception as error:
            error.add_note(f"replay: python -m tests.sim --seeds {seed} --operations {OPERATIONS} --trace")
            raise


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_every_mutant_is_caught_by_a_seed(mutant: Callable[[], AbstractContextManager[None]]) -> None:
    for seed in range(1, _MUTANT_SEEDS + 1):
        try:
            with mutant():
                run(seed, 500)
        except (Violation, AssertionError, IndexError):  # a broken broker may as well fall over
            return
    pytest.fail(f"{mutant.__name__} lived through {_MUTANT_SEEDS} seeds (T27)")


def test_a_seed_gives_the_same_trace_under_any_hash_seed() -> None:
    outputs = {_hashes(hash_seed) for hash_seed in ("0", "1", "2024")}
    assert len(outputs) == 1, "I17: the same seed gave different traces"
    assert len(set(next(iter(outputs)).splitlines())) == 40, "different seeds give different traces"


def _hashes(hash_seed: str) -> str:
    command = [sys.executable, "-m", "tests.sim", "--seeds", "1-40", "--hash"]
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
