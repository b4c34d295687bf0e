"""All that is known of the machine's GPUs and of what can drive them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from launcher.doctor.remedies import Means
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
    ready_made: frozenset[str] = frozenset()
    """Backends that a pre-built engine for this machine has."""

    @property
    def means(self) -> Means:
        """What an engine can be got with."""
        drivers = self.nodes.vulkan_drivers if self.nodes is not None else None
        return Means(platform=self.platform, toolkit=self.toolkit, ready_made=self.ready_made, vulkan_drivers=drivers)
