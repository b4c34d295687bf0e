"""`gpt-oss serve`: an OpenAI-compatible endpoint on this machine."""

from pathlib import Path
from typing import Annotated

import typer

from launcher.cli import options

_SERVER = "Server"

Host = Annotated[
    str | None,
    typer.Option("--host", help="Address to listen on; others than loopback want a key.", rich_help_panel=_SERVER),
]
Port = Annotated[
    int | None, typer.Option("--port", min=1, max=65_535, help="Port to listen on; 8080.", rich_help_panel=_SERVER)
]
KeyFile = Annotated[
    Path | None, typer.Option("--api-key-file", help="File of keys to ask for, one a line.", rich_help_panel=_SERVER)
]
Cors = Annotated[
    str | None, typer.Option("--cors-origins", help="Web origins that may call; none.", rich_help_panel=_SERVER)
]
SleepIdle = Annotated[
    int | None,
    typer.Option(
        "--sleep-idle-seconds", min=1, help="Unload the model after so long without a request.", rich_help_panel=_SERVER
    ),
]
Effort = Annotated[
    str | None,
    typer.Option("--effort", "--reasoning-effort", help="low, medium or high.", rich_help_panel=_SERVER),
]
Program = Annotated[
    Path | None, typer.Option("--llama-server", help="Another llama-server to run.", rich_help_panel=_SERVER)
]
UiPath = Annotated[
    Path | None,
    typer.Option("--ui-path", help="Folder of a web page; else llama-server's own.", rich_help_panel=_SERVER),
]
OpenPage = Annotated[
    bool, typer.Option("--open", help="Open the web page in your browser once it is ready.", rich_help_panel=_SERVER)
]
Detach = Annotated[bool, typer.Option("--detach", "-d", help="Go on in the background.", rich_help_panel=_SERVER)]
Replace = Annotated[
    bool,
    typer.Option(
        "--replace", help="Stop the server that holds the port, if this plan fits then.", rich_help_panel=_SERVER
    ),
]
Direct = Annotated[
    bool,
    typer.Option(
        "--direct", help="Let clients talk to llama-server itself: no repairs, no limits.", rich_help_panel=_SERVER
    ),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Print the command and start nothing.", rich_help_panel=_SERVER)
]
Extra = Annotated[
    list[str] | None, typer.Argument(help="After --: more arguments for llama-server.", show_default=False)
]


def serve(
    ctx: typer.Context,
    *,
    extra: Extra = None,
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
    limit_rate: options.LimitRate = None,
    refresh: options.Refresh = False,
    host: Host = None,
    port: Port = None,
    api_key_file: KeyFile = None,
    cors_origins: Cors = None,
    sleep_idle_seconds: SleepIdle = None,
    reasoning_effort: Effort = None,
    llama_server: Program = None,
    ui_path: UiPath = None,
    open_page: OpenPage = False,
    detach: Detach = False,
    replace: Replace = False,
    direct: Direct = False,
    dry_run: DryRun = False,
    yes: options.Yes = None,
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Serve the model that fits this machine to any OpenAI client.

    Examples:
      gpt-oss serve

      gpt-oss serve --model 20b --port 8081 --detach -- --log-verbosity 4
    """
    from launcher.cli.serve_session import How, run_serve

    how = How(
        extra=tuple(extra or ()),
        refresh=refresh,
        llama_server=llama_server,
        ui_path=ui_path,
        open_page=open_page,
        detach=detach,
        replace=replace,
        direct=direct,
        dry_run=dry_run,
        as_json=json,
    )
    raise typer.Exit(run_serve(ctx.params, how))
