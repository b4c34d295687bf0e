"""The flow over fakes: a machine and listings in, a plan that the chosen file's own header confirmed out."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from launcher.catalogue.load import load_catalogue
from launcher.catalogue.types import Catalogue, ModelFile
from launcher.errors import DamagedFileError, DoesNotFitError, NetworkError, UsageError
from launcher.flow import Prepared, World, plan_profiles, plan_upgrades, prepare
from launcher.hardware.calibration import keep_runs, kept_runs
from launcher.hardware.profiles import Profile
from launcher.hardware.tuned import save_tuned
from launcher.hardware.types import Hardware, OtherEngine
from launcher.planner.costs import unit_costs
from launcher.planner.fit import fit
from launcher.planner.report import plan_json
from launcher.planner.throughput import Subject, recipe_of, settings_of
from launcher.planner.types import (
    HOST,
    Calibration,
    Changes,
    Estimate,
    MeasuredRun,
    Plan,
    PlanRequest,
    Purpose,
    Rate,
    Tuned,
)
from launcher.store.types import HubFile, RepoListing
from tests.builders import ARM_ISA, X86_ISA, cpu_machine, gpu_machine
from tests.catalogue.builders import shipped, tiny_file
from tests.planner.builders import RATES

GGML, LMSTUDIO = "ggml-org/gpt-oss-20b-GGUF", "lmstudio-community/gpt-oss-20b-GGUF"


@dataclass
class Outside:
    """The hub as the flow sees it: listings of what shipped, and one content behind every header."""

    repos: tuple[str, ...] = (GGML,)
    content: bytes = field(default_factory=tiny_file)
    failures: dict[str, Exception] = field(default_factory=dict)
    opened: list[str] = field(default_factory=list)
    detected: int = 0
    measured: list[bool] = field(default_factory=list)

    def list_repo(self, repo: str) -> RepoListing:
        files = [file for file in shipped().files if file.repo == repo and repo in self.repos]
        return RepoListing(
            repo=repo,
            commit="c" * 40,
            files=tuple(
                HubFile(path=part.path, size_bytes=part.size_bytes, sha256=part.sha256, etag=part.sha256)
                for file in files
                for part in file.parts
            ),
        )

    @contextmanager
    def open_remote(self, repo: str, path: str, *, revision: str | None) -> Iterator[BinaryIO]:
        self.opened.append(f"{repo}/{path}")
        if repo in self.failures:
            raise self.failures[repo]
        yield io.BytesIO(self.content)

    def detect(self) -> tuple[Hardware, ...]:
        self.detected += 1
        return (cpu_machine(ram_gib=32),)

    def rates(self, hardware: Hardware, state_dir: Path | None) -> dict[str, Rate]:
        self.measured.append(state_dir is not None)
        return {HOST: Rate(bandwidth=Estimate(value=40e9 if state_dir else 60e9, basis="measured or a table"))}

    def world(self, cache_dir: Path, **changes: Any) -> World:
        load = partial(
            load_catalogue,
            list_repo=self.list_repo,
            find_local=lambda file: None,
            now=datetime(2026, 11, 1, tzinfo=UTC),
            environ={},
        )
        given: dict[str, Any] = {
            "cache_dir": cache_dir,
            "detect": self.detect,
            "rates": self.rates,
            "calibration": lambda hardware, state_dir: None,
            "state_dir": cache_dir / "state",
            "load_catalogue": load,
            "open_remote": self.open_remote,
            **changes,
        }
        return World(**given)


def test_the_plan_is_confirmed_on_the_header_of_the_chosen_file(tmp_path: Path) -> None:
    outside = Outside()
    prepared = prepare(PlanRequest(model="20b"), outside.world(tmp_path), offline=False)
    assert outside.opened == [f"{GGML}/gpt-oss-20b-MXFP4.gguf"]
    assert prepared.plan.weights_basis == "header"
    assert prepared.plan.spec.n_layer == 3, "of the file that the hub serves, not of the table that shipped"
    assert prepared.plan.spec.id == "gpt-oss-20b"
    assert prepared.plan.tg_ts is not None
    assert prepared.hardware.memory.total_bytes == cpu_machine(ram_gib=32).memory.total_bytes
    again = prepare(PlanRequest(model="20b"), outside.world(tmp_path), offline=False)
    assert again.plan == prepared.plan
    assert len(outside.opened) == 1, "headers are kept"


def test_offline_a_plan_rests_on_the_table_and_says_so(tmp_path: Path) -> None:
    outside = Outside()
    prepared = prepare(PlanRequest(model="20b"), outside.world(tmp_path), offline=True)
    assert outside.opened == []
    assert prepared.plan.weights_basis == "catalogue"
    assert any("Weights are from the catalogue" in note for note in prepared.plan.notes)
    assert any("offline" in note for note in prepared.plan.notes)


def test_a_file_with_a_damaged_header_gives_way_to_the_next(tmp_path: Path) -> None:
    outside = Outside(repos=(GGML, LMSTUDIO), failures={GGML: DamagedFileError("not a GGUF file")})
    prepared = prepare(PlanRequest(model="20b", quant="MXFP4"), outside.world(tmp_path), offline=False)
    assert prepared.plan.file.name == f"{LMSTUDIO}:MXFP4"
    assert f"{GGML}:MXFP4 is left out: not a GGUF file" in prepared.plan.notes
    assert [path.rpartition("/")[0] for path in outside.opened] == [GGML, LMSTUDIO]


def test_the_only_file_with_a_damaged_header_is_an_error(tmp_path: Path) -> None:
    outside = Outside(failures={GGML: DamagedFileError("not a GGUF file")})
    with pytest.raises(DamagedFileError, match="not a GGUF"):
        prepare(PlanRequest(model="20b", quant="MXFP4"), outside.world(tmp_path), offline=False)


def test_a_header_out_of_reach_leaves_the_plan_with_a_note(tmp_path: Path) -> None:
    outside = Outside(failures={GGML: NetworkError("the line broke")})
    prepared = prepare(PlanRequest(model="20b", quant="MXFP4"), outside.world(tmp_path), offline=False)
    assert prepared.plan.weights_basis == "catalogue"
    assert "The file's own header could not be read: the line broke." in prepared.plan.notes


def test_a_saved_machine_is_planned_for_instead_of_this_one(tmp_path: Path) -> None:
    outside = Outside()
    big = cpu_machine(ram_gib=256)
    prepared = prepare(PlanRequest(model="120b"), outside.world(tmp_path), offline=True, hardware=big)
    assert prepared.hardware is big
    assert outside.measured == [False], "what was measured here says nothing of another machine"
    assert prepared.plan.spec.id == "gpt-oss-120b"
    assert outside.detected == 0
    with pytest.raises(DoesNotFitError):
        prepare(PlanRequest(model="120b"), outside.world(tmp_path), offline=True)
    assert outside.detected == 1


def by_builds(*, vram_gib: float = 24.0) -> tuple[Hardware, Hardware]:
    """One machine by the environment's CPU-only build, and by one with CUDA."""
    gpu = gpu_machine(vram_gib=vram_gib, ram_gib=32)
    cuda = replace(gpu, engine=replace(gpu.engine, name="cuda-0.3.36", site="/data/engines/cuda-0.3.36/site"))
    own = replace(cuda, devices=(), engine=cpu_machine().engine)
    left = OtherEngine(name="vulkan-0.3.36", left_out="it crashed")
    return replace(own, other_engines=(left,)), replace(cuda, other_engines=(left,))


def test_engine_and_placement_are_chosen_together(tmp_path: Path) -> None:
    own, cuda = by_builds()
    outside = Outside()
    world = outside.world(tmp_path, detect=lambda: (own, cuda), rates=_rates)
    prepared = prepare(PlanRequest(model="20b"), world, offline=True)
    assert prepared.hardware is prepared.plan.hardware is cuda
    assert prepared.plan.load_params.devices == ("CUDA0",)
    assert [(row.name, row.fits, row.reason) for row in prepared.plan.engines] == [
        ("cuda-0.3.36", True, "chosen"),
        ("environment", True, "needs a slower placement"),
    ]
    first, second, *_ = prepared.plan.notes
    assert first.startswith("Engine cuda-0.3.36 (CUDA0): about ")
    assert "; with environment (CPU): " in first
    assert second == "Engine vulkan-0.3.36 is left out: it crashed"
    found = plan_json(prepared.plan, ())
    assert found["hardware"]["engine"]["name"] == "cuda-0.3.36"
    assert [row["why"] for row in found["engines"]] == ["chosen", "needs a slower placement"]


def test_the_model_of_speed_is_fitted_once_for_each_build(tmp_path: Path) -> None:
    """The bug: once to see which builds were measured, and once more for each plan."""
    own, cuda = by_builds()
    fitted: list[str] = []

    def calibration(hardware: Hardware, state_dir: Path | None) -> None:
        fitted.append(hardware.engine.name)

    world = Outside().world(tmp_path, detect=lambda: (own, cuda), rates=_rates, calibration=calibration)
    prepare(PlanRequest(model="20b"), world, offline=True)
    assert sorted(fitted) == ["cuda-0.3.36", "environment"]


def test_of_two_builds_for_one_gpu_the_one_that_measured_faster_is_taken(tmp_path: Path) -> None:
    """By runs that are kept in the state folder, each build's in its own file."""
    own, cuda = by_builds()
    card = replace(cuda.devices[0], name="Vulkan0", backend="Vulkan")
    vulkan = replace(cuda, devices=(card,), engine=replace(cuda.engine, name="vulkan-0.3.36"))
    request = PlanRequest(model="20b", quant="MXFP4")
    world = Outside().world(tmp_path, detect=lambda: (own, cuda, vulkan), rates=_rates, calibration=_calibration)
    before = prepare(request, world, offline=True)
    assert (before.plan.hardware.engine.name, before.measured) == ("cuda-0.3.36", False)
    predicted = before.plan.tg_ts
    assert predicted is not None
    assert world.state_dir is not None
    for build, ratio, best in ((cuda, 0.9, "cuda-0.3.36"), (vulkan, 1.0, "vulkan-0.3.36")):
        alone = prepare(request, replace(world, detect=partial(tuple, [build])), offline=True)
        keep_runs(build, [measured(alone, ratio * predicted)], state_dir=world.state_dir)
        after = prepare(request, world, offline=True)
        assert (after.plan.hardware.engine.name, after.measured) == (best, True)
        assert after.plan.tg_ts == pytest.approx(ratio * predicted, rel=0.02)
    assert after.plan.notes[0].endswith(": slower than the choice.")
    # The build is compiled again: what was measured with the old one says nothing.
    anew = replace(vulkan, engine=replace(vulkan.engine, made_at="2026-11-25T12:00:00+00:00"))
    again = prepare(request, replace(world, detect=lambda: (own, cuda, anew)), offline=True)
    assert (again.plan.hardware.engine.name, again.measured) == ("cuda-0.3.36", True)


def test_of_two_builds_of_one_kind_the_one_that_measured_faster_is_taken(tmp_path: Path) -> None:
    _, older = by_builds()
    newer = replace(older, engine=replace(older.engine, name="cuda-0.3.37"))
    request = PlanRequest(model="20b", quant="MXFP4")
    world = Outside().world(tmp_path, detect=lambda: (newer, older), rates=_rates, calibration=_calibration)
    assert world.state_dir is not None
    for build, ts, best in ((older, 200.0, newer), (newer, 150.0, older)):
        alone = prepare(request, replace(world, detect=partial(tuple, [build])), offline=True)
        keep_runs(build, [measured(alone, ts)], state_dir=world.state_dir)
        after = prepare(request, world, offline=True).plan
        assert after.hardware.engine.name == best.engine.name


def measured(prepared: Prepared, ts: float) -> MeasuredRun:
    """A run of the plan's file, as it is kept."""
    plan, weights = prepared.plan, prepared.weights
    subject = Subject(hardware=plan.hardware, spec=plan.spec, weights=weights, params=plan.load_params, rates=RATES)
    return MeasuredRun(
        kind="tg",
        recipe=recipe_of(plan.spec, weights),
        settings=settings_of(plan.load_params, "tg"),
        test="tg128",
        engine="embedded",
        model=plan.file.model,
        date="2026-11-25",
        n_tokens=1,
        ts=ts,
        predicted_ts=plan.tg_ts,
        work=subject.decode(0),
    )


def _calibration(hardware: Hardware, state_dir: Path | None) -> Calibration | None:
    assert state_dir is not None
    return fit(kept_runs(hardware, state_dir=state_dir), unit_costs(hardware, RATES))


def test_a_wish_that_one_build_alone_can_keep_chooses_it(tmp_path: Path) -> None:
    world = Outside().world(tmp_path, detect=by_builds, rates=_rates)
    on_gpu = prepare(PlanRequest(model="20b", devices=("CUDA0",)), world, offline=True).plan
    assert on_gpu.hardware.engine.name == "cuda-0.3.36"
    assert on_gpu.engines[1].name == "environment"
    assert "CUDA0" in on_gpu.engines[1].reason
    on_cpu = prepare(PlanRequest(model="20b", devices=()), world, offline=True).plan
    assert on_cpu.hardware.engine.name == "environment"
    with pytest.raises(UsageError, match="CUDA7"):
        prepare(PlanRequest(model="20b", devices=("CUDA7",)), world, offline=True)


def test_what_fits_with_no_build_is_told_with_the_nearest_miss_and_what_was_left_out(tmp_path: Path) -> None:
    own, cuda = by_builds(vram_gib=8)
    world = Outside().world(tmp_path, detect=lambda: (own, cuda), rates=_rates)
    with pytest.raises(DoesNotFitError) as caught:
        prepare(PlanRequest(model="120b"), world, offline=True)
    assert "Engine vulkan-0.3.36 is left out: it crashed" in caught.value.details
    assert isinstance(caught.value.closest, Plan)
    assert caught.value.closest.hardware is cuda, "a part of it is on the GPU, and less is missing"


def test_the_hub_is_listed_anew_once_for_all_builds(tmp_path: Path) -> None:
    own, cuda = by_builds()
    wider = replace(cuda, cpu=replace(cuda.cpu, isa=(*cuda.cpu.isa, "AVX512")))
    asked: list[bool] = []
    world = Outside().world(tmp_path)

    def load(**given: Any) -> Catalogue:
        asked.append(given["refresh"])
        return world.load_catalogue(**given)

    here = replace(world, detect=lambda: (own, wider), load_catalogue=load)
    prepare(PlanRequest(model="20b"), here, offline=False, refresh=True)
    assert asked == [True, False]


def _rates(hardware: Hardware, state_dir: Path | None) -> dict[str, Rate]:
    return RATES


def test_a_path_needs_neither_hub_nor_listing(tmp_path: Path) -> None:
    path = tmp_path / "mine-Q8_0.gguf"
    path.write_bytes(tiny_file())
    outside = Outside(failures={GGML: NetworkError("never asked")})
    prepared = prepare(PlanRequest(model=str(path)), outside.world(tmp_path / "cache"), offline=False)
    assert prepared.plan.file.local_path == path
    assert prepared.plan.weights_basis == "header"
    assert outside.opened == []


def profile(slug: str, machine: Hardware) -> Profile:
    return Profile(slug=slug, name=slug.upper(), hardware=machine)


def test_every_profile_is_planned_for_with_one_listing_for_each_set_of_instructions(tmp_path: Path) -> None:
    outside = Outside()
    asked: list[tuple[str, ...]] = []
    world = outside.world(tmp_path)

    def load(**given: Any) -> Catalogue:
        asked.append(given["isa"])
        return world.load_catalogue(**given)

    profiles = [
        profile("small", cpu_machine(ram_gib=8)),
        profile("large", cpu_machine(ram_gib=64)),
        profile("arm", cpu_machine(ram_gib=64, isa=ARM_ISA)),
    ]
    small, large, arm = plan_profiles(
        profiles, PlanRequest(model="20b"), outside.world(tmp_path, load_catalogue=load), offline=True
    )
    assert asked == [X86_ISA, ARM_ISA]
    assert small[1] is not None
    assert not small[1].fits
    assert small[2] is not None
    assert large[1] is not None
    assert large[1].fits
    assert large[2] is None
    assert arm[0].slug == "arm"
    assert outside.measured == [False] * 3


def test_a_pin_that_one_profile_cannot_keep_is_a_row_and_that_none_can_is_an_error(tmp_path: Path) -> None:
    world = Outside().world(tmp_path)
    profiles = [profile("cpu", cpu_machine(ram_gib=64)), profile("gpu", gpu_machine())]
    wish = PlanRequest(model="20b", devices=("CUDA0",))
    cpu, gpu = plan_profiles(profiles, wish, world, offline=True)
    assert cpu[1] is None
    assert "CUDA0" in str(cpu[2])
    assert gpu[1] is not None
    with pytest.raises(UsageError, match="CUDA7"):
        plan_profiles(profiles, PlanRequest(model="20b", devices=("CUDA7",)), world, offline=True)


def test_an_unknown_model_is_no_row_of_a_table(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown model"):
        plan_profiles(
            [profile("cpu", cpu_machine())], PlanRequest(model="12b"), Outside().world(tmp_path), offline=True
        )


def test_upgrades_of_this_machine_keep_its_measured_ram(tmp_path: Path) -> None:
    outside = Outside()
    world, wish = outside.world(tmp_path), PlanRequest(model="20b", quant="MXFP4")
    machine = cpu_machine(ram_gib=16)
    here = plan_upgrades(machine, wish, world, offline=True, here=True)
    there = plan_upgrades(machine, wish, world, offline=True, here=False)
    assert outside.measured.count(True) == 1
    ram = [next(u.tg_ts for u in found if u.change.endswith("RAM")) for found in (here, there)]
    assert ram[0] is not None
    assert ram[1] is not None
    assert ram[0] < ram[1], "40 GB/s as measured, against 60 of the table"


@dataclass
class Winners:
    """What was tuned, by purpose; remembers what was looked for."""

    purposes: tuple[Purpose, ...]
    asked: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)

    def of(self, hardware: Hardware, file: ModelFile, purpose: Purpose, state_dir: Path | None) -> Tuned | None:
        assert state_dir is not None
        self.asked.append(purpose)
        self.files.append(file.name)
        if purpose not in self.purposes:
            return None
        won = Changes(n_ubatch={"chat": 64, "serve": 128, "long-context": 256}[purpose])
        return Tuned(purpose=purpose, changes=won, pp_ratio=1.2, tg_ratio=1.0, date="2026-11-25")


def with_winners(tmp_path: Path, won: Winners, request: PlanRequest, purpose: Purpose | None, **world: Any) -> Plan:
    here = Outside().world(tmp_path, **{"tuned": won.of, **world})
    return prepare(request, here, offline=True, purpose=purpose).plan


@pytest.mark.parametrize(
    ("wish", "purpose", "looked_for"),
    [
        ({}, "chat", ["chat"]),
        ({}, "serve", ["serve", "chat"]),
        ({"prefer": "context"}, "chat", ["long-context", "chat"]),
        ({"prefer": "context"}, "serve", ["long-context", "serve", "chat"]),
        ({"n_ctx": 32_768}, "chat", ["long-context", "chat"]),
        ({"n_ctx": 0}, "chat", ["long-context", "chat"]),
        ({"n_ctx": 16_384}, "chat", ["chat"]),
        ({"min_ctx": 65_536}, "serve", ["long-context", "serve", "chat"]),
        ({"n_ctx": 65_536, "n_parallel": 4, "kv_unified": False}, "serve", ["serve", "chat"]),
        ({"n_ctx": 65_536, "n_parallel": 4, "kv_unified": True}, "serve", ["long-context", "serve", "chat"]),
    ],
)
def test_settings_of_the_fittest_purpose_are_looked_for(
    tmp_path: Path, wish: dict[str, Any], purpose: Purpose, looked_for: list[str]
) -> None:
    won = Winners(())
    plan = with_winners(tmp_path, won, PlanRequest(model="20b", quant="MXFP4", **wish), purpose)
    assert won.asked == looked_for
    assert set(won.files) == {f"{GGML}:MXFP4"}, "for the file that was chosen, and for no other candidate"
    assert plan.tuned is None


def test_the_plan_has_what_was_found_and_says_for_what(tmp_path: Path) -> None:
    request = PlanRequest(model="20b", quant="MXFP4")
    own = with_winners(tmp_path, Winners(("chat", "serve")), request, "serve")
    assert own.load_params.n_ubatch == 128
    assert own.notes[0].startswith("Tuned for serve on 2026-11-25: n_ubatch 128; prompts 1.20")
    other = with_winners(tmp_path, Winners(("chat",)), request, "serve")
    assert other.load_params.n_ubatch == 64
    assert other.notes[0].startswith("Tuned for chat on 2026-11-25 (nothing is for serve): n_ubatch 64;")
    untuned = with_winners(tmp_path, Winners(()), request, "serve")
    assert other.candidates == untuned.candidates
    assert untuned.throughput[0].pp_ts is not None
    assert other.throughput[0].pp_ts == pytest.approx(1.2 * untuned.throughput[0].pp_ts)


def test_tuned_settings_are_of_this_machine_alone_and_only_where_they_are_wanted(tmp_path: Path) -> None:
    won, request = Winners(("chat",)), PlanRequest(model="20b")
    assert with_winners(tmp_path, won, request, None).tuned is None
    assert with_winners(tmp_path, won, request, "chat", state_dir=None).tuned is None
    there = Outside().world(tmp_path, tuned=won.of)
    other = prepare(request, there, offline=True, purpose="chat", hardware=cpu_machine(ram_gib=256)).plan
    assert other.tuned is None
    plan_profiles([profile("other", cpu_machine(ram_gib=64))], request, there, offline=True)
    plan_upgrades(cpu_machine(ram_gib=16), request, there, offline=True, here=True)
    assert won.asked == []


def test_what_is_kept_in_the_state_folder_is_found(tmp_path: Path) -> None:
    outside = Outside()
    world, request = outside.world(tmp_path), PlanRequest(model="20b", quant="MXFP4")
    before = prepare(request, world, offline=True, purpose="chat")
    assert before.plan.tuned is None
    assert world.state_dir is not None
    tuned = Tuned(
        purpose="chat",
        changes=Changes(n_ubatch=64),
        pp_ratio=1.2,
        tg_ratio=1.0,
        date="2026-11-25",
        against=before.plan.load_params,
    )
    save_tuned(before.hardware, before.plan.file, tuned, state_dir=world.state_dir)
    after = prepare(request, world, offline=True, purpose="chat").plan
    assert after.load_params == replace(before.plan.load_params, n_ubatch=64)
    assert after.tuned is not None
    assert after.tuned.pp_ratio == 1.2
