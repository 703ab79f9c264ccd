import errno
import socket

import pytest

from penstock.auth.guard import ListenRefusedError
from penstock.failures import describe
from penstock.settings import ServerSettings, Settings
from penstock.storage.errors import (
    Damaged,
    DataDirectoryLocked,
    DirectoryNotUsable,
    StorageError,
    StorageFailed,
    StorageFull,
    UnsupportedFormat,
)

SETTINGS = Settings(server=ServerSettings(host="127.0.0.9", port=7421))


@pytest.mark.parametrize(
    ("error", "exit_code", "advice"),
    [
        (DataDirectoryLocked("data", "process 7 on host"), 75, "process 7 on host; stop that broker"),
        (DirectoryNotUsable("mkdir failed", path="data"), 73, "--data"),
        (Damaged("bad CRC", path="data/journal/1", offset=64, position=64), 65, "penstock repair"),
        (UnsupportedFormat("format version 9", path="data/journal/1"), 65, "format version 9"),
        (StorageFull("write failed", path="data/journal/1"), 73, "free some space"),
        (StorageFailed("sync failed", path="data/journal/1"), 74, "check the disk"),
        (OSError(errno.EADDRINUSE, "in use"), 69, "port 7421 on 127.0.0.9 is in use; stop what listens there"),
        (OSError(errno.EACCES, "denied"), 77, "choose a port above 1023"),
        (OSError(errno.EADDRNOTAVAIL, "no"), 68, "127.0.0.9 is no address of this machine"),
        (socket.gaierror(socket.EAI_NONAME, "unknown"), 68, "--host"),
        (OSError(errno.ENOBUFS, "no buffer space"), 69, "no buffer space"),
        (ListenRefusedError("refusing"), 78, "refusing"),
    ],
)
def test_a_failure_has_its_exit_code_and_says_in_one_line_what_to_do(
    error: Exception, exit_code: int, advice: str
) -> None:
    failure = describe(error, SETTINGS)
    assert failure.exit_code == exit_code
    assert advice in failure.message
    assert "\n" not in failure.message


def test_a_storage_failure_names_file_and_offset() -> None:
    error: StorageError = Damaged("bad CRC", path="data/journal/1", offset=64, position=128)
    message = describe(error, SETTINGS).message
    assert "data/journal/1 at byte 64" in message
    assert "128" in message
