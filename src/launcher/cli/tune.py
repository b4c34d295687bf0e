"""`gpt-oss tune`: find settings that beat the plan on this machine, by measuring."""

# ruff: noqa: ARG001  # typer reads the signature; the values come through ctx.params

from typing import Annotated

import typer

from launcher.cli import options

_WHAT = "What to search"


def tune(
    ctx: typer.Context,
    *,
    purpose: Annotated[
        str, typer.Option("--for", help="chat, serve or long-context: what is to be fast.", rich_help_panel=_WHAT)
    ] = "chat",
    budget: Annotated[
        str, typer.Option("--budget", help="Time for it, such as 90s, 5m or 1h.", rich_help_panel=_WHAT)
    ] = "5m",
    explain: Annotated[
        bool, typer.Option("--explain", help="Show what each setting bought in the last tune, and run nothing.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be tried, and run nothing.")] = False,
    forget: Annotated[bool, typer.Option("--forget", help="Plan again without what was tuned before.")] = False,
    json: options.Json = False,
    demo: Annotated[bool, typer.Option("--demo", help="Tune the tiny model of this package.")] = False,
    model: options.Model = None,
    quant: options.Quant = None,
    prefer: options.Prefer = None,
    ctx_size: options.CtxSize = None,
    min_ctx: options.MinCtx = None,
    n_gpu_layers: options.GpuLayers = None,
    n_cpu_moe: options.CpuMoe = None,
    cache_type_k: options.CacheTypeK = None,
    cache_type_v: options.CacheTypeV = None,
    device: options.DeviceNames = None,
    tensor_split: options.TensorSplit = None,
    batch_size: options.BatchSize = None,
    ubatch_size: options.UbatchSize = None,
    parallel: options.Parallel = None,
    min_tps: options.MinTps = None,
    threads: options.Threads = None,
    load_mode: options.LoadMode = None,
    repack: options.Repack = None,
    build: options.Build = None,
    offline: options.Offline = None,
    refresh: options.Refresh = False,
    yes: options.Yes = None,
    debug: options.Debug = False,
) -> None:
    """Find settings that beat the plan on this machine, by measuring; later plans use them.

    Examples:
      gpt-oss tune --budget 10m

      gpt-oss tune --for serve --explain
    """
    from launcher.cli.tune_session import Ask, run_tune

    ask = Ask(
        purpose=purpose,
        budget=budget,
        explain=explain,
        dry_run=dry_run,
        forget=forget,
        as_json=json,
        demo=demo,
        refresh=refresh,
    )
    raise typer.Exit(run_tune(ctx.params, ask))
