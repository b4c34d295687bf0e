"""What holds for every test: no deadline on hypothesis, and in CI the same examples every time."""

import os

from hypothesis import settings

# A property that fails on one run in a hundred is found by people who can look into it, not by a gate.
settings.register_profile("launcher", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("launcher")
