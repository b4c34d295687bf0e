"""Plans for machines that are not here: other ones, and this one with more."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from launcher.errors import DoesNotFitError, UsageError
from launcher.flow.world import World, catalogues
from launcher.hardware.types import Hardware
from launcher.planner.choose import plan
from launcher.planner.types import HOST, Plan, PlanRequest

if TYPE_CHECKING:
    from launcher.hardware.profiles import Profile
    from launcher.planner.whatif import Upgrade


def plan_profiles(
    profiles: Sequence[Profile], request: PlanRequest, world: World, *, offline: bool, refresh: bool = False
) -> list[tuple[Profile, Plan | None, str | None]]:
    """Plan for every profile: with the plan, or the nearest miss and why it was refused.

    Weights come from the catalogue: no header is read for machines that are not here.

    Raises:
        UsageError: what was asked can be kept on none of them.
    """
    catalogue_of = catalogues(request, world, offline=offline, refresh=refresh)
    found: list[tuple[Profile, Plan | None, str | None]] = []
    refusal: UsageError | None = None
    for profile in profiles:
        machine = profile.hardware
        files = catalogue_of(machine)  # an unknown model is unknown on every machine: not a row, an error
        try:
            best = plan(machine, files, request, rates=world.rates(machine, None))
            found.append((profile, best, None))
        except DoesNotFitError as error:
            closest = error.closest if isinstance(error.closest, Plan) else None
            found.append((profile, closest, error.message))
        except UsageError as error:  # a pin that this machine cannot keep
            refusal = refusal or error
            found.append((profile, None, error.message))
    if refusal is not None and all(best is None for _, best, _ in found):
        raise refusal
    return found


def plan_upgrades(
    hardware: Hardware, request: PlanRequest, world: World, *, offline: bool, here: bool
) -> tuple[Upgrade, ...]:
    """What more memory or another GPU would buy.

    Args:
        hardware: the machine as it is.
        request: the wish.
        world: everything from outside.
        offline: ask nothing of the network.
        here: whether it is this machine, whose RAM was measured.
    """
    from launcher.planner.whatif import what_if

    return what_if(hardware, _planner_beside(hardware, request, world, offline=offline, here=here))


def plan_with(here: Hardware, instead: Hardware, request: PlanRequest, world: World, *, offline: bool) -> Plan:
    """The plan for this machine as it would be with other devices.

    Args:
        here: the machine as it is.
        instead: the same with what it would have.
        request: the wish.
        world: everything from outside.
        offline: ask nothing of the network.

    Raises:
        LauncherError: what catalogue or planner refuse.
    """
    return _planner_beside(here, request, world, offline=offline, here=True)(instead)


def _planner_beside(
    hardware: Hardware, request: PlanRequest, world: World, *, offline: bool, here: bool
) -> Callable[[Hardware], Plan]:
    """Plans for machines like this one: no header is read for them, and their devices have published rates."""
    catalogue_of = catalogues(request, world, offline=offline, refresh=False)
    # The RAM stays what it is: a measured rate against one of a table would pass for a gain.
    ram = world.rates(hardware, world.state_dir if here else None).get(HOST)

    def planned(machine: Hardware) -> Plan:
        rates = world.rates(machine, None)
        return plan(machine, catalogue_of(machine), request, rates=rates if ram is None else {**rates, HOST: ram})

    return planned
