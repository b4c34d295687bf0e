"""Measure how far predicted speeds are off before and after calibration, and write that into the planner's README.

Each model is measured twice with `gpt-oss bench`: the first runs calibrate, the second ones judge. "Calibrated" has the
model's own first run among them, "by the others" has not. What was measured is kept in --folder, so that a run that
was stopped goes on where it was; models that are made there (6 GB, random weights) are kept as well. To measure a run
anew, remove its NAME-first.json or NAME-second.json.

    python scripts/prediction_errors.py --folder /tmp/errors gpt-oss-20b-MXFP4.gguf SmolLM2-135M-Instruct.Q4_1.gguf
    python scripts/prediction_errors.py --folder /tmp/errors --no-made --dry-run
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from launcher.bench.predictions import Subject, sort_records
from launcher.bench.types import BenchRecord, BenchTest
from launcher.catalogue.headers import ensure_header
from launcher.catalogue.load import load_catalogue
from launcher.cli.bench_view import speed
from launcher.demo import demo_model_path
from launcher.errors import LauncherError
from launcher.flow import World
from launcher.hardware.types import Hardware
from launcher.planner import throughput
from launcher.planner.costs import unit_costs
from launcher.planner.fit import fit
from launcher.planner.types import Calibration, LoadParams, MeasuredRun, Rate, Work
from launcher.records import from_jsonable

ROOT = Path(__file__).parent.parent
README = ROOT / "src/launcher/planner/README.md"
BEGIN, END = "<!-- predictions: scripts/prediction_errors.py -->\n", "<!-- /predictions -->\n"
MADE = (("MXFP4", 2), ("Q4_K_M", 2), ("F16", 1))
"""Recipes of the models that are made, with their layers."""
SMALL = ("-p", "128", "-n", "64", "-d", "0,1024", "-r", "5")
LARGE = ("-p", "128", "-n", "32", "-d", "0", "-r", "3")
LARGE_BYTES = 4 * 10**9
BENCH_S = 1200.0
"""Of one bench of one model: several times what a full-size model takes on two cores."""
ROUNDS = ("first", "second")


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """The records of one model and round, with what the planner knows of the file."""

    name: str
    records: tuple[BenchRecord, ...]
    subject: throughput.Subject

    def runs(self) -> tuple[MeasuredRun, ...]:
        """Those that calibrate."""
        told = Subject(
            recipe=throughput.recipe_of(self.subject.spec, self.subject.weights),
            settings=lambda kind: throughput.settings_of(self.subject.params, kind),
            work=self.work,
        )
        return sort_records(self.records, told).runs

    def work(self, test: BenchTest) -> Work:
        """Of a prompt, or of a token half way through."""
        if test.n_prompt:
            return self.subject.prompt(test.n_prompt, test.n_depth)
        return self.subject.decode(test.n_depth + test.n_gen / 2)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure what is not measured yet, print the table, and put it between the two marks."""
    args = _parser().parse_args(argv)
    args.folder.mkdir(parents=True, exist_ok=True)
    models = [demo_model_path(), *args.models, *(() if args.no_made else made(args.folder))]
    failed = []
    for which in ROUNDS:
        for model in models:
            print(f"{which}: {model.name}", flush=True)
            if (problem := measure(model, which, args.folder, args.threads)) is not None:
                failed.append(f"{which} run of {model.name}: {problem}")
                print(f"  {problem}", flush=True)
    state = args.folder / "state"
    world = World(cache_dir=args.folder / "cache", state_dir=state)
    hardware = world.detect()[0]
    rates = world.rates(hardware, state)
    rounds = [list(read(models, which, args.folder, hardware, rates)) for which in ROUNDS]
    lines = report(rounds[0], rounds[1], hardware, unit_costs(hardware, rates))
    print("\n".join(lines))
    if not args.dry_run and rounds[1]:
        before, _, rest = README.read_text(encoding="utf-8").partition(BEGIN)
        _, _, after = rest.partition(END)
        README.write_text(before + BEGIN + "\n" + "\n".join(lines) + "\n\n" + END + after, encoding="utf-8")
    for line in failed:
        print(f"failed: {line}", file=sys.stderr)
    return 1 if failed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", type=Path, metavar="GGUF", help="beside the demo model and the made ones")
    parser.add_argument("--folder", type=Path, required=True, help="for what was measured and made; kept")
    parser.add_argument("--no-made", action="store_true", help="make no models")
    parser.add_argument("--threads", type=int, help="instead of the planned ones")
    parser.add_argument("--dry-run", action="store_true", help="leave the README as it is")
    return parser


def made(folder: Path) -> Iterator[Path]:
    """Models of a few layers with random blocks, made once."""
    for recipe, n_layer in MADE:
        path = folder / f"{recipe}-{n_layer}-layers.gguf"
        if not path.exists():
            part = path.with_suffix(".part")
            options = ("--recipe", recipe, "--n-layer", str(n_layer), "--fill", "random")
            done = subprocess.run([sys.executable, ROOT / "scripts/make_gguf.py", part, *options], check=False)
            if done.returncode != 0:
                print(f"failed: {path.name} could not be made", file=sys.stderr)
                continue
            part.rename(path)
        yield path


def measure(model: Path, which: str, folder: Path, threads: int | None) -> str | None:
    """Bench a model, unless that was done with the same tests. Gives what went wrong, if anything did."""
    try:
        tests = LARGE if model.stat().st_size > LARGE_BYTES else SMALL
    except OSError as error:
        return str(error.strerror)
    options = (*tests, *(() if threads is None else ("--threads", str(threads))))
    kept = _kept(model, which, folder)
    if _read(kept).get("options") == list(options):
        return None
    command = ["-c", "from launcher.cli.app import main; main()", "bench", "--model", model, *options]
    words = [sys.executable, *command, "-o", "json", "--no-calibrate", "--engine", "embedded"]
    # Its history is not the person's, nor is what calibrated plans before.
    env = {**os.environ, "GPT_OSS_STATE_DIR": str(folder / "state")}
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=BENCH_S, check=False, env=env)
        rows = json.loads(done.stdout) if done.returncode == 0 else []
    except (subprocess.TimeoutExpired, ValueError) as error:
        return f"{type(error).__name__}: {error}"[:200]
    if not rows:
        return (done.stderr.strip().splitlines() or ["nothing was measured"])[-1]
    part = kept.with_suffix(".part")
    part.write_text(json.dumps({"options": options, "rows": rows}), encoding="utf-8")
    part.replace(kept)
    return None


def _kept(model: Path, which: str, folder: Path) -> Path:
    return folder / f"{model.stem}-{which}.json"


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def read(
    models: Iterable[Path], which: str, folder: Path, hardware: Hardware, rates: Mapping[str, Rate]
) -> Iterator[Measured]:
    """What was measured of each model, with its weights; a file that cannot be read any more is left out."""
    for model in models:
        try:
            rows = _read(_kept(model, which, folder)).get("rows", [])
            records = tuple(from_jsonable(BenchRecord, row) for row in rows)
            catalogue = load_catalogue(
                request_model=str(model),
                request_quant=None,
                offline=True,
                refresh=False,
                isa=hardware.cpu.isa,
                cache_dir=folder / "cache",
                open_remote=None,
            )
            known = ensure_header(
                catalogue.files[0], cache_dir=folder / "cache", isa=hardware.cpu.isa, open_remote=None
            )
        except (LauncherError, ValueError) as error:
            print(f"failed: {model.name}: {error}", file=sys.stderr)
            continue
        if records and records[0].plan is not None:
            params = from_jsonable(LoadParams, records[0].plan["load_params"])
            subject = throughput.Subject(
                hardware=hardware, spec=known.spec, weights=known.weights, params=params, rates=rates
            )
            yield Measured(name=model.stem, records=records, subject=subject)


def report(
    first: Sequence[Measured], second: Sequence[Measured], hardware: Hardware, shipped: Mapping[str, float]
) -> list[str]:
    """The table in Markdown, with what it was measured on above and the errors in short below."""
    known = [run for model in first for run in model.runs()]
    everything = fit(known, shipped)
    rows: list[str] = []
    errors: dict[str, list[float]] = {"before": [], "calibrated": [], "by the others": []}
    for model in second:
        own = throughput.recipe_of(model.subject.spec, model.subject.weights)
        others = fit([run for run in known if run.recipe != own], shipped)
        steady = {(run.test, run.engine) for run in model.runs()}
        own_tests = {(run.test, run.engine) for run in known if run.recipe == own}
        for record in model.records:
            measured = median(record.samples_ts)
            noisy = not {(record.test.name, record.engine)} <= steady & own_tests
            found = [
                _error(model.subject, record.test, measured, calibration) for calibration in (None, everything, others)
            ]
            for name, error in zip(errors, found, strict=True):
                if error is not None and not noisy:
                    errors[name].append(abs(error))
            ts = f"{speed(measured)}{' ~' if noisy else ''}"
            shown = " | ".join("" if error is None else f"{error:+.0%}" for error in found)
            rows.append(f"| {model.name} | {record.test.name} | {ts} | {shown} |")
    n_threads = max((model.subject.params.n_threads for model in second), default=0)
    day = datetime.now(UTC).date().isoformat()
    threads = f"{n_threads} thread{'' if n_threads == 1 else 's'}"
    on = f"On {hardware.cpu.name} with {threads}, {day}; {len(known)} runs calibrate."
    head = ["| model | test | tok/s | before | calibrated | by the others |", "|---|---|---|---|---|---|"]
    short = [
        f"{name} {median(values):.0%} in the middle and {max(values):.0%} at worst"
        for name, values in errors.items()
        if values
    ]
    marked = " `~`: in one of its two runs the samples spread by more than 5 %; such a test is not counted."
    return [on, "", *head, *rows, "", f"Errors of either sign: {'; '.join(short) or 'none is known'}.{marked}"]


def _error(
    subject: throughput.Subject, test: BenchTest, measured_ts: float, calibration: Calibration | None
) -> float | None:
    asked = throughput.Subject(
        hardware=subject.hardware,
        spec=subject.spec,
        weights=subject.weights,
        params=subject.params,
        rates=subject.rates,
        calibration=calibration,
    )
    found = throughput.run_ts(asked, n_prompt=test.n_prompt, n_gen=test.n_gen, n_depth=test.n_depth)
    return None if found is None else found / measured_ts - 1


if __name__ == "__main__":
    sys.exit(main())
