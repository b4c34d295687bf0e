"""A conversation as Markdown, as JSON and as a web page. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType

from launcher.chat.conversation import to_json
from launcher.history.conversations import clean, conversation_of, plain
from launcher.history.types import About, SavedConversation, SavedMessage

ROLES = MappingProxyType(
    {"system": "System", "developer": "Developer", "user": "User", "assistant": "Assistant", "tool": "Tool"}
)
"""What a role is called above its messages."""

# Nothing of a conversation should move a cursor when the file is shown on a terminal.
_CONTROL = {code: None for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\n\t"}
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})(.*)")


def to_json_text(saved: SavedConversation) -> str:
    """What `/load` and `gpt-oss history import` read: what was said and how much the model thinks."""
    text = json.dumps(to_json(conversation_of(saved)), indent=2, ensure_ascii=False)
    # JSON may hold these as they are; a terminal would obey them.
    return plain(text.translate({code: f"\\u{code:04x}" for code in range(0x7F, 0xA0)})) + "\n"


def to_html(saved: SavedConversation) -> str:
    """One page that needs nothing else: no scripts, nothing from elsewhere, light and dark."""
    from launcher.history.page import page

    return page(saved)


def to_markdown(saved: SavedConversation) -> str:
    """Roles as headings, reasoning folded away, tool calls and what they gave in fences."""
    parts = [f"# {clean(plain(saved.about.title))}", *([f"*{line}*"] if (line := about_line(saved.about)) else [])]
    for kept in saved.messages:
        parts += [f"## {heading(kept)}", *_message(kept)]
    return "\n\n".join(parts) + "\n"


EXPORTERS: Mapping[str, Callable[[SavedConversation], str]] = MappingProxyType(
    {"md": to_markdown, "json": to_json_text, "html": to_html}
)
"""The formats, by the ends of their files' names."""


def about_line(about: About) -> str:
    """When it was said, and who answered."""
    model = about.model or about.file
    parts = (
        f"{about.created_at[:16].replace('T', ' ')} UTC",
        f"model {model}" + (f" ({about.file})" if about.file and about.file != model else "") if model else None,
        f"reasoning effort {about.reasoning_effort}" if about.reasoning_effort else None,
    )
    return clean(plain(", ".join(part for part in parts if part)))


def heading(kept: SavedMessage) -> str:
    """Who says it; of a tool, which."""
    name = kept.message.name
    return ROLES[kept.message.role] + (f": {clean(plain(name))}" if name else "")


def shown(text: str) -> str:
    """Text of others without control characters."""
    return plain(text).translate(_CONTROL).strip("\n")


def pretty(arguments: str) -> str:
    """Arguments of a call as indented JSON; as the model wrote them, where they are none."""
    try:
        return json.dumps(json.loads(arguments), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        return arguments


def _message(kept: SavedMessage) -> list[str]:
    message = kept.message
    parts = []
    if message.reasoning:
        # The end of the fold would end it early.
        inside = _closed(re.sub(r"<(?=/?(details|summary))", "&lt;", shown(message.reasoning), flags=re.IGNORECASE))
        parts.append(f"<details>\n<summary>Reasoning</summary>\n\n{inside}\n\n</details>")
    if message.content:
        content = shown(message.content)
        parts.append(_fenced(content) if message.role == "tool" else _closed(content))
    for call in message.tool_calls:
        parts += [f"Calls `{clean(plain(call.name))}`:", _fenced(shown(pretty(call.arguments)), "json")]
    if kept.finish_reason in ("length", "cancelled"):
        parts.append("*(cut off)*")
    return parts


def _fenced(text: str, language: str = "") -> str:
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"


def _closed(text: str) -> str:
    """Markdown whose last fence is closed: an answer that was cut in a code block must not swallow the next ones."""
    fence = ""
    for match in filter(None, map(_FENCE.match, text.splitlines())):
        run, rest = match.groups()
        if not fence:
            # Backticks after backticks are code in a line, and no fence.
            fence = "" if run[0] == "`" and "`" in rest else run
        elif run[0] == fence[0] and len(run) >= len(fence) and not rest.strip():
            fence = ""
    return f"{text}\n{fence}" if fence else text
