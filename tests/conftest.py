"""Settings of the property tests: how many examples each takes.

The profile is named by ``--hypothesis-profile`` (as ``make fuzz`` and ``make nightly`` do) or, for a run by hand, by
the environment variable ``HYPOTHESIS_PROFILE``. No profile has a deadline: a shared machine is not a bug.
"""

import os

from hypothesis import HealthCheck, settings

settings.register_profile("default", max_examples=100, deadline=None)
settings.register_profile("fuzz", max_examples=2_000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("nightly", max_examples=10_000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))
