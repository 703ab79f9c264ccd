"""Every crash the fault model allows, at every operation of small workloads: the journal keeps I1, I2, I5, I6 and I19.

I19 here: a crash is never reported as damage. What is damage is in test_damage.py.
"""

import itertools

import pytest
from tests.sim.disk import Crashed, Loss, SimFileSystem
from tests.unit.storage.machine import Machine, Promises

from penstock.storage.errors import StorageFailed
from penstock.storage.memory import Operation

POWER_LOSSES = [Loss.KEEP, Loss.LOSE, Loss.RANDOM, Loss.TORN]


class CrashAt:
    """A hook that lets n operations happen and dies at the next."""

    def __init__(self, operations: int) -> None:
        self.left = operations

    def __call__(self, operation: Operation) -> None:
        if self.left == 0:
            raise Crashed(f"{operation.kind} {operation.path}")
        self.left -= 1


def run(fs: SimFileSystem, promises: Promises, script: str) -> bool:
    """Run a life; True when it reached the end of its script before it crashed."""
    try:
        machine = Machine(fs, promises)
        for action in script:
            machine.step(action)
    except Crashed:
        return False
    return True


def crash_everywhere(script: str, mode: Loss, *, seed: int = 0, later: str = "bs") -> int:
    """Crash a life at each of its operations in turn; let a second life recover and work, and a third check that."""
    for operations in itertools.count():
        promises = Promises()
        fs = SimFileSystem(f"{script} {seed}", CrashAt(operations))
        ended = run(fs, promises, script)
        second = fs.crash(mode)
        assert run(second, promises, later)
        assert run(second.crash(Loss.LOSE), promises, "")
        if ended:
            return operations
    raise AssertionError("unreachable")


@pytest.mark.parametrize("mode", [*POWER_LOSSES, Loss.KILL])
def test_long_life_survives_a_crash_at_every_operation(mode: Loss) -> None:
    for seed in range(12):
        assert crash_everywhere("bspsBmnbbsndBspmnsbdc", mode, seed=seed) > 50


@pytest.mark.parametrize("mode", [*POWER_LOSSES, Loss.KILL])
@pytest.mark.parametrize("first", "bBpsmnd")
def test_every_workload_of_three_actions_survives_a_crash_at_every_operation(mode: Loss, first: str) -> None:
    for rest in itertools.product("bBpsmnd", repeat=2):
        crash_everywhere(first + "".join(rest), mode)


@pytest.mark.parametrize("mode", POWER_LOSSES)
@pytest.mark.parametrize("first_mode", [Loss.KILL, Loss.RANDOM, Loss.TORN])
def test_crash_inside_recovery_loses_nothing(first_mode: Loss, mode: Loss) -> None:
    """A first crash leaves an unsynced tail or torn files; the recovery from it crashes at each of its operations."""
    for script, seed in itertools.product(("bsnbspmpB", "bspsBB", "b"), range(8)):
        for operations in itertools.count():
            promises = Promises()
            first = SimFileSystem(f"{script} {seed}")
            assert run(first, promises, script)
            second = first.crash(first_mode)
            second.hook = CrashAt(operations)
            ended = run(second, promises, "")
            third = second.crash(mode)
            assert run(third, promises, "Bs")
            assert run(third.crash(Loss.LOSE), promises, "")
            if ended:
                break


def test_tail_read_from_the_page_cache_only_is_durable_before_it_is_used() -> None:
    """Storage rule 5: a failed sync marks pages clean; the next process sees the data, the disk never had it."""
    for seed in range(20):
        promises = Promises()
        fs = SimFileSystem(seed)
        machine = Machine(fs, promises)
        machine.step("b")
        machine.sync()
        machine.step("p")

        def fail_sync(operation: Operation) -> None:
            if operation.kind == "sync":
                raise StorageFailed("the device is gone", path=operation.path)

        fs.hook = fail_sync
        with pytest.raises(StorageFailed):
            machine.sync()
        second = fs.crash(Loss.KILL)
        assert run(second, promises, "")
        assert len(promises.batches) == 3
        assert run(second.crash(Loss.LOSE), promises, "")
        assert len(promises.batches) == 3


@pytest.mark.parametrize("mode", POWER_LOSSES)
def test_power_cut_after_a_killed_recovery_undoes_no_rename_that_was_relied_on(mode: Loss) -> None:
    """A recovery that was killed left its rename in the page cache only; the next life may not build on it unsynced."""
    for seed, operations, later in itertools.product(range(6), range(30), range(1, 16)):
        promises = Promises()
        first = SimFileSystem(f"{seed} {later}")
        assert run(first, promises, "bsb")
        second = first.crash(Loss.KILL)
        second.hook = CrashAt(operations)
        if run(second, promises, ""):
            break
        third = second.crash(Loss.KILL)
        third.hook = CrashAt(later)
        run(third, promises, "bs")
        assert run(third.crash(mode), promises, "")
