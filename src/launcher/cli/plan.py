"""`gpt-oss plan`: which file, placed how, and why; nothing is downloaded or loaded."""

import typer

from launcher.cli import options


def plan(
    ctx: typer.Context,
    *,
    model: options.Model = None,
    quant: options.Quant = None,
    prefer: options.Prefer = None,
    ctx_size: options.CtxSize = None,
    min_ctx: options.MinCtx = None,
    n_gpu_layers: options.GpuLayers = None,
    n_cpu_moe: options.CpuMoe = None,
    cache_type_k: options.CacheTypeK = None,
    cache_type_v: options.CacheTypeV = None,
    ubatch_size: options.UbatchSize = None,
    threads: options.Threads = None,
    load_mode: options.LoadMode = None,
    repack: options.Repack = None,
    offline: options.Offline = None,
    refresh: options.Refresh = False,
    hardware: options.HardwareFile = None,
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Show which model fits this machine, with which settings, and why.

    Examples:
      gpt-oss plan

      gpt-oss plan --model 120b --prefer context --json
    """
    from launcher.cli.context import load_settings, prepare_plan
    from launcher.cli.output import print_json

    prepared = prepare_plan(load_settings(ctx.params), refresh=refresh, hardware_file=hardware)
    if json:
        print_json(prepared.plan)
        return
    from launcher.cli.plan_view import print_plan

    print_plan(prepared.plan)
