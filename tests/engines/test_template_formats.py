"""Which template and which stream format a file gets."""

from collections.abc import Collection
from datetime import datetime
from typing import Any

import pytest

from launcher.engines.harmony.formats import ChatTemplate, choose_template, detect_format
from launcher.engines.harmony.template import render_prompt
from launcher.engines.types import Message
from tests.engines.harmony_helpers import IDS

NOW = datetime(2026, 11, 22)  # noqa: DTZ001 - a template formats the user's wall clock
CHATML_TOKENS = ("<|im_start|>", "<|im_end|>")
CONVERSATION = [
    Message(role="system", content="Be brief."),
    Message(role="user", content="Hi"),
    Message(role="assistant", content="Ho", reasoning="hm"),
    Message(role="user", content="And?"),
]


@pytest.mark.parametrize(
    ("template", "vocabulary", "expected"),
    [
        ("{{ '<|start|>system<|message|>' }}", IDS, "harmony"),
        (None, IDS, "harmony"),
        ("{{ '<|im_start|>' }}", (*IDS, *CHATML_TOKENS), "plain"),
        ("{{ '<|start|>system<|message|>' }}", CHATML_TOKENS, "plain"),
        (None, (), "plain"),
    ],
)
def test_formats(template: str | None, vocabulary: Collection[str], expected: str) -> None:
    assert detect_format(template, lambda text: text in vocabulary) == expected


def rendered(vocabulary: Collection[str], **kwargs: Any) -> tuple[ChatTemplate, str]:
    template = choose_template(None, lambda text: text in vocabulary)
    pieces = render_prompt(template.source, CONVERSATION, now=NOW, control_texts=tuple(vocabulary), **kwargs)
    assert all(piece.trusted for piece in pieces)
    return template, "".join(piece.text for piece in pieces)


def test_the_files_own_template_comes_first() -> None:
    chosen = choose_template("{{ messages }}", lambda _: True)
    assert chosen.source == "{{ messages }}"
    assert chosen.note is None
    assert chosen.stops == ()


def test_harmony_without_a_template() -> None:
    chosen, prompt = rendered(IDS, reasoning_effort="low")
    assert chosen.format == "harmony"
    assert chosen.note is not None
    assert "no chat template" in chosen.note
    assert prompt == (
        "<|start|>system<|message|>You are a helpful assistant.\nCurrent date: 2026-11-22\n\nReasoning: low\n\n"
        "# Valid channels: analysis, commentary, final. Channel must be included for every message.<|end|>"
        "<|start|>developer<|message|># Instructions\n\nBe brief.<|end|><|start|>user<|message|>Hi<|end|>"
        "<|start|>assistant<|channel|>final<|message|>Ho<|end|><|start|>user<|message|>And?<|end|><|start|>assistant"
    )
    assert "Reasoning: medium" in rendered(IDS)[1]


def test_chatml_without_a_template() -> None:
    chosen, prompt = rendered(CHATML_TOKENS)
    assert chosen.format == "plain"
    assert chosen.note is not None
    assert "ChatML" in chosen.note
    assert prompt == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHo<|im_end|>\n"
        "<|im_start|>user\nAnd?<|im_end|>\n<|im_start|>assistant\n"
    )


def test_nothing_at_all() -> None:
    chosen, prompt = rendered(())
    assert chosen.format == "plain"
    assert chosen.note is not None
    assert prompt == "System: Be brief.\nUser: Hi\nAssistant: Ho\nUser: And?\nAssistant:"
    assert "\nUser:" in chosen.stops


def test_a_blank_template_is_none() -> None:
    assert choose_template(" \n", lambda text: text in CHATML_TOKENS).note is not None
