"""Two sets of measured rows side by side: ratios, whether they are real, and what else differs. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from launcher.bench.rows import FACTS, Fact, Row
from launcher.bench.stats import MIN_SAMPLES, NOISY_CV, Interval, is_noisy, mean, median, paired_ratio, unpaired_ratio
from launcher.bench.types import BenchTest

Verdict = Literal["faster", "slower", "same", "too noisy", "too few"]
"""Of B against A. `same`: no difference is shown, and one of `NOISY_CV` would have been. `too few`: samples."""
Kind = Literal["hardware", "build", "model", "settings"]

_KINDS: dict[str, Kind] = {
    "cpu_info": "hardware",
    "gpu_info": "hardware",
    "build_commit": "build",
    "build_number": "build",
    "backends": "build",
    "launcher_version": "build",
    "engine": "build",
    "model_filename": "model",
    "model_type": "model",
    "model_size": "model",
    "model_n_params": "model",
}
_SETTINGS = tuple(name for name in FACTS if name not in _KINDS)


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """A field that is not the same on both sides. A value is None where that side has no one value or tells none."""

    kind: Kind
    field: str
    a: Fact | None
    b: Fact | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Compared:
    """One test on both sides."""

    engine: str
    """A's."""
    model: str
    """A's file name."""
    test: BenchTest
    n_streams: int
    settings: tuple[str, ...]
    """`n_threads 4`: settings that tell this row from others of the same test."""
    a_ts: float
    """Median tokens per second of A."""
    b_ts: float
    noisy_a: bool | None
    """Whether A's samples spread past `NOISY_CV`; None where there is but one."""
    noisy_b: bool | None
    ratio: Interval
    """B over A: above 1, B is faster."""
    verdict: Verdict
    a_j_per_token: float | None = None
    """Mean over A's rows; None where a row tells none."""
    b_j_per_token: float | None = None
    energy_of: tuple[str, ...] = ()
    """What the joules of both went into; where that is not the same, there are none to compare."""

    @property
    def name(self) -> str:
        """The test, its streams where there are several, and the settings that tell it from others."""
        streams = f" x{self.n_streams}" if self.n_streams != 1 else ""
        return " ".join((self.test.name + streams, *self.settings))


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """All tests that both sides have."""

    differences: tuple[Difference, ...]
    rows: tuple[Compared, ...]
    only_a: tuple[str, ...]
    """Tests without a partner, named with what tells them from others: engine, model, settings."""
    only_b: tuple[str, ...]

    def slower_than(self, percent: float) -> tuple[Compared, ...]:
        """Rows of which B is slower for certain, and by more than this in the middle of what was measured."""
        bound = 1 - percent / 100
        return tuple(row for row in self.rows if row.verdict == "slower" and row.ratio.ratio < bound)

    @property
    def undecided(self) -> tuple[Compared, ...]:
        """Rows that neither show a difference nor rule one out."""
        return tuple(row for row in self.rows if row.verdict in ("too noisy", "too few"))


def compare(a: Sequence[Row], b: Sequence[Row]) -> Comparison:
    """Match rows by test, streams, engine and model, in A's order.

    An engine, or a model, that is the only one on its side is compared with the only one on the other side and named
    as a difference. Settings tell rows of the same test apart where a side has several. Rows that nothing tells apart
    are repetitions: their samples are put together.
    """
    by_engine, by_model = (_several(a, b, name) for name in ("engine", "model"))

    def base(row: Row) -> tuple[Any, ...]:
        return (row.test, row.n_streams, row.engine if by_engine else None, row.model if by_model else None)

    both = [settings_that_vary(side, base) for side in (a, b)]
    varied = tuple(name for name in _SETTINGS if any(name in found for found in both))

    def key(row: Row) -> tuple[Any, ...]:
        return (base(row), tuple(row.facts.get(name) for name in varied))

    def title(row: Row) -> str:
        apart = [row.engine] * by_engine + [row.model] * by_model
        apart += [f"{name} {row.facts[name]}" for name in varied if name in row.facts]
        return row.name + (f" ({', '.join(apart)})" if apart else "")

    groups_a, groups_b = _grouped(a, key), _grouped(b, key)
    shared = [found for found in groups_a if found in groups_b]
    rows = tuple(_compared(groups_a[found], groups_b[found], varied) for found in shared)
    return Comparison(
        differences=_differences([(groups_a[found][0], groups_b[found][0]) for found in shared], varied),
        rows=rows,
        only_a=tuple(title(found[0]) for at, found in groups_a.items() if at not in groups_b),
        only_b=tuple(title(found[0]) for at, found in groups_b.items() if at not in groups_a),
    )


def verdict_of(ratio: Interval) -> Verdict:
    """What an interval of B over A shows."""
    if min(ratio.n_a, ratio.n_b) < MIN_SAMPLES or ratio.low is None or ratio.high is None:
        return "too few"
    if ratio.is_real:
        return "faster" if ratio.low > 1 else "slower"
    return "same" if ratio.low >= 1 - NOISY_CV and ratio.high <= 1 + NOISY_CV else "too noisy"


def settings_that_vary(rows: Sequence[Row], base: Callable[[Row], Any]) -> tuple[str, ...]:
    """Settings in which rows differ that have the same `base`."""
    return tuple(name for name in _SETTINGS if _varies(rows, base, name))


def _several(a: Sequence[Row], b: Sequence[Row], name: str) -> bool:
    return any(len({getattr(row, name) for row in side}) > 1 for side in (a, b))


def _varies(side: Sequence[Row], base: Callable[[Row], Any], name: str) -> bool:
    found: dict[Any, Fact | None] = {}
    return any(found.setdefault(base(row), row.facts.get(name)) != row.facts.get(name) for row in side)


def _grouped(side: Sequence[Row], key: Callable[[Row], Any]) -> dict[Any, list[Row]]:
    groups: dict[Any, list[Row]] = {}
    for row in side:
        groups.setdefault(key(row), []).append(row)
    return groups


def _compared(a: Sequence[Row], b: Sequence[Row], varied: Sequence[str]) -> Compared:
    samples_a, samples_b = (tuple(ts for row in side for ts in row.samples_ts) for side in (a, b))
    first = a[0]
    ratio = _ratio(a, b, samples_a, samples_b)
    return Compared(
        engine=first.engine,
        model=first.model,
        test=first.test,
        n_streams=first.n_streams,
        settings=tuple(f"{name} {first.facts[name]}" for name in varied if name in first.facts),
        a_ts=median(samples_a),
        b_ts=median(samples_b),
        noisy_a=is_noisy(samples_a),
        noisy_b=is_noisy(samples_b),
        ratio=ratio,
        verdict=verdict_of(ratio),
        **_energies(a, b),
    )


def _energies(a: Sequence[Row], b: Sequence[Row]) -> dict[str, Any]:
    of = {row.energy_of for row in (*a, *b)}
    if len(of) != 1 or () in of:
        return {}
    means = [mean([row.j_per_token or 0.0 for row in side]) for side in (a, b)]
    return {"a_j_per_token": means[0], "b_j_per_token": means[1], "energy_of": of.pop()}


def _ratio(a: Sequence[Row], b: Sequence[Row], samples_a: Sequence[float], samples_b: Sequence[float]) -> Interval:
    """Pairs where one run measured both in turn. One that was interrupted leaves a last sample without a partner."""
    in_turn = len(a) == len(b) == 1 and a[0].run_id is not None and a[0].run_id == b[0].run_id
    if in_turn and abs(len(samples_a) - len(samples_b)) <= 1:
        n = min(len(samples_a), len(samples_b))
        return paired_ratio(samples_a[:n], samples_b[:n])
    return unpaired_ratio(samples_a, samples_b)


def _differences(pairs: Sequence[tuple[Row, Row]], varied: Sequence[str]) -> tuple[Difference, ...]:
    found: list[Difference] = []
    for name in (*_KINDS, *_SETTINGS):
        values = [(_value(a, name), _value(b, name)) for a, b in pairs]
        unequal = [(one, other) for one, other in values if None not in (one, other) and one != other]
        if unequal and name not in varied:
            sides = [{pair[side] for pair in unequal} for side in (0, 1)]
            one, other = (side.pop() if len(side) == 1 else None for side in sides)
            found.append(Difference(kind=_KINDS.get(name, "settings"), field=name, a=one, b=other))
    return tuple(found)


def _value(row: Row, name: str) -> Fact | None:
    if name == "model_filename":
        return row.model
    return row.engine if name == "engine" else row.facts.get(name)
