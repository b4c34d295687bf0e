"""Markdown for the tests of the screen: a sample with everything, and a strategy that makes up more."""

from __future__ import annotations

from hypothesis import strategies as st

SAMPLE = """\
# A heading with `code`
Some **bold** and *italic*, ***both***, ~~gone~~, snake_case_name. A [link](https://example.com/a_b_c "t") and
https://example.org/x_y_z. It costs $5 and $10, but $x_1 + y_2$ is math, \\(a_b\\) too; 2 * 3 * 4 &amp; `a``b`.

- one
- two with a longer text that needs to be wrapped because it does not fit on one row of the screen
  - nested **bold**
- [x] done
- [ ] not done

1. first
   ```python
   def f(x: int) -> str:
       \"\"\"Doc
       string.\"\"\"
       return f"{x}"  # comment
   ```
2. second

> A quote with *emphasis*
> and a second line
>
> > nested

| Name | Wert | 中文 |
|:-----|-----:|:---:|
| a | 1 | 漢字 |
| **b** with a longer text in its cell | 22 | `a|b` |

---
$$
x_1 = \\frac{a_1}{b_2}
$$

```c
/* a comment
   over lines */
int main(void) { return 0; }
```
Emoji 👨‍👩‍👧 and flags 🇩🇪 and 你好，世界。 e\u0301 **unclosed
"""  # noqa: RUF001

BITS = [
    *("word", "longer-word", " ", " ", " ", "\n", "\n\n", "*", "**", "***", "_", "~~", "`", "``", "```"),
    *("```py\n", "x_y"),
    *("[", "](", ")", "]", "!", "http", "https://a.b/c_d", "://", "<", ">", "<br>", "&amp;", "&", "|", "| a | b |\n"),
    *("|---|---|\n", "- ", "  - ", "1. ", "2. ", "> ", "# ", "---\n", "$", "$$", "\\(", "\\)", "\\[", "\\]", "\\"),
    "    ",
    *("/*", "*/", '"""', "中", "文字", "👩", "\u200d", "\ufe0f", "\u0301", "é", "🇩", "🇪", "\t", "x" * 30, ".", "[x] "),
]  # fmt: skip


@st.composite
def cut_texts(draw: st.DrawFn) -> list[str]:
    """A made-up text in pieces."""
    text = "".join(draw(st.lists(st.sampled_from(BITS), max_size=60)))
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=12)))
    return [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
