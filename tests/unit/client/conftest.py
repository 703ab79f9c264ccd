"""A scripted broker for every test."""

from collections.abc import AsyncIterator

import pytest
from tests.unit.client.peer import ScriptedPeer


@pytest.fixture
async def peer() -> AsyncIterator[ScriptedPeer]:
    """A broker that does what the test says."""
    async with ScriptedPeer() as peer:
        yield peer
