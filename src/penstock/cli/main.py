"""The ``penstock`` command: its commands, and the one place where what goes wrong becomes a line and an exit code."""

import os
import sys
from collections.abc import Sequence
from typing import Annotated, Final

import typer

from penstock import __version__
from penstock.cli import (
    bench,
    connection,
    consume,
    consumer,
    data,
    definitions,
    exchange,
    group,
    namespace,
    publish,
    queue,
    request,
    schedule,
    serve,
    status,
    worker,
)
from penstock.cli.exits import CommandError, ExitCode
from penstock.cli.output import printable, silence_standard_output

app: Final = typer.Typer(
    name="penstock",
    help="A message broker: durable queues over TCP.",
    epilog="Start with: penstock serve",
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"penstock {__version__}")
        raise typer.Exit


@app.callback()
def _penstock(
    _version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    pass


serve.register(app)
status.register(app)
app.add_typer(queue.app, name="queue")
app.add_typer(group.app, name="group")
app.add_typer(connection.app, name="connection")
app.add_typer(consumer.app, name="consumer")
app.add_typer(exchange.app, name="exchange")
app.add_typer(schedule.app, name="schedule")
app.add_typer(namespace.app, name="namespace")
app.add_typer(definitions.app, name="definitions")
publish.register(app)
consume.register(app)
request.register(app)
worker.register(app)
bench.register(app)
data.register(app)


def run() -> None:
    """Run the command that the process was started with, and exit."""
    sys.exit(run_command(sys.argv[1:]))


def run_command(arguments: Sequence[str]) -> int:
    """Run a command and return its exit code. Nothing escapes from here but an interpreter's own exit."""
    try:
        returned = app(args=list(arguments) or ["--help"], prog_name="penstock", standalone_mode=False)
        sys.stdout.flush()
    except CommandError as error:
        return _report(error.exit_code, error.line(), error, error.detail)
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    except typer.Abort:
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        silence_standard_output()
        return ExitCode.BROKEN_PIPE
    except Exception as error:  # noqa: BLE001 - the outermost function: the one place that turns anything into a line
        return _report_unforeseen(error)
    return returned if isinstance(returned, int) else ExitCode.OK


def _report_unforeseen(error: Exception) -> int:
    usage = getattr(error, "format_message", None)
    if callable(usage):
        context = getattr(error, "ctx", None)
        command = context.command_path if context is not None else "penstock"
        happened = str(usage()).rstrip(".")
        stop = "" if happened.endswith("?") else "."
        return _report(ExitCode.USAGE, f'{happened}{stop} Try "{command} --help".', error)
    if isinstance(error, OSError):
        place = f"{error.filename}: " if error.filename else ""
        return _report(ExitCode.OS_ERROR, f"{place}{error.strerror or error}.{_TRACEBACK_ADVICE}", error)
    happened = f"{type(error).__name__}: {error}".rstrip(": .")
    return _report(ExitCode.SOFTWARE, f"unexpected error: {happened}.{_TRACEBACK_ADVICE}", error)


_TRACEBACK_ADVICE: Final = " Run it again with PENSTOCK_DEBUG=1 for a traceback."


def _report(exit_code: int, line: str, error: BaseException, detail: str = "") -> int:
    if os.environ.get("PENSTOCK_DEBUG"):
        import traceback

        traceback.print_exception(error)
    print(f"penstock: {printable(line)}", *map(printable, detail.splitlines()), sep="\n", file=sys.stderr)
    return int(exit_code)
