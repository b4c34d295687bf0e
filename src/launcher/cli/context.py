"""What commands share: settings from all layers, the request they make, and the plan for it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from launcher import settings_file
from launcher.cli.output import say
from launcher.flow import Prepared, World, prepare
from launcher.paths import folders
from launcher.planner.types import PlanRequest
from launcher.settings import Settings, keys
from launcher.store.config import hub_is_offline


def load_settings(params: Mapping[str, Any]) -> Settings:
    """Defaults, the settings file, GPT_OSS_* variables and a command's parameters, in that order.

    Parameters that are called like a setting are flags for it; the others are the command's own business.

    Raises:
        UsageError: a value that cannot be.
        DamagedFileError: the settings file cannot be read.
    """
    return settings_file.load_settings({key: value for key, value in params.items() if key in keys()})


def request_of(settings: Settings) -> PlanRequest:
    """The planner's part of the settings, in its words."""
    return PlanRequest(
        model=settings.model,
        quant=settings.quant,
        prefer=settings.prefer,
        n_ctx=settings.ctx_size,
        min_ctx=settings.min_ctx,
        n_gpu_layers=settings.n_gpu_layers,
        n_cpu_moe=settings.n_cpu_moe,
        type_k=settings.cache_type_k,
        type_v=settings.cache_type_v,
        n_ubatch=settings.ubatch_size,
        n_threads=settings.threads,
        load_mode=settings.load_mode,
        repack=settings.repack,
    )


def is_offline(settings: Settings, environ: Mapping[str, str] = os.environ) -> bool:
    """`--offline`, or huggingface_hub's own variables."""
    return settings.offline or hub_is_offline(environ)


def prepare_plan(settings: Settings, *, refresh: bool = False, hardware_file: Path | None = None) -> Prepared:
    """Plan for these settings on this machine, or on one that was saved."""
    hardware = None
    if hardware_file is not None:
        from launcher.hardware.saved import load_hardware

        hardware = load_hardware(hardware_file)
    return prepare(
        request_of(settings),
        World(cache_dir=folders().cache, tell=say),
        offline=is_offline(settings),
        refresh=refresh,
        hardware=hardware,
    )
