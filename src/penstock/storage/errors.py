"""Why storage refused or failed: one root, a label for logs and metrics, the place on disk, and an exit code."""

import errno
from typing import ClassVar, Final

EXIT_DAMAGED: Final = 65
EXIT_NOT_USABLE: Final = 73
EXIT_STORAGE_FAILED: Final = 74
EXIT_LOCKED: Final = 75
"""The exit codes are those of sysexits.h: EX_DATAERR, EX_CANTCREAT, EX_IOERR, EX_TEMPFAIL."""

_RETRYABLE: Final = {
    errno.ENOSPC: "disk-full",
    errno.EDQUOT: "quota-reached",
    errno.EMFILE: "too-many-open-files",
    errno.ENFILE: "too-many-open-files",
}
_NOT_USABLE: Final = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP}


class StorageError(Exception):
    """Something storage could not do. ``path`` and ``offset`` (bytes in the file, or -1) say where."""

    code: str = "storage-error"
    exit_code: ClassVar[int] = EXIT_STORAGE_FAILED

    def __init__(self, message: str, *, path: str = "", offset: int = -1) -> None:
        place = f"{path}: " if offset < 0 else f"{path} at byte {offset}: "
        super().__init__(place + message if path else message)
        self.message = message
        self.path = path
        self.offset = offset


class StorageFull(StorageError):
    """No room (or no file descriptor) now. Nothing was changed; the same operation may be tried again later."""

    code = "disk-full"
    exit_code = EXIT_NOT_USABLE


class StorageFailed(StorageError):
    """The device or file system failed. After a failed sync nothing may be retried (RELIABILITY, storage rule 1)."""

    code = "storage-failed"


class BatchTooLarge(StorageError):
    """The gathering batch has no room for this record: take it first; or no batch could ever hold the record."""

    code = "batch-too-large"


class Damaged(StorageError):
    """Stored bytes are not what was written. ``position`` is the journal position of the damage, or -1."""

    code = "storage-damaged"
    exit_code = EXIT_DAMAGED

    def __init__(self, message: str, *, path: str = "", offset: int = -1, position: int = -1) -> None:
        shown = message if position < 0 else f"{message} (position {position})"
        super().__init__(shown, path=path, offset=offset)
        self.position = position


class UnsupportedFormat(StorageError):
    """Written by a version of Penstock that this one cannot read."""

    code = "storage-format"
    exit_code = EXIT_DAMAGED


class DirectoryNotUsable(StorageError):
    """The data directory can not be created, read or written."""

    code = "data-directory-not-usable"
    exit_code = EXIT_NOT_USABLE


class DataDirectoryLocked(StorageError):
    """Another process has the data directory. ``holder`` is what that process wrote about itself."""

    code = "data-directory-locked"
    exit_code = EXIT_LOCKED

    def __init__(self, path: str, holder: str) -> None:
        super().__init__(f"the data directory is in use by {holder or 'another process'}", path=path)
        self.holder = holder


def from_os_error(error: OSError, operation: str, path: str) -> StorageError:
    """Return the storage error that an operating system error in ``operation`` means (not for syncs)."""
    number = error.errno or 0
    message = f"{operation} failed: {error.strerror or error}"
    if number in _RETRYABLE:
        full = StorageFull(message, path=path)
        full.code = _RETRYABLE[number]
        return full
    if number in _NOT_USABLE:
        return DirectoryNotUsable(message, path=path)
    return StorageFailed(message, path=path)


def from_sync_error(error: OSError, path: str) -> StorageFailed:
    """Return what a failed sync means. It is never retryable, whatever the number: written pages may be lost."""
    return StorageFailed(f"sync failed: {error.strerror or error}", path=path)
