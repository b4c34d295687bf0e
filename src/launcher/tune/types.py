"""What a tune searches, what it measured of each setting, and what it keeps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from launcher.bench.types import BenchTest
from launcher.planner.types import Changes, LoadParams, Purpose

SCHEMA: Final = 1

Touches = Literal["prompt", "decode", "both"]
"""Which half of a turn a setting can change."""

Outcome = Literal["kept", "slower", "no gain", "not confirmed", "rejected", "crashed", "offered", "unfinished"]
"""What became of a setting. `offered`: measured for a person to decide, since it changes answers."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Option:
    """One value of an axis: what differs from the plan."""

    label: str
    """`n_ubatch 256`."""
    changes: Changes


@dataclass(frozen=True, kw_only=True, slots=True)
class Axis:
    """Settings of which one is taken, or none: then the plan's stays."""

    name: str
    options: tuple[Option, ...]
    touches: Touches
    reloads: bool = False
    """Whether the model has to be loaded again."""
    offer: bool = False
    """Measured and told, never taken: what would change the answers for certain."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Space:
    """All that is searched, in the order in which it is searched."""

    axes: tuple[Axis, ...]
    left_out: tuple[str, ...]
    """What is not searched and why: complete sentences."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Workload:
    """A typical turn, by which prompts and decoding are weighed."""

    purpose: Purpose
    n_prompt: int
    n_gen: int
    n_depth: int = 0
    """Tokens in the context before."""
    n_streams: int = 1
    """Sequences that are decoded together."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sizes:
    """Tests that are run in place of the typical turn, as large as the budget lets them be."""

    prompt: BenchTest
    """Of settings that can only change prompts or both."""
    decode: BenchTest
    batches: BenchTest | None
    """Prompt that is as large as the largest micro-batch compared; None where the budget allows none."""
    n_streams: int = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Ratio:
    """Speed over that of the same tests without the setting."""

    ratio: float
    """Median of the pairs."""
    low: float | None
    high: float | None
    """The interval of the pairs; None where there are too few."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """One setting that was tried, beside the settings that led then."""

    axis: str
    label: str
    changes: Changes
    outcome: Outcome
    why: str
    """One clause."""
    n_pairs: int = 0
    prompt: Ratio | None = None
    """None where the setting cannot change it, or nothing was measured."""
    decode: Ratio | None = None
    turn: Ratio | None = None
    """How much faster a typical turn is."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Speeds:
    """Tokens per second; None where not measured."""

    pp_ts: float | None = None
    tg_ts: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Confirmation:
    """Pairs of the plan and of what won, run after the search and for nothing else."""

    changes: Changes
    over: str
    """What it was compared with: `the plan`, or what had been confirmed before."""
    n_pairs: int
    prompt: Ratio | None
    decode: Ratio | None
    turn: Ratio | None
    adopted: bool
    why: str


@dataclass(frozen=True, kw_only=True, slots=True)
class TuneResult:
    """One tune, as it is kept for `--explain`."""

    model: str
    """File name, without folders."""
    size_bytes: int
    """Of all its parts."""
    date: str
    """ISO date."""
    engine: str | None
    """llama.cpp's commit."""
    workload: Workload
    budget_s: float
    took_s: float
    plan: LoadParams
    plan_speeds: Speeds
    """Of the plan without changes, in the tests of this tune."""
    trials: tuple[Trial, ...]
    confirmations: tuple[Confirmation, ...]
    adopted: Changes | None
    """What later plans use; None where the plan stays."""
    pp_ratio: float = 1.0
    tg_ratio: float = 1.0
    """Of what was adopted over the plan."""
    notes: tuple[str, ...] = ()
    """What was left out, cut short or rejected: complete sentences."""
    interrupted: bool = False
    noise: float | None = None
    """How far ratios of runs of the same settings spread: the standard deviation, of the kind of test that spread most.
    None where nothing was compared."""
