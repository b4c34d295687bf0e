"""Long words: they ended the process inside llama.cpp's tokenizer."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.engines.runs import MAX_RUN, cut_runs

LONG = {
    "letters": "a",
    "capitals": "A",
    "signs": "-",
    "underscores": "_",
    "spaces": " ",
    "line breaks": "\n",
    "han": "\u6f22",
    "marks": "\u0301",
    "half of a control token": "<|",
}


@pytest.mark.parametrize("unit", LONG.values(), ids=LONG)
def test_a_long_run_is_cut(unit: str) -> None:
    text = unit * (3 * MAX_RUN + 7)
    parts = cut_runs(text)
    assert "".join(parts) == text
    assert max(map(len, parts)) == MAX_RUN


@pytest.mark.parametrize("text", ["", "a", "some words " * 5000, "12" * 5000, "a1" * MAX_RUN, "x" * MAX_RUN])
def test_other_text_stays_whole(text: str) -> None:
    assert cut_runs(text) == [text]


@pytest.mark.parametrize("name", ["<|end|>", "<|start|>", "</s>", "<s>", "[INST]", "[/INST]"])
def test_the_name_of_a_control_token_is_never_cut(name: str) -> None:
    for n in range(MAX_RUN - len(name) - 1, MAX_RUN + 2):
        assert any(name in part for part in cut_runs("!" * n + name + "?" * MAX_RUN)), n


@given(st.lists(st.tuples(st.sampled_from(["a", "-", " ", "<|end|>", "1", "\n"]), st.integers(1, 1500)), max_size=6))
def test_nothing_is_lost_and_a_longer_text_begins_with_the_same_parts(runs: list[tuple[str, int]]) -> None:
    text = "".join(unit * n for unit, n in runs)
    parts = cut_runs(text)
    assert "".join(parts) == text
    longer = cut_runs(text + "b" * 10)
    assert longer[: len(parts) - 1] == parts[:-1]


PROGRAM = """
import llama_cpp
from launcher.demo import demo_model_path
from launcher.engines.embedded import open_engine
from launcher.engines.types import Message, Sampling
from tests.engines.demo import load_params
with open_engine(demo_model_path(), load_params()) as engine:
    for unit in "aA- \\n\u6f22":
        print(engine.count_tokens([Message(role="user", content=unit * 100_000)], Sampling()))
    print(engine.count_tokens([Message(role="user", content="-" * 999 + "<|end|>")], Sampling()))
"""


def test_the_engine_counts_a_word_of_100_000_characters() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr[-300:]
    counts = [int(line) for line in done.stdout.split()]
    assert len(counts) == 7
    assert min(counts) > 100
