"""What Markdown looks like in lines; that final lines are final; that no input takes long."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings

from launcher.chat.screen.code import lexer_of, warm_up
from launcher.chat.screen.markdown import MarkdownStream
from launcher.chat.screen.spans import Line, text_of
from launcher.chat.screen.theme import Theme
from launcher.chat.screen.width import row_cells
from tests.chat.screen_samples import SAMPLE, cut_texts

PLAIN = Theme(colour=False, links=False)


def rendered(text: str, *, width: int = 60, theme: Theme = PLAIN, max_rows: int = 20) -> list[Line]:
    stream = MarkdownStream(theme, width=width, max_rows=max_rows)
    stream.feed(text)
    return [*stream.take(), *stream.finish()]


def shown(text: str, *, width: int = 60, theme: Theme = PLAIN) -> str:
    return "\n".join(text_of(line).rstrip() for line in rendered(text, width=width, theme=theme))


def marked(text: str) -> str:
    """Styles as `<sgr>text</>`."""
    return "".join(
        f"<{span.sgr}>{span.text}</>" if span.sgr else span.text for line in rendered(text) for span in line.spans
    )


@settings(deadline=None, max_examples=150)
@given(cut_texts())
def test_final_lines_are_those_of_the_whole_text(pieces: list[str]) -> None:
    stream = MarkdownStream(Theme(), width=30, max_rows=6)
    lines: list[Line] = []
    for piece in pieces:
        stream.feed(piece)
        lines += stream.take()
        stream.tail()
    assert [*lines, *stream.finish()] == rendered("".join(pieces), width=30, theme=Theme(), max_rows=6)


@pytest.mark.parametrize("width", [40, 80, 200])
def test_no_row_is_wider_than_the_window_but_those_of_code(width: int) -> None:
    in_code = False
    for line in rendered(SAMPLE * 3, width=width, theme=Theme()):
        in_code ^= text_of(line).lstrip().startswith("───")
        assert in_code or row_cells(line.spans) <= width


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a **b** c *d* __e__ _f_ ~~g~~", "a <1>b</> c <3>d</> <1>e</> <3>f</> <9>g</>"),
        ("***both*** **a *b* c**", "<1;3>both</> <1>a </><1;3>b</><1> c</>"),
        ("snake_case_name, 2 * 3 * 4, __init__.py", "snake_case_name, 2 * 3 * 4, <1>init</>.py"),
        ("**“中文”**下一个", "<1>“中文”</>下一个"),
        ("**open and `code", "**open and `code"),
        (r"\*not\* \_this\_", "*not* _this_"),
        ("`a_b_c` ``x`y``", "`a_b_c` ``x`y``"),
        ("$a_1 + b_2$ and \\(c_3 * d*\\)", "$a_1 + b_2$ and \\(c_3 * d*\\)"),
        ("it costs $5 and *not* $10", "it costs $5 and <3>not</> $10"),
        ("[text](https://a.b/c_d_e)", "<4>text</> (<4>https://a.b/c_d_e</>)"),
        ("[**b**](https://a.b)", "<4;1>b</> (<4>https://a.b</>)"),
        ("https://a.b/c_d_e.", "<4>https://a.b/c_d_e</>."),
        ("<https://a.b>", "<4>https://a.b</>"),
        ("![alt](x.png) [1] [x](", "<4>alt</> (<4>x.png</>) [1] [x]("),
        ("a &amp; b &lt;c&gt; &nope; AT&T", "a & b <c> &nope; AT&T"),
        ("# One\n## Two **b**", "<1;4>One</><1>Two b</>"),
    ],
)  # fmt: skip
def test_styles_in_a_line(text: str, expected: str) -> None:
    assert marked(text) == expected


def test_the_sample_as_a_whole() -> None:
    assert shown("Text\n- a\n\n  b\n- c\n   1. d\n> q\n\nend") == "Text\n• a\n\n  b\n• c\n  1. d\n│ q\n\nend"
    assert shown("1. a\n   - b\n     continued\n2. c\n10. d") == "1. a\n   ◦ b\n     continued\n2. c\n10. d"
    assert shown("- [ ] a\n- [x] b") == "☐ a\n☑ b"
    assert shown("> a\n>\n> > b\nlazy") == "│ a\n│\n│ │ b\n│ │ lazy"
    assert shown("a\n***\nb") == "a\n" + "─" * 40 + "\nb"
    assert shown("In\n1986. That") == "In\n1986. That", "no list"
    assert shown("- \n- b") == "•\n• b"
    assert shown("#no heading\n####### nor this") == "#no heading\n####### nor this"


def test_a_long_item_hangs() -> None:
    assert shown("- one two three four five six", width=22) == "• one two three four\n  five six"
    assert shown("> " + "word " * 8, width=22) == "│ word word word word\n│ word word word word"


def test_code_is_as_it_was_written() -> None:
    text = "```python\ndef f(**a):\n\n    return '*_`|'\n```\nafter"
    assert shown(text, width=10) == "─── python\ndef f(**a):\n\n    return '*_`|'\n───\nafter"
    assert shown("~~~\n```\n~~~") == "───\n```\n───"
    assert shown("````md\n```\n````") == "─── md\n```\n───"
    assert shown("1. a\n   ```sh\n   ls\n     x\n   ```") == "1. a\n   ─── sh\n   ls\n     x\n   ───"
    assert shown("```\nnever closed") == "───\nnever closed\n───"
    assert shown("```\n\ta\n```") == "───\n    a\n───"


def test_code_keeps_the_state_of_its_lexer() -> None:
    theme = Theme()
    strings = rendered('```python\n"""a\nb\n"""\nx = 1\n```', theme=theme)[1:4]
    assert all(span.sgr == theme.token("Literal.String") for line in strings for span in line.spans)
    comment = rendered("```c\nint a; /* one\ntwo\n*/ int b;\n```", theme=theme)
    assert comment[2].spans[0].sgr == theme.token("Comment")
    assert comment[3].spans[0] == ("*/", theme.token("Comment"), "")
    assert "int" in [span.text for span in comment[3].spans]


@pytest.mark.parametrize("language", ["json", "yaml", "html", "bash", "rust", "diff", "console", "no-such", "", "../x"])
def test_languages(language: str) -> None:
    lines = rendered(f"```{language}\n+ a: <b> {{}} 'x\n\n" + '"{' * 200 + "\n```", theme=Theme())
    assert "".join(map(text_of, lines)).count('"{') == 200


def test_lexers_are_loaded_ahead() -> None:
    lexer_of.cache_clear()
    warm_up()
    n = lexer_of.cache_info().currsize
    assert n > 20
    rendered("```python\nx\n```\n```sql\nx\n```")
    assert lexer_of.cache_info().currsize == n


def test_half_a_name_of_a_language_loads_nothing() -> None:
    """Looking for `p`, `py`, `pyt` took tens of milliseconds each."""
    lexer_of.cache_clear()
    stream = MarkdownStream(Theme(), width=40, max_rows=20)
    for piece in ("```", "p", "y", "thon"):
        stream.feed(piece)
        stream.tail()
    assert lexer_of.cache_info().currsize <= 1
    stream.feed("\nx")
    assert lexer_of.cache_info().currsize == 2


def test_tables() -> None:
    text = "| a | b | c |\n|:--|--:|:-:|\n| 1 | 2 | 3 |\n| **x**y | `p|q` | 中文 |\n| only |\nafter"
    assert shown(text).splitlines() == [
        "a    │     b │  c",
        "─────┼───────┼─────",
        "1    │     2 │  3",
        "xy   │ `p|q` │ 中文",
        "only │       │",
        "",
        "after",
    ]


def test_what_is_no_table() -> None:
    assert shown("a | b\nc | d") == "a | b\nc | d"
    assert shown("| a | b |\n|---|\n") == "| a | b |\n|---|"
    assert shown("x || y\n\n---") == "x || y\n\n" + "─" * 40


def test_a_table_wider_than_the_window_wraps_in_its_cells() -> None:
    text = f"| key | what |\n|---|---|\n| a | {'word ' * 12}|\n"
    lines = shown(text, width=40).splitlines()
    assert len(lines) == 4
    assert all(len(line) <= 40 for line in lines)
    assert lines[2].startswith("a   │ word")
    assert lines[3].startswith("    │ word")


def test_a_table_of_many_columns_is_a_list_of_fields_in_a_narrow_window() -> None:
    text = "|" + "|".join(f" c{n} " for n in range(8)) + "|\n" + "|---" * 8 + "|\n" + "| some value " * 8 + "|\n"
    lines = shown(text, width=40).splitlines()
    assert lines[0] == "c0: some value"
    assert len(lines) == 9


def test_a_table_higher_than_the_window_is_given_out_with_fixed_widths() -> None:
    stream = MarkdownStream(PLAIN, width=40, max_rows=6)
    stream.feed("| a | b |\n|---|---|\n" + "| 1 | 2 |\n" * 6)
    assert len(stream.take()) == 8
    stream.feed("| a much longer cell | 2 |\n" * 3)
    lines = stream.take()
    assert len(lines) > 3
    assert stream.tail() == []
    stream.resize(30, 6)
    stream.feed("| 1 | 2 |\n")
    assert len(stream.take()) == 1


def test_formulas_stay_as_they_are() -> None:
    text = "$$\na_1 = b_2 * c_3 *\n- d\n$$\ntext *x*\n\\[\n# e\n\\]\n$$ f_1 $$"
    assert shown(text) == "$$\na_1 = b_2 * c_3 *\n- d\n$$\ntext x\n\\[\n# e\n\\]\n$$ f_1 $$"
    assert shown("$$\nnever closed\n\n*text*") == "$$\nnever closed\n\ntext"


def test_links_that_can_be_clicked() -> None:
    urls = {
        span.url
        for line in rendered("[b](javascript:x) [c](https://x.y/ä) file:///e", theme=Theme())
        for span in line.spans
    }
    assert urls == {"", "https://x.y/%C3%A4"}
    assert not any(span.url for line in rendered("https://x.y", theme=PLAIN) for span in line.spans)


def test_the_tail_shows_emphasis_before_it_is_closed() -> None:
    stream = MarkdownStream(PLAIN, width=40, max_rows=20)
    stream.feed("some **bo")
    assert [span.sgr for span in stream.tail()[0].spans] == ["", "1"]
    stream.feed("ld** and **")
    assert text_of(stream.tail()[0]) == "some bold and", "signs do not flash"
    assert text_of(stream.finish()[0]) == "some bold and **"


def test_rows_are_final_as_soon_as_they_are_full() -> None:
    stream = MarkdownStream(PLAIN, width=40, max_rows=20)
    stream.feed("word " * 100)
    assert len(stream.take()) >= 11
    assert len(stream.tail()) <= 2


def test_what_is_open_is_waited_for_no_longer_than_a_few_rows() -> None:
    for opening in ("**", "*", "`", "$", "[", "\\("):
        stream = MarkdownStream(PLAIN, width=40, max_rows=20)
        stream.feed(f"{opening}word " + "word " * 200)
        stream.take()
        assert len(stream.tail()) < 12, opening


def test_resizing_in_the_middle_of_a_row() -> None:
    stream = MarkdownStream(PLAIN, width=40, max_rows=20)
    stream.feed("- one two three four five six")
    stream.resize(22, 20)
    lines = [*stream.take(), *stream.finish()]
    assert [text_of(line) for line in lines] == ["• one two three four", "  five six"]


HOSTILE = {
    "signs": "*_`[$~" * 4000,
    "openers": "*a **b `c [d $e ~~f " * 1500,
    "brackets": "[" * 20000,
    "bars": "|" * 20000,
    "table of bars": "|a|\n|-|\n" + "|" * 20000,
    "quotes": "> " * 8000,
    "lists": "- " * 8000,
    "one word": "x" * 50000,
    "wide": "中" * 20000,
    "marks": "e" + "\u0301" * 20000,
    "joined": "👩\u200d" * 8000,
    "backticks": "".join("`" * (n % 40) + "a" for n in range(1500)),
    "fences": "```\n" * 5000,
    "spaces": " " * 30000 + "x",
    "code line": "```js\n" + "/*'\"" * 10000,
    "rows": "|a|b|\n|-|-|\n" + "|x|y|\n" * 3000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_no_input_takes_long(name: str) -> None:
    """Streamed in pieces with a look at the tail each time, a few MB/s at worst would still pass: O(n²) does not."""
    text = HOSTILE[name]
    stream = MarkdownStream(Theme(), width=80, max_rows=20)
    began = time.process_time()
    for at in range(0, len(text), 256):
        stream.feed(text[at : at + 256])
        stream.take()
        stream.tail()
    stream.finish()
    assert time.process_time() - began < 5.0
