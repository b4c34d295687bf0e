"""Options that several commands share, spelt as llama.cpp spells them."""

from typing import Annotated

import typer

from launcher.cli import complete

_MODEL = "Model"
_PLACE = "Placement"
_MACHINE = "Machine"

Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        help="auto, 20b, 120b, a hub repository owner/name[:QUANT], or the path of a GGUF.",
        rich_help_panel=_MODEL,
    ),
]
ModelArgument = Annotated[
    str | None, typer.Argument(help="auto, 20b, 120b or a hub repository owner/name[:QUANT].", show_default=False)
]
Quant = Annotated[
    str | None, typer.Option("--quant", help="Quant label, such as MXFP4 or Q4_K_M.", rich_help_panel=_MODEL)
]
Prefer = Annotated[
    str | None, typer.Option("--prefer", help="quality (default), speed or context.", rich_help_panel=_MODEL)
]
Offline = Annotated[bool | None, typer.Option("--offline", help="Ask nothing of the network.", rich_help_panel=_MODEL)]
Refresh = Annotated[
    bool,
    typer.Option("--refresh", help="List the hub again instead of using a listing of today.", rich_help_panel=_MODEL),
]
LimitRate = Annotated[
    str | None,
    typer.Option("--limit-rate", help="A download's bytes per second, such as 5M.", rich_help_panel=_MODEL),
]
CtxSize = Annotated[
    int | None,
    typer.Option(
        "--ctx-size", "-c", min=0, help="Context in tokens; 0: all it was trained for.", rich_help_panel=_PLACE
    ),
]
MinCtx = Annotated[
    int | None, typer.Option("--min-ctx", min=1, help="Never plan a smaller context.", rich_help_panel=_PLACE)
]
GpuLayers = Annotated[
    int | None,
    typer.Option("--n-gpu-layers", "-ngl", min=0, help="Layers on the GPU; 0: none.", rich_help_panel=_PLACE),
]
CpuMoe = Annotated[
    int | None,
    typer.Option("--n-cpu-moe", "-ncmoe", min=0, help="Layers whose experts stay in RAM.", rich_help_panel=_PLACE),
]
CacheTypeK = Annotated[
    str | None,
    typer.Option(
        "--cache-type-k",
        "-ctk",
        help="f16, bf16, f32, q8_0, q5_1, q5_0, q4_1, q4_0 or iq4_nl.",
        rich_help_panel=_PLACE,
    ),
]
CacheTypeV = Annotated[
    str | None, typer.Option("--cache-type-v", "-ctv", help="As --cache-type-k.", rich_help_panel=_PLACE)
]
UbatchSize = Annotated[
    int | None, typer.Option("--ubatch-size", "-ub", min=32, help="Physical batch of a prompt.", rich_help_panel=_PLACE)
]
Threads = Annotated[
    int | None, typer.Option("--threads", "-t", min=1, help="CPU threads; all physical cores.", rich_help_panel=_PLACE)
]
BatchSize = Annotated[
    int | None, typer.Option("--batch-size", "-b", min=1, help="Logical batch of a prompt.", rich_help_panel=_PLACE)
]
DeviceNames = Annotated[
    str | None,
    typer.Option(
        "--device", "-dev", help="Devices to use, such as CUDA0,CUDA1; none: the CPU.", rich_help_panel=_PLACE
    ),
]
TensorSplit = Annotated[
    str | None,
    typer.Option("--tensor-split", "-ts", help="Share of each device, such as 3,1.", rich_help_panel=_PLACE),
]
Parallel = Annotated[
    int | None,
    typer.Option("--parallel", "-np", min=1, help="Sequences (slots) that share the context.", rich_help_panel=_PLACE),
]
KvUnified = Annotated[
    bool | None,
    typer.Option(
        "--kv-unified/--no-kv-unified", help="One context for all sequences, or a part each.", rich_help_panel=_PLACE
    ),
]
SwaFull = Annotated[
    bool | None,
    typer.Option("--swa-full", help="Keep the whole context in sliding-window layers too.", rich_help_panel=_PLACE),
]
MinTps = Annotated[
    float | None,
    typer.Option("--min-tps", help="Decode tokens per second that a plan must reach.", rich_help_panel=_PLACE),
]
Streamed = Annotated[
    bool | None,
    typer.Option(
        "--streamed", help="Let weights beyond RAM be read from disk, token by token.", rich_help_panel=_PLACE
    ),
]
LoadMode = Annotated[
    str | None, typer.Option("--load-mode", "-lm", help="mmap, none, mlock or dio.", rich_help_panel=_PLACE)
]
Repack = Annotated[
    bool | None,
    typer.Option(
        "--repack/--no-repack", help="Repack weights for the CPU: faster, and a copy.", rich_help_panel=_PLACE
    ),
]
Tuned = Annotated[
    bool | None,
    typer.Option("--tuned/--no-tuned", help="Take what gpt-oss tune found to be faster here.", rich_help_panel=_PLACE),
]
Build = Annotated[
    str | None,
    typer.Option(
        "--build",
        help="Build of llama.cpp: auto, environment or a name of `engine list`.",
        rich_help_panel=_PLACE,
        autocompletion=complete.any_engine,
    ),
]
ServerPort = Annotated[int | None, typer.Option("--port", min=1, max=65_535, help="Of several servers: which.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show a traceback where something fails.")]
Yes = Annotated[bool | None, typer.Option("--yes", "-y", help="Download without asking.")]
HardwareName = Annotated[
    str | None,
    typer.Option(
        "--hardware",
        help="Plan for another machine: a profile's name or file, what `gpt-oss hardware --save` wrote, or all.",
        rich_help_panel=_MACHINE,
    ),
]
WhatIf = Annotated[
    bool, typer.Option("--what-if", help="Say what the next upgrade would buy.", rich_help_panel=_MACHINE)
]
Verify = Annotated[
    bool,
    typer.Option("--verify", help="Ask llama.cpp what it would allocate, and compare.", rich_help_panel=_MACHINE),
]
