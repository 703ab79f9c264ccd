"""What the hub tells of the process."""

from pathlib import Path
from typing import Any

import pytest

from penstock.net.hub import rss_bytes

MIB = 1024 * 1024


def test_memory_is_told_in_bytes_where_the_system_tells_only_the_peak(monkeypatch: pytest.MonkeyPatch) -> None:
    """A memory watermark that took kilobytes for bytes would never stop anyone."""
    now = rss_bytes()
    assert now > 8 * MIB

    def refused(*_: Any, **__: Any) -> str:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(Path, "read_text", refused)
    assert now / 2 < rss_bytes() < 100 * now
