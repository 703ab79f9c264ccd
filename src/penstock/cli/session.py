"""Running a command's coroutine with a connected client, and turning what the SDK raises into a command error."""

import asyncio
import os
import signal
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, TypeVar

from penstock.cli.exits import CommandError, ExitCode, exit_for
from penstock_client.wire.errors import ErrorCode

if TYPE_CHECKING:
    from penstock_client import Client, GroupInfo, PenstockError, QueueInfo

T = TypeVar("T")

_CODES: Final = {code.label: code for code in ErrorCode}

_CLIENT_EXITS: Final[dict[str, tuple[ExitCode, str]]] = {
    "connection-lost": (ExitCode.UNAVAILABLE, "Is the broker running? Its log says why it stopped."),
    "request-timeout": (ExitCode.UNAVAILABLE, "The broker may have carried it out; look before you repeat it."),
    "publish-unconfirmed": (ExitCode.UNAVAILABLE, "The broker may have stored it; look before you repeat it."),
    "no-reply": (ExitCode.UNAVAILABLE, "Does anyone consume from the queue? The request stays in it."),
    "reply-failed": (ExitCode.UNAVAILABLE, ""),
    "protocol-violation": (ExitCode.PROTOCOL, "Use a client and a broker of the same version."),
}
"""What the client itself found, beside what the broker answers."""


def run_with_client(url: str, action: "Callable[[Client], Awaitable[T]]") -> T:
    """Connect to the broker at `url`, run `action` with the client, close, and return what it returned.

    Raises:
        CommandError: the broker cannot be reached, refused something, or went away.
    """
    return asyncio.run(_connected(url, action))


async def _connected(url: str, action: "Callable[[Client], Awaitable[T]]") -> T:
    from penstock_client import PenstockError

    client = await _connect(url)
    try:
        async with client:
            return await action(client)
    except PenstockError as error:
        raise command_error(error) from error
    except ValueError as error:  # what the client refuses to send
        raise CommandError(ExitCode.USAGE, str(error)) from error


async def _connect(url: str) -> "Client":
    from penstock_client import ConnectionLost, PenstockError, connect

    try:
        return await connect(url)
    except ValueError as error:
        raise CommandError(ExitCode.USAGE, str(error)) from error
    except ConnectionLost as error:
        if error.closed_for:
            exit_code, advice = exit_for(_CODES.get(error.closed_for, ErrorCode.INTERNAL))
            raise CommandError(exit_code, f"{url}: {error}", advice) from error
        cause = error.__cause__
        reason = os.strerror(cause.errno) if isinstance(cause, OSError) and cause.errno else str(error)
        raise unreachable(url, reason) from error
    except PenstockError as error:
        raise command_error(error) from error


def unreachable(url: str, reason: str) -> CommandError:
    """Return the error of a broker that does not answer at `url`."""
    advice = 'Start one with "penstock serve", or name another with --url or PENSTOCK_URL.'
    return CommandError(ExitCode.UNAVAILABLE, f"no broker answers at {url}: {reason}", advice)


def command_error(error: "PenstockError") -> CommandError:
    """Return what the SDK raised as an error of the command line."""
    from penstock_client import BadSelector, PublishFailed

    if isinstance(error, PublishFailed) and error.errors:
        error = error.errors[0]
    if error.code in _CLIENT_EXITS:
        exit_code, advice = _CLIENT_EXITS[error.code]
        return CommandError(exit_code, str(error), advice)
    exit_code, advice = exit_for(_CODES.get(error.code, ErrorCode.INTERNAL))
    happened, _, detail = str(error).partition("\n") if isinstance(error, BadSelector) else (str(error), "", "")
    return CommandError(exit_code, happened, advice, detail)


_RAW: Final = {"oldest_age": "oldest_age_ms", "alarms": "alarms", "breakers": "breakers", "breaker": "breaker"}
"""Fields that are shown as the protocol has them."""


def describe(info: "QueueInfo | GroupInfo") -> dict[str, Any]:
    """Return a queue's or a group's info as a map for JSON; durations are in seconds unless their names say ms."""
    fields = info._asdict()
    raw = fields.pop("raw")
    fields = {_RAW.get(name, name): raw[_RAW[name]] if name in _RAW else value for name, value in fields.items()}
    if "created_at" in fields:
        fields["created_at"] = fields["created_at"].isoformat(timespec="milliseconds")
        fields["memory_bytes_max"] = raw.get("memory_bytes_max")
    return fields


class Stop:
    """Whether the user asked the command to end: for threads an event, for coroutines something to wait for."""

    def __init__(self) -> None:
        self.requested = threading.Event()
        self._waiting = asyncio.Event()

    def request(self) -> None:
        """Ask the command to end."""
        self.requested.set()
        self._waiting.set()

    async def wait(self) -> None:
        """Return when the command shall end."""
        await self._waiting.wait()


@contextmanager
def stop_on_signals() -> Iterator[Stop]:
    """Turn the first SIGINT or SIGTERM into a request to stop; a second one interrupts. Needs a running loop."""
    stop = Stop()
    loop = asyncio.get_running_loop()
    signals = (signal.SIGINT, signal.SIGTERM)

    def restore() -> None:
        for number in signals:
            loop.remove_signal_handler(number)

    def first() -> None:
        stop.request()
        restore()

    for number in signals:
        loop.add_signal_handler(number, first)
    try:
        yield stop
    finally:
        restore()
