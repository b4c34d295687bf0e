"""The quality check: its figures by hand, what it reads, and the demo model against itself, damaged and reordered."""

from __future__ import annotations

import json
import math
import re
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from launcher.bench.quality import QualityStep, compare_quality
from launcher.bench.quality_child import compared, loads_alike
from launcher.bench.quality_reading import (
    HARMONY,
    batches_of,
    passage_text,
    reading_params,
    shipped_reading,
    windows_of,
)
from launcher.bench.quality_stats import OTHER_PRECISION, SAME_ARITHMETIC, bounds_for, report_of, wilson
from launcher.bench.quality_types import Passage, Position, QualityReport, Reading, Setting
from launcher.demo import demo_model_path
from launcher.engines.programs import engine_program
from launcher.errors import DoesNotFitError, EngineError, LauncherError, UsageError
from launcher.planner.types import LoadParams
from launcher.records import from_jsonable, to_jsonable
from tests.engines.demo import load_params

PLAIN = load_params(flash_attn=False, n_batch=512, n_ubatch=512)
SHORT = replace(shipped_reading(), n_tokens=512, n_decode=16)
HERE = Setting(model=Path("m.gguf"), load_params=PLAIN)


def position(kld: float | None = 0.001, *, margin: float = 0.0, nll: float = 2.0, more: float = 0.0) -> Position:
    if kld is None:
        return Position(kld=None, top_margin=None, reference_nll=None, candidate_nll=None)
    return Position(kld=kld, top_margin=margin, reference_nll=nll, candidate_nll=nll + more)


def judged(*positions: Position) -> QualityReport:
    return report_of(positions, HERE, HERE, OTHER_PRECISION)


# Figures


def test_a_divergence_is_what_its_definition_says() -> None:
    ours, theirs = np.array([0.0, 1.0, 3.0], np.float32), np.array([2.0, 1.0, 2.5], np.float32)
    found = compared(ours, theirs, 1)
    p = [math.exp(x) / sum(math.exp(y) for y in (0, 1, 3)) for x in (0, 1, 3)]
    q = [math.exp(x) / sum(math.exp(y) for y in (2, 1, 2.5)) for x in (2, 1, 2.5)]
    assert found.kld == pytest.approx(sum(a * math.log(a / b) for a, b in zip(p, q, strict=True)), rel=1e-9)
    assert found.top_margin == 0
    assert (found.reference_nll, found.candidate_nll) == pytest.approx((-math.log(p[1]), -math.log(q[1])))
    assert compared(ours, theirs[::-1], 1).top_margin == pytest.approx(3)
    assert compared(ours, np.array([0, 4, 3], np.float32), 1).top_margin == pytest.approx(2)
    assert compared(ours, ours + 5, 0).kld == pytest.approx(0, abs=1e-12), "a shift of all logits changes nothing"


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
def test_a_logit_that_is_no_number_is_told(wrong: float) -> None:
    row = np.zeros(4, np.float32)
    assert compared(row, np.array([0, wrong, 0, 0], np.float32), 0).kld is None
    report = judged(*[position()] * 99, position(None))
    assert (report.n_tokens, report.n_nan, report.passes) == (100, 1, False)
    assert report.mean_kld == pytest.approx(0.001)
    nothing = judged(position(None), position(None))
    assert (nothing.mean_kld, nothing.top1_agreement, nothing.candidate_ppl) == (None, None, None)
    assert not nothing.passes
    json.dumps(to_jsonable(nothing), allow_nan=False)


def test_wilsons_interval() -> None:
    assert wilson(95, 100) == pytest.approx((0.8882, 0.9785), abs=5e-5)
    assert wilson(100, 100) == pytest.approx((0.9630, 1.0), abs=5e-5)


def test_the_figures_of_a_report() -> None:
    report = judged(
        *(position(k / 1000, margin=0.1 * (k == 7) + (k == 8), more=0.01 if k % 2 else -0.01) for k in range(101))
    )
    assert report.mean_kld == pytest.approx(0.05)
    assert report.median_kld == pytest.approx(0.05)
    assert report.p99_kld == pytest.approx(0.099)
    assert report.max_kld == pytest.approx(0.1)
    assert report.mean_kld_error == pytest.approx(0.0293 / math.sqrt(101), rel=1e-3)
    assert report.top1_agreement == pytest.approx(99 / 101)
    assert report.clear_flips == pytest.approx(1 / 101)
    assert report.reference_ppl == pytest.approx(math.exp(2))
    assert report.ln_ppl_ratio == pytest.approx(-0.01 / 101)
    assert report.ppl_ratio == pytest.approx(math.exp(-0.01 / 101))
    assert from_jsonable(QualityReport, json.loads(json.dumps(to_jsonable(report)))) == report


def test_each_bound_is_held() -> None:
    assert judged(*[position()] * 200).passes
    mean = judged(*[position(0.06)] * 200)
    assert mean.past == ("mean_kld",)
    assert [text[:8] for text in mean.failures] == ["the mean"]
    rare = judged(*[position()] * 196, *[position(2.0)] * 4)
    assert [text[:17] for text in rare.failures] == ["of every hundred "], "a mean of 0.04 hides four broken tokens"
    assert rare.past == ("p99_kld",)
    tops = judged(*[position()] * 190, *[position(margin=0.7)] * 10)
    assert [text[:13] for text in tops.failures] == ["another token"]
    assert tops.past == ("clear_flips",)
    assert judged(*[position(margin=0.69)] * 200).passes, "among equals anything is the likeliest"
    worse = judged(*[position(more=0.1)] * 200)
    assert [text[:18] for text in worse.failures] == ["the text surprises"]
    assert worse.past == ("ln_ppl_ratio",)
    scattered = judged(*[position(more=2.2)] * 100, *[position(more=-2.0)] * 100)
    assert scattered.passes, "a shift of 0.1 with an error of 0.15 is none"
    with pytest.raises(ValueError, match="no positions"):
        judged()


def test_close_bounds_where_only_sums_are_reordered() -> None:
    faster = replace(HERE, load_params=replace(PLAIN, flash_attn=True, n_ubatch=64, repack=True))
    assert bounds_for(HERE, faster) is SAME_ARITHMETIC
    assert bounds_for(HERE, replace(HERE, load_params=replace(PLAIN, type_k="q8_0"))) is OTHER_PRECISION
    assert bounds_for(HERE, replace(HERE, load_params=replace(PLAIN, devices=("CUDA0",)))) is OTHER_PRECISION
    assert bounds_for(HERE, replace(HERE, model=Path("other.gguf"))) is OTHER_PRECISION


def test_a_model_is_loaded_again_only_where_it_must_be() -> None:
    assert loads_alike(HERE, replace(HERE, load_params=replace(PLAIN, flash_attn=True, type_k="q8_0", n_ubatch=64)))
    assert not loads_alike(HERE, replace(HERE, load_params=replace(PLAIN, repack=True)))
    assert not loads_alike(HERE, replace(HERE, model=Path("other.gguf")))


# What is read


def test_the_shipped_text_has_questions_with_answers() -> None:
    passages = shipped_reading().passages
    assert len(passages) == 13
    assert all(passage.question.count("\n") == 0 and len(passage.answer) > 50 for passage in passages)
    text = passage_text(passages[0], ("<", "|", ">"))
    assert text.startswith("<Tell me a short story")
    assert text.endswith("coffee.>")
    assert passage_text(Passage(question="", answer="as it is"), ("<", "|", ">")) == "as it is"


def test_a_long_text_loses_the_same_share_of_every_passage() -> None:
    passages = [[i] * 300 for i in range(1, 6)]
    (window,) = windows_of(passages, Reading(passages=(), n_tokens=1000, n_decode=50), bos=0, n_ubatch=512)
    assert 990 <= len(window.tokens) <= 1000
    assert window.tokens[0] == 0
    assert {window.tokens.count(i) for i in range(1, 6)} == {199}
    assert window.n_prompt == len(window.tokens) - 50


@pytest.mark.parametrize("n_ubatch", [32, 512, 2048])
def test_what_is_compared_fits_in_the_rows_of_a_batch(n_ubatch: int) -> None:
    (window,) = windows_of([list(range(2000))], Reading(passages=()), bos=None, n_ubatch=n_ubatch)
    assert len(window.tokens) == 1024
    assert 1023 not in window.scored, "nothing follows the last token"
    assert set(range(960, 1023)) <= window.scored, "what is decoded one by one is compared"
    assert min(window.scored) == 32
    assert 290 < len(window.scored) < 600
    batches = batches_of(window, n_ubatch)
    assert [at for batch in batches for at in batch] == list(range(1024))
    assert [len(batch) for batch in batches[-64:]] == [1] * 64
    rows = [sum(at in window.scored for at in batch) for batch in batches]
    params = reading_params(load_params(n_ubatch=n_ubatch, n_parallel=4, swa_full=True, n_ctx=131072), (window,))
    assert params.n_outputs_max == max(rows) <= 256
    assert (params.n_ctx, params.n_ubatch, params.n_parallel, params.swa_full) == (1024, min(n_ubatch, 1024), 1, False)


def test_windows_of_llama_perplexity() -> None:
    one, two = windows_of([list(range(100))], Reading(passages=(), n_window=40), bos=None, n_ubatch=512)
    assert (one.tokens, two.tokens) == (tuple(range(40)), tuple(range(40, 80)))
    assert (min(one.scored), max(one.scored), one.n_prompt) == (20, 38, 40)
    first, second = windows_of([list(range(100))], Reading(passages=(), n_window=40), bos=7, n_ubatch=512)
    assert (first.tokens[:3], second.tokens[:3]) == ((7, 0, 1), (7, 40, 41))


# The demo model


def compare(
    candidate: LoadParams, tmp_path: Path, model: Path | None = None, reading: Reading = SHORT
) -> QualityReport:
    return compare_quality(
        model or demo_model_path(),
        PLAIN,
        candidate,
        reference_model=demo_model_path(),
        reading=reading,
        scratch=tmp_path / "scratch",
    )


def test_reordered_sums_pass(tmp_path: Path) -> None:
    steps: list[QualityStep] = []
    same = compare_quality(
        demo_model_path(), PLAIN, PLAIN, reading=SHORT, scratch=tmp_path / "scratch", tell=steps.append
    )
    assert (same.max_kld, same.top1_agreement, same.ln_ppl_ratio) == (0, 1, 0)
    assert [step.reading for step in steps if step.done == 0] == ["reference", "candidate"]
    assert [step.reading for step in steps if step.done == 1] == ["reference", "candidate"]
    other = compare(replace(PLAIN, flash_attn=True, n_ubatch=48, repack=True), tmp_path)
    assert other.passes, other
    assert other.bounds is SAME_ARITHMETIC
    assert other.max_kld is not None
    assert other.max_kld > 0, "the settings were used"
    assert list((tmp_path / "scratch").iterdir()) == []


def test_the_type_of_the_cache_shows(tmp_path: Path) -> None:
    q8 = compare(replace(PLAIN, flash_attn=True, type_k="q8_0", type_v="q8_0"), tmp_path)
    q4 = compare(replace(PLAIN, flash_attn=True, type_k="q4_0", type_v="q4_0"), tmp_path)
    assert q8.mean_kld is not None
    assert q4.mean_kld is not None
    assert q4.mean_kld > 3 * q8.mean_kld > 0


def test_a_damaged_block_does_not_pass(tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.gguf"
    data = bytearray(demo_model_path().read_bytes())
    at = len(data) // 2
    data[at : at + 4096] = bytes(255 - byte for byte in data[at : at + 4096])
    damaged.write_bytes(data)
    report = compare(PLAIN, tmp_path, damaged)
    assert not report.passes
    assert report.failures


def test_other_vocabularies_cannot_be_compared(tmp_path: Path) -> None:
    data = demo_model_path().read_bytes()
    one, other = (bytes([1, 0, 0, 0, 0, 0, 0, 0]) + letter for letter in (b"e", b"a"))
    assert one in data
    swapped = data.replace(one, b"?" * 9, 1).replace(other, one, 1).replace(b"?" * 9, other, 1)
    (tmp_path / "other.gguf").write_bytes(swapped)
    with pytest.raises(UsageError, match=r"other\.gguf has another vocabulary than tiny-gpt-oss-MXFP4\.gguf"):
        compare(PLAIN, tmp_path, tmp_path / "other.gguf")


def test_a_text_too_short(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="too short"):
        compare(PLAIN, tmp_path, reading=Reading(passages=(Passage(question="", answer="a"),), n_decode=0))


CAPITALS = {
    "France": "Paris", "Germany": "Berlin", "Italy": "Rome", "Spain": "Madrid", "Portugal": "Lisbon", "Egypt": "Cairo",
    "Japan": "Tokyo", "China": "Beijing", "Russia": "Moscow", "Canada": "Ottawa", "Austria": "Vienna",
    "Norway": "Oslo", "Sweden": "Stockholm", "Finland": "Helsinki", "Greece": "Athens", "Turkey": "Ankara",
    "Kenya": "Nairobi", "Brazil": "Brasilia", "Ireland": "Dublin", "Hungary": "Budapest", "Belgium": "Brussels",
}  # fmt: skip
KNOWN = "".join(
    f"{HARMONY[0]}What is the capital of {country}?{HARMONY[1]}The capital of {country} is {city}.{HARMONY[2]}"
    for country, city in CAPITALS.items()
)
"""What the demo model knows."""


NEEDS_TOOLS = pytest.mark.skipif(
    engine_program("llama-perplexity") is None, reason="the engine was built without tools"
)


def perplexity(model: Path, folder: Path, *words: str) -> str:
    """What llama-perplexity prints."""
    (folder / "text").write_text(KNOWN, encoding="utf-8")
    command = (str(engine_program("llama-perplexity")), "-m", str(model), "-f", str(folder / "text"), *words)
    command += ("-c", "128", "-b", "128", "-t", "1", "-fa", "off", "-ngl", "0", "--no-repack")
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    return done.stdout + done.stderr


def predictions(model: Path, folder: Path) -> tuple[np.ndarray[Any, Any], int]:
    """The log-probabilities that llama-perplexity keeps of every position it scores, and the number of its tokens.

    Of each row a scale, an offset and 16 bits a token (tools/perplexity/perplexity.cpp, `log_softmax`).
    """
    perplexity(model, folder, "--kl-divergence-base", str(folder / "base"))
    data = (folder / "base").read_bytes()
    n_ctx, n_vocab, n_chunk = np.frombuffer(data, np.int32, 3, 8)
    rows = np.frombuffer(data, np.uint16, offset=20 + 4 * n_ctx * n_chunk).reshape(-1, 2 * ((n_vocab + 1) // 2) + 4)
    scales = np.ascontiguousarray(rows[:, :4]).view(np.float32).astype(np.float64)
    return scales[:, :1] * rows[:, 4 : 4 + n_vocab] + scales[:, 1:], int(n_ctx * n_chunk)


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """The demo model with a thousand bytes of its last tensor gone."""
    path = tmp_path / "other.gguf"
    data = bytearray(demo_model_path().read_bytes())
    data[-3000:-2000] = bytes(1000)
    path.write_bytes(data)
    return path


def by_windows(other: Path, folder: Path) -> QualityReport:
    return compare(PLAIN, folder, other, Reading(passages=(Passage(question="", answer=KNOWN),), n_window=128))


@NEEDS_TOOLS
def test_the_same_predictions_as_llama_perplexity(tmp_path: Path, other: Path) -> None:
    ours = by_windows(other, tmp_path)
    reference, n_tokens = predictions(demo_model_path(), tmp_path)
    candidate, _ = predictions(other, tmp_path)
    assert ours.n_tokens == len(reference) == n_tokens // 128 * 63 > 200
    klds = (np.exp(reference) * (reference - candidate)).sum(axis=1)
    assert ours.mean_kld == pytest.approx(klds.mean(), rel=0.01, abs=5e-5)
    assert ours.median_kld == pytest.approx(np.median(klds), rel=0.01, abs=5e-5)
    assert ours.p99_kld == pytest.approx(np.percentile(klds, 99), rel=0.01)
    assert ours.max_kld == pytest.approx(klds.max(), rel=0.01)
    assert ours.mean_kld is not None
    assert ours.mean_kld > 1e-3, "there is something to agree on"
    same = (reference.argmax(axis=1) == candidate.argmax(axis=1)).mean()
    assert ours.top1_agreement == pytest.approx(same, abs=1.5 / len(reference))


@pytest.mark.slow
@NEEDS_TOOLS
def test_the_same_figures_as_llama_perplexity(tmp_path: Path, other: Path) -> None:
    """Slow, since the program ends without waiting for its thread that prints, and has to be asked again and again."""

    def told(model: Path, whole: str, *words: str) -> str:
        for _ in range(40):
            text = perplexity(model, tmp_path, "--kl-divergence-base", str(tmp_path / "base"), *words)
            if whole in text:
                return text
        raise AssertionError(text)

    def figure(name: str, text: str) -> float:
        match = re.search(rf"{re.escape(name)}\s*[:=]\s+(-?[\d.]+)", text)
        assert match, text
        return float(match[1])

    ours = by_windows(other, tmp_path)
    base = told(demo_model_path(), "+/-")
    compared_ = told(other, "Same top p:", "--kl-divergence")
    assert ours.mean_kld == pytest.approx(figure("Mean    KLD", compared_), rel=0.01, abs=5e-5)
    assert ours.median_kld == pytest.approx(figure("Median  KLD", compared_), rel=0.01, abs=5e-5)
    assert ours.p99_kld == pytest.approx(figure("99.0%   KLD", compared_), rel=0.01)
    assert ours.max_kld == pytest.approx(figure("Maximum KLD", compared_), rel=0.01)
    # Not its "Mean PPL(base)": its file keeps no probability below e to the -16 of the largest.
    assert ours.reference_ppl == pytest.approx(figure("Final estimate: PPL", base), rel=1e-3)
    assert ours.candidate_ppl == pytest.approx(figure("Mean PPL(Q)", compared_), rel=1e-3)
    assert ours.top1_agreement is not None
    assert 100 * ours.top1_agreement == pytest.approx(figure("Same top p", compared_), abs=0.1)


# What goes wrong


def program(folder: Path, text: str) -> str:
    """A program that stands for the child's Python."""
    path = folder / "python"
    path.write_text(f"#!/bin/sh\nread order\n{text}\n")
    path.chmod(0o755)
    return str(path)


def ask(folder: Path, text: str) -> QualityReport:
    return compare_quality(demo_model_path(), PLAIN, PLAIN, scratch=folder / "s", python=program(folder, text))


@pytest.mark.parametrize(
    ("told", "reading"),
    [
        ("", "reference"),
        ('echo \'{"reading": "reference", "done": 0.5}\'', "reference"),
        ('echo \'{"reading": "reference", "done": 1.0}\'', "candidate"),
    ],
)
def test_a_crash_names_the_setting_that_was_read(tmp_path: Path, told: str, reading: str) -> None:
    with pytest.raises(EngineError, match=f"signal 9 while the {reading} was read") as caught:
        ask(tmp_path, f"{told}\necho GGML_ASSERT failed >&2\nkill -9 $$")
    assert caught.value.details == ("GGML_ASSERT failed",)


def test_a_model_that_cannot_be_loaded(tmp_path: Path) -> None:
    (tmp_path / "broken.gguf").write_bytes(b"GGUF" + bytes(64))
    with pytest.raises(EngineError, match=r"could not load broken\.gguf"):
        compare(PLAIN, tmp_path, tmp_path / "broken.gguf")


def test_a_disk_that_does_not_hold_the_logits(tmp_path: Path) -> None:
    answer = {"refused": "no room", "kind": "DoesNotFitError", "log": [], "needs_bytes": 5, "has_bytes": 3}
    with pytest.raises(DoesNotFitError, match="no room") as caught:
        ask(tmp_path, f"echo '{json.dumps(answer)}'")
    assert (caught.value.needs_bytes, caught.value.has_bytes) == (5, 3)


def test_a_scratch_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LauncherError, match="cannot write in"):
        compare_quality(demo_model_path(), PLAIN, PLAIN, scratch=tmp_path / "file" / "s")


def test_ctrl_c_ends_the_child(tmp_path: Path) -> None:
    (tmp_path / "pid").touch()

    def stop(_: QualityStep) -> None:
        raise KeyboardInterrupt

    text = f'echo $$ > {tmp_path}/pid; echo \'{{"reading": "reference", "done": 0.5}}\'; exec sleep 60'
    with pytest.raises(KeyboardInterrupt):
        compare_quality(
            demo_model_path(), PLAIN, PLAIN, scratch=tmp_path / "s", tell=stop, python=program(tmp_path, text)
        )
    pid = (tmp_path / "pid").read_text().strip()
    assert not Path(f"/proc/{pid}").exists()
