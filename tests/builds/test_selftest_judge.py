"""Verdicts from what a child said and how it ended, where no real build here ends so."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from launcher.builds.reference import (
    DRIFT,
    MAX_KL,
    MEAN_KL,
    N_WORST,
    Difference,
    difference,
    divergence,
    log_softmax,
    predicted,
)
from launcher.builds.selftest import read_reference
from launcher.builds.selftest_child import MARK
from launcher.builds.selftest_judge import Case, Heard, devices_of, fault, heard, is_full, program_fault
from launcher.builds.types import Build
from tests.builds.copies import record

REFERENCE = read_reference()
BUILD = Build(name="cuda-0.3.36", site=Path("/data/engines/cuda-0.3.36/site"), record=record("cuda-0.3.36"))
SOUND = Difference(max_kl=0.03, mean_kl=0.0001, n_same_top=63, n_positions=64, drift=0.004)
ABOUT = {
    "package": str(BUILD.package),
    "version": REFERENCE.version,
    "commit": f"{REFERENCE.commit}-dirty",
    "devices": ["CUDA0"],
    "defaults": REFERENCE.defaults,
}
WELL = Heard(
    doing="continuing a text on CUDA0",
    about=ABOUT,
    cases=(
        Case(name="a prompt at once", device=None, found=SOUND),
        Case(name="token by token", device="CUDA0", found=SOUND),
    ),
    texts=(REFERENCE.continued,),
    done=True,
)


def told(said: Heard, status: int | None = 0, stderr: str = "") -> str | None:
    return fault(said, status, stderr, BUILD, REFERENCE)


def test_all_is_well() -> None:
    assert told(WELL) is None
    assert devices_of(WELL) == ("CUDA0",)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"package": "/usr/lib/llama_cpp"}, "another llama_cpp was loaded in its place, /usr/lib/llama_cpp"),
        ({"version": "0.3.1"}, f"it is llama-cpp-python 0.3.1; its record says {REFERENCE.version}"),
        ({"commit": "abcdef0-dirty"}, f"its library is of llama.cpp abcdef0; its record says {REFERENCE.commit}"),
        (
            {"defaults": {**REFERENCE.defaults, "llama_context_params.n_batch": 7.0}},
            "its bindings and its library are not of one version: they disagree on llama_context_params (at n_batch)",
        ),
    ],
)
def test_it_is_another_build(change: dict[str, object], expected: str) -> None:
    assert told(replace(WELL, about={**ABOUT, **change})) == expected


def test_a_commit_that_is_not_told_or_told_longer_is_no_fault() -> None:
    for commit in ("unknown", f"{REFERENCE.commit}123"):
        assert told(replace(WELL, about={**ABOUT, "commit": commit})) is None


def test_the_worst_device_is_named() -> None:
    wrong = replace(SOUND, mean_kl=0.31)
    said = replace(WELL, cases=(*WELL.cases, Case(name="a prompt at once", device="CUDA1", found=wrong)))
    assert told(said) == (
        f"it computes wrongly on CUDA1 (a prompt at once): predictions are 0.31 nats off, over {MEAN_KL:g}"
    )
    said = replace(WELL, cases=(Case(name="token by token", device=None, found=replace(SOUND, max_kl=4.0)),))
    assert told(said) == f"it computes wrongly on the CPU (token by token): predictions are 4 nats off, over {MAX_KL:g}"
    said = replace(said, cases=(Case(name="token by token", device=None, found=replace(SOUND, drift=0.084)),))
    assert told(said) == (
        f"it computes wrongly on the CPU (token by token): predictions are 0.084 nats off to one side, over {DRIFT:g}"
    )
    none = replace(SOUND, max_kl=None, mean_kl=None)
    said = replace(said, cases=(*said.cases, Case(name="a prompt at once", device="CUDA0", found=none)))
    assert told(said) == "it computes values that are no numbers on CUDA0 (a prompt at once)"


OTHER_CPU = (
    "it was compiled for another CPU: it met an instruction that this one does not have while loading its libraries"
)
LIBRARY = "RuntimeError: Failed to load shared library '/data/lib/libllama.so': "


@pytest.mark.parametrize(
    ("status", "stderr", "expected"),
    [
        (-11, "", "it crashed while loading its libraries (SIGSEGV)"),
        (-11, "ggml_vulkan: Found 1 Vulkan devices", "it crashed while loading its libraries (SIGSEGV)"),
        (
            -6,
            "ggml.c:1: GGML_ASSERT(a == b) failed\n#1 0x0 in main ()\n",
            "it crashed while loading its libraries (SIGABRT): ggml.c:1: GGML_ASSERT(a == b) failed",
        ),
        (
            -6,
            "CUDA error: no kernel image is available\n  current device: 0\n/ggml-cuda.cu:94: CUDA error\n#1 in main",
            "it crashed while loading its libraries (SIGABRT): CUDA error: no kernel image is available",
        ),
        (0xC0000005, "", "it crashed while loading its libraries (an access violation)"),
        (
            0xC000001D - 2**32,
            "",
            OTHER_CPU,
        ),
        (None, "", "it hung while loading its libraries"),
        (0, "", "it stopped while loading its libraries"),
        (
            1,
            f"{LIBRARY}libcudart.so.12: cannot open shared object file: No such file or directory",
            "a library that it needs is missing: libcudart.so.12",
        ),
        (
            1,
            f"{LIBRARY}/lib/x86_64-linux-gnu/libc.so.6: version `GLIBC_2.38' not found (required by /data/libggml.so)",
            "it needs GLIBC_2.38, which is newer than this system's",
        ),
        (
            1,
            f"{LIBRARY}/data/libllama.so: undefined symbol: ggml_new",
            "its library lacks ggml_new, which belongs to another version",
        ),
        (
            1,
            "AttributeError: function 'llama_new' not found",
            "its library lacks llama_new, which belongs to another version",
        ),
        (
            1,
            "AttributeError: dlsym(0x8, llama_new): symbol not found",
            "its library lacks llama_new, which belongs to another version",
        ),
        (
            1,
            f"{LIBRARY}/data/lib/libggml.so.0: invalid ELF header",
            "a library of it cannot be loaded: libggml.so.0 (invalid ELF header)",
        ),
        (
            1,
            "ModuleNotFoundError: No module named 'numpy'",
            "its libraries cannot be loaded: ModuleNotFoundError: No module named 'numpy'",
        ),
        (1, "", "its libraries cannot be loaded: no reason was given"),
    ],
)
def test_how_it_ended(status: int | None, stderr: str, expected: str) -> None:
    assert told(Heard(doing="loading its libraries"), status, stderr) == expected


def test_what_llama_cpp_refused_and_what_python_raised() -> None:
    doing = replace(WELL, doing="loading the demo model on CUDA0", done=False)
    assert told(replace(doing, refused="llama.cpp could not load it: a tensor is missing")) == (
        "llama.cpp could not load it: a tensor is missing (loading the demo model on CUDA0)"
    )
    assert told(replace(doing, refused="no context of 512 tokens: failed to allocate CUDA0 buffer")) == (
        "no context of 512 tokens: failed to allocate CUDA0 buffer (loading the demo model on CUDA0); "
        "other programs may hold its memory"
    )
    assert told(doing, 1, "TypeError: no") == "it failed while loading the demo model on CUDA0: TypeError: no"


@pytest.mark.parametrize(
    ("status", "text", "expected"),
    [
        (0, f"version: 0.5.0-dev (build 1, commit {REFERENCE.commit})\nbuilt with GNU 12.2.0", None),
        (0, f"version: 7000 ({REFERENCE.commit}12)", None),
        (0, "says nothing of that kind", None),
        (
            0,
            "version: 7000 (abcdef0)",
            f"its llama-server is of llama.cpp abcdef0; its record says {REFERENCE.commit}",
        ),
        (None, "", "its llama-server hangs"),
        (-4, "", "its llama-server does not start: it crashed (SIGILL)"),
        (
            127,
            "llama-server: error while loading shared libraries: libssl.so.3: cannot open shared object file: No such",
            "its llama-server does not start: a library that it needs is missing: libssl.so.3",
        ),
        (
            1,
            "llama-server: Exec format error",
            "its llama-server does not start: its libraries cannot be loaded: llama-server: Exec format error",
        ),
    ],
)
def test_its_server(status: int | None, text: str, expected: str | None) -> None:
    assert program_fault(status, text, BUILD) == expected


def test_lines_of_drivers_and_half_lines_are_left_out() -> None:
    lines = [
        "ggml_cuda_init: found 1 device",
        MARK + json.dumps({"doing": "computing"}),
        MARK + json.dumps({"case": "token by token", "device": None, "found": {"max_kl": 1}}),
        MARK + "[]",
        MARK + '{"doing": "loa',
    ]
    assert heard("\n".join(lines), MARK) == Heard(doing="computing")


OUT = "CUDA error: out of memory"


@pytest.mark.parametrize(
    ("said", "status", "stderr", "full"),
    [
        (Heard(refused="failed to allocate buffer"), 0, "", True),
        (Heard(refused="it splits a text into other tokens"), 0, OUT, False),
        (Heard(doing="x"), -6, OUT, True),
        (Heard(doing="x"), -6, "GGML_ASSERT(a == b)", False),
        (Heard(doing="x"), None, OUT, False),
        (Heard(refused="failed to allocate", about={**ABOUT, "version": "0.3.1"}), 0, "", False),
        (
            Heard(refused="out of memory", cases=(Case(name="x", device=None, found=replace(SOUND, mean_kl=9.0)),)),
            0,
            "",
            False,
        ),
    ],
)
def test_memory_that_others_hold(said: Heard, status: int | None, stderr: str, full: bool) -> None:
    """Only where nothing else is wrong: such a result says nothing of the build."""
    assert is_full(said, status, stderr, BUILD, REFERENCE) == full


# The arithmetic


def test_equal_logits_do_not_diverge_and_others_do() -> None:
    logits = [-i / 3 for i in range(1280)]  # as sure as a model that was trained
    ours = predicted(logits)
    assert math.isclose(sum(math.exp(log) for log in ours.logs) + math.exp(ours.rest), 1.0, abs_tol=1e-4)
    found = divergence(ours, logits)
    assert found is not None
    assert found < 1e-4
    # Divergence of what is kept is no more than that of all, and most of it.
    other = [logit * 0.5 for logit in logits]
    full = sum(math.exp(a) * (a - b) for a, b in zip(log_softmax(logits), log_softmax(other), strict=True))
    found = divergence(ours, other)
    assert found is not None
    assert 0.9 * full < found < full + 1e-4


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_no_divergence(value: float) -> None:
    logits = [1.0] * 100
    ours = predicted(logits)
    assert divergence(ours, [value, *logits[1:]]) is None
    rows = [logits] * 19 + [[value, *logits[1:]]]
    found = difference([ours] * 20, rows)
    assert not found.sound
    assert found.mean_kl is None
    assert found.drift is None


def test_the_worst_positions_are_left_out_of_the_mean_alone() -> None:
    logits = [-i / 3 for i in range(200)]
    flipped = list(reversed(logits))
    rows = [logits] * 20 + [flipped] * N_WORST
    found = difference([predicted(logits)] * len(rows), rows)
    assert found.mean_kl is not None
    assert found.mean_kl < MEAN_KL
    assert found.max_kl is not None
    assert found.max_kl > MAX_KL
    assert not found.sound


def test_what_is_off_to_one_side_everywhere_drifts_and_noise_does_not() -> None:
    logits = [-i / 3 for i in range(200)]
    ours = [predicted(logits)] * 40
    pushed = [logit + (0.1 if i % 20 == 10 else 0.0) for i, logit in enumerate(logits)]
    pulled = [logit - (0.1 if i % 20 == 10 else 0.0) for i, logit in enumerate(logits)]
    noise = difference(ours, [pushed, pulled] * 20)
    off = difference(ours, [pushed] * 40)
    assert noise.mean_kl == pytest.approx(off.mean_kl, rel=0.2)
    assert noise.sound
    assert off.drift == pytest.approx(0.1 / math.sqrt(2), rel=0.1)
    assert not off.sound
    # A few positions that are far off say nothing of the others.
    flipped = list(reversed(logits))
    assert difference(ours, [logits] * 36 + [flipped] * 4).drift == pytest.approx(0, abs=0.01)
