"""The llama-server command of a plan: its placement, GPT OSS's sampling, what keeps it safe. Pure.

Flags are those of common/arg.cpp at the pinned commit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath

from launcher.engines.params import server_argv
from launcher.engines.types import ReasoningEffort
from launcher.errors import UsageError
from launcher.planner.memory import is_swa_layer, kv_layer_bytes
from launcher.planner.types import HOST, Plan
from launcher.server.types import DEFAULT_HOST, DEFAULT_PORT
from launcher.units import MIB, format_bytes

N_SLOTS = 4
"""Slots where nobody says how many: llama-server's own choice (`--parallel -1`), all in one unified cache."""
_CHECKPOINTS_PER_SLOT = 32  # llama-server's default for --ctx-checkpoints
_CACHE_RAM_MIB = 8192  # and for --cache-ram
_WORTH_CACHING_MIB = 256  # a conversation of 10,000 tokens of the 20b; less would hold none

_SYNONYMS: dict[str, tuple[str, ...]] = {
    "--model": ("-m", "-mu", "--model-url", "-hf", "-hfr", "--hf-repo", "-hff", "--hf-file", "-dr", "--docker-repo"),
    "--threads": ("-t",),
    "--threads-batch": ("-tb",),
    "--ctx-size": ("-c",),
    "--batch-size": ("-b",),
    "--ubatch-size": ("-ub",),
    "--swa-full": (),
    "--flash-attn": ("-fa",),
    "--kv-offload": ("-kvo", "-nkvo", "--no-kv-offload"),
    "--repack": ("-nr", "--no-repack"),
    "--cache-type-k": ("-ctk",),
    "--cache-type-v": ("-ctv",),
    "--load-mode": ("-lm",),
    "--device": ("-dev",),
    "--override-tensor": ("-ot",),
    "--n-cpu-moe": ("-ncmoe", "-cmoe", "--cpu-moe"),
    "--n-gpu-layers": ("-ngl", "--gpu-layers"),
    "--split-mode": ("-sm",),
    "--tensor-split": ("-ts",),
    "--main-gpu": ("-mg",),
    "--fit": ("-fit",),
    "--op-offload": ("--no-op-offload",),
    "--parallel": ("-np",),
    "--kv-unified": ("-kvu", "-no-kvu", "--no-kv-unified"),
    "--host": (),
    "--port": (),
    "--alias": ("-a",),
    "--api-key-file": (),
    "--cors-origins": (),
    "--cors-credentials": ("--no-cors-credentials",),
    "--temp": ("--temperature",),
    "--top-p": (),
    "--top-k": (),
    "--min-p": (),
    "--seed": ("-s",),
    "--reasoning-effort": (),
    "--sleep-idle-seconds": (),
    "--path": (),
}
"""What the command decides, by llama-server's long names, with everything else that decides the same."""
_OURS = {spelling: flag for flag, others in _SYNONYMS.items() for spelling in (flag, *others)}
_INSTEAD = {
    "--model": "--model",
    "--kv-offload": "--n-gpu-layers",
    "--override-tensor": "--n-cpu-moe",
    "--split-mode": "--tensor-split",
    "--main-gpu": "--device",
    "--temp": "--temperature",
    "--path": "--ui-path",
}
"""Options of ours under another name."""
_NOT_OURS = frozenset({"--threads-batch", "--flash-attn", "--fit", "--op-offload", "--alias", "--cors-credentials"})
"""What no option of ours changes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ServeOptions:
    """What a person asked of a server, besides the plan."""

    host: str = DEFAULT_HOST
    port: int = DEFAULT_PORT
    server_port: int | None = None
    """Loopback port of llama-server where a shield listens on `host` and `port`; None: it listens there itself."""
    key_file: Path | None = None
    """File of API keys, one a line; None: no key is asked for."""
    cors_origins: str | None = None
    """Web origins whose pages may call; None: none but the server's own page."""
    sleep_idle_seconds: int | None = None
    """Seconds without a request after which the model leaves memory until the next one; None: never."""
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    seed: int | None = None
    reasoning_effort: ReasoningEffort | None = None
    ui_path: Path | None = None
    """Folder of a web page; None: the one that llama-server was built with, where it was."""
    extra: tuple[str, ...] = ()
    """More arguments for llama-server, as they are."""

    @property
    def origins(self) -> str:
        """What `--cors-origins` is given: a page of another origin may read nothing unless somebody names it.

        llama-server's own default lets every page read everything.
        """
        return self.cors_origins or f"http://{self.host}:{self.port}"


@dataclass(frozen=True, kw_only=True, slots=True)
class CacheBudget:
    """How much host memory llama-server may take for prompts that it has read, beside the plan."""

    n_checkpoints: int
    """Copies of the sliding windows that each slot keeps (--ctx-checkpoints)."""
    checkpoint_bytes: int
    """Of one, at the most."""
    cache_ram_mib: int
    """Conversations put aside (--cache-ram)."""
    note: str


def cache_budget(plan: Plan) -> CacheBudget:
    """What is left of RAM beside the plan and the headroom, shared out to checkpoints first.

    A window layer keeps `n_swa + n_ubatch` cells. A prompt that branches off earlier, as every next turn of Harmony
    does, can be continued only from a checkpoint or where `swa_full` keeps everything; else it is read again whole.
    Checkpoints are the cheaper means: `swa_full` doubles the cache and lets every window layer look at all of it.
    llama-server's own limits are fixed, 32 checkpoints a slot and 8 GiB, whatever the machine has.
    """
    params, host = plan.load_params, next(row for row in plan.memory if row.name == HOST)
    one = replace(params, n_parallel=1, kv_unified=False, swa_full=False)
    layers = kv_layer_bytes(plan.spec, one)
    size = sum(n for i, n in enumerate(layers) if is_swa_layer(plan.spec, i))
    left = max(0, host.left_bytes - host.headroom_bytes)
    if params.swa_full or not size:
        count, why = 0, "sliding-window layers keep the whole context (swa_full)" if size else "no sliding windows"
    else:
        count = min(_CHECKPOINTS_PER_SLOT, left // 2 // (params.n_parallel * size))
        why = f"{count} checkpoints of {format_bytes(size)} for each slot"
        if count == 0:
            why = "no RAM is left for checkpoints, so that each turn reads its whole prompt again"
    cache_mib = min(_CACHE_RAM_MIB, (left - count * params.n_parallel * size) // MIB)
    cache_mib = cache_mib if cache_mib >= _WORTH_CACHING_MIB else 0
    aside = f"{format_bytes(cache_mib * MIB)} of RAM for earlier conversations" if cache_mib else "none put aside"
    return CacheBudget(
        n_checkpoints=count, checkpoint_bytes=size, cache_ram_mib=cache_mib, note=f"Prompt cache: {why}; {aside}."
    )


def model_names(plan: Plan) -> tuple[str, ...]:
    """Names that clients may ask for, the first one the model's own."""
    name = plan.file.model
    if not name.startswith("gpt-oss-"):
        return (PurePath(plan.file.name).stem,)
    return name, f"openai/{name}"


def server_command(plan: Plan, model: Path, options: ServeOptions, *, program: str) -> tuple[str, ...]:
    """Everything that llama-server is told. `options.extra` has passed `check_extra`."""
    budget = cache_budget(plan)
    return (
        *server_argv(plan.load_params, model, program=program),
        *("--ctx-checkpoints", str(budget.n_checkpoints)),
        *("--cache-ram", str(budget.cache_ram_mib)),
        *("--alias", ",".join(model_names(plan))),
        *("--host", options.host if options.server_port is None else DEFAULT_HOST),
        *("--port", str(options.server_port or options.port)),
        *("--cors-origins", options.origins),
        "--no-cors-credentials",
        *(("--api-key-file", str(options.key_file)) if options.key_file is not None else ()),
        "--metrics",
        *("--temp", f"{options.temperature:g}"),
        *("--top-p", f"{options.top_p:g}"),
        *("--top-k", str(options.top_k)),
        *("--min-p", f"{options.min_p:g}"),
        *(("--seed", str(options.seed)) if options.seed is not None else ()),
        *(("--reasoning-effort", options.reasoning_effort) if options.reasoning_effort else ()),
        *(("--sleep-idle-seconds", str(options.sleep_idle_seconds)) if options.sleep_idle_seconds else ()),
        *(("--path", str(options.ui_path)) if options.ui_path is not None else ()),
        "--offline",
        *options.extra,
    )


def check_extra(extra: Sequence[str]) -> None:
    """Refuse an argument that decides what is decided already, by its name.

    Raises:
        UsageError: the first such argument, with the option that changes it.
    """
    for word in extra:
        if word == "--api-key":
            raise UsageError(
                "--api-key would show the key to everyone who lists processes",
                hint="gpt-oss serve --api-key-file PATH",
            )
        flag = _OURS.get(word)
        if flag is None:
            continue
        spelt = word if word == flag else f"{word} ({flag})"
        if flag in _NOT_OURS:
            raise UsageError(f"{spelt} is decided by the plan", hint="gpt-oss serve --dry-run")
        option = _INSTEAD.get(flag, flag)
        raise UsageError(f"{spelt} is decided by the plan; say {option} before the --", hint="gpt-oss serve --help")
