"""The one flow that every command follows: machine and catalogue in, a plan confirmed on the real header out."""

from launcher.flow.beside import plan_profiles, plan_upgrades, plan_with
from launcher.flow.planning import Prepared, prepare, purposes
from launcher.flow.world import World, detect_here

__all__ = [
    "Prepared",
    "World",
    "detect_here",
    "plan_profiles",
    "plan_upgrades",
    "plan_with",
    "prepare",
    "purposes",
]
