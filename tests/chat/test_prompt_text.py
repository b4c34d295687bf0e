"""Text on its way into the prompt: cleaned, folded, continued; and the bar."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.chat.prompt.pastes import MAX_CHARS, MAX_LINES, MAX_OPEN_CHARS, MAX_OPEN_LINE, Pastes, label
from launcher.chat.prompt.status import status_line
from launcher.chat.prompt.text import clean, finished, needs_more
from launcher.chat.prompt.types import Status


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ("a\tb\r\nc\rd\n", "a\tb\nc\nd\n"),
        ("\x1b[31mred\x1b[0m \x9b1mbold", "red bold"),
        ("\x1b]0;title\x07a\x1b]8;;http://x\x1b\\link\x1b]52;c;aGk=\x9c", "alink"),
        ("\x1bPq#0\x1b\\a\x1b(Bb\x1bMc", "abc"),
        ("nul\x00bell\x07del\x7fc1\x85", "nulbelldelc1"),
        ("cut \x1b[", "cut "),
        ("not closed \x1b]0;rest of the text", "not closed 0;rest of the text"),
        ("森 \U0001f600 é", "森 \U0001f600 é"),
        ("bad \udc80 byte", "bad \ufffd byte"),
    ],
)
def test_cleaning(raw: str, text: str) -> None:
    assert clean(raw) == text


@given(st.text())
def test_nothing_that_is_cleaned_can_move_the_cursor(raw: str) -> None:
    text = clean(raw)
    assert all(char in "\n\t" or ord(char) >= 0x20 for char in text)
    assert "\x1b" not in text
    assert clean(text) == text
    text.encode()


@pytest.mark.parametrize(
    ("text", "more"),
    [
        ("a", False),
        ("", False),
        ("a\\", True),
        ("a\\\\", False),
        ("a\\\nb", False),
        ('"""', True),
        ('"""a', True),
        ('"""a\nb', True),
        ('"""a\nb"""', False),
        ('"""a"""', False),
        ('say """', False),
        ('a\n"""b', False),
        ('/system """', True),
        ('/system """a\nb"""', False),
        ('/etc/x """', False),
        ('"""Doc."""\nimport os\\', False),
    ],
)
def test_where_enter_goes_on(text: str, more: bool) -> None:
    assert needs_more(text) is more


@pytest.mark.parametrize(
    ("text", "sent"),
    [
        ('"""a\nb"""', "a\nb"),
        ('"""\na\n\nb\n"""', "a\n\nb"),
        ('/system """\nBe brief.\n"""', "/system Be brief."),
        ('"""Doc."""\nimport os', '"""Doc."""\nimport os'),
        ('"""open', '"""open'),
        ("plain\\", "plain\\"),
        ('""""""', ""),
    ],
)
def test_what_is_sent_of_a_block(text: str, sent: str) -> None:
    assert finished(text) == sent


def test_a_long_paste_is_one_character_and_comes_back_whole() -> None:
    pastes = Pastes()
    long = "line\n" * (MAX_LINES + 1)
    mark = pastes.of_paste(long)
    assert len(mark) == 1
    assert pastes.label(mark) == "[pasted 21 lines, 105 B]"
    assert pastes.expand(f"see {mark} and {mark}") == f"see {long} and {long}"
    assert pastes.of_paste(long) == mark
    assert pastes.of_paste(long + "other") != mark
    assert pastes.label("x") is None


@pytest.mark.parametrize("text", ["line\n" * MAX_LINES, "x" * MAX_CHARS])
def test_a_short_paste_is_shown(text: str) -> None:
    assert Pastes().of_paste(text) == text
    assert len(Pastes().of_paste(text + "x\ny")) == 1


def test_an_earlier_text_is_open_while_it_can_be_edited() -> None:
    lines = "x" * (MAX_OPEN_LINE - 1) + "\n"
    assert Pastes().of_text(lines * 10) == lines * 10
    assert len(Pastes().of_text("x" + lines + "y" * (MAX_OPEN_LINE + 1))) == 1
    assert len(Pastes().of_text(lines * (MAX_OPEN_CHARS // MAX_OPEN_LINE + 1))) == 1


def test_a_text_with_our_character_is_not_taken_for_a_paste() -> None:
    """Otherwise it would be replaced by what was pasted before."""
    pastes = Pastes()
    mark = pastes.of_paste("x" * (MAX_CHARS + 1))
    other = pastes.of_paste(f"odd {mark}")
    assert pastes.expand(other) == f"odd {mark}"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a", "[pasted 1 line, 1 B]"),
        ("a" * 38 + "\n" + ("é" * 4000 + "\n") * 211, "[pasted 212 lines, 1.7 MB]"),
        ("x\n" * 1234, "[pasted 1,234 lines, 2.5 kB]"),
    ],
)
def test_labels(text: str, shown: str) -> None:
    assert label(text) == shown


FULL = Status(
    model="gpt-oss-20b",
    effort="medium",
    n_context=1204,
    n_ctx=32768,
    tokens_per_s=14.06,
    memory_bytes=int(11.9 * 2**30),
    engine="embedded",
    tools=("python", "web"),
    title="Trees",
)


@pytest.mark.parametrize(
    ("width", "line"),
    [
        (
            200,
            "gpt-oss-20b · medium · 1,204/32,768 (4 %) · 14.1 tok/s · 11.9 GiB · tools: python, web · embedded · Trees",
        ),
        (70, "gpt-oss-20b · medium · 1,204/32,768 (4 %) · 14.1 tok/s · 11.9 GiB"),
        (64, "gpt-oss-20b · medium · 1,204/32,768 (4 %) · 14.1 tok/s"),
        (42, "gpt-oss-20b · medium · 1,204/32,768 (4 %)"),
        (39, "gpt-oss-20b · 1,204/32,768 (4 %)"),
        (25, "gpt-oss-2… · 1,204/32,768"),
        (10, "1,204/32,…"),
    ],
)
def test_the_bar_drops_the_least_important(width: int, line: str) -> None:
    assert status_line(FULL, width) == line


def test_at_40_columns_a_full_context_of_the_large_model_is_told() -> None:
    status = Status(model="gpt-oss-120b", effort="high", n_context=131072, n_ctx=131072)
    assert status_line(status, 39) == "gpt-oss-120b · 131,072/131,072 (100 %)"


def test_what_is_not_known_is_not_shown() -> None:
    assert status_line(Status(model="m"), 80) == "m"
    assert status_line(Status(model="m", n_context=5), 80) == "m · 5 tokens"
    assert status_line(Status(model="m", n_ctx=4096), 80) == "m · 4,096 n_ctx"
    assert status_line(Status(model="m", tools=("a", "b", "c"), title="x\n\x1b[2J"), 80) == "m · 3 tools · x  [2J"


@given(st.integers(1, 120), st.text(), st.text())
def test_the_bar_never_passes_its_width(width: int, model: str, title: str) -> None:
    status = Status(model=model, title=title, n_context=1204, n_ctx=32768, tokens_per_s=1.0)

    def wide(text: str) -> int:
        return 2 * len(text)

    assert len(status_line(status, width)) <= width
    assert wide(status_line(status, width, width_of=wide)) <= width
