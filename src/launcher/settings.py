"""One record of settings, put together from four layers: defaults < file < environment < flags. Pure.

Every key is a field of `Settings`, whose annotation says what it may hold; the file, the environment and `config show`
all read them from there, so a new key is one line here and one in configs/settings.example.toml.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import re
import tomllib
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from launcher.engines.types import ReasoningEffort
from launcher.errors import UsageError
from launcher.planner.types import KvType, LoadMode, Preference
from launcher.units import parse_limit

ENV_PREFIX = "GPT_OSS_"


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """What a person may set. None leaves the choice to the planner, the model or the engine."""

    model: str = "auto"
    """`auto`, `20b`, `120b`, `owner/name[:QUANT]` or a path to a GGUF."""
    quant: str | None = None
    """Quant label to take, as `gpt-oss models` lists it."""
    prefer: Preference = "quality"
    """What `auto` goes by: the largest that fits, the fastest, or the longest context."""
    ctx_size: int | None = None
    """Context in tokens; 0 is all that the model was trained for."""
    min_ctx: int | None = None
    """Context that the planner may not go below."""
    n_gpu_layers: int | None = None
    """Layers on the GPU."""
    n_cpu_moe: int | None = None
    """Layers whose experts stay in RAM."""
    cache_type_k: KvType | None = None
    """Type of the K cache."""
    cache_type_v: KvType | None = None
    """Type of the V cache."""
    batch_size: int | None = None
    """Tokens handed to llama.cpp at once while reading a prompt."""
    ubatch_size: int | None = None
    """Tokens computed at once while reading a prompt."""
    device: str | None = None
    """Devices to use, by ggml's names and separated by commas; `none` is the CPU alone."""
    tensor_split: str | None = None
    """Share of each device, separated by commas."""
    parallel: int | None = None
    """Sequences that share the context."""
    kv_unified: bool | None = None
    """One context for all sequences, or a part each."""
    swa_full: bool = False
    """Whether sliding-window layers keep the whole context too."""
    min_tps: float | None = None
    """Predicted decode tokens per second that a plan may not go below."""
    streamed: bool = False
    """Whether weights beyond RAM may be read from disk for every token."""
    threads: int | None = None
    """CPU threads."""
    load_mode: LoadMode | None = None
    """How weights get into memory."""
    repack: bool | None = None
    """Whether the CPU backend makes a faster copy of the weights."""
    build: str | None = None
    """Build of llama.cpp: `environment`, a name of `gpt-oss engine list`, or `auto`, the one whose plan is best. Unset:
    what `gpt-oss engine use` chose."""
    engine_offer: bool = True
    """Whether a chat or a server asks, on a terminal, for an engine that uses a GPU which lies idle."""
    tuned: bool = True
    """Whether plans take the settings that `gpt-oss tune` found to be faster here."""
    reasoning_effort: ReasoningEffort | None = None
    """How long the model thinks."""
    system: str | None = None
    """Instructions that begin every conversation."""
    temperature: float = 1.0
    """Randomness; 0 always takes the likeliest token."""
    top_p: float = 1.0
    """Keep the likeliest tokens that add up to this probability; 1 keeps all."""
    top_k: int = 0
    """Keep this many of the likeliest tokens; 0 keeps all."""
    min_p: float = 0.0
    """Drop tokens less likely than this share of the likeliest."""
    seed: int | None = None
    """Makes sampling repeatable."""
    max_tokens: int | None = None
    """Tokens that an answer may have."""
    show_reasoning: bool = True
    """Whether the model's reasoning is shown, dimmed, on stderr."""
    engine: Literal["auto", "embedded", "server"] = "auto"
    """Who answers a chat: a server that runs here or else the model in this process (`auto`), or one of the two."""
    url: str | None = None
    """OpenAI-compatible server that answers a chat instead."""
    tools: str | None = None
    """Tools that a chat offers to the model, separated by commas: `python`, `mcp:NAME`."""
    tools_allow: str | None = None
    """Tools that run without asking, separated by commas: `python`, `NAME:read_*`."""
    tools_deny: str | None = None
    """Tools that never run, separated by commas."""
    history: bool = True
    """Whether conversations are kept."""
    edit_mode: Literal["emacs", "vi"] = "emacs"
    """Keys of the chat's prompt."""
    offline: bool = False
    """Never use the network: what is on disk is all there is."""
    download_connections: int = 4
    """Connections that fetch a model at once."""
    limit_rate: str | None = None
    """Bytes per second that a download may take, all its connections together: `5M`."""
    mirrors: tuple[str, ...] = ()
    """More hubs, asked in this order where the hub cannot be reached or fails; none of them is sent your token."""
    model_dirs: tuple[Path, ...] = ()
    """More folders to look for GGUF files in."""
    host: str = "127.0.0.1"
    """Address that `gpt-oss serve` listens on."""
    port: int = 8080
    """Port that `gpt-oss serve` listens on."""
    api_key_file: Path | None = None
    """File of the keys that a server asks for, one a line."""
    cors_origins: str | None = None
    """Origins of web pages that may use a server, separated by commas."""
    sleep_idle_seconds: int | None = None
    """Seconds without a request after which a server's model leaves memory until the next one."""
    yes: bool = False
    """Answer questions (before a download) with yes."""
    layers: Mapping[str, str] = dataclasses.field(default_factory=dict, compare=False, repr=False)
    """Where each value that is no default came from: `file PATH`, `environment GPT_OSS_SEED`, `flag --seed`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SettingRow:
    """One row of `gpt-oss config show`."""

    name: str
    value: Any
    layer: str
    """`default`, `file PATH`, `environment GPT_OSS_NAME` or `flag --name`."""


_RANGES: dict[str, tuple[float, float]] = {
    "ctx_size": (0, math.inf),  # 0: all that the model was trained for, as in llama.cpp
    "min_ctx": (1, math.inf),
    "n_gpu_layers": (0, math.inf),
    "n_cpu_moe": (0, math.inf),
    "batch_size": (1, math.inf),
    "ubatch_size": (1, math.inf),
    "parallel": (1, 256),
    "min_tps": (0, math.inf),
    "threads": (1, 8192),
    "temperature": (0, math.inf),
    "top_p": (0, 1),
    "top_k": (0, math.inf),
    "min_p": (0, 1),
    "seed": (0, 2**32 - 2),  # a uint32 in llama.cpp, whose largest value means: draw one (LLAMA_DEFAULT_SEED)
    "max_tokens": (1, math.inf),
    "download_connections": (1, 32),
    "port": (1, 65_535),
    "sleep_idle_seconds": (1, math.inf),
}
_TRUE = ("1", "true", "yes", "on")
_FALSE = ("0", "false", "no", "off")
_FOLDERS = ("config_dir", "data_dir", "state_dir", "cache_dir")
"""Variables that launcher.paths reads: they say where the settings file is, so they cannot stand in it."""
_CLOSE = 0.8
"""difflib ratio from which a variable of the environment counts as a misspelt setting of ours, not someone else's."""


@cache
def _kinds() -> dict[str, Any]:
    """Each key with its annotation, `layers` left out."""
    return {name: hint for name, hint in get_type_hints(Settings).items() if name != "layers"}


def keys() -> tuple[str, ...]:
    """Every setting, in the order of the record."""
    return tuple(_kinds())


def env_name(key: str) -> str:
    """`ctx_size` is `GPT_OSS_CTX_SIZE` in the environment."""
    return ENV_PREFIX + key.upper()


def flag_name(key: str) -> str:
    """`ctx_size` is `--ctx-size` on the command line."""
    return "--" + key.replace("_", "-")


def resolve(
    *,
    file_text: str | None = None,
    file_name: str = "settings.toml",
    environ: Mapping[str, str] | None = None,
    flags: Mapping[str, Any] | None = None,
    path_separator: str = ":",
) -> Settings:
    """Put the layers together; a later one wins key by key.

    Args:
        file_text: The settings file's TOML; None where there is no file.
        file_name: How the file is called in messages and layers.
        environ: `GPT_OSS_*` variables count, empty ones do not.
        flags: By key; None is a flag that was not given.
        path_separator: Between the folders of `GPT_OSS_MODEL_DIRS`: `;` on Windows. Other lists have commas.

    Raises:
        UsageError: an unknown key, a value of another type or out of range, or TOML that cannot be read.
    """
    values: dict[str, Any] = {}
    layers: dict[str, str] = {}
    for key, value in _from_file(file_text or "", file_name).items():
        values[key], layers[key] = value, f"file {file_name}"
    for key, value in _from_environment(environ or {}, path_separator).items():
        values[key], layers[key] = value, f"environment {env_name(key)}"
    for key, value in _from_flags(flags or {}).items():
        values[key], layers[key] = value, f"flag {flag_name(key)}"
    return Settings(**values, layers=types.MappingProxyType(layers))


def explain(settings: Settings) -> tuple[SettingRow, ...]:
    """Every setting with its value and the layer that decided it."""
    return tuple(
        SettingRow(name=key, value=getattr(settings, key), layer=settings.layers.get(key, "default")) for key in keys()
    )


def _from_file(text: str, file_name: str) -> dict[str, Any]:
    hint = "gpt-oss config edit"
    try:
        table = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise UsageError(f"{file_name}: {error}", hint=hint) from error
    values = {}
    for key, raw in table.items():
        where = f"{file_name}{_line_of(key, text)}"
        if key not in _kinds():
            raise UsageError(f"{where}: no setting is called {key!r}{_suggest(key, keys())}", hint=hint)
        try:
            values[key] = _convert(key, raw)
        except ValueError as error:
            raise UsageError(f"{where}: {key}: {error}", hint=hint) from error
    return values


def _line_of(key: str, text: str) -> str:
    """`, line 3`: where a key stands. tomllib does not tell, so it is looked for; empty where it is not found."""
    pattern = re.compile(rf"""\s*(\[+\s*)?["']?{re.escape(key)}["']?\s*[=.\]]""")
    numbers = (number for number, line in enumerate(text.splitlines(), start=1) if pattern.match(line))
    number = next(numbers, None)
    return f", line {number}" if number is not None else ""


def _from_environment(environ: Mapping[str, str], path_separator: str) -> dict[str, Any]:
    names = {env_name(key): key for key in keys()}
    values = {}
    for name, text in environ.items():
        if not name.startswith(ENV_PREFIX) or not text:
            continue
        hint = f"unset {name}"
        key = names.get(name)
        if key is None:
            # Other programs may use the prefix; only what looks like a slip of ours is refused.
            word = name.removeprefix(ENV_PREFIX).lower()
            if word not in _FOLDERS and difflib.get_close_matches(word, keys(), n=1, cutoff=_CLOSE):
                raise UsageError(f"no setting is called {name}{_suggest(name, tuple(names))}", hint=hint)
            continue
        try:
            values[key] = _convert(key, _parse(_kinds()[key], text, path_separator))
        except ValueError as error:
            raise UsageError(f"{name}: {error}", hint=hint) from error
    return values


def _from_flags(flags: Mapping[str, Any]) -> dict[str, Any]:
    values = {}
    for key, raw in flags.items():
        if raw is None:
            continue
        if key not in _kinds():
            raise UsageError(f"no setting is called {key!r}{_suggest(key, keys())}")
        try:
            values[key] = _convert(key, list(raw) if isinstance(raw, tuple) else raw)
        except ValueError as error:
            raise UsageError(f"{flag_name(key)}: {error}") from error
    return values


def _kind(hint: Any) -> Any:
    """The X of `X | None`, which is a typing.Union where X is a Literal; any other annotation as it is."""
    if get_origin(hint) not in (types.UnionType, Union):
        return hint
    return next(member for member in get_args(hint) if member is not type(None))


def _parse(hint: Any, text: str, path_separator: str) -> Any:
    """Text of the environment as the TOML value that it stands for. What cannot be parsed stays text."""
    kind = _kind(hint)
    word = text.strip().lower()
    if kind is bool and word in _TRUE + _FALSE:
        return word in _TRUE
    if kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            return text
    if get_origin(kind) is tuple:
        separator = path_separator if get_args(kind)[0] is Path else ","
        return [part.strip() for part in text.split(separator) if part.strip()]
    return text


def _convert(key: str, raw: Any) -> Any:
    """Check a value against the key's annotation and range. Raises ValueError, worded for a person."""
    hint = _kinds()[key]
    optional = type(None) in get_args(hint)
    kind = _kind(hint)
    if optional and kind is not str and raw == "auto":
        return None
    origin = get_origin(kind)
    if origin is Literal:
        return _convert_choice(get_args(kind), raw)
    if origin is tuple:
        return _convert_folders(raw) if get_args(kind)[0] is Path else _convert_addresses(raw)
    value = _SCALARS[kind](raw, ', or "auto"' if optional else "")
    low, high = _RANGES.get(key, (-math.inf, math.inf))
    if key in _RANGES and not low <= value <= high:
        limit = f"at least {low:g}" if math.isinf(high) else f"between {low:g} and {high:.15g}"
        raise ValueError(f"expected {limit}, found {value}")
    if key == "limit_rate":
        parse_limit(value)
    return value


def _convert_choice(options: tuple[str, ...], raw: Any) -> str:
    if isinstance(raw, str) and raw in options:
        return raw
    guess = _suggest(raw, options) if isinstance(raw, str) else ""
    raise _wrong(f"one of {', '.join(options)}", raw, guess)


def _convert_folders(raw: Any) -> tuple[Path, ...]:
    items = [raw] if isinstance(raw, str) else raw
    if not isinstance(items, list) or not all(isinstance(item, str | Path) for item in items):
        raise _wrong("a list of folders", raw)
    try:
        return tuple(Path(item).expanduser() for item in items)
    except RuntimeError as error:
        raise ValueError(f"{error} ({_shorten(raw)})") from error


def _convert_addresses(raw: Any) -> tuple[str, ...]:
    items = [raw] if isinstance(raw, str) else raw
    if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
        raise _wrong("a list of web addresses", raw)
    for item in items:
        if not item.startswith(("https://", "http://")):
            raise _wrong("web addresses such as https://huggingface.co", item)
    return tuple(items)


def _convert_bool(raw: Any, _more: str) -> bool:
    if not isinstance(raw, bool):
        raise _wrong("true or false", raw)
    return raw


def _convert_int(raw: Any, more: str) -> int:
    if isinstance(raw, bool) or not isinstance(raw, int):
        raise _wrong(f"a whole number{more}", raw)
    found: int = raw
    return found


def _convert_float(raw: Any, more: str) -> float:
    if isinstance(raw, bool) or not isinstance(raw, int | float) or not math.isfinite(raw):
        raise _wrong(f"a number{more}", raw)
    return float(raw)


def _convert_str(raw: Any, _more: str) -> str:
    if not isinstance(raw, str):
        raise _wrong("text", raw)
    return raw


def _convert_path(raw: Any, more: str) -> Path:
    if not isinstance(raw, str | Path) or not str(raw):
        raise _wrong(f"the path of a file{more}", raw)
    try:
        return Path(raw).expanduser()
    except RuntimeError as error:
        raise ValueError(f"{error} ({_shorten(raw)})") from error


_SCALARS: dict[Any, Callable[[Any, str], Any]] = {
    Path: _convert_path,
    bool: _convert_bool,
    int: _convert_int,
    float: _convert_float,
    str: _convert_str,
}


def _suggest(word: str, options: Sequence[str]) -> str:
    close = difflib.get_close_matches(word, options, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def _wrong(expected: str, raw: Any, guess: str = "") -> ValueError:
    return ValueError(f"expected {expected}, found {_shorten(raw)}{guess}")


def _shorten(raw: Any) -> str:
    text = repr(raw)
    return text if len(text) <= 40 else text[:37] + "..."
