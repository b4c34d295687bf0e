"""`gpt-oss hardware`: what this machine is, and what the engine can use of it."""

from pathlib import Path
from typing import Annotated

import typer

from launcher.cli import options


def hardware(
    save: Annotated[
        Path | None, typer.Option("--save", help="Write it to a file, for `gpt-oss plan --hardware FILE` elsewhere.")
    ] = None,
    build: options.Build = None,
    json: options.Json = False,
    debug: options.Debug = False,  # noqa: ARG001  # read by the error boundary
) -> None:
    """Show CPU, memory and devices as the planner sees them.

    Examples:
      gpt-oss hardware

      gpt-oss hardware --save my-pc.json
    """
    from launcher.cli.context import load_settings, world
    from launcher.cli.output import print_json, say
    from launcher.hardware.match import best_equipped
    from launcher.hardware.saved import hardware_to_json

    found = best_equipped(world(load_settings({"build": build})).detect())
    if save is not None:
        from launcher.cli.output import json_text, save_text

        save_text(save, json_text(hardware_to_json(found)))
        say(f"saved to {save}; plan for it anywhere: gpt-oss plan --hardware {save}")
    if json:
        print_json(hardware_to_json(found))
    elif save is None:
        from launcher.cli.hardware_view import print_hardware

        print_hardware(found)
