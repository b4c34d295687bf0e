"""The offer of an engine for a GPU that lies idle: when it is made, what an answer does, and how it looks."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from launcher.builds.decision import Decision
from launcher.builds.offers import read_answer
from launcher.builds.shelf import read_shelf
from launcher.builds.source import pinned_version
from launcher.builds.types import Build, BuildRecord, SelfTest, Source
from launcher.cli import engine_build_session, engine_install_session, engine_install_view, engine_offer
from launcher.cli.chat_engine import demo_settings, open_brain
from launcher.cli.engine_offer import Effort, Means, idle_gpus, planned
from launcher.cli.engine_offer_means import decide, effort, gain, install, ready_made_first
from launcher.demo import demo_model_path
from launcher.errors import DoesNotFitError, EngineError, NetworkError
from launcher.flow import Prepared
from launcher.hardware.types import Hardware, IdleDevice
from launcher.planner.choose import plan
from launcher.planner.types import Plan, PlanRequest
from launcher.settings import Settings
from launcher.units import GIB
from tests.builders import cpu_machine, idle_gpu, machine
from tests.builds.test_install_machines import facts_of
from tests.cli.sandbox import TIMEOUT_S, Sandbox
from tests.cli.terminal import ENTER, terminal
from tests.planner.builders import RATES, catalogue

NOW = datetime(2026, 11, 25, tzinfo=UTC)
RTX_4090 = idle_gpu()
CUDA = Decision(
    do="prebuilt", backend="cuda", version="0.3.36", gpu=RTX_4090.description, why="it computes", about_bytes=600 << 20
)
EFFORT = "a download of about 600 MiB (a release of llama.cpp)"
GAIN = "gpt-oss-20b all on the GPU at about 180 tok/s (now gpt-oss-20b at 12)"


def build(*, passed: bool) -> Build:
    tested = SelfTest(passed=passed, date="2026-11-25T00:00:00+00:00", why=None if passed else "its answers are noise")
    record = BuildRecord(
        name="cuda-0.3.36", backend="cuda", version="0.3.36", commit=None,
        source=Source(kind="release", what="b1", sha256=None), options=(), system="Linux", arch="x86_64",
        made_at="2026-11-25T00:00:00+00:00", self_test=tested,
    )  # fmt: skip
    return Build(name=record.name, site=Path("/store/cuda-0.3.36/site"), record=record)


@dataclass
class Person:
    """Somebody at a terminal, and a machine with idle GPUs until an engine for them is installed."""

    state_dir: Path
    answers: list[str] = field(default_factory=list)
    idle: tuple[IdleDevice, ...] = (RTX_4090,)
    decision: Decision | Exception = CUDA
    result: Build | Exception = field(default_factory=lambda: build(passed=True))
    gain: str | None = GAIN
    at_terminal: bool = True
    chosen: str = "auto"
    days: float = 0
    n_plans: int = 0
    n_installs: int = 0
    fits: bool = True
    is_long: bool = False

    def hardware(self) -> Hardware:
        return replace(cpu_machine(ram_gib=32), idle_devices=() if self.n_installs else self.idle)

    def plan_now(self) -> Prepared:
        self.n_plans += 1
        hardware = self.hardware()
        files = catalogue(hardware.cpu.isa)
        found = plan(hardware, files, PlanRequest(), rates=RATES)
        if not self.fits and hardware.idle_devices:
            raise DoesNotFitError("nothing fits", needs_bytes=2, has_bytes=1, hint="gpt-oss plan", closest=found)
        return Prepared(hardware=hardware, plan=found, weights=files.weights[found.file.name])

    def decide(self) -> Decision:
        if isinstance(self.decision, Exception):
            raise self.decision
        return self.decision

    def install(self, decision: Decision) -> Build:
        assert decision is self.decision
        if isinstance(self.result, Exception):
            raise self.result
        self.n_installs += 1
        return self.result

    def read_line(self) -> str:
        return f"{self.answers.pop(0)}\n" if self.answers else ""

    def planned(self, *, asks: bool = True, **settings: Any) -> Prepared:
        means = Means(
            state_dir=self.state_dir,
            is_terminal=lambda: self.at_terminal,
            read_line=self.read_line,
            now=lambda: NOW + timedelta(days=self.days),
            chosen=lambda: self.chosen,
            decide=self.decide,
            effort=lambda _: Effort(words=EFFORT, is_long=self.is_long),
            gain=lambda *_: self.gain,
            install=self.install,
        )
        return planned(self.plan_now, Settings(**settings), asks=asks, means=means)


@pytest.fixture
def person(tmp_path: Path) -> Person:
    return Person(state_dir=tmp_path)


LINE = "NVIDIA GeForce RTX 4090 (24.0 GiB) lies idle; an engine for it: gpt-oss engine install cuda\n"
ASKED = "Get it now? [Y/n/never] "
OFFER = f"""\
NVIDIA GeForce RTX 4090 (24.0 GiB) lies idle: this llama.cpp build is CPU-only.
With an engine for it: {GAIN}.
It takes {EFFORT}. It is tested before it is used; the engine that is here stays.
{ASKED}"""


@pytest.mark.parametrize("answer", ["", "y", "YES "])
def test_a_yes_installs_and_plans_again(person: Person, answer: str, capsys: pytest.CaptureFixture[str]) -> None:
    person.answers = [answer]
    found = person.planned()
    assert (person.n_installs, person.n_plans) == (1, 2)
    assert found.hardware.idle_devices == ()
    assert capsys.readouterr() == ("", f"{OFFER}cuda-0.3.36 is installed, and passed its self-test.\n")
    assert read_answer(person.state_dir) is None


def test_a_no_goes_on_and_is_not_asked_again_for_a_fortnight(
    person: Person, capsys: pytest.CaptureFixture[str]
) -> None:
    person.answers = ["what?", "n"]
    found = person.planned()
    assert (person.n_installs, person.n_plans) == (0, 1)
    assert found.hardware.idle_devices == (RTX_4090,)
    told = capsys.readouterr().err
    assert told == (
        f"{OFFER}Please answer y, n or never.\n{ASKED}Going on without it. You will be asked again in two weeks; "
        "any time:\n  gpt-oss engine install cuda\n"
    )
    person.days = 13
    person.planned()
    assert capsys.readouterr().err == ""
    person.days, person.answers = 15, ["no"]
    person.planned()
    assert ASKED in capsys.readouterr().err


def test_never_is_kept_for_scripts_too(person: Person, capsys: pytest.CaptureFixture[str]) -> None:
    person.answers = ["never"]
    person.planned()
    assert "You will not be asked again" in capsys.readouterr().err
    person.days, person.idle = 1000, (RTX_4090, RTX_4090)
    person.planned()
    person.planned(asks=False)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("asks", "at_terminal", "settings"),
    [(False, True, {}), (True, False, {}), (True, True, {"yes": True}), (True, True, {"offline": True})],
)
def test_who_cannot_be_asked_reads_one_line(
    person: Person, asks: bool, at_terminal: bool, settings: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    person.at_terminal = at_terminal
    person.planned(asks=asks, **settings)
    assert capsys.readouterr() == ("", LINE)
    assert person.n_plans == 1


@pytest.mark.parametrize(
    ("change", "settings"),
    [
        ({"idle": ()}, {}),
        ({"chosen": "environment"}, {}),
        ({}, {"build": "environment"}),
        ({}, {"device": "none"}),
        ({}, {"n_gpu_layers": 0}),
        ({}, {"engine_offer": False}),
        ({"decision": replace(CUDA, do="nothing")}, {}),
        ({"gain": ""}, {}),
    ],
)
def test_where_it_is_of_no_use_or_not_wanted_nothing_is_said(
    person: Person, change: dict[str, Any], settings: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    replace(person, **change).planned(**settings)
    assert capsys.readouterr() == ("", "")


def test_hours_of_compiling_want_a_yes_in_letters(person: Person, capsys: pytest.CaptureFixture[str]) -> None:
    person.is_long, person.answers = True, [""]
    person.planned()
    assert person.n_installs == 0
    assert "Get it now? [y/N/never] Going on without it." in capsys.readouterr().err


def test_the_other_builds_are_no_pin(person: Person) -> None:
    person.answers = ["y"]
    person.planned(build="auto")
    assert person.n_installs == 1


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (NetworkError("no answer", details=("tried twice",)), "no answer.\ntried twice"),
        (PermissionError(13, "Permission denied"), "[Errno 13] Permission denied."),
    ],
)
def test_an_installation_that_fails_goes_on_without(
    person: Person, error: Exception, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    person.answers, person.result = ["y"], error
    found = person.planned()
    assert found.hardware.idle_devices == (RTX_4090,)
    assert capsys.readouterr().err == (
        f"{OFFER}It could not be installed: {told}\nGoing on without it. To try once more:\n"
        "  gpt-oss engine install cuda\n"
    )
    person.planned()
    assert capsys.readouterr().err == "", "who said yes is not asked at every start"


def test_an_engine_that_fails_its_test_is_not_used(person: Person, capsys: pytest.CaptureFixture[str]) -> None:
    person.answers, person.result = ["y"], build(passed=False)
    person.planned()
    assert person.n_plans == 1
    told = capsys.readouterr().err
    assert "cuda-0.3.36 failed its self-test and is not used: its answers are noise." in told
    assert told.endswith("Going on without it. To look again:\n  gpt-oss engine test cuda-0.3.36\n")


def test_packages_that_are_missing_are_told_once_in_a_fortnight(
    person: Person, capsys: pytest.CaptureFixture[str]
) -> None:
    person.decision = replace(
        CUDA,
        do="packages",
        why="an engine for CUDA cannot be had as things are",
        missing=("nvcc is not here",),
        command="sudo apt install nvidia-cuda-toolkit",
    )
    person.planned()
    assert capsys.readouterr().err.splitlines()[1:] == [
        "An engine for CUDA cannot be had as things are: nvcc is not here.",
        "  run:  sudo apt install nvidia-cuda-toolkit",
        "  then: gpt-oss engine install cuda",
        "Going on without it.",
    ]
    person.planned()
    assert capsys.readouterr().err == ""


def test_what_cannot_be_decided_is_left_to_the_command(person: Person, capsys: pytest.CaptureFixture[str]) -> None:
    person.decision = EngineError("the table is damaged", hint="gpt-oss doctor")
    person.planned()
    assert capsys.readouterr().err == LINE


def test_where_nothing_fits_a_gpu_may_make_it_fit(person: Person) -> None:
    person.fits, person.answers = False, ["y"]
    assert person.planned().plan.fits
    assert person.n_plans == 2


def test_where_nothing_fits_and_nothing_is_wanted_it_is_an_error(person: Person) -> None:
    person.fits, person.answers = False, ["n"]
    with pytest.raises(DoesNotFitError):
        person.planned()


def test_the_end_of_the_input_is_an_interrupt(person: Person, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyboardInterrupt):
        person.planned()
    assert capsys.readouterr().err.endswith(f"{ASKED}\n")
    assert read_answer(person.state_dir) is None


def test_several_gpus_are_counted(person: Person, capsys: pytest.CaptureFixture[str]) -> None:
    person.idle, person.answers = (RTX_4090, RTX_4090), ["n"]
    person.planned()
    told = capsys.readouterr().err
    assert told.startswith("2 x NVIDIA GeForce RTX 4090 (24.0 GiB each) lie idle: ")
    assert "With an engine for them: " in told


def test_gpus_of_another_maker_are_no_part_of_the_offer(person: Person, capsys: pytest.CaptureFixture[str]) -> None:
    radeon = replace(idle_gpu("AMD Radeon RX 7900 XTX", vendor="AMD"), remedy="gpt-oss engine install vulkan")
    person.idle, person.answers = (radeon, RTX_4090), ["n"]
    person.planned()
    assert capsys.readouterr().err.startswith("NVIDIA GeForce RTX 4090 (24.0 GiB) lies idle: ")


@pytest.mark.parametrize(
    ("change", "counts"),
    [
        ({}, True),
        ({"total_bytes": None}, True),
        ({"remedy": None}, False),
        ({"engine": "cuda-0.3.36"}, False),
        ({"total_bytes": 2 * GIB}, False),
        ({"reason": "CPU-only; an integrated GPU reads the same RAM as the CPU: decoding gains little"}, False),
    ],
)
def test_which_gpus_are_worth_an_offer(change: dict[str, Any], counts: bool) -> None:
    assert bool(idle_gpus(machine(idle=[replace(RTX_4090, **change)]))) is counts


# --- Which one it would be, what it would bring, and getting it ---


@pytest.mark.parametrize(
    ("name", "do", "command"),
    [
        ("rtx-4090-cpu-engine", "prebuilt", None),  # where `gpt-oss engine install` compiles
        ("jetson-orin", "build", None),
        ("arc-b580-cpu-engine", "packages", "sudo apt install mesa-vulkan-drivers"),
        ("laptop-intel-graphics", "nothing", "gpt-oss engine install vulkan"),
    ],
)
def test_what_is_ready_made_comes_first(tmp_path: Path, name: str, do: str, command: str | None) -> None:
    decision = ready_made_first(facts_of(name, tmp_path), "0.3.36", read_shelf())
    assert (decision.do, decision.command) == (do, command)


def test_this_machine_can_be_decided_on() -> None:
    """Whatever is here: nothing is raised, and what is to be had is of the version that the launcher is made for."""
    assert decide().version == pinned_version()


def test_a_decision_is_carried_out(monkeypatch: pytest.MonkeyPatch) -> None:
    made = build(passed=True)
    calls: list[Any] = []

    def told(name: str, result: Any) -> Any:
        def call(given: Any, *_: Any) -> Any:
            calls.append((name, given))
            return result

        return call

    monkeypatch.setattr(engine_build_session, "compile_with_progress", told("compile", (made, 1.0)))
    monkeypatch.setattr(engine_install_session, "look_up_for", told("look up", "found"))
    monkeypatch.setattr(engine_install_view, "print_found", told("print", None))
    monkeypatch.setattr(engine_install_session, "install_found", told("install", made))
    assert install(replace(CUDA, do="build")) is made
    ((name, request),) = calls
    assert (name, request.backend, request.version) == ("compile", "cuda", "0.3.36")
    assert len(request.sha256) == 64
    calls.clear()
    assert install(CUDA) is made
    assert calls == [("look up", CUDA), ("print", "found"), ("install", "found")]


@pytest.fixture
def at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("CONFIG", "DATA", "STATE", "CACHE"):
        monkeypatch.setenv(f"GPT_OSS_{name}_DIR", str(tmp_path / name.lower()))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("OLLAMA_MODELS", str(tmp_path / "ollama"))
    return tmp_path


def gained(hardware: Hardware, gpus: Sequence[IdleDevice], now: Plan | None = None) -> str | None:
    return gain(hardware, now, gpus, CUDA, Settings(model="20b", offline=True))


@pytest.mark.usefixtures("at_home")
def test_a_gain_is_told_beside_what_is_now() -> None:
    hardware = replace(cpu_machine(ram_gib=32), idle_devices=(RTX_4090,))
    now = plan(hardware, catalogue(hardware.cpu.isa), PlanRequest(model="20b"), rates=RATES)
    told = gained(hardware, [RTX_4090], now)
    assert told is not None
    assert told.startswith("gpt-oss-20b all on the GPU at about ")
    assert "(now gpt-oss-20b at " in told
    nothing = gained(hardware, [RTX_4090])
    assert nothing is not None
    assert nothing.endswith("(now: nothing fits)")


@pytest.mark.usefixtures("at_home")
def test_what_cannot_be_told_is_left_out() -> None:
    hardware = cpu_machine(ram_gib=32)
    assert gained(hardware, [replace(RTX_4090, total_bytes=None)]) is None
    assert gain(hardware, None, [RTX_4090], replace(CUDA, backend="cpu"), Settings(model="20b", offline=True)) is None


def test_what_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    told = effort(CUDA)
    assert (told.words, told.is_long) == ("a download of about 600 MiB (a release of llama.cpp)", False)
    for expected_s, words, is_long in ((1900, "about 35 minutes", False), (9000, "about 3 hours", True)):
        ready = SimpleNamespace(expected_s=expected_s)
        monkeypatch.setattr("launcher.builds.prepare.prepare", lambda *_, ready=ready, **__: ready)
        told = effort(replace(CUDA, do="build"))
        assert (told.words, told.is_long) == (f"{words} of compiling", is_long)


# --- The whole way ---

PROGRAM = """
import os, sys
from dataclasses import replace
from pathlib import Path
import launcher.cli.context as context
import launcher.cli.engine_offer_means as means
from launcher.builds.decision import Decision
from launcher.builds.types import Build
from launcher.flow import detect_here
from tests.builders import idle_gpu

decision = Decision(do="prebuilt", backend="cuda", version="0.3.36", gpu=idle_gpu().description, why="it computes")
here = Path(os.environ["GPT_OSS_STATE_DIR"], "installed")

def detect(build=None, **how):
    idle = () if here.exists() else (idle_gpu(),) * 2
    return tuple(replace(machine, idle_devices=idle) for machine in detect_here(build, **how))

def install(decision):
    here.parent.mkdir(parents=True, exist_ok=True)
    here.touch()
    return Build(name=decision.name, site=Path("/nowhere"), record=None)

context.detect_here = detect
means.decide, means.install, means.gain = lambda: decision, install, lambda *_: None
from launcher.cli.app import main
sys.argv = ["gpt-oss", *sys.argv[1:]]
main()
"""
"""The command line on a machine with two idle GPUs, which an installation makes an end of."""
ROOT = Path(__file__).parents[2]


def test_the_offer_on_a_terminal(sandbox: Sandbox) -> None:
    env = {**sandbox.env, "PYTHONPATH": str(ROOT), "GPT_OSS_ENGINE_OFFER": "true"}
    words = ("chat", "--model", str(demo_model_path()), "--temp", "0", "hello")
    with terminal(*words, env=env, cwd=sandbox.root, columns=80, program=PROGRAM) as screen:
        screen.wait_for(r"Get it now\? \[Y/n/never\]")
        assert all(len(line) <= 80 for line in screen.text.splitlines())
        assert "2 x NVIDIA GeForce RTX 4090 (24.0 GiB each) lie idle" in screen.text
        screen.type(ENTER)
        screen.wait_for("cuda-0.3.36 is installed, and passed its self-test")
        screen.wait_for("How can I help you")
        assert screen.end() == 0
        assert screen.text.count(" idle") == 1, "once more, after it is used"


@pytest.mark.parametrize(
    "words", [("chat", "--json", "--temp", "0", "hello"), ("serve", "--dry-run")], ids=["chat", "serve"]
)
def test_the_line_in_a_script(sandbox: Sandbox, words: tuple[str, ...]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *words[:1], "--model", str(demo_model_path()), *words[1:]],
        env={**sandbox.env, "PYTHONPATH": str(ROOT), "GPT_OSS_ENGINE_OFFER": "true"}, cwd=sandbox.root,
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=TIMEOUT_S, check=True,
    )  # fmt: skip
    idle = [line for line in done.stderr.splitlines() if "idle" in line]
    assert idle == [
        "2 x NVIDIA GeForce RTX 4090 (24.0 GiB each) lie idle; an engine for them: gpt-oss engine install cuda"
    ]
    assert "idle" not in done.stdout


@pytest.mark.usefixtures("at_home")
def test_the_demo_offers_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: Any, **__: Any) -> None:
        pytest.fail("the demo asks for an engine")

    monkeypatch.setattr(engine_offer, "planned", never)
    with open_brain(demo_settings(Settings(threads=1), {}), demo=True) as brain:
        assert brain.name == "embedded"
