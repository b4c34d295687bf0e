"""Words of a search, and where they stand in a text. What a person types is data: nothing in it is syntax. Pure."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from launcher.text import printable

# As FTS5's unicode61 cuts text: letters and digits, with the marks that sit on them.
_WORD = re.compile(r"[^\W_](?:[^\W_]|[\u0300-\u036f])*")
_BEFORE = 24
_AFTER = 96
"""Characters of a snippet in front of the first word that was found, and after its beginning."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Term:
    """A piece of a search between spaces."""

    text: str
    by_word: bool
    """Whether words of a text that begin so are meant. Otherwise it may stand anywhere: in scripts that put no spaces
    between words, and for signs such as `++`."""

    @property
    def fts(self) -> str:
        """The term as a string of FTS5's query language, of which the last word is a beginning."""
        return '"' + self.text.replace('"', '""') + '"*'


def terms_of(text: str) -> tuple[Term, ...]:
    """Read what is searched for."""
    pieces = unicodedata.normalize("NFC", text.replace("\0", " ")).split()
    return tuple(Term(text=piece, by_word=_is_word(piece)) for piece in dict.fromkeys(pieces))


def _is_word(piece: str) -> bool:
    found = _WORD.search(piece) is not None
    return found and not any(unicodedata.category(char) == "Lo" for char in piece)


def fold(text: str) -> str:
    """Text without case and accents, letter for letter: the places stay those of the NFC text."""
    return text.lower() if text.isascii() else "".join(map(_fold_letter, text))


def _fold_letter(char: str) -> str:
    if char.isascii():
        return char.lower()
    base = unicodedata.normalize("NFD", char)[0]
    lower = base.lower()
    return lower if len(lower) == 1 else base


def places(term: Term, text: str) -> list[tuple[int, int]]:
    """Where a term stands in `text`, which is NFC."""
    folded = fold(text)
    if not term.by_word:
        return [match.span() for match in re.finditer(re.escape(fold(term.text)), folded)]
    words = [fold(word) for word in _WORD.findall(term.text)]
    # Between two words of a term (`foo-bar`) may stand whatever is no word, as for FTS5.
    pattern = r"(?<![^\W_])" + r"[\W_]+".join(map(re.escape, words))
    return [match.span() for match in re.finditer(pattern, folded)]


def has(term: Term, text: str) -> bool:
    """Whether a term stands in a text."""
    return bool(places(term, unicodedata.normalize("NFC", text)))


def excerpt(terms: tuple[Term, ...], text: str) -> tuple[str, tuple[tuple[int, int], ...]]:
    """One line of a text around the first term in it, and where the terms stand in that line."""
    line = unicodedata.normalize("NFC", " ".join(text.split()))
    first = min((span[0] for term in terms for span in places(term, line)), default=0)
    begin = 0 if first <= _BEFORE else line.find(" ", first - _BEFORE, first) + 1 or first - _BEFORE
    end = min(len(line), begin + _BEFORE + _AFTER)
    cut = ("…" if begin else "") + line[begin:end].strip() + ("…" if end < len(line) else "")
    cut = printable(cut)
    return cut, tuple(sorted({span for term in terms for span in places(term, cut)}))
