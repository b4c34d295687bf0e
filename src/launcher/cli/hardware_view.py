"""Hardware for a person."""

from __future__ import annotations

from typing import TYPE_CHECKING

from launcher.cli.output import report_console
from launcher.hardware.types import ENVIRONMENT, Cpu, Hardware, OtherEngine
from launcher.units import format_bytes

if TYPE_CHECKING:
    from rich.padding import Padding


def print_hardware(hardware: Hardware) -> None:
    """Print the record on stdout."""
    console = report_console()
    memory, engine = hardware.memory, hardware.engine
    console.print(f"[bold]CPU[/]      {_cpu_line(hardware.cpu)}")
    console.print(_below(", ".join(hardware.cpu.isa) or "instruction sets unknown"))
    limit = f", limited to {format_bytes(memory.limit_bytes)} by {memory.limit_source}" if memory.limit_bytes else ""
    console.print(
        f"[bold]Memory[/]   {format_bytes(memory.available_bytes)} available of {format_bytes(memory.total_bytes)}"
        f" ({format_bytes(memory.used_bytes)} used{limit})"
    )
    console.print(
        f"[bold]Engine[/]   {_named(hardware)}llama-cpp-python {engine.version or 'not installed'}, llama.cpp "
        f"{engine.llama_cpp_commit or 'commit unknown'}, backends: {', '.join(engine.backends) or 'none'}"
    )
    for other in hardware.other_engines:
        console.print(_below(_other_line(other)))
    for device in hardware.devices:
        console.print(
            f"[bold]{device.name:<8}[/] {device.description}, {format_bytes(device.free_bytes)} free of "
            f"{format_bytes(device.total_bytes)}{', shared with the host' if device.unified else ''}"
        )
    if not hardware.devices:
        console.print("[bold]Devices[/]  none that this engine can use: models run on the CPU")
    for idle in hardware.idle_devices:
        size = "" if idle.total_bytes is None else f" ({format_bytes(idle.total_bytes)})"
        console.print(f"[bold yellow]Idle[/]     {idle.description}{size}: {idle.reason}")
        if idle.remedy:
            console.print(f"         run: {idle.remedy}", soft_wrap=True)
    for note in hardware.notes:
        console.print(f"• {note}")


def _below(text: str) -> Padding:
    """More of a line, under its words and not under its name."""
    from rich.padding import Padding
    from rich.text import Text

    return Padding(Text(text), (0, 0, 0, 9), style="dim", expand=False)


def _named(hardware: Hardware) -> str:
    """Which of several builds it is."""
    name = hardware.engine.name
    return f"{name}: " if hardware.other_engines or name != ENVIRONMENT else ""


def _other_line(other: OtherEngine) -> str:
    if other.left_out is not None:
        return f"not used: {other.name}, {other.left_out}"
    return f"also here: {other.name}, {', '.join(other.devices) or 'CPU only'}"


def _cpu_line(cpu: Cpu) -> str:
    cores = f"{cpu.n_physical} cores" if cpu.n_physical else f"{cpu.n_logical} logical cores"
    quota = f", limited to {cpu.quota_cores:g} of CPU time" if cpu.quota_cores is not None else ""
    return f"{cpu.name or cpu.arch}, {cores}, {cpu.n_logical} threads{quota}; decodes with {cpu.n_threads}"
