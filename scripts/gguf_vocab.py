"""A stand-in for the o200k_harmony vocabulary: its size, its control tokens at their real ids, invented words.

It has what llama.cpp's byte-level BPE needs: all 256 byte tokens, unique texts, and merges whose two sides and result
are tokens. Words are all strings over ten byte symbols, shortest first, so every way to split one is a valid merge.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

N_VOCAB = 201_088
N_MERGES = 446_189
N_TEXT_TOKENS = 199_998
"""Control tokens have the ids from here on."""
CONTROL_TOKENS = {
    199_998: "<|startoftext|>",
    199_999: "<|endoftext|>",
    200_002: "<|return|>",
    200_003: "<|constrain|>",
    200_005: "<|channel|>",
    200_006: "<|start|>",
    200_007: "<|end|>",
    200_008: "<|message|>",
    200_012: "<|call|>",
    200_018: "<|endofprompt|>",
}
TOKEN_TYPE_NORMAL = 1
TOKEN_TYPE_CONTROL = 3
_SYMBOL_BYTES = (0x65, 0xC3, 0xC5, 0xD0, 0xD1, 0xE0, 0xE3, 0xE4, 0xE5, 0xEA)
"""`e` and nine lead bytes of other scripts, which take two bytes each in a GGUF: this sets the size of the header."""


def byte_symbols() -> dict[int, str]:
    """The printable character that byte-level BPE (GPT-2's scheme) writes for each byte."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in set(plain)]
    return {**{byte: chr(byte) for byte in plain}, **{byte: chr(256 + i) for i, byte in enumerate(others)}}


def tokens() -> list[str]:
    """All 201,088 token texts, by id."""
    symbols = byte_symbols()
    texts = [symbols[byte] for byte in range(256)]
    texts += itertools.islice(_words(symbols), N_TEXT_TOKENS - len(texts))
    texts += [CONTROL_TOKENS.get(token, f"<|reserved_{token}|>") for token in range(N_TEXT_TOKENS, N_VOCAB)]
    return texts


def token_types() -> list[int]:
    """llama.cpp's type of every token."""
    return [TOKEN_TYPE_NORMAL] * N_TEXT_TOKENS + [TOKEN_TYPE_CONTROL] * (N_VOCAB - N_TEXT_TOKENS)


def merges() -> list[str]:
    """446,189 merges, shorter words first: every one puts two tokens together to a third."""
    words = itertools.islice(_words(byte_symbols()), N_TEXT_TOKENS - 256)
    # Two or three of the four or five ways to split a word: as many as the real vocabulary has.
    every = (f"{word[:cut]} {word[cut:]}" for word in words for cut in range(1, min(len(word), 4)))
    return list(itertools.islice(every, N_MERGES))


def _words(symbols: dict[int, str]) -> Iterator[str]:
    alphabet = [symbols[byte] for byte in _SYMBOL_BYTES]
    for length in itertools.count(2):
        for letters in itertools.product(alphabet, repeat=length):
            yield "".join(letters)
