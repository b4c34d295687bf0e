"""All that is known of the machine's GPUs and of what can drive them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from launcher.doctor.types import Nodes, Nvidia, Platform, Toolkit

if TYPE_CHECKING:
    from launcher.hardware.engine_devices import EngineReport
    from launcher.hardware.seen import SeenGpu


@dataclass(frozen=True, kw_only=True, slots=True)
class Scene:
    """What judgements on GPUs look at. None is what could not be had."""

    platform: Platform
    engine: EngineReport | None
    seen: tuple[SeenGpu, ...]
    """GPUs of the machine, each once."""
    nvidia: Nvidia | None
    toolkit: Toolkit | None
    nodes: Nodes | None
    environ: Mapping[str, str]
    """Has the variables that hide GPUs."""
