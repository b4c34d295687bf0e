"""Refuse wishes that contradict themselves or the machine, before anything is planned. Pure."""

from __future__ import annotations

import shlex

from launcher.catalogue.types import ModelSpec
from launcher.errors import UsageError
from launcher.hardware.types import Hardware
from launcher.planner.teams import usable
from launcher.planner.types import PlanRequest

_AT_LEAST = {
    "n_ctx": ("--ctx-size", 0),
    "min_ctx": ("--min-ctx", 1),
    "n_gpu_layers": ("--n-gpu-layers", 0),
    "n_cpu_moe": ("--n-cpu-moe", 0),
    "n_batch": ("--batch-size", 1),
    "n_ubatch": ("--ubatch-size", 1),
    "n_threads": ("--threads", 1),
    "n_parallel": ("--parallel", 1),
    "n_outputs_max": ("n_outputs_max", 1),
}


def plan_command(request: PlanRequest, flags: str) -> str:
    """The command that plans for the same model with other flags."""
    return f"gpt-oss plan{model_flags(request)} {flags}"


def model_flags(request: PlanRequest) -> str:
    """The flags that name the model which was asked for, each with a space before it."""
    model = "" if request.model == "auto" else f" --model {shlex.quote(request.model)}"
    return model if request.quant is None else f"{model} --quant {shlex.quote(request.quant)}"


def check_request(request: PlanRequest, hardware: Hardware) -> None:
    """Refuse what cannot be, whatever the model.

    Raises:
        UsageError: a value out of range, or two that contradict each other or the machine.
    """
    for name, (flag, least) in _AT_LEAST.items():
        value = getattr(request, name)
        if value is not None and value < least:
            raise UsageError(f"{flag} {value}: at least {least}", hint=plan_command(request, ""))
    if request.min_tps is not None and request.min_tps <= 0:
        raise UsageError(f"--min-tps {request.min_tps:g}: above 0", hint=plan_command(request, "--min-tps 10"))
    if request.n_ctx and request.min_ctx and request.n_ctx < request.min_ctx:
        raise UsageError(
            f"--ctx-size {request.n_ctx} is below --min-ctx {request.min_ctx}",
            hint=plan_command(request, f"--ctx-size {request.min_ctx}"),
        )
    if request.n_batch and request.n_ubatch and request.n_ubatch > request.n_batch:
        raise UsageError(
            f"--ubatch-size {request.n_ubatch} is above --batch-size {request.n_batch}",
            hint=plan_command(request, f"--batch-size {request.n_ubatch} --ubatch-size {request.n_ubatch}"),
        )
    if request.streamed and request.load_mode not in (None, "mmap"):
        raise UsageError(
            f"--streamed reads weights through mmap, and --load-mode {request.load_mode} has none",
            hint=plan_command(request, "--streamed --load-mode mmap"),
        )
    _check_devices(request, hardware)


def _check_devices(request: PlanRequest, hardware: Hardware) -> None:
    if request.n_gpu_layers == 0 and request.n_cpu_moe:
        raise UsageError(
            f"--n-cpu-moe {request.n_cpu_moe} keeps experts off the GPU, and --n-gpu-layers 0 leaves nothing on it",
            hint="gpt-oss plan --n-gpu-layers 0 --n-cpu-moe 0",
        )
    on_gpu = [
        flag
        for flag, value in (
            ("--n-gpu-layers", request.n_gpu_layers),
            ("--n-cpu-moe", request.n_cpu_moe),
            ("--tensor-split", request.tensor_split),
        )
        if value
    ]
    if request.devices == () and on_gpu:
        raise UsageError(f"{on_gpu[0]} is for a device, and --device none leaves it out", hint="gpt-oss hardware")
    if request.n_gpu_layers == 0 and request.tensor_split:
        raise UsageError(
            "--tensor-split shares out layers, and --n-gpu-layers 0 puts none on a device",
            hint=plan_command(request, "--n-gpu-layers 99"),
        )
    devices = usable(hardware, request)
    if on_gpu and not devices:
        raise UsageError(
            f"{on_gpu[0]} is for a GPU, and this engine has none",
            hint="gpt-oss hardware",
        )


def check_for_model(request: PlanRequest, spec: ModelSpec) -> None:
    """Refuse what this model cannot do.

    Raises:
        UsageError: experts pinned of a model that has none.
    """
    if request.n_cpu_moe and not spec.n_expert:
        raise UsageError(
            f"--n-cpu-moe {request.n_cpu_moe}: {spec.id} has no experts",
            hint=plan_command(request, "--n-gpu-layers 99"),
        )
