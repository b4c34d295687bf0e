"""What the first page promises about machines."""

from pathlib import Path

import pytest

from launcher.hardware.types import Hardware
from tests.builders import cpu_machine, gpu_machine
from tests.planner.builders import make_plan

README = Path(__file__).parents[2] / "README.md"
ROWS = {
    "CPU, 16 GB of RAM with 12.8 GB available": [cpu_machine(ram_gib=16, available_gib=12.8)],
    "CPU, 24 GB and more": [cpu_machine(ram_gib=n) for n in (24, 32, 64)],
    "CPU, 96 GB and more": [cpu_machine(ram_gib=n) for n in (96, 128)],
    "one GPU of 6 to 12 GB, and 32 GB of RAM": [gpu_machine(vram_gib=n, ram_gib=32) for n in (6, 8, 10, 11, 12)],
    "one GPU of 16 to 32 GB, and 64 GB of RAM": [gpu_machine(vram_gib=n, ram_gib=64) for n in (16, 20, 24, 32)],
    "one GPU of 16 to 24 GB, and 16 GB of RAM": [gpu_machine(vram_gib=n, ram_gib=16) for n in (16, 20, 24)],
    "one GPU of 80 GB": [gpu_machine(vram_gib=80, ram_gib=n) for n in (16, 64)],
}


def told(hardware: Hardware) -> str:
    """A plan in the words of the table."""
    found = make_plan(hardware)
    where = {"gpu": ", all on the GPU", "gpu+cpu-experts": ", experts of some layers in RAM", "cpu": ""}[found.tier]
    if found.tier == "cpu" and found.file.model == "gpt-oss-20b":
        whole = found.load_params.n_ctx == found.spec.n_ctx_train
        where = f" with {'its whole' if whole else 'a'} context of {found.load_params.n_ctx:,}"
    return f"{found.file.model}{where}"


@pytest.mark.parametrize("name", ROWS)
def test_the_table_of_machines(name: str) -> None:
    text = README.read_text(encoding="utf-8")
    for hardware in ROWS[name]:
        assert f"| {name} | {told(hardware)} |" in text
