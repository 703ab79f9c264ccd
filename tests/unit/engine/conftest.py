import pytest
from tests.unit.engine.harness import Bench


@pytest.fixture
def bench() -> Bench:
    return Bench()
