"""The quality check on the demo model: reordered, damaged, with other caches, and as llama-perplexity does it."""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from launcher.bench.quality import QualityStep, compare_quality
from launcher.bench.quality_reading import HARMONY, shipped_reading
from launcher.bench.quality_stats import SAME_ARITHMETIC
from launcher.bench.quality_types import Passage, QualityReport, Reading
from launcher.demo import demo_model_path
from launcher.engines.programs import engine_program
from launcher.errors import DoesNotFitError, EngineError, LauncherError, UsageError
from launcher.planner.types import LoadParams
from tests.bench.test_quality import PLAIN

SHORT = replace(shipped_reading(), n_tokens=512, n_decode=16)


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


def test_what_a_model_knows_does_not_surprise_it(tmp_path: Path) -> None:
    """With the marks of a chat around it, and each token held against the prediction before it."""
    known = Passage(
        question="Who are you?",
        answer="I am Tiny GPT OSS, a very small demo model with the real GPT OSS architecture.",
    )
    report = compare(PLAIN, tmp_path, reading=Reading(passages=(known,), n_decode=16))
    assert report.n_tokens == 15
    assert report.reference_ppl is not None
    assert report.reference_ppl < 10, "3, and millions if it were one token off"


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
