"""A broker process for the tests of commands."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.integration.commands import Broker


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A running broker, shared by a module's tests: each uses queues of its own."""
    broker = Broker(tmp_path_factory.mktemp("broker") / "data")
    yield broker
    assert broker.stop() == 0


@pytest.fixture
def queue(broker: Broker, request: pytest.FixtureRequest) -> str:
    """A new queue, named after the test."""
    name: str = request.node.name[:200]
    return broker.declare(name)


@pytest.fixture
def lines_file(tmp_path: Path) -> Path:
    """A file of 1,000 numbered lines."""
    path = tmp_path / "lines.txt"
    path.write_bytes(b"".join(b"line %d\n" % number for number in range(1000)))
    return path
