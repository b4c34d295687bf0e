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
    min_tps: options.MinTps = None,
    n_gpu_layers: options.GpuLayers = None,
    n_cpu_moe: options.CpuMoe = None,
    device: options.DeviceNames = None,
    tensor_split: options.TensorSplit = None,
    cache_type_k: options.CacheTypeK = None,
    cache_type_v: options.CacheTypeV = None,
    batch_size: options.BatchSize = None,
    ubatch_size: options.UbatchSize = None,
    parallel: options.Parallel = None,
    kv_unified: options.KvUnified = None,
    swa_full: options.SwaFull = None,
    threads: options.Threads = None,
    load_mode: options.LoadMode = None,
    repack: options.Repack = None,
    build: options.Build = None,
    tuned: options.Tuned = None,
    streamed: options.Streamed = None,
    offline: options.Offline = None,
    refresh: options.Refresh = False,
    hardware: options.HardwareName = None,
    what_if: options.WhatIf = False,
    verify: options.Verify = False,
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Show which model fits this machine, with which settings, how fast, and why.

    Examples:
      gpt-oss plan --prefer context

      gpt-oss plan --hardware rtx-4090-64gb --model 120b --json
    """
    from launcher.cli.plan_session import run_plan

    raise typer.Exit(run_plan(ctx.params, hardware, refresh=refresh, what_if=what_if, verify=verify, as_json=json))
