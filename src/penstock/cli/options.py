"""Options that several commands share."""

from pathlib import Path
from typing import Annotated, Final

import typer

DEFAULT_URL: Final = "penstock://127.0.0.1:7419"

Url = Annotated[
    str,
    typer.Option("--url", envvar="PENSTOCK_URL", help="The broker.", metavar="URL", rich_help_panel="Connection"),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
QueueName = Annotated[str, typer.Argument(metavar="QUEUE", help="The queue's name.", show_default=False)]
DataDirectory = Annotated[
    Path,
    typer.Argument(metavar="DATA", help="The data directory of a stopped broker.", show_default=False),
]
