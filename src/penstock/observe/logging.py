"""Logs: lines for people on a terminal, one JSON object a line otherwise.

A logger is made once and handed down; nothing global is configured, so a broker inside another program (a test) leaves
that program's logging alone. Warnings of the standard library's ``logging`` (asyncio's are the ones that matter) come
out through the same logger.
"""

import logging
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final, TextIO, cast

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger, Processor

LEVELS: Final = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def make_logger(style: str = "auto", level: str = "info", stream: TextIO | None = None) -> "FilteringBoundLogger":
    """Return a logger that writes to ``stream`` (standard error when None).

    ``style`` is ``console``, ``json`` or ``auto``: console on a terminal. ``level`` is a key of LEVELS; what is below
    it costs a tenth of a microsecond.
    """
    import structlog

    stream = stream if stream is not None else sys.stderr
    console = style == "console" or (style == "auto" and stream.isatty())
    processors: list[Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="%H:%M:%S" if console else "iso", utc=not console),
    ]
    if console:
        processors.append(
            structlog.dev.ConsoleRenderer(colors=stream.isatty(), exception_formatter=structlog.dev.plain_traceback)
        )
    else:
        processors += [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(default=str)]
    return _wrap(structlog.WriteLogger(stream), processors, LEVELS[level])


def make_silent_logger() -> "FilteringBoundLogger":
    """Return a logger that says nothing."""
    return _wrap(None, [_drop], logging.CRITICAL)


def _drop(_logger: Any, _method: str, _event: Any) -> Any:
    import structlog

    raise structlog.DropEvent


def _wrap(sink: Any, processors: "Iterable[Processor]", level: int) -> "FilteringBoundLogger":
    import structlog

    wrapper = structlog.make_filtering_bound_logger(level)
    logger = structlog.wrap_logger(sink, processors=processors, wrapper_class=wrapper, context_class=dict)
    return cast("FilteringBoundLogger", logger)


class ForwardingHandler(logging.Handler):
    """Hands records of the standard library's ``logging`` to our logger."""

    def __init__(self, log: "FilteringBoundLogger", level: int = logging.WARNING) -> None:
        super().__init__(level)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """Log one record; a traceback goes along."""
        exc_info = record.exc_info if record.exc_info and record.exc_info[0] else None
        self._log.log(record.levelno, record.getMessage(), logger=record.name, exc_info=exc_info)


def forward_standard_logging(log: "FilteringBoundLogger", level: str = "warning") -> None:
    """Send the process's standard-library logging from ``level`` on to ``log``: for a process that has no other use of
    it, as a broker or a worker.
    """
    root = logging.getLogger()
    root.handlers[:] = [ForwardingHandler(log, LEVELS[level])]
    root.setLevel(LEVELS[level])
