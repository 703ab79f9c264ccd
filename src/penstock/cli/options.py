"""Options that several commands share."""

from datetime import datetime
from pathlib import Path
from typing import Annotated, Final

import typer

from penstock.cli.exits import CommandError, ExitCode
from penstock.cli.finding import parse_moment

DEFAULT_URL: Final = "penstock://127.0.0.1:7419"

Url = Annotated[
    str,
    typer.Option(
        "--url",
        envvar="PENSTOCK_URL",
        help="The broker, and a namespace of it if you like: penstock://HOST:PORT/NAMESPACE.",
        metavar="URL",
        rich_help_panel="Connection",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
Where = Annotated[
    str | None,
    typer.Option(
        help="Only messages that this selector selects, such as \"kind = 'a' AND amount > 10\".",
        metavar="SELECTOR",
        show_default=False,
    ),
]
Since = Annotated[
    datetime | None,
    typer.Option(
        parser=parse_moment, metavar="TIME", help="Only published since then: 15m, 2h, 2026-11-25.", show_default=False
    ),
]
Until = Annotated[
    datetime | None,
    typer.Option(parser=parse_moment, metavar="TIME", help="Only published before then.", show_default=False),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
QueueName = Annotated[str, typer.Argument(metavar="QUEUE", help="The queue's name.", show_default=False)]
GroupName = Annotated[
    str, typer.Argument(metavar="GROUP", help="The group's name; '' is the default one.", show_default=False)
]
DataDirectory = Annotated[
    Path,
    typer.Argument(metavar="DATA", help="The data directory of a stopped broker.", show_default=False),
]
RateOption = Annotated[
    str | None,
    typer.Option(
        "--rate",
        help="The most that all consumers together are handed: 100/s, 30/min, 5/h.",
        show_default=False,
        metavar="RATE",
    ),
]
TransferRate = Annotated[
    str | None,
    typer.Option("--rate", help="No faster than this: 100/s, 30/min.", show_default=False, metavar="RATE"),
]
RateBurst = Annotated[
    int | None,
    typer.Option(help="Of that, the most at once. [default: a tenth of a second's worth]", show_default=False),
]

BreakerFailures = Annotated[
    int | None,
    typer.Option(
        help="Attempts that fail, and next to none that succeeds, until it hands out nothing and tries; 0 for never.",
        show_default=False,
    ),
]
BreakerWait = Annotated[
    float | None,
    typer.Option(help="Seconds until it tries, twice as many after each that fails. [default: 1]", show_default=False),
]


def rate_of(text: str | None) -> float | None:
    """Return a rate in messages a second, 0 for none. Raises CommandError (USAGE)."""
    from penstock_client.rates import per_second

    try:
        return None if text is None else 0.0 if text == "0" else per_second(text)
    except ValueError as error:
        raise CommandError(ExitCode.USAGE, str(error)) from error
