"""The same tables on the terminal."""

from typing import Final

from rich.console import Console
from rich.table import Table

from benchmarks.results import Results
from benchmarks.tables import render
from benchmarks.targets import judge

_MET: Final = {True: "[green]yes", False: "[red]no", None: ""}


def print_results(console: Console, results: Results, body_sizes: tuple[int, ...]) -> None:
    """Print every table, the targets last."""
    for table in render(results, body_sizes):
        _print(console, table.title, ["", *table.heads], [[name, *cells] for name, cells in table.rows])
    cells = [
        [row.number, row.target, row.reached, _MET[row.met], "" if row.ratio is None else f"{row.ratio:.2f}"]
        for row in judge(results)
    ]
    _print(console, "Targets", ["#", "target", "reached", "met", "reached / target"], cells)
    for name, reason in results.missing.items():
        console.print(f"[yellow]not measured:[/] {name}: {reason}")
    for failure in results.failures:
        console.print(f"[red]failed:[/] {failure}", markup=True)
    for note in results.notes:
        console.print(f"[yellow]note:[/] {note}")


def _print(console: Console, title: str, heads: list[str], rows: list[list[str]]) -> None:
    table = Table(title=title, title_justify="left")
    for index, head in enumerate(heads):
        table.add_column(head, justify="left" if index == 0 or title == "Targets" else "right")
    for row in rows:
        table.add_row(*row)
    console.print(table)
