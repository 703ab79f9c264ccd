from collections.abc import AsyncIterator

import pytest_asyncio
from tests.unit.net.harness import running_broker

from penstock.app import Broker


@pytest_asyncio.fixture
async def broker() -> AsyncIterator[Broker]:
    async with running_broker() as broker:
        yield broker
