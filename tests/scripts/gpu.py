"""What the tests of scripts/gpu_check.py share."""

from __future__ import annotations

from gpu_stages.records import Gpu, MachineRow

MACHINE = MachineRow(
    rehearsal=False,
    gpus=(
        Gpu(
            name="CUDA0",
            description="NVIDIA H100 80GB HBM3",
            backend="CUDA",
            total_bytes=85_520_809_984,
            compute_capability="9.0",
        ),
    ),
    cpu="a CPU",
    n_threads=16,
    ram_bytes=128 * 2**30,
    driver="580.159.04",
    launcher_version="0.1.0",
    engine_version="0.3.36",
    llama_cpp_commit="0c1e570",
    backends=("CUDA", "CPU"),
    date="2026-11-25",
)


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s
