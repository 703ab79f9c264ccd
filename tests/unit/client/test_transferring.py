"""Transfers of what was found: in batches, at a rate."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import pytest

from penstock_client.transferring import MOVE, Transferred, transfer_found


class Found(NamedTuple):
    queue: str
    offset: int


class Client:
    """Keeps what it is asked for, and the waits between."""

    def __init__(self) -> None:
        self.happened: list[float | list[int]] = []

    async def call(self, frame_type: int, arguments: dict[str, Any], once: bool) -> dict[str, Any]:
        del frame_type, once
        self.happened.append(arguments["offsets"])
        return {"done": len(arguments["offsets"]), "refused": [], "refused_count": 0}

    async def sleep(self, seconds: float) -> None:
        if seconds:
            self.happened.append(round(seconds, 6))


async def found(count: int) -> AsyncIterator[Any]:
    for offset in range(count):
        yield Found("jobs", offset)


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Any:
    client = Client()
    monkeypatch.setattr("penstock_client.transferring.asyncio.sleep", client.sleep)
    return client


@pytest.mark.parametrize(
    ("rate", "happened"),
    [
        (None, [[0, 1, 2]]),
        (0, [[0, 1, 2]]),
        (10, [[0, 1], 0.2, [2]]),
        ("60/min", [[0], 1.0, [1], 1.0, [2]]),
    ],
)
async def test_batches_keep_the_rate_between_them_and_nothing_is_waited_for_behind_the_last(
    client: Any, rate: str | float | None, happened: list[float | list[int]]
) -> None:
    outcome = await transfer_found(client, found(3), MOVE, target="slow", rate=rate)
    assert outcome == Transferred(3, 3, [], 0)
    assert client.happened == happened


@pytest.mark.parametrize("rate", [-1, float("nan"), float("inf"), "fast"])
async def test_a_rate_that_is_none_is_refused_before_anything_is_done(client: Any, rate: str | float) -> None:
    with pytest.raises(ValueError, match="rate"):
        await transfer_found(client, found(3), MOVE, target="slow", rate=rate)
    assert client.happened == []


async def test_a_dry_run_does_nothing_and_waits_for_nothing(client: Any) -> None:
    outcome = await transfer_found(client, found(3), MOVE, target="slow", rate=1, dry_run=True)
    assert outcome == Transferred(3, 0, [], 0)
    assert client.happened == []
