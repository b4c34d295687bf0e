"""From flags to a plan on the screen: for this machine, another, or every one that has a profile."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from launcher.cli.context import is_offline, load_settings, plan_argv, prepare_plan, request_of, world
from launcher.cli.output import print_json, say
from launcher.errors import DoesNotFitError, ExitCode, UsageError
from launcher.planner.report import plan_json
from launcher.planner.types import Plan
from launcher.records import to_jsonable

if TYPE_CHECKING:
    from launcher.flow import Prepared
    from launcher.hardware.profiles import Profile
    from launcher.hardware.types import Hardware
    from launcher.planner.verify import Verification
    from launcher.planner.whatif import Upgrade
    from launcher.settings import Settings

EVERY_PROFILE = "all"


def run_plan(
    flags: Mapping[str, Any], machine: str | None, *, refresh: bool, what_if: bool, verify: bool, as_json: bool
) -> int:
    """Plan and print. Gives the exit code.

    Raises:
        LauncherError: what the plan refuses; of what does not fit, upgrades and with `as_json` the nearest miss are
            printed before.
    """
    settings = load_settings(flags)
    if machine == EVERY_PROFILE:
        if what_if or verify:
            raise UsageError("--what-if and --verify are for one machine", hint="gpt-oss plan --hardware all")
        return _every_profile(settings, refresh=refresh, as_json=as_json)
    profile = _profile(machine)
    try:
        there = profile.hardware if profile else None
        prepared = prepare_plan(settings, refresh=refresh, hardware=there, purpose="chat")
    except DoesNotFitError as error:
        if isinstance(error.closest, Plan):
            upgrades = _upgrades(settings, error.closest.hardware, here=profile is None) if what_if else None
            _print(error.closest, profile, upgrades, None, as_json=as_json)
        raise
    plan = prepared.plan
    upgrades = _upgrades(settings, plan.hardware, here=profile is None) if what_if else None
    verification = _verify(settings, prepared, here=profile is None) if verify else None
    _print(plan, profile, upgrades, verification, as_json=as_json)
    return ExitCode.DONE if verification is None or verification.ok else ExitCode.ENGINE


def _profile(machine: str | None) -> Profile | None:
    if machine is None:
        return None
    from launcher.hardware.profiles import open_hardware

    return open_hardware(machine)


def _print(
    plan: Plan,
    profile: Profile | None,
    upgrades: tuple[Upgrade, ...] | None,
    verification: Verification | None,
    *,
    as_json: bool,
) -> None:
    """Everything that was asked for; of a plan that does not fit a person is told by the error instead."""
    if as_json:
        more = {"what_if": upgrades, "verification": verification}
        asked = {key: to_jsonable(value) for key, value in more.items() if value is not None}
        print_json({**plan_json(plan, plan_argv(plan)), **asked})
        return
    if plan.fits:
        from launcher.cli.plan_view import print_plan

        print_plan(plan, plan_argv(plan), machine=profile.name if profile else None)
    if upgrades is not None:
        from launcher.cli.whatif_view import print_upgrades

        print_upgrades(upgrades)
    if verification is not None:
        from launcher.cli.verify_view import print_verification

        print_verification(verification)


def _every_profile(settings: Settings, *, refresh: bool, as_json: bool) -> int:
    from launcher.flow import plan_profiles
    from launcher.hardware.profiles import list_profiles

    found = plan_profiles(
        list_profiles(), request_of(settings), world(settings), offline=is_offline(settings), refresh=refresh
    )
    if as_json:
        rows = [
            {
                "profile": profile.slug,
                "name": profile.name,
                **({} if plan is None else plan_json(plan, plan_argv(plan))),
                "refused": refused,
            }
            for profile, plan, refused in found
        ]
        print_json({"profiles": rows})
    else:
        from launcher.cli.profile_view import print_profiles

        print_profiles(found)
    return ExitCode.DONE


def _upgrades(settings: Settings, hardware: Hardware, *, here: bool) -> tuple[Upgrade, ...]:
    from launcher.flow import plan_upgrades

    return plan_upgrades(hardware, request_of(settings), world(settings), offline=is_offline(settings), here=here)


def _verify(settings: Settings, prepared: Prepared, *, here: bool) -> Verification:
    """Ask llama.cpp itself; the model need not be on this disk, its header is enough."""
    from launcher.catalogue.skeleton import skeleton
    from launcher.engines.oracle import ask
    from launcher.errors import EngineError
    from launcher.planner.verify import verify

    plan, own = prepared.plan, world(settings)
    say("asking llama.cpp what it would allocate")
    path = skeleton(plan.file, cache_dir=own.cache_dir, open_remote=own.remote(offline=is_offline(settings)))
    stood_in = not here and bool(plan.load_params.devices)
    n_stand_ins = len(plan.load_params.devices) if stood_in else 0
    (answer,) = ask(path, [plan.load_params], n_stand_ins=n_stand_ins, engine=plan.hardware.engine if here else None)
    if answer.refused is not None:
        raise EngineError(f"llama.cpp refuses this plan: {answer.refused}", hint="gpt-oss plan")
    stated = {row.device: (row.model_bytes, row.context_bytes, row.compute_bytes) for row in answer.rows}
    return verify(plan, prepared.weights, stated, stood_in=stood_in)
