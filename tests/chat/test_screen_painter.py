"""What is on the screen at the end is what was meant, however it came; and nothing is printed twice."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from launcher.chat.screen.markdown import MarkdownStream
from launcher.chat.screen.painter import Painter, encoded
from launcher.chat.screen.spans import EMPTY, Line, Span, text_of
from launcher.chat.screen.theme import Theme
from tests.chat.emulator import Emulator
from tests.chat.screen_samples import SAMPLE, cut_texts

TEXTS = st.text("ab 中", max_size=25)


def line(text: str) -> Line:
    return Line(spans=(Span(text),)) if text else EMPTY


def painter_of(screen: Emulator) -> Painter:
    return Painter(screen, lambda: (screen.columns, screen.rows))  # type: ignore[arg-type]


def streamed(pieces: Iterable[str], columns: int, rows: int) -> Emulator:
    """The screen after Markdown was painted piece by piece."""
    screen = Emulator(columns, rows)
    painter = painter_of(screen)
    stream = MarkdownStream(Theme(), width=columns, max_rows=max(4, rows - 2))
    for piece in pieces:
        stream.feed(piece)
        painter.paint(stream.take(), stream.tail())
    painter.paint(stream.finish(), ())
    painter.close()
    return screen


@settings(deadline=None, max_examples=150)
@given(cut_texts(), st.sampled_from([(20, 8), (40, 12), (80, 24)]))
def test_the_screen_does_not_depend_on_the_pieces(pieces: list[str], size: tuple[int, int]) -> None:
    assert streamed(pieces, *size).text() == streamed(["".join(pieces)], *size).text()


@pytest.mark.parametrize("columns", [20, 40, 80, 200])
def test_the_sample_in_tokens(columns: int) -> None:
    rng = random.Random(columns)
    text, pieces = SAMPLE, []
    while text:
        n = rng.choice([1, 2, 3, 5, 8])
        pieces.append(text[:n])
        text = text[n:]
    screen = streamed(pieces, columns, 24)
    assert screen.text() == streamed([SAMPLE], columns, 24).text()
    assert all(len(row) <= columns for row in screen.lines)


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.lists(TEXTS, max_size=4), st.lists(TEXTS, max_size=6))),
    st.sampled_from([(5, 4), (12, 6), (80, 24)]),
)  # fmt: skip
def test_any_final_lines_and_any_tails(steps: Sequence[tuple[list[str], list[str]]], size: tuple[int, int]) -> None:
    screen, expected = Emulator(*size), Emulator(*size)
    painter = painter_of(screen)
    for final, tail in steps:
        painter.paint(list(map(line, final)), list(map(line, tail)))
    painter.paint([], [])
    expected.write("\n".join(text for final, _ in steps for text in final))
    assert screen.text() == expected.text()


def test_an_extension_writes_what_is_new_and_nothing_else() -> None:
    screen = Emulator()
    painter = painter_of(screen)
    painter.paint([line("above")], [line("one two")])
    before = screen.n_bytes
    painter.paint([], [line("one two three")])
    assert screen.n_bytes - before == len(" three")
    painter.paint([line("one two three")], [line("four")])
    assert screen.n_rewrites == 0
    painter.paint([], [line("five")])
    assert screen.n_rewrites == 1
    assert screen.text() == "above\none two three\nfive"


def test_only_what_changed_is_drawn_anew() -> None:
    screen = Emulator()
    painter = painter_of(screen)
    painter.paint([], [line("a" * 70), line("b" * 70), line("c")])
    before = screen.n_bytes
    painter.paint([], [line("a" * 70), line("b" * 70), line("d")])
    assert screen.n_bytes - before < 40
    assert screen.text().splitlines()[2] == "d"


def test_prose_hardly_ever_draws_a_row_anew() -> None:
    text = "A paragraph of plain words that goes on and on, as answers do, over several rows of the window. " * 10
    screen = streamed([text[i : i + 4] for i in range(0, len(text), 4)], 80, 24)
    assert screen.n_rewrites <= 15, "once a row at most, where a word moves to the next"
    assert screen.n_bytes < 2 * len(text)


def test_a_tail_higher_than_the_window_shows_its_end() -> None:
    screen = Emulator(20, 5)
    painter = painter_of(screen)
    painter.paint([], [line(f"row {n}") for n in range(10)])
    assert screen.text().splitlines()[-1] == "row 9"
    painter.paint([line(f"row {n}") for n in range(10)], [line("rest")])
    assert screen.text().splitlines() == [*(f"row {n}" for n in range(10)), "rest"]


def test_pieces_of_a_long_line_are_one_line() -> None:
    screen = Emulator(30, 10)
    painter = painter_of(screen)
    code = "x" * 2000
    stream = MarkdownStream(Theme(), width=30, max_rows=8)
    stream.feed("```\n")
    for at in range(0, 2000, 7):
        stream.feed(code[at : at + 7])
        painter.paint(stream.take(), stream.tail())
    stream.feed("\n```\n")
    painter.paint(stream.finish(), ())
    rows = screen.text().splitlines()
    assert "".join(rows[1:-1]) == code
    assert all(len(row) == 30 for row in rows[1:-2])


@pytest.mark.parametrize("columns", [30, 50, 200])
def test_a_window_resized_in_the_middle(columns: int) -> None:
    """The emulator leaves its rows as they are, so narrowing is tried on rows that fit both widths."""
    screen = Emulator(60, 24)
    painter = painter_of(screen)
    stream = MarkdownStream(Theme(), width=60, max_rows=20)
    words = [f"word{n} " for n in range(200)]
    for n, word in enumerate(words):
        if n % 20 == 0 and n == 100:
            stream.feed("\n\n")
            painter.paint(stream.take(), stream.tail())
            screen.columns = columns
            stream.resize(columns, 20)
        stream.feed(word)
        painter.paint(stream.take(), stream.tail())
    painter.paint(stream.finish(), ())
    assert screen.text().split() == "".join(words).split()


def test_styles_and_links_are_closed() -> None:
    spans = (Span("a", "1"), Span("b", "1;3"), Span("c"), Span("d", "4", "https://x.y"))
    assert encoded(spans) == ("\x1b[1ma\x1b[0;1;3mb\x1b[0mc\x1b]8;;https://x.y\x1b\\\x1b[4md\x1b[0m\x1b]8;;\x1b\\")


def test_a_terminal_of_another_encoding_gets_question_marks() -> None:
    class Ascii(Emulator):
        encoding = "ascii"

        def write(self, text: str) -> int:
            text.encode("ascii")
            return super().write(text)

    screen = Ascii()
    painter = painter_of(screen)
    painter.paint([line("Köln")], [])
    assert screen.text() == "K?ln"
    assert text_of(line("Köln")) == "Köln"
