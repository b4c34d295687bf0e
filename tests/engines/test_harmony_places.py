"""Where the next token of a turn would stand, and what a header must not become."""

from __future__ import annotations

import pytest

from launcher.engines.harmony import HarmonyParser, PlainParser
from launcher.engines.harmony.header import MAX_HEADER_CHARS
from tests.engines.harmony_helpers import IDS, TEXT_ID, TOKENS, tokens


def after(output: str) -> HarmonyParser:
    parser = HarmonyParser(TOKENS)
    for token, piece in tokens(output):
        parser.feed(token, piece)
    return parser


@pytest.mark.parametrize(
    ("output", "place"),
    [
        ("", "header"),
        ("<|channel|>final", "header"),
        ("<|channel|>final<|message|>", "answer"),
        ("<|channel|>final <|constrain|>json<|message|>{", "answer"),
        ("<|channel|>analysis<|message|>Hm", "text"),
        ("<|channel|>commentary<|message|>Hm", "text"),
        ("<|channel|>analysis<|message|>Hm<|end|>", "header"),
        ("<|channel|>analysis<|message|>Hm<|end|><|start|>assistant<|channel|>final<|message|>", "answer"),
        ("<|channel|>analysis to=python code<|message|>1", "call"),
        ("<|channel|>final to=functions.f<|message|>{", "call"),
        ("<|message|>", "answer"),
        ("<|channel|>nonsense<|message|>", "answer"),
    ],
)
def test_the_place_of_the_next_token(output: str, place: str) -> None:
    assert after(output).place == place


CHANNEL, START, MESSAGE = IDS["<|channel|>"], IDS["<|start|>"], IDS["<|message|>"]


@pytest.mark.parametrize(
    ("output", "text", "instead"),
    [
        ("", "Hello", {CHANNEL, START}),
        ("", " to=functions.f", set()),
        ("", " to", set()),
        ("<|channel|>", "final", set()),
        ("<|channel|>", "x" * (MAX_HEADER_CHARS + 1), {CHANNEL, START}),
        ("<|channel|>" + "x" * MAX_HEADER_CHARS, "y", {CHANNEL, MESSAGE}),
        ("<|channel|>analysis<|message|>a<|end|>", "{", {CHANNEL, START}),
        ("<|channel|>analysis<|message|>a<|end|><|start|>", "assistant", set()),
        ("<|channel|>analysis<|message|>a<|end|><|start|>assistant", "{", {CHANNEL, MESSAGE}),
        ("<|channel|>analysis<|message|>", "anything", set()),
        ("<|channel|>final<|message|>", "anything", set()),
    ],
)
def test_text_that_would_open_a_message_without_a_header(output: str, text: str, instead: set[int]) -> None:
    assert set(after(output).instead_of(TEXT_ID, text.encode())) == instead


@pytest.mark.parametrize("token", ["<|start|>", "<|end|>"])
def test_a_token_that_makes_text_of_a_header(token: str) -> None:
    held = after("<|channel|>final Yes and no")
    assert set(held.instead_of(IDS[token], token.encode())) == {CHANNEL, MESSAGE}
    assert not held.instead_of(MESSAGE, b"")
    assert not after("<|channel|>final").instead_of(IDS[token], token.encode())


@pytest.mark.parametrize(
    ("thinking", "fed", "place"),
    [
        (False, "", "answer"),
        (False, "Yes", "answer"),
        (False, "<think>Hm", "text"),
        (True, "", "text"),
        (True, "Hm</think>", "answer"),
    ],
)
def test_places_of_a_model_without_channels(thinking: bool, fed: str, place: str) -> None:
    parser = PlainParser(thinking=thinking)
    parser.feed(TEXT_ID, fed.encode())
    assert parser.place == place
    assert parser.instead_of(TEXT_ID, b"anything") == ()
