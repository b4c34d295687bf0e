"""The memory table of one placement: a row for each device, the host last. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from launcher.catalogue.types import ModelSpec, ModelWeights
from launcher.hardware.types import Device, Hardware
from launcher.planner.compute import compute_buffers
from launcher.planner.memory import split_context, split_weights
from launcher.planner.types import HOST, DeviceMemory, LoadParams
from launcher.units import MIB

# Headroom: what a plan leaves untouched of what is available now, so that the machine stays usable.
_HOST_HEADROOM_MIN_BYTES = 512 * MIB
_HOST_HEADROOM_PART = 0.04
DEVICE_HEADROOM_BYTES = 512 * MIB
# What a backend takes beside its buffers, after `free` was read: the driver's context, kernels, cuBLAS and scratch
# pools. Common sizes, not measured here. A remote device's are on its own machine.
_DEVICE_OVERHEAD_BYTES = {"Vulkan": 256 * MIB, "MTL": 128 * MIB, "RPC": 0}
_DEFAULT_OVERHEAD_BYTES = 400 * MIB
# Interpreter, launcher and engine libraries' data, anonymous; and llama.cpp's vocabulary (token texts, hash maps,
# merges), per token. Both measured with the 20b's 201,088 tokens and 446,189 merges by scripts/measure_memory.py.
_HOST_PROCESS_BYTES = 48 * MIB
_VOCAB_BYTES_PER_TOKEN = 320

_MMAP = ("mmap", "mmap+mlock")


def device_overhead_bytes(backend: str) -> int:
    """What a device's runtime takes beside llama.cpp's buffers, by ggml's name of its backend."""
    return _DEVICE_OVERHEAD_BYTES.get(backend, _DEFAULT_OVERHEAD_BYTES)


def host_headroom_bytes(available_bytes: int) -> int:
    """What a plan leaves of the host's available memory: 4 %, at least 512 MiB."""
    return max(_HOST_HEADROOM_MIN_BYTES, int(available_bytes * _HOST_HEADROOM_PART))


def chosen_devices(hardware: Hardware, params: LoadParams) -> tuple[Device, ...]:
    """The machine's devices that `params` name, in that order."""
    by_name = {device.name: device for device in hardware.devices}
    return tuple(by_name[name] for name in params.devices)


def memory_table(
    hardware: Hardware, spec: ModelSpec, weights: ModelWeights, params: LoadParams, *, streamed: bool = False
) -> tuple[DeviceMemory, ...]:
    """What a placement takes: a row for each of `params.devices`, the host last.

    Args:
        hardware: the machine; it has the devices that `params` name.
        spec: of the model.
        weights: of the file.
        params: the placement.
        streamed: let the kernel read again from the disk what RAM does not hold of mapped weights.
    """
    devices = chosen_devices(hardware, params)
    split = split_weights(spec, weights, params)
    context = split_context(spec, params)
    compute = compute_buffers(spec, weights, params, backends=tuple(device.backend for device in devices))
    rows = [
        DeviceMemory(
            name=device.name,
            model_bytes=split.device_bytes[i],
            context_bytes=context[i],
            compute_bytes=compute[i],
            overhead_bytes=device_overhead_bytes(device.backend),
            mapped_bytes=0,
            free_bytes=device.free_bytes,
            headroom_bytes=DEVICE_HEADROOM_BYTES,
        )
        for i, device in enumerate(devices)
    ]
    mapped = split.host_bytes if params.load_mode in _MMAP else 0
    # With mmap the plain pages of a repacked tensor stay mapped beside its copy.
    model = split.host_bytes + (split.repack_bytes if mapped else split.unmapped_copy_bytes)
    available = hardware.memory.available_bytes
    host = {
        "model_bytes": model,
        "context_bytes": context[-1],
        "compute_bytes": compute[-1],
        # llama_context::output_reserve: the logits of every output row, in host memory.
        "overhead_bytes": _HOST_PROCESS_BYTES + (_VOCAB_BYTES_PER_TOKEN + 4 * params.n_outputs_max) * spec.n_vocab,
    }
    shared = shared_bytes(hardware, devices, rows)
    headroom = host_headroom_bytes(available)
    short = sum(host.values()) + shared + headroom - available
    rows.append(
        DeviceMemory(
            name=HOST,
            **host,
            mapped_bytes=mapped,
            free_bytes=available,
            headroom_bytes=headroom,
            shared_bytes=shared,
            streamed_bytes=min(mapped, max(0, short)) if streamed else 0,
        )
    )
    return tuple(rows)


def shared_bytes(hardware: Hardware, devices: Sequence[Device], rows: Sequence[DeviceMemory]) -> int:
    """What devices with unified memory take of the host's RAM.

    A PC may set a part of its memory aside for an integrated GPU (a carve-out), which the system then does not count
    as RAM: as much as the device's memory exceeds the host's is surely outside of it.
    """
    return sum(
        max(0, row.used_bytes - max(0, device.total_bytes - hardware.memory.total_bytes))
        for device, row in zip(devices, rows, strict=True)
        if device.unified
    )
