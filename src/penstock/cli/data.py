"""``penstock verify`` and ``penstock repair``: a stopped broker's data directory."""

import typer

from penstock.cli.options import DataDirectory, Json, Yes


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(epilog="Example: penstock verify ./penstock-data")(verify)
    app.command(epilog="Example: penstock repair ./penstock-data --yes")(repair)


def verify(data: DataDirectory, json: Json = False) -> None:
    """Read every stored byte and check it. Changes nothing."""


def repair(data: DataDirectory, yes: Yes = False, json: Json = False) -> None:
    """Cut or blank what is damaged, so that the broker starts again."""
