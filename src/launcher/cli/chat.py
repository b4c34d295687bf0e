"""`gpt-oss chat`: answer one question, or talk."""

from typing import Annotated

import typer

from launcher.cli import options


def chat(
    ctx: typer.Context,
    *,
    question: Annotated[
        list[str] | None, typer.Argument(help="What to ask; without it, and without a pipe: a conversation.")
    ] = None,
    demo: Annotated[
        bool, typer.Option("--demo", help="Use the tiny model of this package: no download, no GPU, a few answers.")
    ] = False,
    model: options.Model = None,
    quant: options.Quant = None,
    prefer: options.Prefer = None,
    system: Annotated[str | None, typer.Option("--system", help="Instructions that begin the conversation.")] = None,
    reasoning_effort: Annotated[
        str | None, typer.Option("--reasoning-effort", "--effort", help="low, medium or high.", show_default=False)
    ] = None,
    show_reasoning: Annotated[
        bool | None, typer.Option("--reasoning/--no-reasoning", help="Show the reasoning, dimmed, on stderr.")
    ] = None,
    temperature: Annotated[
        float | None, typer.Option("--temp", "--temperature", help="0: always the likeliest token.")
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", "-s", help="Makes sampling repeatable.")] = None,
    max_tokens: Annotated[int | None, typer.Option("--max-tokens", "-n", min=1, help="End an answer here.")] = None,
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
    swa_full: options.SwaFull = None,
    min_tps: options.MinTps = None,
    streamed: options.Streamed = None,
    threads: options.Threads = None,
    load_mode: options.LoadMode = None,
    repack: options.Repack = None,
    offline: options.Offline = None,
    refresh: options.Refresh = False,
    yes: options.Yes = None,
    debug: options.Debug = False,
) -> None:
    """Chat with the GPT OSS model that fits this machine; the answer is on stdout, the reasoning on stderr.

    Examples:
      gpt-oss chat "Why is the sky blue?"

      git diff | gpt-oss chat --effort low "Write a commit message for this."
    """
    from launcher.cli.chat_session import run_chat

    raise typer.Exit(run_chat(ctx.params, " ".join(question or ()), demo=demo, refresh=refresh))
