"""Nothing of others is obeyed by a terminal, however it is cut into pieces."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.chat.screen.safe import Cleaner, clean, terminal_encoding

HOSTILE = st.text(
    alphabet=st.one_of(
        st.sampled_from("\x1b[]P^_X\\0;m?~\x07\x9b\x9d\x9c\n\t\r\x08\u202e\u200b\u2028\u0301\u0300\u200dA(cN\ud800"),
        st.characters(),
    ),
    max_size=80,
)


@st.composite
def pieces(draw: st.DrawFn) -> list[str]:
    text = draw(HOSTILE)
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=8)))
    return [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]


@given(pieces())
def test_what_comes_out_does_not_depend_on_the_pieces_and_is_harmless(parts: list[str]) -> None:
    cleaner = Cleaner()
    out = "".join(map(cleaner.feed, parts)) + cleaner.flush()
    assert out == clean("".join(parts))
    for char in out:
        assert char in "\n\t" or not (ord(char) < 0x20 or 0x7F <= ord(char) < 0xA0 or 0xD800 <= ord(char) < 0xE000)
        assert char not in "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u2028\u2029"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07a\x1b]8;;http://x\x1b\\b\x1b]8;;\x1b\\c", "abc"),
        ("\x1bPq#0;2\x1b\\x", "x"),
        ("\x9b2Jx\x9d0;t\x9cy", "xy"),
        ("\x1b(Bx\x1bcy\x1b7z", "xyz"),
        ("a\r\nb\x08\x7f\x00\x85c\td", "a\nbc\td"),
        ("\x1b]0;never ends\nnext line", "]0;never ends\nnext line"),
        ("\x1b\x1b[31m[2Jx", "[2Jx"),
        ("e\u0301 👨\u200d👩 \u0645\u200c\u0646", "e\u0301 👨\u200d👩 \u0645\u200c\u0646"),
        ("Z" + "\u0334" * 50, "Z" + "\u0334" * 8),
        ("a\u202eb\u2066c\U000e0041d\ufeffe\u2028f", "abcde\nf"),
        ("\ud83d", "\ufffd"),
    ],
)  # fmt: skip
def test_what_is_dropped(text: str, shown: str) -> None:
    assert clean(text) == shown


def test_a_stray_escape_does_not_swallow_the_answer() -> None:
    text = "\x1b]" + "x" * 5000
    assert len(clean(text)) > 4900
    assert Cleaner().feed("\x1b[" + "1" * 100) == "[" + "1" * 100


def test_what_a_terminal_cannot_write_is_replaced() -> None:
    cleaner = Cleaner(encoding=terminal_encoding("ANSI_X3.4-1968"))
    assert cleaner.feed("Köln 中\n") == "K?ln ?\n"
    assert terminal_encoding("UTF-8") is None
    assert terminal_encoding("latin-1") == "iso8859-1"
    assert terminal_encoding("no such") == "ascii"
    assert terminal_encoding(None) is None
