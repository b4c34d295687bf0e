"""The machine on a screen."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from launcher.cli import hardware_view
from launcher.hardware.types import OtherEngine
from tests.builders import cpu_machine


def test_lines_that_are_folded_go_on_under_their_words(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(hardware_view, "report_console", lambda: Console(file=stream, width=60, highlight=False))
    why = "[it] crashed while it listed its devices, and nobody knows what is to be done about that"
    others = (OtherEngine(name="cuda-0.3.36", left_out=why), OtherEngine(name="vulkan-0.3.36", devices=("Vulkan0",)))
    hardware_view.print_hardware(replace(cpu_machine(), other_engines=others))
    lines = [line.rstrip() for line in stream.getvalue().splitlines()]
    begin = next(i for i, line in enumerate(lines) if "not used" in line)
    assert lines[begin : begin + 4] == [
        "         not used: cuda-0.3.36, [it] crashed while it listed",
        "         its devices, and nobody knows what is to be done",
        "         about that",
        "         also here: vulkan-0.3.36, Vulkan0",
    ]
