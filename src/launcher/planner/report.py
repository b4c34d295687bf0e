"""A plan as one JSON object: what `plan --json` prints, and what every record that carries a plan holds. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from launcher.planner.explain import short_bytes
from launcher.planner.types import HOST, Candidate, DeviceMemory, EngineCandidate, Plan
from launcher.records import to_jsonable
from launcher.units import format_bytes


def plan_json(plan: Plan, argv: Sequence[str]) -> dict[str, Any]:
    """The object. What is not known is null, never left out; bytes are whole numbers, speeds tokens per second.

    Args:
        plan: whether it fits or not.
        argv: the llama-server command that stands for it.
    """
    file = plan.file
    chosen = next((c for c in plan.candidates if c.name == file.name), None)
    return {
        "fits": plan.fits,
        "tier": plan.tier,
        "hardware": to_jsonable(plan.hardware),
        "model": {
            "id": plan.spec.id,
            "name": file.name,
            "repo": file.repo,
            "revision": file.revision,
            "files": to_jsonable(file.parts),
            "quant": file.quant,
            "total_bytes": file.size_bytes or (chosen.size_bytes if chosen else None),
            "dense_bpw": chosen.dense_bpw if chosen else file.dense_bpw,
            "local_path": to_jsonable(file.local_path),
            "found_in": file.found_in,
        },
        "spec": to_jsonable(plan.spec),
        "weights_basis": plan.weights_basis,
        "load_params": to_jsonable(plan.load_params),
        "memory": [_memory(row) for row in plan.memory],
        "throughput": to_jsonable(plan.throughput),
        "tuned": to_jsonable(plan.tuned),
        "argv": list(argv),
        "notes": list(plan.notes),
        "candidates": [_candidate(candidate) for candidate in plan.candidates],
        "engines": [_candidate(candidate) for candidate in plan.engines],
    }


def missing(plan: Plan) -> str:
    """What keeps a plan from fitting, in a few words: `short of 6.5 GiB RAM`."""
    row = max(plan.memory, key=short_bytes)
    if short_bytes(row) <= 0:
        return "slower than asked"
    return f"short of {format_bytes(short_bytes(row))} {'RAM' if row.name == HOST else row.name}"


def _memory(row: DeviceMemory) -> dict[str, Any]:
    return {
        "device": row.name,
        "model_bytes": row.model_bytes,
        "context_bytes": row.context_bytes,
        "compute_bytes": row.compute_bytes,
        "overhead_bytes": row.overhead_bytes,
        "mapped_bytes": row.mapped_bytes,
        "anonymous_bytes": row.anonymous_bytes,
        "total_bytes": row.used_bytes,
        "shared_bytes": row.shared_bytes,
        "streamed_bytes": row.streamed_bytes,
        "free_bytes": row.free_bytes,
        "headroom_bytes": row.headroom_bytes,
        "fits": row.fits,
    }


def _candidate(candidate: Candidate | EngineCandidate) -> dict[str, Any]:
    record: dict[str, Any] = to_jsonable(candidate)
    why = record.pop("reason")
    return {**record, "why": why}
