"""What `gpt-oss tune` finds beside a sweep of the same settings and beside llama-server's defaults, with times.

    uv run python scripts/make_gguf.py /tmp/gpt-oss-20b-MXFP4.gguf --fill random
    uv run python scripts/tune_sweep.py /tmp/gpt-oss-20b-MXFP4.gguf --out /tmp/tune-sweep

1. The sweep: every combination of threads, flash attention, n_ubatch, repacking and load mode around the plan, 64 at
   most, each with llama-bench's protocol: a prompt and some decoded tokens from an empty context, each after a warm-up
   as long as the prompt. `--sweep-time` bounds it: prompts are made smaller, and the load mode left out, until it fits.
2. The tune, as a person runs it, in a state folder of its own, with a quarter of the sweep's time as its budget.
3. The tuned plan, the sweep's best and llama-server's defaults in turn, for `--rounds` rounds.

Everything is kept in the folder `--out` as it comes; a run that was stopped goes on where it was. Prints a table, and
writes `table.md` and `result.json` there. Exit code 1 where the tuned plan is measurably below the defaults, below 0.97
of the sweep's best, or took more than a quarter of the sweep's time.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tune_sweep_table import QUARTER, Row, arms_of, checks_of, difference, lines_of, ratios, tuned_params, turn_ts

from launcher.bench.embedded import EmbeddedSession, open_embedded
from launcher.bench.probe import Probe, same_load
from launcher.bench.types import BenchTest
from launcher.errors import EngineError
from launcher.flow import Prepared, World, prepare
from launcher.paths import folders
from launcher.planner.types import Changes, LoadParams, PlanRequest
from launcher.records import from_jsonable, to_jsonable
from launcher.tune.budget import seconds_of
from launcher.tune.changes import beside, spelt, with_changes
from launcher.tune.holes import refuse_holes
from launcher.tune.sizes import typical
from launcher.tune.space import Ground, defaults, fits, runs, thread_counts
from launcher.tune.types import Speeds

MOST = 64
START_S = 8.0
"""What the command takes beside its budget: Python, the plan, the end of the engine."""
UBATCHES = (64, 128, 256, 512)
PROMPTS = (512, 256, 128)


class Engine:
    """The embedded engine, loaded again where a setting asks for it; llama-bench's protocol."""

    def __init__(self, model: Path) -> None:
        self._model = model
        self._stack = ExitStack()
        self._loaded: tuple[LoadParams, EmbeddedSession] | None = None

    def close(self) -> None:
        """Free the memory."""
        self._loaded = None
        self._stack.close()

    def run(self, params: LoadParams, tests: Sequence[BenchTest]) -> tuple[float, ...]:
        """Tokens per second of each test. Raises EngineError."""
        if self._loaded is None or not same_load(self._loaded[0], params):
            self.close()
            self._loaded = (params, self._stack.enter_context(open_embedded(self._model, params)))
        try:
            timings = [self._loaded[1].probe(Probe(test=test, params=params)) for test in tests]
        except EngineError:
            self.close()
            raise
        return tuple(
            1e9 * test.n_tokens / (timing.prompt_ns + timing.gen_ns)
            for test, timing in zip(tests, timings, strict=True)
        )


class Kept:
    """Rows in a file, one a line, written as they come."""

    def __init__(self, path: Path) -> None:
        self._path = path
        lines = path.read_text(encoding="utf-8").split("\n") if path.exists() else [""]
        self.rows = [from_jsonable(Row, json.loads(line)) for line in lines[:-1]]
        if lines[-1]:  # a line without its end was cut off
            path.write_text("".join(f"{line}\n" for line in lines[:-1]), encoding="utf-8")

    def add(self, row: Row) -> None:
        """Keep one more."""
        self.rows.append(row)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(to_jsonable(row)) + "\n")


def measured(engine: Engine, plan: LoadParams, changes: Changes, tests: Sequence[BenchTest]) -> Row:
    """One run; a setting that the engine refuses has no speed."""
    start = time.monotonic()
    try:
        pp, tg = engine.run(with_changes(plan, changes), tests)
    except EngineError as error:
        print(f"  {spelt(changes) or 'the plan'}: {error.message}", file=sys.stderr)
        return Row(changes=changes, pp_ts=None, tg_ts=None, took_s=time.monotonic() - start)
    return Row(changes=changes, pp_ts=pp, tg_ts=tg, took_s=time.monotonic() - start)


def combinations(ground: Ground, n_prompt: int, *, load_modes: bool) -> list[Changes]:
    """Every combination around the plan that fits, those of one load together."""
    plan = ground.params
    ubatches = [n for n in UBATCHES if n <= n_prompt]
    axes: dict[str, Sequence[Any]] = {
        "load_mode": ("mmap", "none") if load_modes else (plan.load_mode,),
        "repack": (True, False) if not plan.devices else (plan.repack,),
        "n_threads": thread_counts(ground.hardware.cpu),
        "flash_attn": (True, False),
        "n_ubatch": ubatches,
    }
    found = []
    for values in itertools.product(*axes.values()):
        setting = dict(zip(axes, values, strict=True))
        changes = beside(plan, Changes(**setting, n_threads_batch=setting["n_threads"]))
        params = with_changes(plan, changes)
        if runs(params) and fits(ground, params):
            found.append(changes)
    return found


def sweep_plan(ground: Ground, speeds: Speeds, n_gen: int, bound_s: float) -> tuple[int, list[Changes]]:
    """The largest prompt, and the settings, that are expected to stay within the bound."""
    pp, tg = speeds.pp_ts or 1.0, speeds.tg_ts or 1.0
    options = [(n, modes) for n in PROMPTS for modes in (True, False)]
    for n_prompt, load_modes in options:
        settings = combinations(ground, n_prompt, load_modes=load_modes)
        each = 2 * n_prompt / pp + (n_gen + 1) / tg
        cost = sum(each * slower(ground.params, with_changes(ground.params, changes)) for changes in settings)
        if len(settings) <= MOST and cost <= bound_s:
            return n_prompt, settings
    n_prompt, load_modes = options[-1]
    return n_prompt, combinations(ground, n_prompt, load_modes=load_modes)[:MOST]


def slower(plan: LoadParams, params: LoadParams) -> float:
    """A guess at how much longer a setting takes, for the bound alone."""
    return max(1.0, plan.n_threads / params.n_threads) * (1.5 if plan.repack and not params.repack else 1.0)


def sweep(engine: Engine, ground: Ground, args: argparse.Namespace) -> tuple[tuple[BenchTest, BenchTest], Kept]:
    """Measure what is not measured yet."""
    folder = Path(args.out)
    first, chosen = Kept(folder / "first.jsonl"), folder / "sweep-settings.json"
    tests = (BenchTest(n_prompt=128), BenchTest(n_gen=args.n_gen))
    if not first.rows:
        first.add(measured(engine, ground.params, Changes(), tests))
    if chosen.exists():
        kept = json.loads(chosen.read_text(encoding="utf-8"))
        n_prompt, settings = kept["n_prompt"], [from_jsonable(Changes, item) for item in kept["settings"]]
    else:
        speeds = Speeds(pp_ts=first.rows[0].pp_ts, tg_ts=first.rows[0].tg_ts)
        n_prompt, settings = sweep_plan(ground, speeds, args.n_gen, seconds_of(args.sweep_time))
        chosen.write_text(json.dumps({"n_prompt": n_prompt, "settings": to_jsonable(settings)}), encoding="utf-8")
    tests = (BenchTest(n_prompt=n_prompt), tests[1])
    rows = Kept(folder / "sweep.jsonl")
    done = {row.changes for row in rows.rows}
    for i, changes in enumerate(settings, 1):
        if changes not in done:
            rows.add(measured(engine, ground.params, changes, tests))
            row = rows.rows[-1]
            speeds_text = "failed" if row.pp_ts is None or row.tg_ts is None else f"{row.pp_ts:.2f} {row.tg_ts:.2f}"
            print(
                f"{i} of {len(settings)}: {spelt(changes) or 'the plan'}: {speeds_text}, {row.took_s:.0f} s", flush=True
            )
    return (tests[0], tests[1]), rows


def tune(args: argparse.Namespace, sweep_s: float) -> dict[str, Any]:
    """`gpt-oss tune` in a state folder of its own, and how long it took."""
    folder = Path(args.out)
    path = folder / "tune.json"
    if not path.exists():
        budget = args.tune_budget or f"{max(30, int(QUARTER * sweep_s - START_S))}s"
        print(f"gpt-oss tune --budget {budget}", flush=True)
        environ = {**os.environ, "GPT_OSS_STATE_DIR": str(folder.absolute() / "state")}
        words = ["--model", str(Path(args.model).absolute()), "--budget", budget, "--for", args.purpose, "--json"]
        start = time.monotonic()
        done = subprocess.run(
            [str(Path(sys.executable).parent / "gpt-oss"), "tune", *words],
            env=environ, stdout=subprocess.PIPE, check=True,
        )  # fmt: skip
        took_s = time.monotonic() - start
        path.write_text(json.dumps({"took_s": took_s, "result": json.loads(done.stdout)}), encoding="utf-8")
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def final(
    engine: Engine, plan: LoadParams, arms: dict[str, Changes], tests: Sequence[BenchTest], args: argparse.Namespace
) -> dict[str, list[Row]]:
    """Rounds of all arms, each round another one first; a round that was cut off is run again."""
    folder = Path(args.out)
    found: dict[str, list[Row]] = {name: [] for name in arms}
    start = time.monotonic()
    for n_round in range(args.rounds):
        names = list(arms)
        turn = n_round % len(names)
        kept = Kept(folder / f"final-{n_round}.jsonl")
        order = names[turn:] + names[:turn]
        if len(kept.rows) < len(order):
            if n_round >= 5 and time.monotonic() - start > seconds_of(args.final_time):
                break
            (folder / f"final-{n_round}.jsonl").unlink(missing_ok=True)
            kept = Kept(folder / f"final-{n_round}.jsonl")
            for name in order:
                kept.add(measured(engine, plan, arms[name], tests))
            print(f"round {n_round + 1} of {args.rounds}", flush=True)
        for name, row in zip(order, kept.rows, strict=True):
            found[name].append(row)
    return found


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--out", required=True, help="folder for what is measured; the same folder goes on")
    parser.add_argument("--for", dest="purpose", choices=("chat",), default="chat")
    parser.add_argument("--sweep-time", default="30m", help="what the sweep is meant to stay within")
    parser.add_argument("--tune-budget", default=None, help="a quarter of the time that the sweep took, if not given")
    parser.add_argument("--rounds", type=int, default=6, help="of the comparison at the end")
    parser.add_argument("--final-time", default="15m", help="no round after the fifth begins later than that")
    parser.add_argument("--n-gen", type=int, default=16)
    return parser.parse_args()


def main() -> int:
    """All three parts, then the table."""
    args = parsed()
    folder = Path(args.out)
    folder.mkdir(parents=True, exist_ok=True)
    refuse_holes([Path(args.model)])
    prepared: Prepared = prepare(
        PlanRequest(model=str(Path(args.model).absolute())),
        World(cache_dir=folders().cache, state_dir=folder / "state"),
        offline=True,
    )
    plan, hardware = prepared.plan, prepared.hardware
    # What a run that goes on compares with is the plan of the first one, whatever else takes memory now.
    planned = folder / "plan.json"
    if not planned.exists():
        planned.write_text(json.dumps(to_jsonable(plan.load_params)), encoding="utf-8")
    params = from_jsonable(LoadParams, json.loads(planned.read_text(encoding="utf-8")))
    ground = Ground(hardware=hardware, spec=plan.spec, weights=prepared.weights, request=PlanRequest(), params=params)
    engine = Engine(Path(args.model))
    try:
        tests, rows = sweep(engine, ground, args)
        sweep_s = sum(row.took_s for row in rows.rows)
        engine.close()
        tuned = tune(args, sweep_s)
        turn = typical(args.purpose, params)
        weights = (turn.n_prompt, turn.n_gen)
        best = max((row for row in rows.rows if row.pp_ts is not None), key=lambda row: turn_ts(row, weights) or 0.0)
        arms = {
            "llama-server's defaults": beside(params, defaults(ground)),
            "the sweep's best": best.changes,
            "the tuned plan": difference(params, tuned_params(tuned["result"])),
        }
        found = final(engine, params, arms, tests, args)
    finally:
        engine.close()
    of_defaults, of_best, of_tuned = found.values()
    over_defaults, over_best = ratios(of_defaults, of_tuned, weights), ratios(of_best, of_tuned, weights)
    checks = checks_of(over_best, over_defaults, tuned["took_s"] / sweep_s)
    result = {
        "schema": 1,
        "model": Path(args.model).name,
        "cpu": f"{hardware.cpu.name}, {hardware.cpu.n_threads} cores",
        "tests": ", ".join(test.name for test in tests),
        "n_settings": len(rows.rows),
        "sweep_s": sweep_s,
        "tune_s": tuned["took_s"],
        "time_part": tuned["took_s"] / sweep_s,
        "arms": arms_of(found, weights),
        "ratios": to_jsonable({"llama-server's defaults": over_defaults, "the sweep's best": over_best}),
        "checks": checks,
        "sweep": to_jsonable(rows.rows),
        "tune": tuned["result"],
    }
    text = "\n".join(lines_of(result)) + "\n"
    (folder / "result.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    (folder / "table.md").write_text(text, encoding="utf-8")
    print(text, end="")
    return 0 if all(checks.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
