"""`gpt-oss bench` as it is typed: tables, formats, the history, Ctrl-C, and what cannot be measured."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from launcher.bench.energy import SHORTEST_S, Meter
from launcher.bench.run import Failure, Outcome
from launcher.bench.session import Case, Sample
from launcher.bench.types import LLAMA_BENCH_FIELDS, BenchRecord, BenchTest
from launcher.bench.watch import Gauges
from launcher.cli.bench_session import Ask, keep_crashes, run_bench, tell_outcome
from launcher.errors import EngineError
from launcher.hardware.crashes import crash_of
from launcher.hardware.types import Device
from launcher.records import from_jsonable
from tests.cli.sandbox import Sandbox
from tests.engines.demo import load_params
from tests.systems import POSIX

SMALL = ("bench", "--demo", "-p", "16", "-n", "4", "-r", "2")


def kept(sandbox: Sandbox) -> list[BenchRecord]:
    lines = (sandbox.root / "state" / "bench.jsonl").read_text().splitlines()
    return [from_jsonable(BenchRecord, json.loads(line)) for line in lines]


def test_json_has_llama_benchs_fields_and_ours(sandbox: Sandbox) -> None:
    done = sandbox.run(*SMALL, "--engine", "embedded,llama-bench", "--json")
    assert done.code == 0, done
    rows = json.loads(done.out)
    assert [(row["engine"], row["n_prompt"], row["n_gen"]) for row in rows] == [
        *(("embedded", 16, 0), ("llama-bench", 16, 0), ("embedded", 0, 4), ("llama-bench", 0, 4)),
    ]
    for row in rows:
        assert list(row)[: len(LLAMA_BENCH_FIELDS)] == list(LLAMA_BENCH_FIELDS)
        assert len(row["samples_ns"]) == 2
        assert row["plan"]["fits"] is True
        assert row["predicted_ts"] > 0
        assert row["schema"] == 1
    settings = [name for name in LLAMA_BENCH_FIELDS if name.startswith(("n_b", "n_u", "type", "n_g", "flash", "dev"))]
    settings += ["load_mode", "repack", "split_mode", "no_kv_offload", "n_threads", "tensor_split", "poll", "backends"]
    ours, theirs = rows[2], rows[3]
    assert {name: ours[name] for name in settings} == {name: theirs[name] for name in settings}
    assert "\x1b" not in done.out + done.err


@POSIX
def test_a_table_for_a_person_and_a_history_for_the_owner(sandbox: Sandbox) -> None:
    done = sandbox.run(*SMALL)
    assert done.code == 0, done
    head, _, *rows = done.out.splitlines()
    assert head.split()[:3] == ["test", "engine", "tok/s"]
    assert [row.split()[:2] for row in rows[:2]] == [["pp16", "embedded"], ["tg4", "embedded"]]
    assert "round 2, 2 of 4 done, about" in done.err
    first = kept(sandbox)
    assert [record.test.name for record in first] == ["pp16", "tg4"]
    assert len({record.run_id for record in first}) == 1
    assert (sandbox.root / "state" / "bench.jsonl").stat().st_mode & 0o777 == 0o600
    assert sandbox.run(*SMALL, "-n", "0", "-o", "csv").code == 0
    assert [record.run_id == first[0].run_id for record in kept(sandbox)] == [True, True, False]


def test_streams_of_a_server(sandbox: Sandbox) -> None:
    done = sandbox.run(*SMALL, "--engine", "server", "--streams", "1,2,999")
    assert done.code == 0, done
    assert "left out: server pp16+tg4, 999 streams" in done.err
    assert [(record.n_streams, record.latency is not None) for record in kept(sandbox)] == [(1, True), (2, True)]
    assert done.out.splitlines()[0].split()[:2] == ["test", "streams"]


@POSIX
def test_ctrl_c_prints_and_keeps_what_was_measured(sandbox: Sandbox) -> None:
    with sandbox.start("bench", "--demo", "-p", "0", "-n", "8", "-r", "1000", "-o", "json") as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith(b"round 3,"):
                break
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    (row,) = json.loads(out)
    assert 2 <= len(row["samples_ns"]) < 1000
    assert len(kept(sandbox)[0].samples_ns) == len(row["samples_ns"])
    assert err.decode().splitlines()[-1] == "stopped: what was measured until then is kept"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("-o", "xml"), "-o takes md, csv, json, jsonl, sql, not 'xml'"),
        (("--engine", "ollama"), "--engine takes embedded, llama-bench, server, not 'ollama'"),
        (("-p", "many"), "-p takes whole numbers"),
        (("-p", "0", "-n", "0"), "nothing is left to measure"),
        (("-d", "100000"), "tokens of context, and the plan has 4096"),
        (("--model", "20b"), "--demo is a model of its own"),
    ],
)
def test_what_cannot_be_is_refused(sandbox: Sandbox, words: tuple[str, ...], told: str) -> None:
    done = sandbox.refused("bench", "--demo", *words)
    assert done.code == 2
    assert told in done.error


def test_a_history_that_cannot_be_written_costs_the_history_alone(sandbox: Sandbox) -> None:
    (sandbox.root / "state" / "bench.jsonl").mkdir(parents=True)
    done = sandbox.run(*SMALL, "-o", "jsonl")
    assert done.code == 0, done
    assert len(done.out.splitlines()) == 2
    assert "cannot be written" in done.err


def test_energy_from_the_meter_to_the_history(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A meter of even 10 W, while the real engine runs."""
    for kind in ("CONFIG", "DATA", "STATE", "CACHE"):
        monkeypatch.setenv(f"GPT_OSS_{kind}_DIR", str(tmp_path))
    asked: list[Sequence[Device]] = []

    @contextmanager
    def gauges(devices: Sequence[Device]) -> Iterator[Gauges]:
        asked.append(devices)
        meter = Meter(name="package-0", kind="joules", read=lambda: time.perf_counter() * 10)
        yield Gauges(meters=(meter,), refused=True)

    n_gen = 1200
    given: dict[str, Any] = {
        "n_prompt": "0",
        "n_gen": str(n_gen),
        "n_depth": "0",
        "streams": "1",
        "engines": "embedded",
    }
    ask = Ask(**given, repetitions=1, output=None, demo=True, refresh=False)
    assert run_bench({"ctx_size": 2048, "threads": 1}, ask, gauges=gauges) == 0
    record = from_jsonable(BenchRecord, json.loads((tmp_path / "bench.jsonl").read_text()))
    (ns,) = record.samples_ns
    told = capsys.readouterr()
    if ns < SHORTEST_S * 1e9:  # a machine several times as fast as any that this was written on
        assert record.energy_j is None
    else:
        assert record.energy_of == ("package-0",)
        assert record.energy_j == pytest.approx(ns / 1e8, rel=0.02)
        assert record.j_per_token == pytest.approx(ns / 1e8 / n_gen, rel=0.02)
        assert "J/tok" in told.out
    assert told.err.count("sudo chmod a+r /sys/class/powercap/intel-rapl:*/energy_uj") == 1
    assert asked == [[]], "no device is used on a CPU"


PLAN: Any = SimpleNamespace(load_params=load_params(n_ubatch=32))
CRASHED = Case(engine="embedded", test=BenchTest(n_prompt=512, n_depth=64))
CRASH = Failure(case=CRASHED, message="the engine was ended by signal 6", details=("GGML_ASSERT(x) failed",))


def test_a_crash_names_the_test_and_the_settings(capsys: pytest.CaptureFixture[str]) -> None:
    other = Case(engine="embedded", test=BenchTest(n_gen=8))
    outcome = Outcome(samples={other: [Sample(ns=1)]}, failures=[CRASH])
    assert tell_outcome(outcome, PLAN, Path("a model.gguf")) == 6
    first, second, third = capsys.readouterr().err.splitlines()
    assert first == "failed: embedded pp512 @ d64: the engine was ended by signal 6"
    assert second.strip() == "GGML_ASSERT(x) failed"
    assert third.strip().startswith("settings: llama-bench -m 'a model.gguf' ")
    assert " -ub 32 " in third
    assert " -p 512 -n 0 -d 64 " in third


def test_a_servers_settings_are_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    case = Case(engine="server", test=BenchTest(n_prompt=512, n_gen=8), n_streams=4)
    outcome = Outcome(samples={CRASHED: [Sample(ns=1)]}, failures=[Failure(case=case, message="it ended")])
    tell_outcome(outcome, PLAN, Path("m.gguf"))
    told = capsys.readouterr().err
    assert "settings: llama-server --model m.gguf" in told
    assert "--parallel 4" in told


def test_where_nothing_could_be_measured_it_is_an_error() -> None:
    with pytest.raises(EngineError, match="nothing could be measured: the engine was ended by signal 6"):
        tell_outcome(Outcome(failures=[CRASH]), PLAN, Path("m.gguf"))


@pytest.mark.parametrize(("name", "kept"), [("cuda-0.3.36", True), ("environment", False)])
def test_an_engine_that_crashed_is_kept_for_later_plans(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, *, kept: bool
) -> None:
    monkeypatch.setenv("GPT_OSS_STATE_DIR", str(tmp_path))
    plan: Any = SimpleNamespace(hardware=SimpleNamespace(engine=SimpleNamespace(name=name)))
    keep_crashes(Outcome(failures=[CRASH, replace(CRASH, crash="Aborted")]), plan)
    told = capsys.readouterr().err
    assert (crash_of(tmp_path, name) is not None) == kept
    assert ("plans leave cuda-0.3.36 out until `gpt-oss engine test cuda-0.3.36` passes" in told) == kept
