"""docs/protocol.md names what the code has: frame types, error codes and limits."""

import re
from pathlib import Path

from penstock_client.wire import limits
from penstock_client.wire.connection import CLIENT_TYPES, SERVER_TYPES
from penstock_client.wire.errors import ErrorCode
from penstock_client.wire.frames import FrameType

TEXT = (Path(__file__).parents[3] / "docs" / "protocol.md").read_text(encoding="utf-8")


def rows(pattern: str) -> list[tuple[str, str]]:
    return [(match[1], match[2]) for match in re.finditer(pattern, TEXT, re.MULTILINE)]


def limit_of(what: str) -> int:
    (match,) = re.finditer(rf"^\| {re.escape(what)} \| ([\d,]+)(?: (KiB|MiB|bytes|s))?", TEXT, re.MULTILINE)
    factor = {"KiB": 1024, "MiB": 1024**2}.get(match[2] or "", 1)
    return int(match[1].replace(",", "")) * factor


def test_every_frame_type_is_in_the_table_with_its_number() -> None:
    listed = {(name, int(number, 16)) for number, name in rows(r"^\| (0x\w\w) \| (\w+) \| (?:client|server|both) \|")}

    assert listed == {(frame_type.name, int(frame_type)) for frame_type in FrameType}


def test_the_senders_in_the_table_are_those_of_the_states() -> None:
    senders = dict(rows(r"^\| 0x\w\w \| (\w+) \| (client|server|both) \|"))

    assert {name for name, sender in senders.items() if sender == "client"} == {
        *(frame_type.name for frame_type in CLIENT_TYPES - SERVER_TYPES),
        "HELLO",
        "AUTH",
    }
    assert {name for name, sender in senders.items() if sender == "both"} == {"PING", "PONG", "CLOSE", "CLOSED"}


def test_every_error_code_is_in_the_table_with_its_number() -> None:
    section = TEXT.split("\n## 10. ")[1].split("\n## ")[0]
    listed = {(label, int(number)) for number, label in re.findall(r"^\| (\d+) \| ([a-z-]+) \|", section, re.MULTILINE)}

    assert listed == {(code.label, int(code)) for code in ErrorCode}


def test_the_limits_are_those_of_the_code() -> None:
    assert limit_of("frame payload before READY") == limits.FRAME_BYTES_MAX_BEFORE_READY
    assert limit_of("control map of a client") == limits.CONTROL_BYTES_MAX
    assert limit_of("block of several messages") == limits.BLOCK_BYTES_MULTI_MAX
    assert limit_of("columns beside a lone body") == limits.ENVELOPE_BYTES_MAX
    assert limit_of("entries of a PUBLISH frame") == limits.PUBLISH_ENTRIES_MAX
    assert limit_of("ranges of a SETTLE frame") == limits.SETTLE_RANGES_MAX
    assert limit_of("entries of a REPLY frame") == limits.REPLY_ENTRIES_MAX
    assert limit_of("reason") == limits.REASON_BYTES_MAX
    assert limit_of("name") == limits.NAME_BYTES_MAX
    assert limit_of("key") == limits.KEY_BYTES_MAX
    assert limit_of("failures kept of a message") == limits.FAILURE_HISTORY_MAX
    assert f"at least {limits.HEARTBEAT_MS_MIN}" in TEXT
    assert f"default {limits.HEARTBEAT_MS_DEFAULT:,}" in TEXT


def test_errors_named_in_the_text_exist() -> None:
    mentioned = set(re.findall(r"`([a-z]+(?:-[a-z]+)+)`", TEXT)) - {"auth-anonymous", "routing-key", "x-match"}

    assert mentioned <= {code.label for code in ErrorCode}
