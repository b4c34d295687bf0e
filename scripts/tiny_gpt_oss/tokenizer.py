"""A byte-level BPE in GPT-2's spelling with o200k's pre-tokenizer and Harmony's control tokens.

llama.cpp rebuilds exactly this from the GGUF (tokenizer.ggml.model gpt2, pre gpt-4o); check.py holds the two together.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import itertools
import re
from collections.abc import Iterable

# The order of o200k_harmony's last 21 ids (199998 to 200018); None is a reserved slot.
CONTROL_SLOTS = (
    "<|startoftext|>",
    "<|endoftext|>",
    None,
    None,
    "<|return|>",
    "<|constrain|>",
    None,
    "<|channel|>",
    "<|start|>",
    "<|end|>",
    "<|message|>",
    None,
    None,
    None,
    "<|call|>",
    None,
    None,
    None,
    None,
    None,
    "<|endofprompt|>",
)

# The pre-tokenizer `gpt-4o` of llama.cpp src/llama-vocab.cpp, with Python's spelling of a letter.
_LETTER = r"[^\W\d_]"
_NOT_LOWER = rf"(?:(?![a-z]){_LETTER})"
_NOT_UPPER = rf"(?:(?![A-Z]){_LETTER})"
_PREFIX = r"[^\r\n\w]?"
_SUFFIX = r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])?"
_SPLIT = re.compile(
    rf"{_PREFIX}{_NOT_LOWER}*{_NOT_UPPER}+{_SUFFIX}|{_PREFIX}{_NOT_LOWER}+{_NOT_UPPER}*{_SUFFIX}"
    r"|\d{1,3}| ?(?:[^\s\w]|_)+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def byte_alphabet() -> list[str]:
    """The printable character that GPT-2 writes for each of the 256 bytes."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    alphabet = {byte: chr(byte) for byte in printable}
    for byte in range(256):
        if byte not in alphabet:
            # Unprintable bytes take the characters from U+0100 on, in order of appearance.
            alphabet[byte] = chr(256 + len(alphabet) - len(printable))
    return [alphabet[byte] for byte in range(256)]


_ALPHABET = byte_alphabet()


def spell(text: str) -> str:
    """Text as GPT-2's printable spelling of its UTF-8 bytes."""
    return "".join(_ALPHABET[byte] for byte in text.encode())


def learn_merges(texts: Iterable[str], n_merges: int) -> list[tuple[str, str]]:
    """The merges of a byte-pair encoding, most useful first.

    Counts are damped by a square root so that each rare name gets tokens too, and digits are never merged: numbers
    that are read one digit at a time are easy to copy and to add.
    """
    counts: collections.Counter[str] = collections.Counter()
    for text in texts:
        for part in re.split(r"<\|[a-z_0-9]+\|>", text):
            counts.update(word for word in _SPLIT.findall(part) if not word.isdigit())
    words = [(list(spell(word)), count**0.5) for word, count in sorted(counts.items())]
    merges: list[tuple[str, str]] = []
    for _ in range(n_merges):
        pairs: collections.Counter[tuple[str, str]] = collections.Counter()
        for symbols, weight in words:
            for pair in itertools.pairwise(symbols):
                pairs[pair] += weight
        if not pairs:
            break
        best = max(pairs, key=lambda pair: (pairs[pair], pair))
        merges.append(best)
        for symbols, _weight in words:
            _merge(symbols, best)
    return merges


def _merge(symbols: list[str], pair: tuple[str, str]) -> None:
    """Join every occurrence of the pair, in place."""
    i = 0
    while i < len(symbols) - 1:
        if symbols[i] == pair[0] and symbols[i + 1] == pair[1]:
            symbols[i : i + 2] = [pair[0] + pair[1]]
        i += 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class TinyTokenizer:
    """Merges and the vocabulary they imply: 256 bytes, one token a merge, fillers, then the control tokens."""

    merges: list[tuple[str, str]]
    n_vocab: int

    @functools.cached_property
    def tokens(self) -> list[str]:
        """Every token's text by id."""
        tokens = list(dict.fromkeys([*_ALPHABET, *(left + right for left, right in self.merges)]))
        first_control = self.n_vocab - len(CONTROL_SLOTS)
        tokens += [f"<|reserved_{i}|>" for i in range(len(tokens), first_control)]
        tokens += [slot or f"<|reserved_{first_control + i}|>" for i, slot in enumerate(CONTROL_SLOTS)]
        return tokens

    @functools.cached_property
    def ids(self) -> dict[str, int]:
        """Token text to id."""
        return {token: i for i, token in enumerate(self.tokens)}

    @functools.cached_property
    def control_ids(self) -> set[int]:
        """Ids that the GGUF marks CONTROL: the Harmony tokens, the reserved slots and the fillers."""
        return {i for token, i in self.ids.items() if re.fullmatch(r"<\|\w+\|>", token)}

    @functools.cached_property
    def _ranks(self) -> dict[tuple[str, str], int]:
        return {pair: rank for rank, pair in enumerate(self.merges)}

    @functools.cached_property
    def _special(self) -> re.Pattern[str]:
        return re.compile("(" + "|".join(re.escape(self.tokens[i]) for i in sorted(self.control_ids)) + ")")

    @functools.cached_property
    def _cache(self) -> dict[str, list[int]]:
        return {}

    def encode(self, text: str) -> list[int]:
        """Token ids, with control tokens read from the text."""
        ids: list[int] = []
        for part in self._special.split(text):
            if part in self.ids and self.ids[part] in self.control_ids:
                ids.append(self.ids[part])
            else:
                for word in _SPLIT.findall(part):
                    ids.extend(self._word(word))
        return ids

    def _word(self, word: str) -> list[int]:
        if word not in self._cache:
            symbols = list(spell(word))
            while len(symbols) > 1:
                ranked = [(self._ranks[pair], pair) for pair in itertools.pairwise(symbols) if pair in self._ranks]
                if not ranked:
                    break
                _merge(symbols, min(ranked)[1])
            self._cache[word] = [self.ids[symbol] for symbol in symbols]
        return self._cache[word]
