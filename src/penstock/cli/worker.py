"""``penstock worker``: run the handlers of an application.

One process runs them in itself. With ``--processes`` this one starts as many others and looks after them
(``supervisor.py``); each imports the application by itself and has a connection of its own.
"""

import asyncio
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Final

import typer

from penstock.cli.applications import find_app
from penstock.cli.session import command_error

if TYPE_CHECKING:
    from penstock_client.worker import App

PROCESSES_MAX: Final = 1024
"""Against a slip of the finger: each takes some 40 MiB."""


class LogFormat(StrEnum):
    """How log lines look."""

    AUTO = "auto"
    CONSOLE = "console"
    JSON = "json"


class LogLevel(StrEnum):
    """What is logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog="Example: penstock worker orders:app --processes 4 --queue orders")(worker)


def worker(
    application: Annotated[
        str, typer.Argument(metavar="MODULE:APP", help="Where the App is; a module alone means MODULE:app.")
    ],
    processes: Annotated[int, typer.Option("--processes", "-p", min=1, max=PROCESSES_MAX, help="So many at once.")] = 1,
    queue: Annotated[
        list[str] | None, typer.Option("--queue", "-q", help="Only this queue's worker; may be repeated.")
    ] = None,
    grace: Annotated[float, typer.Option(min=0, help="Seconds that handlers may finish in after SIGTERM.")] = 30.0,
    log_format: Annotated[
        LogFormat, typer.Option("--log-format", envvar="PENSTOCK_LOG__FORMAT", help="How log lines look.")
    ] = LogFormat.AUTO,
    log_level: Annotated[
        LogLevel, typer.Option("--log-level", envvar="PENSTOCK_LOG__LEVEL", help="What is logged.")
    ] = LogLevel.INFO,
    url: Annotated[
        str | None,
        typer.Option(
            "--url",
            envvar="PENSTOCK_URL",
            help="The broker. [default: as the App says]",
            metavar="URL",
            rich_help_panel="Connection",
        ),
    ] = None,
    parent: Annotated[int | None, typer.Option(hidden=True, help="A pipe that closes when the parent ends.")] = None,
) -> None:
    """Run an application's handlers until SIGTERM or Ctrl-C, which let those that run finish.

    What does not finish in time goes back to its queue. A second signal does not wait.
    """
    from penstock.observe.logging import forward_standard_logging, make_logger

    log = make_logger(log_format, log_level)
    if parent is not None:
        log = log.bind(pid=os.getpid())  # one log of several processes
    forward_standard_logging(log, log_level)
    app = find_app(application)  # with several processes, too: what is wrong with it is said once and not by each
    if processes == 1:
        _run_here(app, url, queue or [], grace, parent)
        return
    from penstock.cli.supervisor import Supervisor

    command = [sys.executable, "-m", "penstock", "worker", application, "--grace", str(grace)]
    command += ["--log-format", log_format, "--log-level", log_level]
    command += [word for name in queue or [] for word in ("--queue", name)]
    command += ["--url", url] if url is not None else []
    raise typer.Exit(asyncio.run(Supervisor(command, processes, grace, log).run()))


def _run_here(app: "App", url: str | None, queues: list[str], grace: float, parent: int | None) -> None:
    from penstock_client import PenstockError
    from penstock_client.loop import new_event_loop
    from penstock_client.worker.signals import stopping_on_signals

    async def serve() -> None:
        stop = asyncio.Event()
        with stopping_on_signals(stop), _stopping_with(parent, stop):
            await app.serve(stop, url, queues=queues, grace=grace)

    try:
        with asyncio.Runner(loop_factory=new_event_loop) as runner:
            runner.run(serve())
    except PenstockError as error:
        raise command_error(error) from error


@contextmanager
def _stopping_with(parent: int | None, stop: asyncio.Event) -> Iterator[None]:
    """Set ``stop`` when the parent is gone, however it ended: its end of the pipe closes then."""
    if parent is None:
        yield
        return
    loop = asyncio.get_running_loop()

    def ended() -> None:
        loop.remove_reader(parent)
        stop.set()

    loop.add_reader(parent, ended)
    try:
        yield
    finally:
        loop.remove_reader(parent)
