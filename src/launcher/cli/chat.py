"""`gpt-oss chat`: answer one question, or talk."""

from pathlib import Path
from typing import Annotated

import typer

from launcher.cli import options

_SCRIPT = "For scripts"
_WHO = "Who answers"
_TOOLS = "Tools"


def chat(
    ctx: typer.Context,
    *,
    question: Annotated[
        list[str] | None, typer.Argument(help="What to ask; without it, and without a pipe: a conversation.")
    ] = None,
    demo: Annotated[
        bool, typer.Option("--demo", help="Use the tiny model of this package: no download, no GPU, a few answers.")
    ] = False,
    attach: Annotated[
        list[str] | None, typer.Option("--attach", "-a", help="A text file to send along; may be given again.")
    ] = None,
    resume: Annotated[
        str | None, typer.Option("--resume", help="Go on with a conversation: its number, its title, or last.")
    ] = None,
    history: Annotated[
        bool | None, typer.Option("--history/--no-history", help="Keep the conversation, or not.")
    ] = None,
    system: Annotated[str | None, typer.Option("--system", help="Instructions that begin the conversation.")] = None,
    reasoning_effort: Annotated[
        str | None, typer.Option("--reasoning-effort", "--effort", help="low, medium or high.", show_default=False)
    ] = None,
    show_reasoning: Annotated[
        bool | None, typer.Option("--reasoning/--no-reasoning", help="Show the reasoning in full, or not at all.")
    ] = None,
    temperature: Annotated[
        float | None, typer.Option("--temp", "--temperature", help="0: always the likeliest token.")
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", "-s", help="Makes sampling repeatable.")] = None,
    max_tokens: Annotated[int | None, typer.Option("--max-tokens", "-n", min=1, help="End an answer here.")] = None,
    edit_mode: Annotated[str | None, typer.Option("--edit-mode", help="Keys of the prompt: emacs or vi.")] = None,
    file: Annotated[
        str | None,
        typer.Option("--file", "-f", help="File of the question; - is stdin.", rich_help_panel=_SCRIPT),
    ] = None,
    schema: Annotated[
        Path | None,
        typer.Option("--schema", help="File of a JSON schema that the answer follows.", rich_help_panel=_SCRIPT),
    ] = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document on stdout.", rich_help_panel=_SCRIPT)
    ] = False,
    stream_json: Annotated[
        bool, typer.Option("--stream-json", help="Print a line of JSON for each event.", rich_help_panel=_SCRIPT)
    ] = False,
    tools: Annotated[
        str | None,
        typer.Option("--tools", help="What the model may call: python, mcp:NAME.", rich_help_panel=_TOOLS),
    ] = None,
    tools_allow: Annotated[
        str | None, typer.Option("--tools-allow", help="Tools that run without asking.", rich_help_panel=_TOOLS)
    ] = None,
    engine: Annotated[
        str | None,
        typer.Option(
            "--engine",
            help="auto: a server that runs here, if it serves the model; embedded: load it here; server.",
            rich_help_panel=_WHO,
        ),
    ] = None,
    url: Annotated[
        str | None,
        typer.Option(
            "--url",
            help="Another OpenAI-compatible server; its key is in OPENAI_API_KEY.",
            rich_help_panel=_WHO,
        ),
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
    swa_full: options.SwaFull = None,
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
    """Chat with the GPT OSS model that fits this machine, or with a server that runs.

    Examples:
      gpt-oss chat "Why is the sky blue?"

      git diff | gpt-oss chat --effort low "Write a commit message for this."
    """
    from launcher.cli.chat_session import Ask, run_chat

    ask = Ask(
        words=tuple(question or ()),
        file=file,
        attach=tuple(attach or ()),
        resume=resume,
        schema=schema,
        as_json=json,
        stream_json=stream_json,
        demo=demo,
        refresh=refresh,
    )
    raise typer.Exit(run_chat(ctx.params, ask))
