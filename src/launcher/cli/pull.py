"""`gpt-oss pull`: fetch a model without starting it."""

import typer

from launcher.cli import options


def pull(
    ctx: typer.Context,
    *,
    model: options.ModelArgument = None,
    quant: options.Quant = None,
    prefer: options.Prefer = None,
    refresh: options.Refresh = False,
    offline: options.Offline = None,
    limit_rate: options.LimitRate = None,
    yes: options.Yes = None,
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Download the model that fits this machine, or the one that is named; resumes where it stopped.

    Examples:
      gpt-oss pull

      gpt-oss pull ggml-org/gpt-oss-20b-GGUF:MXFP4 --limit-rate 5M
    """
    from launcher.cli.context import load_settings, prepare_plan
    from launcher.cli.download import fetch_model
    from launcher.cli.output import print_json, say

    settings = load_settings(ctx.params)
    chosen = prepare_plan(settings, refresh=refresh).plan.file
    local = fetch_model(chosen, settings, to_load=False)
    if json:
        print_json({"model": chosen.name, "paths": local.paths})
        return
    for note in local.notes:
        say(note)
    say(f"{chosen.name} is here:")
    for part in local.paths:
        print(part)  # noqa: T201  # the one line of data: usable in $(...)
