"""What is written out can be read, is whole, and does nothing by itself."""

from __future__ import annotations

import json
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.chat.conversation import Conversation, from_json
from launcher.engines.types import Message, ToolCall
from launcher.history.conversations import TITLE_COLUMNS, columns, shortened, title_of, unsaved
from launcher.history.export import to_html, to_json_text, to_markdown
from launcher.history.types import SavedConversation, SavedMessage
from tests.history.samples import NOON, WEATHER, answer, user

HOSTILE = (
    "<script>alert(1)</script><img src=x onerror=alert(1)>\"'&\n\n"
    "[a](javascript:alert(1)) [b](data:text/html,x) [c](file:///etc/passwd) [d](vbscript:x) [e](//evil.example)\n\n"
    "[good](https://good.example/?a=1&b=2) <mailto:a@b.example> <javascript:alert(2)>\n\n"
    "![picture](https://evil.example/p.png) [![nested](https://evil.example/q.png)](https://good.example/)\n\n"
    '[t](https://good.example/ "\\" onmouseover=\\"alert(1)")\n\n</article></main></html>\x1b[31m'
)


def saved(*messages: Message, title: str | None = None) -> SavedConversation:
    return unsaved(Conversation(messages=messages), now=NOON, title=title, model="20b", file="a.gguf")


class Reader(HTMLParser):
    """Tags, their attributes, and the text that is shown."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "br", "hr"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes something else"

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.text += data


@pytest.mark.parametrize("role", ["user", "assistant", "tool", "system"])
def test_a_page_runs_and_loads_nothing_whatever_was_said(role: str) -> None:
    message = Message(
        role=role,  # type: ignore[arg-type]
        content=HOSTILE,
        reasoning=HOSTILE,
        tool_calls=(ToolCall(id="1", name=HOSTILE, arguments=HOSTILE),),
        name=HOSTILE,
    )
    page = to_html(replace(saved(message), about=replace(saved().about, title=HOSTILE, model=HOSTILE)))
    reader = Reader(page)
    assert reader.open == []
    names = {tag for tag, _ in reader.tags}
    assert not names & {"script", "img", "link", "iframe", "object", "base", "form", "svg", "video", "audio"}
    for tag, attributes in reader.tags:
        assert not any(name.startswith("on") or name in ("src", "style", "srcset") for name in attributes), tag
        assert attributes.get("href") in (
            None,
            "https://good.example/?a=1&b=2",
            "mailto:a@b.example",
            "https://good.example/",
        )
        if "href" in attributes:
            assert attributes["rel"] == "noopener noreferrer"
    assert "<script>alert(1)</script>" in reader.text
    assert "\x1b" not in page
    assert "url(" not in page
    assert "@import" not in page
    policies = [a["content"] for tag, a in reader.tags if a.get("http-equiv") == "Content-Security-Policy"]
    assert policies == ["default-src 'none'; style-src 'unsafe-inline'"]


def test_a_page_shows_everything() -> None:
    markdown = "Some **bold** text.\n\n```python\nprint('<b>')\n```\n\n| a | b |\n|---|---|\n| 1 | 2 |"
    kept = (*saved(*WEATHER).messages, SavedMessage(message=answer(markdown), created_at="", finish_reason="length"))
    page = to_html(replace(saved(*WEATHER), messages=kept))
    reader = Reader(page)
    for text in (
        "Be brief.",
        "What is the weather in Köln?\nI have no umbrella.",
        "I need the tool.",
        '"city": "Köln"',
    ):
        assert text in reader.text
    for text in (
        "rain, 9 °C",
        "It rains; take one.",
        "Tool: weather",
        "print('<b>')",
        "2026-03-01 12:00 UTC, model 20b",
    ):
        assert text in reader.text
    assert {"strong", "table", "pre", "details"} <= {tag for tag, _ in reader.tags}
    assert "(cut off)" in reader.text
    assert "prefers-color-scheme: dark" in page
    assert "color-scheme: light dark" in page


@given(st.text(), st.sampled_from(["user", "assistant", "tool"]))
def test_any_text_makes_a_page_that_closes_its_tags(text: str, role: str) -> None:
    message = Message(role=role, content=text, reasoning=text)  # type: ignore[arg-type]
    assert Reader(to_html(saved(message, title=text or None))).open == []


def test_markdown() -> None:
    assert to_markdown(saved(*WEATHER)) == MARKDOWN


MARKDOWN = """\
# What is the weather in Köln?

*2026-03-01 12:00 UTC, model 20b (a.gguf)*

## System

Be brief.

## User

What is the weather in Köln?
I have no umbrella.

## Assistant

<details>
<summary>Reasoning</summary>

I need the tool.

</details>

Calls `weather`:

```json
{
  "city": "Köln"
}
```

## Tool: weather

```
rain, 9 °C
```

## Assistant

<details>
<summary>Reasoning</summary>

Rain means umbrella.

</details>

It rains; take one.
"""


@pytest.mark.parametrize(
    ("content", "end"),
    [
        ("```sh\ncut", "```sh\ncut\n```"),
        ("~~~~\n```\ncut", "~~~~\n```\ncut\n~~~~"),
        ("```\nwhole\n```", "```\nwhole\n```"),
        ("``` `in a line` ```", "``` `in a line` ```"),
    ],
)
def test_an_answer_that_was_cut_in_a_code_block_ends_it(content: str, end: str) -> None:
    markdown = to_markdown(saved(user("q"), answer(content), user("next")))
    assert f"{end}\n\n## User\n\nnext\n" in markdown


def test_fences_are_longer_than_what_they_hold_and_folds_stay_closed() -> None:
    tool = Message(role="tool", content="a\n````\nb", name="t")
    markdown = to_markdown(saved(tool, answer("x", "</details>\x1b[0m <Summary>")))
    assert "`````\na\n````\nb\n`````" in markdown
    assert markdown.count("</details>") == 1
    assert "\x1b" not in markdown


def test_arguments_that_are_no_json_are_shown_as_they_are() -> None:
    call = ToolCall(id="1", name="f", arguments="{broken")
    exported = saved(Message(role="assistant", tool_calls=(call,)))
    assert "{broken" in to_markdown(exported)
    assert "{broken" in to_html(exported)


def test_json_is_what_load_reads_and_no_terminal_obeys_it() -> None:
    conversation = Conversation(messages=(*WEATHER, answer("\x1b[31m \x9b31m é")), reasoning_effort="low")
    text = to_json_text(unsaved(conversation, now=NOON))
    assert from_json(json.loads(text)) == conversation
    assert text.replace("\n", "").isprintable()
    assert "é" in text


@pytest.mark.parametrize("export", [to_html, to_json_text, to_markdown])
def test_half_an_emoji_can_be_written(export: object) -> None:
    assert callable(export)
    export(saved(user("a\ud83d"), answer("b\udcff", "c\ud83d"))).encode()


# Titles


@pytest.mark.parametrize(
    ("question", "title"),
    [
        ("Short", "Short"),
        ("\n\n  First line  with   spaces \nsecond", "First line with spaces"),
        ("```\n---\nreal text", "real text"),
        ("!!!", "!!!"),
        ("", "(no question yet)"),
        (" \n ", "(no question yet)"),
        ("a\x1b]0;x\x07b", "a ]0;x b"),
        ("word " * 20, ("word " * 12).strip() + "…"),
        ("x" * 100, "x" * 59 + "…"),
        ("東" * 100, "東" * 29 + "…"),
    ],
)
def test_titles(question: str, title: str) -> None:
    assert title_of([user(question)]) == title


@given(st.text(), st.integers(1, 80))
def test_what_is_shortened_fits(text: str, n_columns: int) -> None:
    cut = shortened(text, n_columns)
    assert columns(cut) <= n_columns
    assert cut == text or cut.endswith("…")
    assert columns(title_of([user(text)])) <= TITLE_COLUMNS
