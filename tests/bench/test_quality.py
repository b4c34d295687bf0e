"""The quality check: its figures by hand, and what it reads."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from launcher.bench.quality_child import compared, loads_alike
from launcher.bench.quality_reading import (
    batches_of,
    passage_text,
    reading_params,
    shipped_reading,
    windows_of,
)
from launcher.bench.quality_stats import OTHER_PRECISION, SAME_ARITHMETIC, bounds_for, report_of, wilson
from launcher.bench.quality_types import Passage, Position, QualityReport, Reading, Setting
from launcher.records import from_jsonable, to_jsonable
from tests.engines.demo import load_params

PLAIN = load_params(flash_attn=False, n_batch=512, n_ubatch=512)
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
