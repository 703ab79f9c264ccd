"""T24, the broker's half: SIGTERM at random moments under load. It drains in time, and no publish is left in doubt."""

import os
from pathlib import Path

import pytest
from tests.process.campaign import Campaign

ROUNDS = int(os.environ.get("PENSTOCK_TERMINATE_ROUNDS", "20"))
STOPS_EACH = 5


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", range(1, 1 + -(-ROUNDS // STOPS_EACH)))
async def test_a_broker_asked_to_stop_under_load_drains_and_every_publish_has_an_outcome(
    seed: int, tmp_path: Path
) -> None:
    campaign = Campaign(seed, tmp_path)
    await campaign.run(STOPS_EACH, kill=False)
    print(campaign.figures())
    assert campaign.violations == [], f"seed {seed}: {campaign.figures()}; {campaign.broker.log_tail()}"
    assert set(campaign.exit_codes) == {0}
