"""What a person sees of a plan, in narrow and wide windows: no number is cut, no name is taken for markup."""

from __future__ import annotations

import io
import shlex
from dataclasses import replace

import pytest
from rich.console import Console

from launcher.cli.plan_view import headline, print_plan, tell_left_out
from launcher.cli.profile_view import left, placement, print_profiles
from launcher.errors import DoesNotFitError
from launcher.hardware.profiles import Profile
from launcher.hardware.types import Hardware, OtherEngine
from launcher.planner.types import Plan
from tests.builders import apple_machine, cpu_machine, gpu_machine
from tests.planner.builders import files_of, make_plan

ARGV = ("llama-server", "--model", "/a folder/model.gguf", "--ctx-size", "32768")
LARGE = files_of("gpt-oss-120b")
PLANS = {
    "gpu and experts in RAM": make_plan(gpu_machine(), files=LARGE),
    "two gpus": make_plan(gpu_machine(n_gpus=2, vram_gib=48)),
    "unified": make_plan(apple_machine(ram_gib=128)),
    "cpu": make_plan(cpu_machine(ram_gib=32)),
    "streamed": make_plan(cpu_machine(ram_gib=32), files=LARGE, streamed=True),
    "speed unknown": make_plan(cpu_machine(ram_gib=32), rates={}),
}


def narrow() -> Console:
    """A window of 80 columns."""
    return Console(width=80, file=io.StringIO(), highlight=False)


def written(console: Console) -> list[str]:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def lines_of(plan: Plan, capsys: pytest.CaptureFixture[str]) -> list[str]:
    print_plan(plan, ARGV)
    return capsys.readouterr().out.splitlines()


@pytest.mark.parametrize("plan", [pytest.param(plan, id=name) for name, plan in PLANS.items()])
def test_in_80_columns_nothing_is_cut(plan: Plan) -> None:
    console = narrow()
    print_plan(plan, ARGV, console=console)
    lines = written(console)
    assert all(len(line) <= 80 for line in lines if not line.startswith("llama-server"))
    assert not any("…" in line for line in lines), "an ellipsis in place of a number"
    for row in plan.memory:
        (line,) = [line for line in lines if line.startswith(f"{row.name} ")]
        assert line.endswith("%")
    assert not any("█" in line for line in lines), "bars need room"


@pytest.mark.parametrize("plan", [pytest.param(plan, id=name) for name, plan in PLANS.items()])
def test_piped_it_is_plain_text_with_bars(plan: Plan, capsys: pytest.CaptureFixture[str]) -> None:
    lines = lines_of(plan, capsys)
    assert "\x1b" not in "".join(lines)
    assert lines[0] == f"Plan: {headline(plan)}"
    assert sum("█" in line for line in lines) == sum(row.left_bytes < 0.95 * row.free_bytes for row in plan.memory)
    assert shlex.split(lines[-1]) == list(ARGV)


def test_speeds_by_depth_with_their_basis(capsys: pytest.CaptureFixture[str]) -> None:
    lines = lines_of(PLANS["cpu"], capsys)
    (head,) = [line for line in lines if line.startswith("tok/s at depth")]
    assert head.split()[3:] == ["0", "4096", "16384", "32768", "131072"]
    assert any(line.startswith("predicted from: CPU test: RAM") for line in lines)
    assert not any(line.startswith("tok/s at depth") for line in lines_of(PLANS["speed unknown"], capsys))


def test_names_and_notes_are_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    """Keeps out: a folder called `[red]` that vanishes from what is printed."""
    plan = replace(PLANS["cpu"], notes=("in [red] and [/bold]",))
    print_plan(plan, ARGV, machine="my [blue] one")
    out = capsys.readouterr().out
    assert out.startswith("Plan for my [blue] one: ")
    assert "• in [red] and [/bold]" in out


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("gpu and experts in RAM", "on the GPU, experts of "),
        ("two gpus", "all on 2 GPUs"),
        ("unified", "all on the GPU"),
        ("cpu", "CPU with 8 threads"),
        ("streamed", "streamed from disk"),
    ],
)
def test_the_headline_says_where(name: str, words: str) -> None:
    assert words in headline(PLANS[name])


def row(slug: str, machine: Hardware) -> tuple[Profile, Plan | None, str | None]:
    profile = Profile(slug=slug, name=f"{slug} [0]", hardware=machine)
    return profile, make_plan(machine), None


def test_the_table_of_profiles(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(DoesNotFitError) as caught:
        make_plan(cpu_machine(ram_gib=8))
    assert isinstance(caught.value.closest, Plan)
    short = (Profile(slug="tiny", name="tiny [0]", hardware=cpu_machine()), caught.value.closest, "does not fit")
    refused = (Profile(slug="odd", name="odd", hardware=cpu_machine()), None, "--device CUDA7: there is none")
    print_profiles([short, row("pair", gpu_machine(n_gpus=2, vram_gib=48)), refused])
    head, tiny, pair, odd, _, why = capsys.readouterr().out.splitlines()
    assert head.split()[:3] == ["--hardware", "machine", "runs"]
    assert "short of " in tiny
    assert "tiny [0]" in tiny
    assert "2 GPUs 18:19" in pair
    assert odd.split()[-1] == "refused"
    assert why == "odd: --device CUDA7: there is none"


def test_the_table_of_profiles_in_80_columns() -> None:
    console = narrow()
    rows = [row("strix-halo-96gb-carve-out", apple_machine()), row("pair", gpu_machine(n_gpus=2, ram_gib=64))]
    print_profiles(rows, console=console)
    assert len(written(console)) >= 4
    assert all(len(line) <= 80 and "…" not in line for line in written(console))


def test_placements_in_few_characters() -> None:
    assert placement(PLANS["cpu"]) == "CPU"
    assert placement(PLANS["streamed"]) == "streamed"
    assert placement(PLANS["unified"]) == "GPU"
    assert placement(PLANS["gpu and experts in RAM"]).startswith("n_cpu_moe ")
    assert placement(PLANS["two gpus"]).startswith("2 GPUs ")
    assert " + " in left(PLANS["two gpus"])
    assert " + " not in left(PLANS["cpu"])


def test_many_builds_that_cannot_be_taken_fill_no_screen_before_a_chat(capsys: pytest.CaptureFixture[str]) -> None:
    plan = PLANS["cpu"]
    others = [OtherEngine(name=f"cuda-{n}", left_out=f"reason {n}") for n in range(4)]

    def told(*engines: OtherEngine) -> list[str]:
        tell_left_out(replace(plan, hardware=replace(plan.hardware, other_engines=engines)))
        return capsys.readouterr().err.splitlines()

    assert told(OtherEngine(name="cpu-0.3.36")) == []
    assert told(*others[:2]) == [
        "Engine cuda-0 is left out: reason 0",
        "Engine cuda-1 is left out: reason 1",
    ]
    assert told(*others) == [
        "Engine cuda-0 is left out: reason 0",
        "3 more engines are left out; gpt-oss plan says which, and why",
    ]
