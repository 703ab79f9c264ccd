"""Expected failures: why a broker does not start, or stops, in one line that says what to do, and an exit code."""

import errno
import socket
from typing import TYPE_CHECKING, Final, NamedTuple

from penstock.auth.guard import ListenRefusedError
from penstock.storage.errors import (
    Damaged,
    DataDirectoryLocked,
    DirectoryNotUsable,
    StorageError,
    StorageFailed,
    StorageFull,
)

if TYPE_CHECKING:
    from penstock.settings import Settings

EXIT_OK: Final = 0
EXIT_NO_HOST: Final = 68
EXIT_UNAVAILABLE: Final = 69
EXIT_SOFTWARE: Final = 70
EXIT_NO_PERMISSION: Final = 77
EXIT_CONFIG: Final = 78
"""The exit codes of sysexits.h that are not storage's."""

_STORAGE_ADVICE: Final = (
    (DataDirectoryLocked, "stop that broker, or name another directory with --data"),
    (DirectoryNotUsable, "make it writable for this user, or name another directory with --data"),
    (Damaged, 'nothing was changed; "penstock verify" lists the damage, "penstock repair" salvages what is whole'),
    (StorageFull, "free some space and start again; nothing confirmed is lost"),
    (StorageFailed, "check the disk and start again; what was confirmed is kept, what was not may be lost"),
)


class Failure(NamedTuple):
    """Why a broker did not start, or stopped: for people, and as an exit code."""

    exit_code: int
    message: str


def describe(error: Exception, settings: "Settings") -> Failure:
    """Return an expected failure as one line that says what to do, and its exit code."""
    if isinstance(error, StorageError):
        advice = next((text for kind, text in _STORAGE_ADVICE if isinstance(error, kind)), "")
        return Failure(error.exit_code, f"{error}; {advice}" if advice else str(error))
    if isinstance(error, ListenRefusedError):
        return Failure(EXIT_CONFIG, str(error))
    assert isinstance(error, OSError), "an unexpected kind of failure"
    where = f"port {settings.server.port} on {settings.server.host}"
    if error.errno == errno.EADDRINUSE:
        return Failure(EXIT_UNAVAILABLE, f"{where} is in use; stop what listens there, or choose another with --port")
    if error.errno == errno.EACCES:
        return Failure(EXIT_NO_PERMISSION, f"no permission to listen on {where}; choose a port above 1023 with --port")
    if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
        return Failure(EXIT_NO_HOST, f"{settings.server.host} is no address of this machine; choose one with --host")
    return Failure(EXIT_UNAVAILABLE, f"cannot listen on {where}: {error.strerror or error}")
