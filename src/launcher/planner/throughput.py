"""Predicted speed of one stream: what a token or a prompt takes (`work`) at the costs of this machine (`costs`).

The costs are those shipped, or as runs that were measured on this machine have them (`fit`). The constants and what
they rest on are in the planner's README. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from launcher.catalogue.types import ModelSpec, ModelWeights
from launcher.hardware.types import Hardware
from launcher.planner.costs import unit_costs
from launcher.planner.fit import seconds_of, shares_of
from launcher.planner.types import (
    DEPTHS,
    Calibration,
    LoadParams,
    Rate,
    Residual,
    SpeedKind,
    Throughput,
    Tier,
    Work,
)
from launcher.planner.work import Part, decode_work, parts_of, prompt_work

PROMPT_N = 512  # tokens of the prompt that pp_ts stands for, as in llama-bench
_KINDS: tuple[SpeedKind, ...] = ("pp", "tg")
_COUNTS = 0.05  # of the time: a term that takes less is not worth naming as a basis


@dataclass(frozen=True, kw_only=True, slots=True)
class Subject:
    """One placement on one machine, whose speed is asked for."""

    hardware: Hardware
    spec: ModelSpec
    weights: ModelWeights
    """Of the file."""
    params: LoadParams
    """The placement."""
    rates: Mapping[str, Rate]
    """By device name, `CPU` for the host, `disk`."""
    streamed_bytes: int = 0
    """Of the host's weights, what is read from disk again."""
    calibration: Calibration | None = None
    """The costs as runs measured on this machine have them."""
    parts: tuple[Part, ...] = field(init=False, repr=False, compare=False)
    """What each device does for a token: worked out once."""

    def __post_init__(self) -> None:
        """Work out the parts."""
        object.__setattr__(self, "parts", parts_of(self.spec, self.weights, self.params))

    def costs(self) -> dict[str, float]:
        """Seconds per unit of every term that is known."""
        shipped = unit_costs(self.hardware, self.rates)
        known = self.calibration
        return shipped if known is None else {term: cost * known.factor(term) for term, cost in shipped.items()}

    def residual(self, kind: SpeedKind) -> Residual | None:
        """What measured runs of this very file leave beside the costs."""
        if self.calibration is None or self.streamed_bytes:
            return None
        return self.calibration.residual(recipe_of(self.spec, self.weights), settings_of(self.params, kind), kind)

    def decode(self, depth: float) -> Work:
        """One token with `depth` tokens in the context."""
        return decode_work(
            self.spec, self.weights, self.params, depth, streamed_bytes=self.streamed_bytes, parts=self.parts
        )

    def prompt(self, n_prompt: int, depth: int) -> Work:
        """A prompt of `n_prompt` tokens behind `depth` tokens."""
        return prompt_work(
            self.spec,
            self.weights,
            self.params,
            n_prompt,
            depth,
            streamed_bytes=self.streamed_bytes,
            parts=self.parts,
        )

    def seconds(self, kind: SpeedKind, work: Work, costs: Mapping[str, float]) -> float | None:
        """How long the work takes, as measured runs of the file correct it; None where a cost is not known."""
        seconds = seconds_of(work, costs)
        left = self.residual(kind)
        return None if seconds is None else seconds * (left.factor if left is not None else 1.0)


def recipe_of(spec: ModelSpec, weights: ModelWeights) -> str:
    """What tells files of another speed apart: architecture, shape, and the bytes that the weights take."""
    shape = f"{spec.n_layer}x{spec.n_embd}"
    return f"{spec.arch} {shape} {weights.n_params} weights {weights.total_bytes} bytes"


def settings_of(params: LoadParams, kind: SpeedKind) -> str:
    """What a run was measured with and speed depends on, beside the file: `1 thread, repacked, f16/f16`."""
    n = params.n_threads_batch if kind == "pp" else params.n_threads
    said = [f"{n} thread{'' if n == 1 else 's'}", "repacked" if params.repack and not params.devices else "plain"]
    if params.devices:
        experts = params.n_cpu_moe + params.n_cpu_moe_tensors / 3
        said.append(f"{'+'.join(params.devices)} {params.n_gpu_layers} layers, {experts:.3g} of experts in RAM")
    if kind == "pp":
        said.append(f"micro-batch {params.n_ubatch}")
    return ", ".join(
        [*said, f"{params.type_k}/{params.type_v}", *([] if params.flash_attn else ["no flash attention"])]
    )


def active_bytes(spec: ModelSpec, weights: ModelWeights, params: LoadParams) -> tuple[float, float]:
    """Weight bytes read per decoded token: (on devices, on the host)."""
    parts = parts_of(spec, weights, params)
    return sum(part.weight_bytes for part in parts[:-1]), parts[-1].weight_bytes


def decode_ts(
    hardware: Hardware,
    spec: ModelSpec,
    weights: ModelWeights,
    params: LoadParams,
    rates: Mapping[str, Rate],
    *,
    streamed_bytes: int = 0,
    calibration: Calibration | None = None,
) -> float | None:
    """Tokens per second of one stream at an empty context; None where a bandwidth that counts is unknown."""
    subject = Subject(
        hardware=hardware,
        spec=spec,
        weights=weights,
        params=params,
        rates=rates,
        streamed_bytes=streamed_bytes,
        calibration=calibration,
    )
    seconds = subject.seconds("tg", subject.decode(0), subject.costs())
    return None if seconds is None else 1 / seconds


def run_ts(subject: Subject, *, n_prompt: int, n_gen: int, n_depth: int) -> float | None:
    """Tokens per second of a test as llama-bench does it: a prompt behind `n_depth` tokens, then tokens one by one.

    A token is taken half way through: its time grows evenly with the depth.
    """
    costs = subject.costs()
    middle = n_depth + n_prompt + n_gen / 2
    prompt = subject.seconds("pp", subject.prompt(n_prompt, n_depth), costs) if n_prompt else 0.0
    token = subject.seconds("tg", subject.decode(middle), costs) if n_gen else 0.0
    if prompt is None or token is None:
        return None
    seconds = prompt + n_gen * token
    return (n_prompt + n_gen) / seconds if seconds > 0 else None


def predict(
    hardware: Hardware,
    spec: ModelSpec,
    weights: ModelWeights,
    params: LoadParams,
    rates: Mapping[str, Rate],
    *,
    depths: tuple[int, ...] = DEPTHS,
    streamed_bytes: int = 0,
    calibration: Calibration | None = None,
) -> tuple[Throughput, ...]:
    """Prompt and decode speed of one stream at each depth that its context holds, the first at 0.

    Args:
        hardware: the machine.
        spec: of the model.
        weights: of the file.
        params: the placement.
        rates: by device name, `CPU` for the host, `disk`.
        depths: tokens already in the context.
        streamed_bytes: of the host's weights, what is read from disk again.
        calibration: the costs as runs measured on this machine have them.
    """
    subject = Subject(
        hardware=hardware,
        spec=spec,
        weights=weights,
        params=params,
        rates=rates,
        streamed_bytes=streamed_bytes,
        calibration=calibration,
    )
    n_ctx = params.n_ctx if params.kv_unified else params.n_ctx // params.n_parallel
    costs, basis = subject.costs(), basis_of(subject)
    found = []
    for depth in depths:
        if depth > n_ctx:
            break
        decode_s = subject.seconds("tg", subject.decode(depth), costs)
        prompt_s = subject.seconds("pp", subject.prompt(PROMPT_N, depth), costs)
        found.append(
            Throughput(
                n_depth=depth,
                pp_ts=PROMPT_N / prompt_s if prompt_s else None,
                tg_ts=1 / decode_s if decode_s else None,
                basis=basis,
            )
        )
    return tuple(found)


def tier_of(spec: ModelSpec, params: LoadParams, streamed_bytes: int = 0) -> Tier:
    """The tier that a placement is of."""
    if streamed_bytes:
        return "streamed"
    if not params.devices:
        return "cpu"
    if params.n_gpu_layers <= spec.n_layer:
        return "partial"
    return "gpu+cpu-experts" if params.n_cpu_moe or params.n_cpu_moe_tensors else "gpu"


def basis_of(subject: Subject) -> str:
    """Where the figures come from: measured runs first, then a clause for each device that counts."""
    return "; ".join([*_measured(subject), *_rates(subject)])


def _measured(subject: Subject) -> Iterator[str]:
    known, costs = subject.calibration, subject.costs()
    if known is None:
        return
    counting: set[str] = set()
    for work in (subject.decode(0), subject.prompt(PROMPT_N, 0)):
        if (whole := seconds_of(work, costs)) is not None:
            counting |= {term for term, seconds in shares_of(work, costs).items() if seconds >= _COUNTS * whole}
    fitted = [cost for cost in known.costs if cost.term in counting and cost.n_runs]
    mine = [left for kind in _KINDS if (left := subject.residual(kind)) is not None]
    if not fitted and not mine:
        return
    n = max([*(cost.n_runs for cost in fitted), sum(left.n_runs for left in mine)])
    last = max((cost.last_date for cost in fitted), default=known.last_date)
    of_it = sum(left.n_runs for left in mine)
    which = "" if not of_it else ", all of this file" if of_it >= n else f", {of_it} of them of this file"
    yield f"calibrated by {n} {'run' if n == 1 else 'runs'} measured here, the last on {last}{which}"


def _rates(subject: Subject) -> Iterator[str]:
    parts = subject.parts
    names = [part.name for part in parts if part.weight_bytes] + (["disk"] if subject.streamed_bytes else [])
    for name in names:
        known = subject.rates.get(name)
        yield f"{name} {known.bandwidth.basis if known is not None and known.bandwidth is not None else 'not known'}"
    if parts[-1].weight_bytes:
        cpu = subject.hardware.cpu
        yield f"{subject.params.n_threads} of {cpu.n_physical or cpu.n_logical} cores"
