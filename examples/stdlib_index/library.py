"""Which files the demo indexes: the standard library of the running interpreter, without installed packages."""

import sysconfig
from pathlib import Path
from typing import Final, NamedTuple

BODY_BYTES_MAX: Final = 1024 * 1024
"""The broker's default limit for one message body; a file travels whole, as the body of its job."""

INSTALLED: Final = {"site-packages", "dist-packages"}


class Library(NamedTuple):
    """The files to index, as names relative to ``root``, and how many were left out for their size."""

    root: Path
    names: list[str]
    too_large: int


def standard_library_root() -> Path:
    """Return the directory that holds the interpreter's own modules."""
    return Path(sysconfig.get_path("stdlib"))


def find_library(root: Path, limit: int = 0) -> Library:
    """List every ``.py`` file under ``root``, sorted; the first ``limit`` of them when a limit is given."""
    names: list[str] = []
    too_large = 0
    for path in sorted(root.rglob("*.py")):
        name = path.relative_to(root)
        if INSTALLED.intersection(name.parts) or not path.is_file():
            continue
        if path.stat().st_size > BODY_BYTES_MAX:
            too_large += 1
        else:
            names.append(name.as_posix())
    return Library(root, names[:limit] if limit else names, too_large)
