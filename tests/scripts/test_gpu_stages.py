"""The stages of scripts/gpu_check.py, with fakes for the engine, the driver and the server."""

from __future__ import annotations

import io
import itertools
import json
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from gpu_stages import build, files, pack
from gpu_stages.grid import Grid, MemoryCase, SpeedCase, memory_cases, offload_cases, serve_cases, speed_tests
from gpu_stages.kept import RESULTS, Budget, Kept
from gpu_stages.lab import SHARED_MEMORY, Lab, LabError, resident
from gpu_stages.memory import Asked, Loads
from gpu_stages.memory_child import chunks
from gpu_stages.records import FileRow, HostHeld, MemoryRow, Record, ServeRow, SpeedRow
from gpu_stages.report import tables
from gpu_stages.serve import Client, Streams, measured, n_ctx
from gpu_stages.speed import Runs

from launcher.bench.probe import same_load
from launcher.bench.session import Case, Sample
from launcher.bench.types import BenchTest
from launcher.builds import store
from launcher.builds.types import Build, BuildRecord, SelfTest, Source
from launcher.engines.oracle import OracleRow
from launcher.errors import EngineError
from launcher.planner.table import memory_table
from launcher.planner.types import LoadParams
from launcher.units import GIB, MIB
from tests.builders import gpu, machine
from tests.planner.builders import SPEC_20B, gpu_params, weights_of
from tests.scripts.gpu import MACHINE

GRID = Grid()


# The grid.


def test_the_grid_of_memory_is_whole_and_names_each_placement_once() -> None:
    cases = memory_cases("20b", gpu_params(0), 24, GRID)
    assert len({case.key for case in cases}) == len(cases) > 30
    params = [case.params for case in cases]
    assert {p.n_ctx for p in params} == set(GRID.contexts)
    assert {p.n_ubatch for p in params} == set(GRID.ubatches)
    assert {p.n_parallel for p in params} == {1, 4, 16}
    assert {(p.type_k, p.type_v) for p in params} == {
        ("f16", "f16"), ("q8_0", "q8_0"), ("q4_0", "q4_0"), ("q8_0", "f16"),
    }  # fmt: skip
    assert {p.n_cpu_moe for p in params} == {0, 6, 12, 18, 24}
    assert {p.n_gpu_layers for p in params} == {1, 6, 12, 18, 25}
    assert any(case.deep for case in cases)


def test_the_grid_loads_each_placement_once() -> None:
    cases = memory_cases("20b", gpu_params(0), 24, GRID)
    loads = sum(not same_load(a.params, b.params) for a, b in itertools.pairwise(cases)) + 1
    assert loads == len({(c.params.n_gpu_layers, c.params.n_cpu_moe) for c in cases})
    assert (cases[0].params.n_gpu_layers, cases[0].params.n_cpu_moe) == (25, 0)


def test_offload_goes_from_both_ends_to_the_middle() -> None:
    cases = offload_cases("120b", gpu_params(37), 36, GRID)
    assert list(dict.fromkeys(case.params.n_cpu_moe for case in cases)) == [0, 36, 12, 24, 6, 18, 30]
    assert {case.test.name for case in cases} == {"pp512", "tg64"}
    assert len(offload_cases("1-layer", gpu_params(2), 1, GRID)) == 4  # no step twice


def test_speed_goes_through_all_depths_one_after_the_other() -> None:
    tests = speed_tests(GRID)
    assert [test.n_depth for test in tests] == sorted(test.n_depth for test in tests)
    assert tests[-1].name == "tg64 @ d32768"
    assert [case.key for case in serve_cases("20b", Grid(streams=(1, 64)))] == ["20b 1 streams", "20b 64 streams"]


@pytest.mark.parametrize(
    ("n_ctx", "n_ubatch", "deep", "sizes"),
    [
        (4096, 512, False, [512]),
        (256, 512, False, [255]),
        (1024, 300, True, [123, 300, 300, 300]),
        (601, 300, True, [300, 300]),
    ],
)
def test_what_is_computed_ends_with_a_whole_micro_batch(
    n_ctx: int, n_ubatch: int, deep: bool, sizes: list[int]
) -> None:
    assert chunks(n_ctx, n_ubatch, deep=deep) == sizes


# Memory.


class FakeDriver:
    """What is in use of a device, and of the host, step by step: the first of each case counts from 0."""

    def __init__(self, *, refuse: str | None = None) -> None:
        self.used = 500
        self.loads = 0
        self.refuse = refuse
        self.ran: list[bool] = []
        self._opened = 0

    @contextmanager
    def load(self, params: LoadParams) -> Iterator[FakeDriver]:
        if self.refuse == "load":
            raise EngineError("out of memory")
        self.loads += 1
        self.used += 1000
        try:
            yield self
        finally:
            self.used = 500

    def open(self, params: LoadParams) -> tuple[OracleRow, ...]:
        if self.refuse == "open":
            raise EngineError("no context")
        self._opened = params.n_ctx // 100
        self.used += self._opened
        return (OracleRow(device="CUDA0", model_bytes=900, context_bytes=30, compute_bytes=10),)

    def run(self, *, deep: bool) -> None:
        self.ran.append(deep)
        self.used += 7

    def close(self) -> None:
        self.used -= self._opened

    def host(self) -> HostHeld:
        return HostHeld(anon_bytes=1, file_bytes=2, shmem_bytes=3)


def loads_of(driver: FakeDriver) -> Loads:
    return Loads(driver.load, lambda _name: driver.used, lambda: {"CUDA0": driver.used})


def asked(n_ctx: int = 4000, n_cpu_moe: int = 0, *, deep: bool = False) -> Asked:
    case = MemoryCase(file="20b", params=gpu_params(25, n_cpu_moe, n_ctx=n_ctx), deep=deep)
    return Asked(case=case, planned=(), stated=(), backends=("CUDA",))


def test_a_row_of_memory_has_every_step_and_the_most_that_was_taken() -> None:
    driver = FakeDriver()
    loads = loads_of(driver)
    row = loads.measure(asked(deep=True))
    (held,) = row.devices
    assert [held.before_bytes, held.loaded_bytes, held.opened_bytes, held.ran_bytes, held.freed_bytes] == [
        500, 1500, 1540, 1547, 1507,
    ]  # fmt: skip
    assert held.taken_bytes == 1047
    assert replace(held, loaded_bytes=9000).taken_bytes == 8500  # what only loading takes counts as well
    assert row.host is not None
    assert row.host.taken_bytes == 6
    assert row.first
    assert driver.ran == [True]
    assert row.refused is None


def test_contexts_of_one_placement_share_a_load_and_the_first_is_told_apart() -> None:
    driver = FakeDriver()
    loads = loads_of(driver)
    rows = [loads.measure(one) for one in (asked(4000), asked(8000), asked(8000, 12), asked(4000, 12))]
    assert driver.loads == 2
    assert [row.first for row in rows] == [True, False, True, False]
    assert rows[2].devices[0].before_bytes == 500  # the first process is gone by then
    loads.close()
    assert driver.used == 500


@pytest.mark.parametrize("step", ["load", "open"])
def test_a_refusal_is_a_row_and_the_next_case_loads_anew(step: str) -> None:
    driver = FakeDriver(refuse=step)
    loads = loads_of(driver)
    row = loads.measure(asked())
    assert row.refused in {"out of memory", "no context"}
    assert row.devices == ()
    assert driver.used == 500
    driver.refuse = None
    assert loads.measure(asked()).devices[0].taken_bytes == 1047


def test_kinds_of_resident_memory() -> None:
    text = "Name:\tpython\nVmRSS:\t 9 kB\nRssAnon:\t 5 kB\nRssFile:\t 3 kB\nRssShmem:\t 1 kB\nThreads:\t2\n"
    assert resident(text) == {"RssAnon": 5120, "RssFile": 3072, "RssShmem": 1024}
    assert resident("") == {}


# Speed.


class FakeBench:
    def __init__(self, *, refuse: bool = False) -> None:
        self.loads = 0
        self.refuse = refuse
        self.n_measured = 0

    @contextmanager
    def load(self, _params: LoadParams) -> Iterator[FakeBench]:
        self.loads += 1
        yield self

    def measure(self, case: Case) -> Sample:
        if self.refuse:
            raise EngineError("died")
        self.n_measured += 1
        return Sample(ns=10**9 * self.n_measured)


PROMPT = BenchTest(n_prompt=600)


def speed_case(n_cpu_moe: int = 0, test: BenchTest = PROMPT) -> SpeedCase:
    return SpeedCase(file="20b", params=gpu_params(25, n_cpu_moe), test=test)


def test_speed_is_tokens_over_time_beside_what_was_predicted() -> None:
    bench = FakeBench()
    runs = Runs(bench.load, lambda case: (500.0, f"of {case.test.name}"), 3)
    row = runs.measure(speed_case())
    assert row.samples_ts == (600.0, 300.0, 200.0)
    assert (row.predicted_ts, row.basis) == (500.0, "of pp600")
    runs.measure(speed_case(test=BenchTest(n_gen=8)))
    assert bench.loads == 1
    runs.measure(speed_case(12))
    assert bench.loads == 2


def test_a_speed_that_was_refused_keeps_the_prediction() -> None:
    bench = FakeBench(refuse=True)
    runs = Runs(bench.load, lambda _case: (None, None), 3)
    row = runs.measure(speed_case())
    assert (row.refused, row.samples_ts) == ("died", ())
    bench.refuse = False
    assert runs.measure(speed_case()).refused is None
    assert bench.loads == 2


# The server.


class FakeServer(BaseHTTPRequestHandler):
    """As much of llama-server as a reader sees."""

    asked: list[dict[str, Any]]

    def do_GET(self) -> None:  # BaseHTTPRequestHandler's name
        self._json({"data": [{"meta": {"n_vocab": 50}}]})

    def do_POST(self) -> None:  # BaseHTTPRequestHandler's name
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/tokenize":
            self._json({"tokens": [ord(body["content"])] if body["content"] != "e" else [1, 2]})
            return
        self.asked.append(body)
        self.send_response(200 if body["n_predict"] else 503)
        self.end_headers()
        events = [{"tokens": [7], "stop": False}] * body["n_predict"] + [{"tokens": [], "stop": True}]
        for event in events:
            self.wfile.write(f"data: {json.dumps(event)}\n\n".encode())

    def _json(self, table: dict[str, Any]) -> None:
        data = json.dumps(table).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_args: object) -> None:
        pass


class Running:
    """A process that runs, or one that ended."""

    def __init__(self, status: int | None = None) -> None:
        self.returncode = status

    def poll(self) -> int | None:
        return self.returncode


@pytest.fixture
def server() -> Iterator[tuple[Client, list[dict[str, Any]]]]:
    asked_for: list[dict[str, Any]] = []
    handler = type("Handler", (FakeServer,), {"asked": asked_for})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as http:
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            client = Client(http.server_address[1])
            client.wait(Running(), io.BytesIO(), lambda _s: None)  # type: ignore[arg-type]  # all that is looked at
            yield client, asked_for
        finally:
            http.shutdown()
            thread.join()


def test_readers_ask_for_letters_drawn_at_random_and_no_prompt_twice(
    server: tuple[Client, list[dict[str, Any]]],
) -> None:
    client, asked_for = server
    row = measured(client, serve_cases("20b", Grid(streams=(4,)))[0], Grid(serve_tokens=6, n_repeat=2))
    assert len(asked_for) == 4 * 3  # one round more than counts
    assert len(row.output_ts) == 2
    assert row.n_streams == 4
    assert len({tuple(body["prompt"]) for body in asked_for}) == 12
    body = asked_for[0]
    assert (len(body["prompt"]), body["n_predict"], body["ignore_eos"], body["temperature"]) == (6, 6, True, 1.0)
    assert body["cache_prompt"] is False
    letters = {token for token, _ in body["logit_bias"]}
    assert ord("a") in letters
    assert not {1, 2} & letters  # a letter of two tokens is none


def test_a_server_that_refuses_or_ends_says_why(server: tuple[Client, list[dict[str, Any]]]) -> None:
    client, _ = server
    with pytest.raises(EngineError, match="the server: "):
        client.complete([1], 0, seed=1)
    log = io.BytesIO(b"no such model\n")
    with pytest.raises(EngineError, match="ended with status 3 before it served") as caught:
        Client(1).wait(Running(3), log, lambda _s: None)  # type: ignore[arg-type]  # all that is looked at
    assert caught.value.details == ("no such model",)
    with pytest.raises(EngineError, match="does not answer"):
        Client(1).complete([1], 1, seed=1)


def test_the_server_starts_with_the_first_case_that_is_measured() -> None:
    started: list[int] = []

    class Quick:
        def measure(self, case: Case) -> Sample:
            return Sample(ns=10**9 // case.n_streams, ttft_ms=(1.0,), itl_ms=(2.0, 4.0))

    @contextmanager
    def start() -> Iterator[Quick]:
        started.append(1)
        yield Quick()
        started.append(-1)

    streams = Streams(start, Grid(n_repeat=2, serve_tokens=10))
    assert started == []
    rows = [streams.measure(case) for case in serve_cases("20b", Grid(streams=(1, 8)))]
    assert started == [1]
    assert [row.output_ts for row in rows] == [(10.0, 10.0), (640.0, 640.0)]
    assert (rows[0].ttft_ms, rows[0].itl_p50_ms) == (1.0, 3.0)
    streams.close()
    assert started == [1, -1]
    assert n_ctx(GRID, 64) >= 64 * 2 * GRID.serve_tokens


# Files.


def placed(disk_gib: float, shm_gib: float, ram_gib: float) -> dict[str, Path]:
    found = files.places(
        files.FULL,
        disk=Path("/disk"),
        disk_bytes=round(disk_gib * GIB),
        shm_bytes=round(shm_gib * GIB),
        ram_bytes=round(ram_gib * GIB),
    )
    return dict(found)


def test_files_lie_on_the_disk_or_else_in_ram() -> None:
    disk, shm = Path("/disk"), SHARED_MEMORY
    assert placed(200, 64, 120) == {"20b": disk, "120b": disk}
    # 64 GiB of disk hold the system as well: the large one goes to RAM.
    assert placed(50, 64, 120) == {"20b": disk, "120b": shm}
    assert placed(61, 64, 120) == {"20b": shm, "120b": disk}
    with pytest.raises(LabError, match=r"no room for gpt-oss-120b-MXFP4.gguf of 59(\.\d)? GiB"):
        placed(50, 64, 80)  # engine and system need the rest of RAM
    with pytest.raises(LabError, match="no room"):
        placed(50, 32, 120)


def make(tmp_path: Path, script: str, kept: Kept) -> int:
    path = tmp_path / "make.py"
    path.write_text(script, encoding="utf-8")
    wanted = [
        files.Wanted(file=name, model="20b", recipe="MXFP4", size_bytes=4, n_layer=1 if name == "one" else None)
        for name in ("one", "two")
    ]
    return files.make(wanted, dict.fromkeys(("one", "two"), tmp_path / "models"), kept, script=path)


def test_files_get_their_names_when_they_are_whole(tmp_path: Path) -> None:
    kept = Kept(tmp_path / RESULTS)
    make(tmp_path, "import sys; open(sys.argv[1], 'w').write(' '.join(sys.argv[2:]))", kept)
    rows = {row.file: row for row in kept.rows("files", FileRow)}
    assert {row.file: row.model for row in rows.values()} == {"one": "gpt-oss-20b", "two": "gpt-oss-20b"}
    text = Path(rows["one"].path).read_text(encoding="utf-8")
    assert text == "--model 20b --recipe MXFP4 --fill random --n-layer 1"
    assert rows["one"].size_bytes == len(text)
    wanted = files.Wanted(file="one", model="20b", recipe="MXFP4", size_bytes=4)
    assert files.is_made(wanted, kept)
    Path(rows["one"].path).unlink()
    assert not files.is_made(wanted, kept)


def test_a_file_that_cannot_be_made_leaves_nothing(tmp_path: Path) -> None:
    kept = Kept(tmp_path / RESULTS)
    with pytest.raises(LabError, match="could not be made"):
        make(tmp_path, "import sys; open(sys.argv[1], 'w').write('half'); sys.exit(1)", kept)
    assert kept.rows("files", FileRow) == ()
    assert not list((tmp_path / "models").glob("*.gguf"))


def test_a_file_that_lies_in_ram_takes_no_ram_when_it_is_mapped(tmp_path: Path) -> None:
    """60 GB of a machine's 128 are the file already: experts that stay on the host need no other 57."""
    lab = Lab(
        out=tmp_path, work=tmp_path, kept=Kept(tmp_path / RESULTS), budget=Budget(limit_s=1), grid=GRID, stand_in=False,
        hardware=machine(devices=[gpu()]), used={},
    )  # fmt: skip
    row = FileRow(
        file="120b", model="gpt-oss-120b", recipe="MXFP4", n_layer=None, path=str(SHARED_MEMORY / "m.gguf"),
        size_bytes=60 * GIB, took_s=0,
    )  # fmt: skip
    before = lab.hardware.memory.available_bytes
    assert lab.hardware_for(row).memory.available_bytes == before + 60 * GIB
    assert lab.hardware_for(replace(row, path=str(tmp_path / "m.gguf"))).memory.available_bytes == before


# What a machine without a network gets.

NAMES = (
    "pkg-1/pyproject.toml",
    "pkg-1/.git/HEAD",
    "pkg-1/.git/hooks/post-update.sample",
    "pkg-1/.git/modules/vendor/llama.cpp/HEAD",
    "pkg-1/.git/modules/vendor/llama.cpp/logs/HEAD",
    "pkg-1/.git/modules/vendor/llama.cpp/objects/pack/a.pack",
    "pkg-1/vendor/llama.cpp/CMakeLists.txt",
    "pkg-1/vendor/llama.cpp/models/ggml-vocab.gguf",
    "pkg-1/vendor/llama.cpp/src/models/openai-moe.cpp",
    "pkg-1/tests/test_llama.py",
)


def archive(path: Path, names: tuple[str, ...] = NAMES) -> Path:
    with tarfile.open(path, "w:gz") as made:
        for name in names:
            data = b"0c1e57098bba43ac29e6e3b677cdceebdd22334f\n"
            info = tarfile.TarInfo(name)
            info.size = len(data)
            made.addfile(info, io.BytesIO(data))
    return path


def test_a_packed_archive_has_what_a_build_reads_and_tells_its_commit(tmp_path: Path) -> None:
    source = archive(tmp_path / "llama_cpp_python-0.3.36.tar.gz")
    target = tmp_path / "pack" / pack.archive_name(source)
    size = pack.slimmed(source, target)
    assert size == target.stat().st_size
    with tarfile.open(target) as made:
        assert made.getnames() == [
            "pkg-1/pyproject.toml",
            "pkg-1/.git/HEAD",
            "pkg-1/.git/objects/info/packs",
            "pkg-1/.git/modules/vendor/llama.cpp/HEAD",
            "pkg-1/.git/modules/vendor/llama.cpp/objects/info/packs",
            "pkg-1/.git/modules/vendor/llama.cpp/logs/HEAD",
            "pkg-1/vendor/llama.cpp/CMakeLists.txt",
            "pkg-1/vendor/llama.cpp/src/models/openai-moe.cpp",
        ]
    assert build.commit_definition(target) == (("GGML_BUILD_COMMIT", "0c1e570"),)
    assert build.commit_definition(archive(tmp_path / "x.tar.gz", NAMES[:1])) == ()


def test_what_is_no_source_is_not_packed(tmp_path: Path) -> None:
    target = tmp_path / "pack/x.tar.gz"
    with pytest.raises(LabError, match="no source distribution"):
        pack.slimmed(archive(tmp_path / "x.tar.gz", NAMES[:1]), target)
    (tmp_path / "y.tar.gz").write_bytes(b"no archive")
    with pytest.raises(LabError, match="cannot be packed"):
        pack.slimmed(tmp_path / "y.tar.gz", target)
    with pytest.raises(LabError, match="no source archive"):
        pack.archive_name(Path("llama.zip"))
    assert list(target.parent.iterdir()) == []


def test_packages_for_another_machine_are_all_but_the_engine() -> None:
    names = {text.partition(">")[0].partition("=")[0].partition("<")[0] for text in pack.requirements()}
    assert {"rich", "diskcache", "numpy"} <= names
    assert "llama-cpp-python" not in names


# The engine.


def recipe(tmp_path: Path, source: Path | None) -> build.Recipe:
    return build.Recipe(source=source, arch="90", data_dir=tmp_path / "data", cache_dir=tmp_path / "cache")


def test_a_source_that_came_along_is_compiled_as_it_is(tmp_path: Path) -> None:
    request = recipe(tmp_path, archive(tmp_path / "llama_cpp_python-0.3.36.tar.gz")).request()
    assert (request.backend, request.version, request.architectures) == ("cuda", "0.3.36", ("90",))
    assert request.sha256 is None  # a packed one has another
    assert request.offline
    pinned = recipe(tmp_path, None).request()
    assert (pinned.version, pinned.offline) == ("0.3.36", False)
    assert pinned.sha256 is not None
    with pytest.raises(LabError, match="which version"):
        recipe(tmp_path, tmp_path / "source.tar.gz").request()


def test_cublas_of_a_python_package_is_taken_where_it_is(tmp_path: Path) -> None:
    site = tmp_path / "site"
    for name in ("include/cublas_v2.h", "include/cublas_api.h", "include/other.h", "lib/libcublas.so.13",
                 "lib/libcublasLt.so.13", "lib/libnvblas.so.13"):  # fmt: skip
        path = site / "nvidia/cu13" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name, encoding="utf-8")
    into = tmp_path / "cublas"
    assert not build.bring_cublas(into, [str(tmp_path), "", str(tmp_path / "none")])
    assert build.bring_cublas(into, [str(tmp_path / "none"), str(site)])
    assert sorted(path.name for path in into.rglob("*") if path.is_file()) == [
        "cublas_api.h", "cublas_v2.h", "libcublas.so.13", "libcublasLt.so.13",
    ]  # fmt: skip
    header = next(into.rglob("cublas_v2.h"))
    assert (header.parent.parent / "lib/libcublas.so.13").read_text(encoding="utf-8") == "lib/libcublas.so.13"
    assert build.bring_cublas(into, [])  # as it was


def small_engine(data_dir: Path) -> Build:
    """A build of the store that no program can use."""
    record = BuildRecord(
        name="cuda-0.3.36", backend="cuda", version="0.3.36", commit="0c1e570",
        source=Source(kind="source", what="llama-cpp-python 0.3.36", sha256=None), options=("GGML_CUDA=ON",),
        system="Linux", arch="x86_64", made_at="2026-11-25T18:00:00+00:00",
        self_test=SelfTest(passed=True, date="2026-11-25T18:00:00+00:00", why=None),
    )  # fmt: skip
    with store.staged(data_dir, record.name) as filling:
        for name in ("__init__.py", "__pycache__/x.pyc", "lib/libggml-cuda.so", "lib/libcublas.so.13"):
            path = filling / "site/llama_cpp" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("raise ImportError('nothing here')", encoding="utf-8")
        return store.add(filling, record)


def test_an_engine_that_came_along_is_tested_where_it_is_to_run(tmp_path: Path) -> None:
    """It passed where it was made, and takes this machine's cuBLAS instead of carrying one."""
    target = tmp_path / "pack/cuda-0.3.36.tar.xz"
    assert pack.packed_engine(small_engine(tmp_path / "there"), target) == target.stat().st_size
    with tarfile.open(target) as made:
        assert sorted(made.getnames()) == [
            "cuda-0.3.36/engine.json",
            "cuda-0.3.36/site/llama_cpp/__init__.py",
            "cuda-0.3.36/site/llama_cpp/lib/libggml-cuda.so",
        ]
    toolkit = tmp_path / "cuda/lib64"
    toolkit.mkdir(parents=True)
    for name in ("libcublas.so", "libcublas.so.13", "libcublas.so.13.0.2", "libcublasLt.so.13"):
        (toolkit / name).write_text(name, encoding="utf-8")
    here = build.unpacked(target, tmp_path / "here", ["", str(tmp_path / "none"), str(toolkit.parent)])
    assert (here.package / "lib/libcublas.so.13").read_text(encoding="utf-8") == "libcublas.so.13"
    assert (here.package / "lib/libcublasLt.so.13").read_text(encoding="utf-8") == "libcublasLt.so.13"
    assert here.record is not None
    assert here.record.self_test is not None
    assert not here.usable
    row = build.build_row(here, took_s=1.0)
    assert row.self_test is not None
    assert "nothing here" in row.self_test


def test_an_engine_that_fails_its_test_ends_the_stage_and_is_got_again(tmp_path: Path) -> None:
    kept, target = Kept(tmp_path / RESULTS), tmp_path / "pack/cuda-0.3.36.tar.xz"
    pack.packed_engine(small_engine(tmp_path / "there"), target)
    wanted = recipe(tmp_path, None)
    for _ in range(2):
        with pytest.raises(LabError, match=r"cuda-0.3.36 failed its self-test: .*nothing here"):
            build.get_engine(kept, wanted, prebuilt=target, tell=lambda _text: None)
    assert build.name_of(kept) == "cuda-0.3.36"


def test_an_engine_that_is_there_is_not_made_again(tmp_path: Path) -> None:
    kept, made = Kept(tmp_path / RESULTS), small_engine(tmp_path / "data")
    kept.add("build", made.name, build.build_row(made, took_s=1.0))
    told: list[str] = []
    assert build.get_engine(kept, recipe(tmp_path, None), prebuilt=None, tell=told.append) == 0
    assert told == ["  cuda-0.3.36 is there"]


def test_what_is_no_engine_is_not_packed_and_not_unpacked(tmp_path: Path) -> None:
    own = store.environment_build()
    assert own is not None
    with pytest.raises(LabError, match="environment's engine is not packed"):
        pack.packed_engine(own, tmp_path / "x.tar.xz")
    with pytest.raises(LabError, match="is no packed engine"):
        build.unpacked(archive(tmp_path / "x.tar.xz"), tmp_path / "data", [])
    assert store.installed(tmp_path / "data") == ((), ())


# The report.


def memory_row() -> MemoryRow:
    params = gpu_params(25, n_ctx=4096, load_mode="mmap")
    table = memory_table(machine(devices=[gpu()]), SPEC_20B, weights_of("gpt-oss-20b"), params)
    driver = FakeDriver()
    row = loads_of(driver).measure(replace(asked(4096), planned=table))
    used = table[0].used_bytes
    held = replace(
        row.devices[0], before_bytes=0, loaded_bytes=0, opened_bytes=0, ran_bytes=used - 100 * MIB, freed_bytes=0
    )
    own = OracleRow(device="CUDA0", model_bytes=used - 300 * MIB, context_bytes=0, compute_bytes=0)
    return replace(row, devices=(held,), allocated=(own,))


def record(**rows: Any) -> Record:
    nothing: dict[str, Any] = {"build": None, "unfinished": ()}
    nothing |= dict.fromkeys(("files", "memory", "speed", "offload", "serve"), ())
    return Record(machine=MACHINE, **nothing | rows)


def test_the_table_of_memory_has_planned_less_measured() -> None:
    row = memory_row()
    short = replace(row, devices=(replace(row.devices[0], ran_bytes=row.planned[0].used_bytes + 64 * MIB),))
    refused = replace(row, refused="no memory", devices=())
    text = tables(record(memory=(row, short, refused)))
    planned = row.planned[0].used_bytes / MIB
    head = "| 20b, ngl 25, c 4096, ub 512, f16/f16 |"
    assert f"{head} CUDA0 | {planned:.0f} | {planned - 100:.0f} | 400 | 200 | +100 | +" in text
    assert f"{head} CUDA0 | {planned:.0f} | {planned + 64:.0f} | 400 | 364 | -64 | -0." in text
    assert f"{head} refused: no memory |" in text
    assert "Of 2: 1 planned too small, by 64 MiB at most; 100 MiB too large at most." in text


def test_the_tables_of_speed_have_the_error_of_the_prediction() -> None:
    row = SpeedRow(
        file="20b", params=gpu_params(25, 6), test=BenchTest(n_gen=64, n_depth=4096), samples_ts=(190.0, 200.0, 210.0),
        predicted_ts=230.0, basis="a table",
    )  # fmt: skip
    unknown = replace(row, predicted_ts=None)
    refused = replace(row, samples_ts=(), refused="died")
    text = tables(record(speed=(row, unknown), offload=(refused,)))
    head = "| 20b | ngl 25, ncmoe 6, ub 512 | tg64 @ d4096 |"
    assert f"{head} 200 | 10% | 230 | +15% |" in text
    assert f"{head} 200 | 10% |  |  |" in text
    assert f"{head} refused: died |" in text
    assert "Errors of 1 predictions: 15% in the middle, 15% at worst." in text


def test_a_row_of_streams_is_a_record(tmp_path: Path) -> None:
    kept = Kept(tmp_path / RESULTS)
    row = ServeRow(
        file="20b", n_streams=2, n_prompt=1, n_gen=1, output_ts=(1.0,), ttft_ms=1, itl_p50_ms=1, itl_p90_ms=1,
        itl_p99_ms=1,
    )  # fmt: skip
    kept.add("serve", "a", row)
    assert Kept(tmp_path / RESULTS).get("serve", "a", ServeRow) == row
