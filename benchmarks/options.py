"""How long and how much: the full run, the quick one, and the command line."""

import argparse
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

PARTS = ("load", "latency", "confirm", "requests", "connections", "bounds", "queues", "backlog", "features")


@dataclass(frozen=True, slots=True)
class Options:
    """The size of a run. Times in seconds."""

    quick: bool = False
    rounds: int = 3
    seconds: float = 1.0
    body_sizes: tuple[int, ...] = (100, 1024)
    latency_messages: int = 1500
    connections: int = 500
    queues: int = 10_000
    queues_used: int = 1000
    queues_rounds: int = 3
    backlog_messages: int = 5_000_000
    backlog_single_messages: int = 200_000
    minutes_max: float = 14.0
    parts: tuple[str, ...] = PARTS
    systems: tuple[str, ...] = ()
    """Names of the systems to measure; empty for all."""
    out: Path = Path("docs/benchmarks.md")
    directory: Path = Path(tempfile.gettempdir())
    command: str = "python -m benchmarks"


_QUICK = Options(
    quick=True,
    rounds=1,
    seconds=0.3,
    body_sizes=(100,),
    latency_messages=300,
    queues=2000,
    queues_used=200,
    queues_rounds=1,
    backlog_messages=500_000,
    backlog_single_messages=50_000,
    minutes_max=1.6,
)


def parse_options(arguments: list[str]) -> Options:
    """Return the options of a command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure Penstock and the installed peers side by side on this machine.",
        epilog="example: python -m benchmarks --quick --only load --systems penstock,redis --out /tmp/benchmarks.md",
    )
    parser.add_argument("--quick", action="store_true", help="one short round, 100 B only, under two minutes")
    parser.add_argument("--only", metavar="NAME", action="append", choices=PARTS, help=f"one of {', '.join(PARTS)}")
    parser.add_argument("--systems", metavar="NAMES", default="", help="comma-separated, such as penstock,redis")
    parser.add_argument("--rounds", type=int, help="rounds over all systems")
    parser.add_argument("--out", type=Path, help="the report (default docs/benchmarks.md); plots go beside it")
    parser.add_argument("--directory", type=Path, help="where brokers keep their data; not a RAM disk")
    given = parser.parse_args(arguments)
    base = _QUICK if given.quick else Options()
    return replace(
        base,
        parts=tuple(given.only or PARTS),
        systems=tuple(name for name in given.systems.split(",") if name),
        rounds=given.rounds or base.rounds,
        out=given.out or base.out,
        directory=given.directory or base.directory,
        command=" ".join(["python -m benchmarks", *arguments]),
    )
