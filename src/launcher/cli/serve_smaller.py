"""After memory ran out: the next smaller plan that fits what is free now, as the command that was typed would be."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from typing import Any

from launcher.cli.context import is_offline, request_of, tuned_purpose
from launcher.errors import DoesNotFitError, UsageError
from launcher.flow import World, prepare
from launcher.planner.types import Plan
from launcher.server.supervise import MemoryRanOutError
from launcher.settings import Settings, flag_name

_LEAST_N_CTX = 2048
"""Below it a context holds no conversation; llama.cpp's plans gain nothing by it either."""
_PINS = ("quant", "ctx_size", "min_ctx", "n_gpu_layers", "n_cpu_moe", "tensor_split")
"""What was said of one file means something else of another."""
_SIZES = {"gpt-oss-120b": ("120b", "20b"), "gpt-oss-20b": ("20b",)}
"""Models that may take less: another file of the same one, then the smaller one."""


def with_smaller(
    error: MemoryRanOutError, plan: Plan, settings: Settings, world: World, words: tuple[str, ...] = ()
) -> MemoryRanOutError:
    """The error with the command for a smaller plan, if one fits, or saying that none does.

    Args:
        error: says that `plan` did not fit after all.
        plan: what was tried.
        settings: what it was made from.
        world: everything from outside; memory is looked at anew, since somebody else may have taken it.
        words: what was typed besides settings.
    """
    found = next(_fitting(plan, settings, world), None)
    if found is None:
        hint = error.hint
        return MemoryRanOutError(
            f"{error.message}, and no smaller plan fits", log=error.log, details=error.details, hint=hint
        )
    return MemoryRanOutError(
        error.message, log=error.log, details=error.details, hint=shlex.join(_typed(found, settings, words))
    )


def smaller(plan: Plan, settings: Settings) -> Iterator[dict[str, Any]]:
    """What to change, from the least that is given up: half the context and half of that, then another model.

    None leaves a flag out. What a file or the environment says stays, since it would be read again.
    """
    flags = _flags(settings)
    model = plan.file.name if plan.file.repo else str(plan.file.local_path or settings.model)
    n_ctx = plan.load_params.n_ctx // 2
    while n_ctx >= _LEAST_N_CTX:
        yield {"model": model, "ctx_size": n_ctx, **({"quant": None} if "quant" in flags else {})}
        n_ctx //= 2
    for size in _SIZES.get(plan.file.model, ()):
        yield {"model": size, **{key: None for key in _PINS if key in flags}}


def _fitting(plan: Plan, settings: Settings, world: World) -> Iterator[dict[str, Any]]:
    """Those changes whose plan fits now, and takes less than what was tried."""
    here = replace(world, detect=cache(world.detect))
    for changes in smaller(plan, settings):
        wanted = replace(settings, **changes)
        try:
            purpose = tuned_purpose(wanted, "serve")
            found = prepare(
                request_of(wanted), here, offline=is_offline(wanted), purpose=purpose, with_programs=True
            ).plan
        except (DoesNotFitError, UsageError):  # too large still, or not to be had with the other flags
            continue
        if sum(row.used_bytes for row in found.memory) < sum(row.used_bytes for row in plan.memory):
            yield changes


def _typed(changes: Mapping[str, Any], settings: Settings, words: tuple[str, ...]) -> Iterator[str]:
    """The command: what was typed, with the changes; the settings file and the environment are read again anyway."""
    yield from ("gpt-oss", "serve")
    for key in sorted(_flags(settings) - changes.keys()):
        yield from _flag(key, getattr(settings, key))
    for key, value in changes.items():
        if value is not None:
            yield from _flag(key, value)
    yield from words


def _flags(settings: Settings) -> set[str]:
    """Settings that were typed."""
    return {key for key, layer in settings.layers.items() if layer.startswith("flag ")}


def _flag(key: str, value: object) -> tuple[str, ...]:
    name = flag_name(key)
    if isinstance(value, bool):
        return (name if value else name.replace("--", "--no-", 1),)
    return (name, str(value))
