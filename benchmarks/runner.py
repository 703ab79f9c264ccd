"""The order of a run: rounds over all systems, each visit on a fresh broker; what fails is noted, the rest goes on."""

import time
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from rich.progress import Progress, TaskID

from benchmarks.crew import LoadFailed
from benchmarks.options import Options
from benchmarks.processes import ProcessFailed
from benchmarks.results import Results
from benchmarks.scenarios import (
    Visit,
    backlog,
    bounds,
    confirm,
    connections,
    features,
    latency,
    load,
    open_visit,
    queues,
    requests,
)
from benchmarks.systems import SYSTEMS, System

_MEASURES: Final[dict[str, Callable[[Visit], None]]] = {
    "confirm": confirm.measure,
    "latency": latency.measure,
    "load": load.measure,
    "requests": requests.measure,
    "connections": connections.measure,
    "bounds": bounds.measure,
    "queues": queues.measure,
    "backlog": backlog.measure,
    "features": features.measure,
}
_EVERY_ROUND: Final = ("confirm", "latency", "load", "requests", "connections", "bounds", "features")
_ON_A_FRESH_BROKER: Final = ("queues", "backlog")
"""Parts that leave so much behind that they run once, each on a broker of its own."""


class Step(NamedTuple):
    """One visit of the plan."""

    system: System
    parts: tuple[str, ...]
    round: int


def plan(options: Options, results: Results) -> list[Step]:
    """Return the visits in order: round by round, the systems interleaved and their order rotated each round."""
    systems = list(_installed(options, results))
    often = tuple(part for part in _EVERY_ROUND if part in options.parts)
    steps: list[Step] = []
    for number in range(options.rounds):
        turn = number % max(1, len(systems))
        if often:
            steps.extend(Step(system, often, number) for system in systems[turn:] + systems[:turn])
        if number == 0:
            steps.extend(_once(systems, options))
    return steps


def _once(systems: list[System], options: Options) -> Iterator[Step]:
    for part in _ON_A_FRESH_BROKER:
        if part not in options.parts:
            continue
        for system in systems:
            if (part == "queues" and system.synced) or (part == "backlog" and system.family == "penstock"):
                yield Step(system, (part,), 0)


def _installed(options: Options, results: Results) -> Iterator[System]:
    for name, system in SYSTEMS.items():
        if options.systems and name not in options.systems:
            continue
        reason = system.missing()
        if reason:
            results.missing[name] = reason
        else:
            yield system


def run(options: Options, results: Results, progress: Progress) -> None:
    """Do the plan within ``options.minutes_max``; visits that no longer fit are left out and noted."""
    steps = plan(options, results)
    task = progress.add_task("starting", total=sum(len(step.parts) for step in steps))
    deadline = time.monotonic() + options.minutes_max * 60
    for index, step in enumerate(steps):
        if time.monotonic() > deadline:
            results.notes.append(f"{len(steps) - index} of {len(steps)} visits were left out: the time was over")
            break
        _visit(step, options, results, progress, task)


def _visit(step: Step, options: Options, results: Results, progress: Progress, task: TaskID) -> None:
    name = step.system.name
    done = 0
    try:
        progress.update(task, description=f"round {step.round + 1}: starting {name}")
        with open_visit(step.system, options, results) as visit:
            for part in step.parts:
                progress.update(task, description=f"round {step.round + 1}: {name}, {part}")
                try:
                    _MEASURES[part](visit)
                except LoadFailed as error:
                    results.fail(f"{name}, {part}: {error}")
                    visit.running.process.check_alive()
                done += 1
                progress.advance(task)
    except (ProcessFailed, OSError) as error:
        results.fail(f"{name}: {error}")
    progress.advance(task, len(step.parts) - done)
