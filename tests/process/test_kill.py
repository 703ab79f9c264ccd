"""T7: kill -9 of the real process under load. Nothing confirmed is lost, nothing acknowledged comes back.

``PENSTOCK_KILL_ROUNDS`` is how often it is killed (25 unless set; 500 in the nightly run), ``PENSTOCK_KILL_SEED`` where
the seeds begin. A failing seed repeats its bodies and its kill times, though not the machine's timing.
"""

import os
from pathlib import Path

import pytest
from tests.process.campaign import Campaign

ROUNDS = int(os.environ.get("PENSTOCK_KILL_ROUNDS", "25"))
SEED = int(os.environ.get("PENSTOCK_KILL_SEED", "1"))
KILLS_EACH = 5
"""Kills of one data directory, one after the other: recovery of what was recovered."""


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", range(SEED, SEED + -(-ROUNDS // KILLS_EACH)))
async def test_a_broker_killed_under_load_loses_nothing_confirmed(seed: int, tmp_path: Path) -> None:
    campaign = Campaign(seed, tmp_path)
    await campaign.run(KILLS_EACH, kill=True)
    print(campaign.figures())
    assert campaign.violations == [], f"seed {seed}: {campaign.figures()}; {campaign.broker.log_tail()}"
