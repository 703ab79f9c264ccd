"""``penstock verify`` and ``penstock repair``: the data directory of a stopped broker."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from socket import gethostname
from typing import TYPE_CHECKING, Any

import typer

from penstock.cli import output
from penstock.cli.confirmation import require_yes
from penstock.cli.exits import CommandError, ExitCode
from penstock.cli.options import DataDirectory, Json, Yes

if TYPE_CHECKING:
    from penstock.storage.verify import Damage, Report


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(epilog="Example: penstock verify ./penstock-data")(verify)
    app.command(epilog="Example: penstock repair ./penstock-data --yes")(repair)


def verify(data: DataDirectory, json: Json = False) -> None:
    """Read every stored byte and check it. Changes nothing; ends with 65 when something is damaged."""
    from penstock.storage.filesystem import RealFileSystem
    from penstock.storage.verify import verify as verify_directory

    _require_directory(data)
    with _storage_errors():
        report = verify_directory(RealFileSystem(), str(data))
    if json:
        output.print_json(_report_map(report))
    else:
        _print_report(report)
    if not report.whole:
        raise CommandError(
            ExitCode.DATA,
            f"{data} is damaged in {_places(len(report.damage))}",
            f'"penstock repair {data}" salvages what is whole.',
        )


def _require_directory(data: Path) -> None:
    if not data.is_dir():
        raise CommandError(ExitCode.NO_INPUT, f"there is no directory {data}", "Name the broker's data directory.")


@contextmanager
def _storage_errors() -> Iterator[None]:
    """Turn what storage raises into errors of the command line."""
    from penstock.storage.errors import StorageError

    try:
        yield
    except StorageError as error:
        raise CommandError(ExitCode(error.exit_code), str(error)) from error


def _report_map(report: "Report") -> dict[str, Any]:
    return {
        "directory": report.directory,
        "whole": report.whole,
        "batches": report.batches,
        "records": report.records,
        "segments": [
            {"path": s.path, "bytes": s.nbytes, "batches": s.batches, "records": s.records, "torn_bytes": s.torn_bytes}
            for s in report.segments
        ],
        "snapshots": [
            {"path": s.path, "bytes": s.nbytes, "parts": s.parts, "whole": s.damage is None} for s in report.snapshots
        ],
        "damage": [asdict(damage) for damage in report.damage],
    }


def _print_report(report: "Report") -> None:
    rows: list[tuple[object, ...]]
    rows = [("snapshot", Path(s.path).name, s.nbytes, None, None, None) for s in report.snapshots]
    rows += [
        ("segment", Path(s.path).name, s.nbytes, s.batches, s.records, s.torn_bytes or None) for s in report.segments
    ]
    output.print_table(("file", "name", "bytes", "batches", "records", "torn bytes"), rows)
    if report.damage:
        output.print_text("")
        _print_damage(report.damage)
    else:
        output.print_text("every stored byte is what was written")


def _print_damage(damage: "list[Damage]") -> None:
    output.print_table(
        ("damaged file", "at byte", "bytes", "records lost", "what is wrong"),
        [(d.path, d.offset, d.nbytes, d.records_lost, d.reason) for d in damage],
    )


def _places(count: int) -> str:
    return "1 place" if count == 1 else f"{count:,} places"


def repair(data: DataDirectory, yes: Yes = False, json: Json = False) -> None:
    """Cut out what is damaged, so that the broker starts again. The damaged files are kept beside."""
    from penstock.storage.filesystem import RealFileSystem
    from penstock.storage.repair import repair as repair_directory
    from penstock.storage.verify import verify as verify_directory

    _require_directory(data)
    with _storage_errors():
        found = verify_directory(RealFileSystem(), str(data))
        if not found.whole:
            if not json:
                _print_damage(found.damage)
            require_yes(f"Cut {_places(len(found.damage))} out of {data}? What was there is lost.", yes=yes)
        done = repair_directory(RealFileSystem(), str(data), holder=f"process {os.getpid()} on {gethostname()}: repair")
    if json:
        output.print_json({"lost": [asdict(damage) for damage in done.lost], "originals": done.originals})
    elif done.lost:
        output.print_text(f"repaired {_places(len(done.lost))}; the damaged files are kept as:")
        output.print_text("\n".join(done.originals))
    else:
        output.print_text("nothing is damaged; nothing was changed")
