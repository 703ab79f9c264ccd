"""``penstock serve``: run a broker."""

from pathlib import Path
from typing import Annotated, Any

import typer

from penstock.cli.exits import CommandError, ExitCode


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog="Example: penstock serve --data ./penstock-data --port 7419")(serve)


def serve(
    config: Annotated[
        Path | None,
        typer.Option(
            help="Settings, TOML: also limits, and dead-letter queues; see config/penstock.toml.", show_default=False
        ),
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="The data directory, made when missing. [default: penstock-data]")
    ] = None,
    host: Annotated[str | None, typer.Option(help="The address to listen on. [default: 127.0.0.1]")] = None,
    port: Annotated[int | None, typer.Option(help="The port to listen on; 0 for a free one. [default: 7419]")] = None,
    allow_anonymous: Annotated[
        bool, typer.Option("--allow-anonymous", help="Let anyone in who can reach an address beyond this machine.")
    ] = False,
) -> None:
    """Run a broker until SIGTERM or Ctrl-C, which finish what was accepted."""
    from penstock import app, settings

    server: dict[str, Any] = {"host": host, "port": port, "allow_anonymous": allow_anonymous or None}
    flags = {"server": server, "storage": {"data_dir": data}}
    given = {section: {k: v for k, v in values.items() if v is not None} for section, values in flags.items()}
    try:
        loaded = settings.load(config, given)
    except settings.SettingsError as error:
        raise CommandError(ExitCode.CONFIG, str(error)) from error
    raise typer.Exit(app.run(loaded))
