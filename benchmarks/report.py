"""The report: docs/benchmarks.md."""

import datetime
from pathlib import Path
from typing import Final

from benchmarks.machine import Machine
from benchmarks.options import Options
from benchmarks.results import MACHINE, Results
from benchmarks.systems import SYSTEMS
from benchmarks.tables import Rendered, render
from benchmarks.targets import Row, judge

_HOW = """\
Everything runs on loopback on one machine: the broker, a producer process and a consumer process share its cores.
Each round starts every broker on an empty directory, one after the other, in an order that rotates; a figure is the
median over the rounds, with minimum and maximum in brackets. Redis, RabbitMQ, NATS with sync always, and Penstock
confirm what is on disk; NATS with its default confirms what the operating system has.
"""

_MET: Final = {True: "yes", False: "**no**", None: ""}


def write_report(
    results: Results, options: Options, machine: Machine, date: datetime.datetime, plots: list[Path]
) -> None:
    """Write the report to ``options.out``."""
    parts = [
        "# Benchmarks\n",
        f"Written by `{options.command}` on {date:%Y-%m-%d %H:%M} UTC. {_run_size(options)}\n",
        _HOW,
        _targets(judge(results)),
        *(f"![{plot.stem}]({plot.parent.name}/{plot.name})\n" for plot in plots),
        *_tables(render(results, options.body_sizes)),
        _machine(results, machine),
        _versions(results, options),
        _list("Could not be measured", results.failures),
        _list("Notes", results.notes),
    ]
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text("\n".join(part for part in parts if part))


def _run_size(options: Options) -> str:
    length = "A quick run: rough figures" if options.quick else "A full run"
    return f"{length}, {options.rounds} round{'s' if options.rounds > 1 else ''}, {options.seconds} s a load."


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _table(heads: list[str], rows: list[list[str]]) -> str:
    rule = ["---", *("---:" for _ in heads[1:])]
    return "\n".join([_line(heads), _line(rule), *(_line(row) for row in rows)]) + "\n"


def _ratio(row: Row) -> str:
    return "" if row.ratio is None else f"{row.ratio:.2f}"


def _targets(rows: list[Row]) -> str:
    heads = ["#", "target", "reached", "met", "reached / target"]
    cells = [[row.number, row.target, row.reached, _MET[row.met], _ratio(row)] for row in rows]
    rule = "| --- | --- | --- | --- | ---: |"
    lines = [_line(heads), rule, *(_line(row) for row in cells)]
    return "## Targets\n\nThe last column is 1.00 or more where a target is met.\n\n" + "\n".join(lines) + "\n"


def _tables(tables: list[Rendered]) -> list[str]:
    parts: list[str] = []
    explained = ""
    for table in tables:
        parts.append(f"## {table.title}\n")
        if table.explanation != explained:
            explained = table.explanation
            parts.append(explained + "\n")
        parts.append(_table(["", *table.heads], [[SYSTEMS[name].label, *cells] for name, cells in table.rows]))
    return parts


def _machine(results: Results, machine: Machine) -> str:
    rows = [
        ["processor", f"{machine.cpu}, {machine.cores} cores"],
        ["memory", f"{machine.memory_gib} GiB"],
        ["kernel", machine.kernel],
        ["file system of the data", machine.filesystem],
        ["Python", machine.python],
        ["load average before the run", f"{machine.load:.2f}"],
    ]
    disk = results.summary(MACHINE, "append_sync_ms")
    if disk:
        text = f"p50 {disk.median:.3f} ms ({disk.low:.3f} to {disk.high:.3f})"
        rows.append(["append of 200 B + fdatasync", text])
    return "## Machine\n\n" + "\n".join(["| | |", "| --- | --- |", *(_line(row) for row in rows)]) + "\n"


def _versions(results: Results, options: Options) -> str:
    lines: list[str] = []
    for name, system in SYSTEMS.items():
        if options.systems and name not in options.systems:
            continue
        reason = results.missing.get(name)
        lines.append(f"- {system.label}: " + (f"not measured, {reason}" if reason else system.version()))
    return "## Versions\n\n" + "\n".join(lines) + "\n"


def _list(title: str, items: list[str]) -> str:
    return f"## {title}\n\n" + "\n".join(f"- {item}" for item in items) + "\n" if items else ""
