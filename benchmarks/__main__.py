"""``python -m benchmarks``: measure, print, draw, write the report."""

import datetime
import signal
import sys
import time

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks.console import print_results
from benchmarks.machine import describe_machine
from benchmarks.options import parse_options
from benchmarks.plots import draw_plots
from benchmarks.report import write_report
from benchmarks.results import Results
from benchmarks.runner import run
from benchmarks.targets import remarks

_RAM_DISKS = ("tmpfs", "ramfs")


def main(arguments: list[str]) -> int:
    """Run the benchmarks; return the exit code: 0 unless nothing could be measured."""
    options = parse_options(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # brokers are ended on the way out
    console = Console()
    machine = describe_machine(options.directory)
    results = Results()
    if machine.filesystem in _RAM_DISKS:
        results.notes.append(f"{options.directory} is a RAM disk: syncs cost nothing there; use --directory")
    started, start = datetime.datetime.now(datetime.UTC), time.monotonic()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        run(options, results, progress)
    results.notes.extend(remarks(results))
    results.notes.append(f"The run took {(time.monotonic() - start) / 60:.1f} minutes.")
    print_results(console, results, options.body_sizes)
    plots = draw_plots(results, options.out.parent / options.out.stem)
    write_report(results, options, machine, started, plots)
    console.print(f"written: {options.out}", *(str(plot) for plot in plots))
    return 0 if results.values else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
