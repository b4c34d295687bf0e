"""Settings that beat the plan on this machine, found by short paired runs."""
