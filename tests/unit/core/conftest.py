import pytest
from tests.unit.core.harness import Core


@pytest.fixture
def core() -> Core:
    return Core()
