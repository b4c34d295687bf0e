"""The command line of scripts/gpu_check.py: which stages run, each within its time, and what became of them."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from gpu_stages import build, files, memory, pack, serve, speed
from gpu_stages.grid import REHEARSAL, Grid
from gpu_stages.kept import RESULTS, Budget, Kept, StageTimeError, hard_limit
from gpu_stages.lab import SHARED_MEMORY, Lab, LabError, devices_here, keep_machine, machine_row, stand_in_devices
from gpu_stages.records import STAGES, StageRow
from gpu_stages.report import STAGE, folder_name, record_of, tables
from launcher.builds import store
from launcher.builds.detect import detect_all
from launcher.builds.types import ENVIRONMENT
from launcher.errors import LauncherError
from launcher.hardware import nvidia
from launcher.hardware.types import Hardware
from launcher.paths import folders, write_atomic
from launcher.records import to_jsonable
from launcher.units import format_bytes

LIMITS_S: Mapping[str, float] = {
    "build": 590, "files": 180, "memory": 420, "speed": 300, "offload": 330, "serve": 240, "report": 30,
}  # fmt: skip
"""Of each stage. None lasts ten minutes; together they stay below 35."""
MEASURING: Mapping[str, Callable[[Lab], int]] = {
    "memory": memory.run, "speed": speed.run_speed, "offload": speed.run_offload, "serve": serve.run,
}  # fmt: skip
"""Stages that need the engine; each gives how many cases were left out."""
SCRIPTS = Path(__file__).resolve().parent.parent


def run(argv: Sequence[str], *, description: str = "") -> int:
    """Everything that was asked for; the exit code, 1 where a stage did not end."""
    args = _parser(description).parse_args(argv)
    try:
        if args.pack is not None:
            return _pack(args)
        if not args.stage or args.out is None:
            raise LabError("--stage and --out are needed, or --pack")
        if sys.platform != "linux":
            raise LabError("this script is for Linux")
        return _stages(args)
    except LauncherError as error:
        print(f"gpu_check: {error.message}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; the same command goes on", file=sys.stderr)
        return 130


def _parser(description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="gpu_check.py", description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--stage", action="append", choices=("all", *LIMITS_S), help="may be given several times")
    parser.add_argument("--out", type=Path, help="folder for what is measured; the same folder goes on")
    parser.add_argument("--work", type=Path, help="folder for the engine and the models")
    parser.add_argument("--stand-in", action="store_true", help="rehearse without a GPU")
    parser.add_argument("--source", type=Path, help="source archive to compile, or to pack, instead of a download")
    parser.add_argument("--arch", help="compute capability to compile for, such as 90; by default the GPU's")
    parser.add_argument("--prebuilt", type=Path, metavar="FILE", help="packed engine to unpack instead of compiling")
    parser.add_argument("--engine", help="the engine to measure, instead of the first that sees a GPU; or to pack")
    parser.add_argument("--limit", type=float, metavar="S", help="seconds for each stage instead of its own")
    parser.add_argument(
        "--pack", type=Path, metavar="FOLDER", help="write a small source archive, or --engine, there, and end"
    )
    parser.add_argument("--python", metavar="X.Y", help="with --pack: packages for that Python as well")
    parser.add_argument("--pure", action="store_true", help="with --python: no packages that are compiled")
    parser.add_argument("--wheels", type=Path, metavar="FOLDER", help="packages that this Python does not have")
    return parser


def _pack(args: argparse.Namespace) -> int:
    folder: Path = args.pack
    sizes = {}
    if args.engine is None:
        with ExitStack() as stack:
            source = args.source or pack.downloaded(Path(stack.enter_context(tempfile.TemporaryDirectory())))
            target = folder / pack.archive_name(source)
            sizes[target] = pack.slimmed(source, target)
    else:
        target = folder / f"{args.engine}.tar.xz"
        sizes[target] = pack.packed_engine(store.find(folders().data, args.engine), target)
    if args.python is not None:
        wanted = pack.requirements()
        sizes[folder / "wheels"] = pack.get_wheels(folder / "wheels", python=args.python, wanted=wanted, pure=args.pure)
    for path, size in sizes.items():
        print(f"{path}: {format_bytes(size)}")
    if sum(sizes.values()) > pack.MOST_BYTES:
        raise LabError(f"together {format_bytes(sum(sizes.values()))}, more than {format_bytes(pack.MOST_BYTES)}")
    return 0


def _stages(args: argparse.Namespace) -> int:
    out: Path = args.out
    out.mkdir(parents=True, exist_ok=True)
    # Not below --out: what is there is to be carried away, and models are not.
    work = args.work or Path(tempfile.gettempdir()) / f"gpt-oss-gpu-check{'-rehearsal' if args.stand_in else ''}"
    for kind in ("CONFIG", "DATA", "STATE", "CACHE"):
        os.environ[f"GPT_OSS_{kind}_DIR"] = str(work / kind.lower())
    try:
        kept = Kept(out / RESULTS)
    except ValueError as error:
        raise LabError(str(error)) from error
    names = [name for name in LIMITS_S if name in args.stage or "all" in args.stage]
    failed = False
    for name in names:
        failed = not one_stage(name, args, kept, work) or failed
    return int(failed)


def one_stage(name: str, args: argparse.Namespace, kept: Kept, work: Path) -> bool:
    """Run one stage within its time; whether it came to its end."""
    limit_s = args.limit or LIMITS_S[name]
    budget = Budget(limit_s=limit_s)
    print(f"{name}: {limit_s:.0f} s at most", flush=True)
    n_left, why = 0, None
    try:
        with hard_limit(limit_s):
            n_left = _run(name, args, kept, work, budget)
    except (LauncherError, StageTimeError) as error:
        why = str(error)
    except KeyboardInterrupt:
        why = "interrupted"
        raise
    except Exception as error:
        why = f"{type(error).__name__}: {error}"
        raise
    finally:
        if name in STAGES:
            kept.add(STAGE, name, StageRow(took_s=budget.taken_s, n_left=n_left, why=why))
        left = f", {n_left} cases left for another run" if n_left else ""
        print(f"{name}: {why or 'done'}{left}, {budget.taken_s:.0f} s", flush=True)
    return why is None and not n_left


def _run(name: str, args: argparse.Namespace, kept: Kept, work: Path, budget: Budget) -> int:
    out: Path = args.out
    if name == "build":
        if args.stand_in:
            return build.note_environment(kept)
        recipe = build.Recipe(source=args.source, arch=args.arch, data_dir=folders().data, cache_dir=folders().cache)
        return build.get_engine(kept, recipe, prebuilt=args.prebuilt, tell=_tell)
    if name == "files":
        return _files(args, kept, work)
    if name == "report":
        return _report(out, kept)
    with lab(args, kept, work, budget) as here:
        return MEASURING[name](here)


def _files(args: argparse.Namespace, kept: Kept, work: Path) -> int:
    wanted = files.REHEARSAL if args.stand_in else files.FULL
    disk = work / "models"
    disk.mkdir(parents=True, exist_ok=True)
    shm = SHARED_MEMORY
    here = {one.file for one in wanted if files.is_made(one, kept)}
    where = files.places(
        [one for one in wanted if one.file not in here],
        disk=disk,
        disk_bytes=shutil.disk_usage(disk).free,
        shm_bytes=shutil.disk_usage(shm).free if shm.is_dir() else 0,
        ram_bytes=files.available_bytes(),
    )
    if args.stand_in:
        files.note_demo(kept)
    return files.make([one for one in wanted if one.file not in here], where, kept, script=SCRIPTS / "make_gguf.py")


def _report(out: Path, kept: Kept) -> int:
    record = record_of(kept)
    folder = out / folder_name(record.machine)
    write_atomic(folder / "record.json", json.dumps(to_jsonable(record), indent=1) + "\n", mode=0o644)
    text = tables(record)
    write_atomic(folder / "tables.md", text, mode=0o644)
    print(text, end="")
    print(f"written: {folder}")
    made = [file.path for file in record.files if file.file != files.DEMO and Path(file.path).is_file()]
    if made:
        print(f"when all is done: rm {shlex.join(made)}")
    return 0


@contextmanager
def lab(args: argparse.Namespace, kept: Kept, work: Path, budget: Budget) -> Iterator[Lab]:
    """The machine for a stage that measures. Raises LauncherError where there is no engine or no GPU."""
    hardware = _hardware(args, kept)
    told = {"out": args.out, "work": work, "kept": kept, "budget": budget, "tell": _tell}
    with ExitStack() as stack:
        if args.stand_in:
            hardware, used, endpoints = stack.enter_context(stand_in_devices(hardware))
            driver = None
        else:
            hardware, used = stack.enter_context(devices_here(hardware))
            endpoints, driver = (), _driver()
        keep_machine(kept, machine_row(hardware, rehearsal=args.stand_in, driver=driver))
        yield Lab(
            grid=REHEARSAL if args.stand_in else Grid(),
            stand_in=args.stand_in,
            hardware=hardware,
            endpoints=endpoints,
            used=used,
            **told,
        )


def _hardware(args: argparse.Namespace, kept: Kept) -> Hardware:
    """By the engine that is named, the one that was built, or the first that sees a GPU."""
    named = args.engine or (ENVIRONMENT if args.stand_in else build.name_of(kept))
    found = detect_all(named, data_dir=folders().data)
    return next((one for one in found if any(device.kind == "gpu" for device in one.devices)), found[0])


def _driver() -> str | None:
    if not nvidia.driver_present(Path("/"), platform.system()):
        return None
    gpus, _ = nvidia.read_gpus()
    return next((gpu.driver for gpu in gpus), None)


def _tell(text: str) -> None:
    print(text, flush=True)
