"""Load a model as planned, evaluate one full micro-batch, and compare the process's memory with the plan's.

    uv run python scripts/measure_memory.py MODEL [--load-mode mmap|none] [--no-repack] [--ctx-size N]

Linux only: RssAnon and RssFile are read from /proc/self/status. Exit code 1 where a kind of memory is off by more than
3 % and more than 64 MiB.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from launcher.engines.embedded import open_engine
from launcher.flow import World, prepare
from launcher.paths import folders
from launcher.planner.types import PlanRequest
from launcher.units import MIB

TOLERANCE_PART = 0.03
TOLERANCE_BYTES = 64 * MIB


def resident() -> dict[str, int]:
    """Resident anonymous and file-backed bytes of this process."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    fields = dict(line.split(":", 1) for line in status.splitlines())
    return {name: int(fields[name].split()[0]) * 1024 for name in ("RssAnon", "RssFile")}


def main() -> int:
    """Measure, print one JSON document, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--load-mode", choices=["mmap", "none"], default=None)
    parser.add_argument("--repack", action=argparse.BooleanOptionalAction, default=None)
    parser.add_argument("--ctx-size", type=int, default=None)
    args = parser.parse_args()
    request = PlanRequest(model=args.model, n_ctx=args.ctx_size, load_mode=args.load_mode, repack=args.repack)
    plan = prepare(request, World(cache_dir=folders().cache), offline=True).plan
    assert plan.file.local_path is not None
    host = plan.memory[-1]
    before = resident()
    with open_engine(plan.file.local_path, plan.load_params) as engine:
        context = engine.context
        tokens = [1000 + i for i in range(context.n_ubatch)]
        context.decode(tokens, 0, logits=True)
        context.decode(tokens[:1], len(tokens), logits=True)
        measured = resident()
        buffers = [line.strip() for line in engine.log if "buffer size" in line]
    planned = {"RssAnon": host.anonymous_bytes, "RssFile": host.mapped_bytes}
    ok = True
    rows = {}
    for name, want in planned.items():
        error = measured[name] - want
        within = abs(error) <= max(TOLERANCE_BYTES, TOLERANCE_PART * want)
        ok = ok and within
        rows[name] = {
            "planned_mib": round(want / MIB, 1),
            "measured_mib": round(measured[name] / MIB, 1),
            "error_mib": round(error / MIB, 1),
            "within": within,
        }
    params = plan.load_params
    setting: dict[str, object] = {"n_ctx": params.n_ctx, "load_mode": params.load_mode, "repack": params.repack}
    setting["anon_before_load_mib"] = round(before["RssAnon"] / MIB, 1)
    print(json.dumps({**setting, **rows, "buffers": buffers}, indent=2))
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
