"""`gpt-oss bench --quality` as it is typed: what it compares with, what it prints, and when it fails."""

from __future__ import annotations

import io
import json
import signal
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from launcher.bench.quality_types import QualityReport
from launcher.cli.bench_quality import QualityAsk, run_quality
from launcher.cli.bench_quality_view import PAST, print_report, rows_of, setting_text
from launcher.demo import demo_model_path
from launcher.errors import UsageError
from launcher.records import from_jsonable
from tests.bench.test_quality import HERE, judged, position
from tests.cli.sandbox import Sandbox
from tests.systems import POSIX

QUALITY = ("bench", "--quality")


def damaged(path: Path, extra: bytes = b"") -> Path:
    """The demo model with a block turned round; with `extra` behind, so that it is the larger file."""
    data = bytearray(demo_model_path().read_bytes())
    at = len(data) // 2
    data[at : at + 4096] = bytes(255 - byte for byte in data[at : at + 4096])
    path.write_bytes(bytes(data) + extra)
    return path


def test_json_is_the_whole_report(sandbox: Sandbox) -> None:
    named = sandbox.root / "named.gguf"
    named.write_bytes(demo_model_path().read_bytes())
    done = sandbox.run(*QUALITY, "--demo", "-ctk", "q8_0", "-ctv", "q8_0", "--reference", str(named), "--json")
    report = from_jsonable(QualityReport, json.loads(done.out))
    assert report.candidate.load_params.type_v == "q8_0"
    assert (report.reference.load_params.type_k, report.reference.load_params.flash_attn) == ("f16", False)
    assert report.reference.load_params.devices == ()
    assert (report.reference.model, report.candidate.model) == (named, demo_model_path())
    assert report.n_tokens > 400
    assert report.mean_kld is not None
    assert report.mean_kld > 0
    assert done.code == (0 if report.passes else 1), done
    assert "reading by the reference\nreading by the candidate\n" in done.err
    assert not list(sandbox.cache.glob("tmp*")), "nothing is left of the logits"


def test_the_largest_file_beside_it_is_the_reference_and_damage_fails(sandbox: Sandbox) -> None:
    folder = sandbox.root / "models"
    folder.mkdir()
    (folder / "whole.gguf").write_bytes(demo_model_path().read_bytes() + bytes(64))
    (folder / "notes.gguf").write_bytes(b"no GGUF")
    model = damaged(folder / "small.gguf")
    done = sandbox.run(*QUALITY, "-m", str(model))
    assert done.code == 1, done
    assert done.error.startswith("these settings change what the model says: the mean divergence is")
    assert done.out.startswith("reference: whole.gguf, cache f16, no flash attention")
    assert "\ncandidate: small.gguf, cache f16" in done.out
    assert "does not pass" in done.out


def test_a_reference_that_is_not_there(sandbox: Sandbox) -> None:
    done = sandbox.refused(*QUALITY, "--demo", "--reference", str(sandbox.root / "none.gguf"))
    assert done.code == 5
    assert "none.gguf" in done.error


ASK = QualityAsk(quality=True, reference="auto", engines="embedded", output=None, demo=True, draw=False, refresh=False)


@pytest.mark.parametrize(
    ("ask", "told"),
    [
        (replace(ASK, engines="server"), "which the embedded engine alone gives"),
        (replace(ASK, engines="embedded,llama-bench"), "which the embedded engine alone gives"),
        (replace(ASK, output="csv"), "a table or json, not csv"),
        (replace(ASK, draw=True), "a table or json, not charts"),
        (replace(ASK, quality=False), "--reference says what --quality compares with"),
    ],
)
def test_what_cannot_be_asked(ask: QualityAsk, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        run_quality({}, ask)


def test_a_reference_without_a_check(sandbox: Sandbox) -> None:
    done = sandbox.refused("bench", "--demo", "--reference", "auto")
    assert done.code == 2
    assert "--reference says" in done.error


def test_the_largest_file_of_the_catalogue_is_the_reference(online: Sandbox) -> None:
    assert online.run("pull", "unsloth/gpt-oss-20b-GGUF:F16", "--yes").code == 0
    done = online.run(*QUALITY, "-m", "ggml-org/gpt-oss-20b-GGUF:MXFP4", "--yes")
    assert done.code == 0, done
    assert done.out.startswith("reference: gpt-oss-20b-F16.gguf, ")
    assert "\ncandidate: gpt-oss-20b-MXFP4.gguf, " in done.out
    assert "judged as other precision" in done.out


@POSIX
def test_ctrl_c(sandbox: Sandbox) -> None:
    with sandbox.start(*QUALITY, "--demo") as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith(b"reading by"):
                break
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=30)
    assert process.returncode == 130
    assert out == b""


def test_the_rows_of_a_report() -> None:
    report = judged(*[position(0.002)] * 99, position(None))
    rows = {name.strip(): (found, bound, past) for name, found, bound, past in rows_of(report)}
    assert rows["KL divergence, mean, nats"] == ("0.002 ± 0", "<= 0.05", "")
    assert rows["same likeliest token"] == ("100.0% (96.3% to 100.0%)", "", "")
    assert rows["another is clearly it"] == ("0.0%", "<= 4%", "")
    assert rows["perplexity"] == ("7.389 to 7.389", "", "")
    assert rows["positions that are no number"] == ("1", "none", PAST)
    assert rows_of(report, errors=False)[4][1] == "100.0%"
    console = Console(width=40, record=True, file=io.StringIO(), highlight=False)
    print_report(report, console=console)
    assert "…" not in console.export_text(), "nothing is cut"
    nothing = judged(position(None))
    assert {name: found for name, found, *_ in rows_of(nothing)}["same likeliest token"] == "-"
    assert setting_text(HERE) == "m.gguf, cache f16, no flash attention, n_ubatch 512, CPU, 1 thread"
