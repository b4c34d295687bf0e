"""`gpt-oss bench`: how fast a model runs here, comparably with llama-bench."""

# ruff: noqa: ARG001  # typer reads the signature; the values come through ctx.params

from typing import Annotated

import typer

from launcher.cli import options
from launcher.cli.bench_calibration import calibration
from launcher.cli.bench_compare import compare
from launcher.cli.bench_group import BoundMayLack
from launcher.cli.bench_history import history
from launcher.cli.bench_plot import plot
from launcher.cli.bench_share import share

bench_app = typer.Typer(cls=BoundMayLack, invoke_without_command=True)

_WHAT = "What to measure"


@bench_app.callback()
def bench(
    ctx: typer.Context,
    *,
    n_prompt: Annotated[
        str, typer.Option("--n-prompt", "-p", help="Prompt sizes, such as 512,2048; 0: none.", rich_help_panel=_WHAT)
    ] = "512",
    n_gen: Annotated[
        str, typer.Option("--n-gen", "-n", help="Tokens to decode, such as 128; 0: none.", rich_help_panel=_WHAT)
    ] = "128",
    n_depth: Annotated[
        str,
        typer.Option(
            "--n-depth", "-d", help="Tokens in the context before, such as 0,4096,16384.", rich_help_panel=_WHAT
        ),
    ] = "0",
    repetitions: Annotated[
        int, typer.Option("--repetitions", "-r", min=1, max=1000, help="Of every test.", rich_help_panel=_WHAT)
    ] = 5,
    engines: Annotated[
        str, typer.Option("--engine", help="embedded, llama-bench, server: some of them.", rich_help_panel=_WHAT)
    ] = "embedded",
    streams: Annotated[
        str, typer.Option("--streams", help="Of the server: requests at the same time.", rich_help_panel=_WHAT)
    ] = "1,2,4",
    output: Annotated[
        str | None, typer.Option("--output", "-o", help="As llama-bench prints it: md, csv, json, jsonl or sql.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="As -o json.")] = False,
    draw: Annotated[bool, typer.Option("--plot", help="Draw speed over depth and over streams, too.")] = False,
    demo: Annotated[bool, typer.Option("--demo", help="Measure the tiny model of this package.")] = False,
    predict_check: Annotated[
        str | None,
        typer.Option(
            "--predict-check",
            metavar="[PCT]",
            help="Exit with 1 where a prediction is off by more than this, 15 where nothing is said.",
        ),
    ] = None,
    no_calibrate: Annotated[
        bool, typer.Option("--no-calibrate", help="Let no later plan rest on what is measured.")
    ] = False,
    quality: Annotated[
        bool,
        typer.Option("--quality", help="Instead of speed: do these settings still predict what a reference does?"),
    ] = False,
    reference: Annotated[
        str | None,
        typer.Option("--reference", help="With --quality: a GGUF, or auto, the model's largest file on this disk."),
    ] = None,
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
    min_tps: options.MinTps = None,
    streamed: options.Streamed = None,
    threads: options.Threads = None,
    load_mode: options.LoadMode = None,
    repack: options.Repack = None,
    build: options.Build = None,
    tuned: options.Tuned = None,
    offline: options.Offline = None,
    limit_rate: options.LimitRate = None,
    refresh: options.Refresh = False,
    yes: options.Yes = None,
    debug: options.Debug = False,
) -> None:
    """Measure how fast a model reads prompts and decodes on this machine, as llama-bench does.

    Examples:
      gpt-oss bench --engine embedded,llama-bench

      gpt-oss bench -p 512,2048 -n 128 -d 0,4096 -o md

      gpt-oss bench --quality --cache-type-k q8_0 --cache-type-v q8_0
    """
    if ctx.invoked_subcommand is not None:
        return
    if quality or reference is not None:
        from launcher.cli.bench_quality import QualityAsk, run_quality

        asked = QualityAsk(
            quality=quality,
            reference=reference or "auto",
            engines=engines,
            output="json" if json else output,
            demo=demo,
            draw=draw,
            refresh=refresh,
        )
        raise typer.Exit(run_quality(ctx.params, asked))
    from launcher.cli.bench_session import Ask, run_bench

    ask = Ask(
        n_prompt=n_prompt,
        n_gen=n_gen,
        n_depth=n_depth,
        repetitions=repetitions,
        engines=engines,
        streams=streams,
        output="json" if json else output,
        demo=demo,
        draw=draw,
        refresh=refresh,
        calibrate=not no_calibrate,
        predict_check=predict_check,
    )
    raise typer.Exit(run_bench(ctx.params, ask))


bench_app.command()(calibration)
bench_app.command()(compare)
bench_app.command()(history)
bench_app.command()(plot)
bench_app.command()(share)
