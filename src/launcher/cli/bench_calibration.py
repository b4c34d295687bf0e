"""`gpt-oss bench calibration`: what measured runs made of the planner's costs."""

from typing import Annotated

import typer

from launcher.cli import options


def calibration(
    *,
    build: options.Build = None,
    forget: Annotated[bool, typer.Option("--forget", help="Forget all kept runs: plans are as shipped again.")] = False,
    json: options.Json = False,
    debug: options.Debug = False,  # noqa: ARG001  # read by the error boundary
) -> None:
    """Show which measured runs later plans rest on, and the costs that were fitted to them beside those shipped.

    Examples:
      gpt-oss bench calibration

      gpt-oss bench calibration --forget
    """
    import shlex

    from launcher.cli.bench_calibration_view import as_json, print_calibration
    from launcher.cli.context import load_settings, world
    from launcher.cli.output import print_json, say
    from launcher.errors import LauncherError
    from launcher.hardware.calibration import forget_runs, kept_runs
    from launcher.hardware.match import best_equipped
    from launcher.paths import folders
    from launcher.planner.costs import figures, unit_costs

    state = folders().state
    if forget:
        try:
            there = forget_runs(state_dir=state)
        except OSError as error:
            raise LauncherError(
                f"the runs in {state} cannot be forgotten: {error.strerror or error}",
                hint=f"ls -ld {shlex.quote(str(state))}",
            ) from error
        if json:
            print_json({"forgotten": there})
        else:
            say("forgotten: plans are as shipped again" if there else "no run is kept, so there is nothing to forget")
        return
    own = world(load_settings({"build": build}))
    machines = own.detect()
    measured = [machine for machine in machines if kept_runs(machine, state_dir=state)]
    hardware = best_equipped(measured or machines)
    if len(machines) > 1:
        say(f"of the engine {hardware.engine.name}; others: --build NAME")
    runs = kept_runs(hardware, state_dir=state)
    found = own.calibration(hardware, state)
    shipped = figures(unit_costs(hardware, own.rates(hardware, state)), found)
    if json:
        print_json(as_json(runs, found, shipped))
    elif runs and found is not None:
        print_calibration(runs, found, shipped)
    elif runs:
        n = "1 run that is kept does" if len(runs) == 1 else f"{len(runs)} runs that are kept do"
        say(
            f"the {n} not tell how fast these devices are: decoding of a larger model would (gpt-oss bench --model 20b)"
        )
    else:
        say("no run of this machine and engine is kept; gpt-oss bench measures one")
