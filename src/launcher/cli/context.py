"""What commands share: settings from all layers, the request they make, and the plan for it."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from launcher import settings_file
from launcher.cli.hub import with_mirrors
from launcher.cli.output import say
from launcher.errors import UsageError
from launcher.flow import Prepared, World, detect_here, prepare
from launcher.hardware.types import Hardware
from launcher.paths import folders
from launcher.planner.types import Plan, PlanRequest, Purpose, Rate
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
    """The planner's part of the settings, in its words.

    Raises:
        UsageError: devices without names, or shares that are no numbers.
    """
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
        devices=None if settings.device is None else device_names(settings.device),
        tensor_split=None if settings.tensor_split is None else shares(settings.tensor_split),
        n_batch=settings.batch_size,
        n_ubatch=settings.ubatch_size,
        n_parallel=settings.parallel or 1,
        kv_unified=settings.kv_unified,
        swa_full=settings.swa_full,
        min_tps=settings.min_tps,
        streamed=settings.streamed,
        n_threads=settings.threads,
        load_mode=settings.load_mode,
        repack=settings.repack,
    )


def is_offline(settings: Settings, environ: Mapping[str, str] = os.environ) -> bool:
    """`--offline`, or huggingface_hub's own variables."""
    return settings.offline or hub_is_offline(environ)


def device_names(text: str) -> tuple[str, ...]:
    """`CUDA0,CUDA1` as names; `none` as none. Raises UsageError where a name is missing."""
    names = tuple(name.strip() for name in text.split(","))
    if not all(names):
        raise UsageError(
            f"--device takes names separated by commas, or none, not {text!r}", hint="gpt-oss plan --device none"
        )
    return () if names == ("none",) else names


def shares(text: str) -> tuple[float, ...]:
    """`3,1` as numbers. Raises UsageError for anything else."""
    try:
        found = tuple(float(part) for part in text.split(","))
    except ValueError:
        found = ()
    if not found or not all(math.isfinite(share) for share in found):
        raise UsageError(
            f"--tensor-split takes numbers separated by commas, not {text!r}", hint="gpt-oss plan --tensor-split 3,1"
        )
    return found


def world(settings: Settings | None = None) -> World:
    """Everything that a plan takes from outside, as it is on this machine and as the settings name it."""
    own = folders()
    model_dirs = settings.model_dirs if settings is not None else ()
    build = settings.build if settings is not None else None
    detect = partial(detect_here, build, tell=say)
    return World(cache_dir=own.cache, detect=detect, state_dir=own.state, tell=say, model_dirs=model_dirs)


def prepare_plan(
    settings: Settings,
    *,
    refresh: bool = False,
    hardware: Hardware | None = None,
    measure: bool = True,
    purpose: Purpose | None = None,
    with_programs: bool = False,
) -> Prepared:
    """Plan for these settings on this machine, or on another one; `measure` may take a second, once.

    `purpose` says which tuned settings it may have, unless the settings leave them out; None is the planner's alone.
    `with_programs` prefers builds with llama.cpp's own programs.
    """
    own = with_mirrors(world(settings), settings.mirrors)
    if not measure:
        own = replace(own, rates=partial(_published, own), calibration=lambda _hardware, _state_dir: None)
    return prepare(
        request_of(settings),
        own,
        offline=is_offline(settings),
        refresh=refresh,
        hardware=hardware,
        purpose=tuned_purpose(settings, purpose),
        with_programs=with_programs,
    )


def _published(own: World, hardware: Hardware, _state_dir: Path | None) -> Mapping[str, Rate]:
    """Rates without a measurement, which takes a second where none is kept."""
    return own.rates(hardware, None)


def tuned_purpose(settings: Settings, purpose: Purpose | None) -> Purpose | None:
    """The purpose whose tuned settings a plan may have; None where the settings leave them out."""
    return purpose if settings.tuned else None


def plan_argv(plan: Plan) -> tuple[str, ...]:
    """The llama-server command that stands for a plan, with the model where it is or will be."""
    from launcher.engines.params import server_argv
    from launcher.engines.programs import engine_program
    from launcher.store.local import hub_cache_dir, model_path

    engine = plan.hardware.engine
    own = None if engine.site is None else engine_program("llama-server", engine)
    program = "llama-server" if own is None else str(own)
    return server_argv(plan.load_params, model_path(plan.file, hub_cache_dir()), program=program)
