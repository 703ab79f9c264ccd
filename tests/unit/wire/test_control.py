from typing import Any

import msgpack
import pytest

from penstock_client.wire import control
from penstock_client.wire.errors import ErrorCode, WireError
from penstock_client.wire.limits import CONTROL_BYTES_MAX


def test_a_map_survives_the_way() -> None:
    value = {"queue": "jöbs", "lease_ms": 30_000, "data": b"\xff", "none": None, "list": [1, {"a": 2.5}], "on": True}

    assert control.unpack(control.pack(value)) == value


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\xc1",
        b"\x81",
        b"\x80\x80",
        b"\x81\xa1a",
        b"\x90",
        b"\x01",
        b"\xc0",
        msgpack.packb({1: 2}),
        msgpack.packb({b"bytes": 2}),
        b"\x81\xa1\xff\x01",
        b"\x81\xa1a\xd4\x05x",
        b"\x81\xa1a\xc7\x00\x05",
        b"\x81\xa1a\xc7\x00\xff",
        b"\x81\xa1a\xd6\xff\x00\x00\x00\x00",
        b"\x81\xa1a\x81\x90\x01",
        b"\x81\xa1a\x81\xc4\x01b\x81\xc2\x01",
        b"\xdf\xff\xff\xff\xff",
        b"\x81\xa1a" + b"\x91" * 3_000 + b"\xc0",
    ],
)
def test_anything_but_one_map_of_text_keys_is_malformed(payload: bytes) -> None:
    with pytest.raises(WireError) as caught:
        control.unpack(payload)
    assert caught.value.code is ErrorCode.MALFORMED_FRAME


def test_a_map_above_the_limit_is_refused_before_it_is_looked_at() -> None:
    with pytest.raises(WireError) as caught:
        control.unpack(b"\xc1" * (CONTROL_BYTES_MAX + 1))
    assert caught.value.code is ErrorCode.FRAME_TOO_LARGE


def test_a_client_may_take_larger_maps() -> None:
    value: dict[str, Any] = {"queues": ["x" * 100] * 20_000}

    assert control.unpack(control.pack(value), 4_000_000) == value
