"""``python -m tests.sim --seeds 1-2000 --operations 500``: run seeds, stop at the first that fails and show it."""

from __future__ import annotations

import argparse
import sys
import traceback
from time import perf_counter

from tests.sim.runner import Report, run


def main() -> int:
    """Run the seeds that the command line names; return 1 when one failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.sim", description=__doc__)
    parser.add_argument("--seeds", default="1-2000", help="17, 1-2000 or 1:2001 (end exclusive)")
    parser.add_argument("--operations", type=int, default=500, help="actions per seed")
    parser.add_argument("--trace", action="store_true", help="print everything that happens")
    parser.add_argument("--hash", action="store_true", help="print the hash of each seed's trace")
    parser.add_argument("--keep-going", action="store_true", help="list every failing seed")
    arguments = parser.parse_args()
    seeds = parse_seeds(arguments.seeds)
    started = perf_counter()
    failed: list[int] = []
    reports: list[Report] = []
    for seed in seeds:
        try:
            report = run(seed, arguments.operations, arguments.trace)
        except Exception as error:  # noqa: BLE001  whatever a seed raises is its finding
            failed.append(seed)
            _explain(seed, arguments.operations, error, short=arguments.keep_going)
            if not arguments.keep_going:
                break
            continue
        reports.append(report)
        if arguments.hash:
            print(report.seed, report.trace_hash)
        _progress(reports, failed, len(seeds), perf_counter() - started)
    _progress(reports, failed, len(seeds), perf_counter() - started, end="\n")
    return 1 if failed else 0


def parse_seeds(text: str) -> range:
    """Return the seeds that ``17``, ``1-2000`` or ``1:2001`` mean."""
    if ":" in text:
        first, end = text.split(":")
        return range(int(first), int(end))
    first, _, last = text.partition("-")
    return range(int(first), int(last or first) + 1)


def _explain(seed: int, operations: int, error: Exception, short: bool) -> None:
    if not short:
        traceback.print_exception(error, file=sys.stdout)
    print(f"\rseed {seed} fails: {type(error).__name__} {str(error)[:600]}")
    print(f"replay: python -m tests.sim --seeds {seed} --operations {operations} --trace", flush=True)


def _progress(reports: list[Report], failed: list[int], total: int, elapsed_s: float, end: str = "") -> None:
    done = len(reports) + len(failed)
    if not end and (not sys.stderr.isatty() or done % 10):
        return
    counts = f"{sum(r.published for r in reports):,} messages, {sum(r.delivered for r in reports):,} deliveries"
    crashes = f"{sum(r.crashes for r in reports):,} crashes"
    operations = sum(r.operations for r in reports)
    line = (
        f"{done}/{total} seeds, {operations:,} operations, {counts}, {crashes}, {len(failed)} failed, {elapsed_s:.0f} s"
    )
    print(f"\r{line}", end=end, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
