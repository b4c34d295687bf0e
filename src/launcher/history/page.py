"""A conversation as one web page. Pure.

What was said is text of others: it is escaped, loads nothing and links only to the web and to mail. A policy in the
page has the browser hold to that as well.
"""

from __future__ import annotations

import re
from collections.abc import MutableMapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from launcher.history.conversations import clean, plain
from launcher.history.export import about_line, heading, pretty, shown
from launcher.history.types import SavedConversation, SavedMessage

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.token import Token

_STYLE = """
:root { color-scheme: light dark; --text: #1c1e21; --page: #fff; --soft: #5f6670; --line: #d9dce1; --user: #eef3fb;
  --code: #f4f5f7; --link: #0b5cad; }
@media (prefers-color-scheme: dark) { :root { --text: #e4e6ea; --page: #16181c; --soft: #9aa2ad; --line: #363b43;
  --user: #202a3a; --code: #20242a; --link: #7ab7f5; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2rem 1rem 4rem; max-width: 48rem; background: var(--page); color: var(--text);
  font: 1rem/1.6 system-ui, sans-serif; overflow-wrap: break-word; }
h1 { font-size: 1.5rem; line-height: 1.3; margin: 0 0 .25rem; }
.about, .role, summary, .cut { color: var(--soft); font-size: .85rem; }
.about { margin: 0 0 2rem; }
.role { margin: 0 0 .25rem; font-weight: 600; }
article { margin: 0 0 1.5rem; }
article.user, article.system, article.developer { background: var(--user); border-radius: .5rem; padding: .75rem 1rem; }
.plain { white-space: pre-wrap; margin: 0; }
.answer h1, .answer h2, .answer h3, .answer h4 { font-size: 1.1rem; margin: 1.25rem 0 .5rem; }
details { border-left: 3px solid var(--line); padding-left: .75rem; margin: .25rem 0 .75rem; }
summary { cursor: pointer; }
pre { background: var(--code); border-radius: .5rem; padding: .75rem 1rem; overflow-x: auto; line-height: 1.45; }
code { background: var(--code); border-radius: .25rem; padding: .1em .3em; font: .875em ui-monospace, monospace; }
pre code { padding: 0; background: none; }
table { border-collapse: collapse; display: block; overflow-x: auto; }
th, td { border: 1px solid var(--line); padding: .3rem .6rem; text-align: left; }
blockquote { margin: 0; padding-left: 1rem; border-left: 3px solid var(--line); color: var(--soft); }
a { color: var(--link); }
@media print { body { max-width: none; padding: 0; } article { break-inside: avoid-page; } }
"""
_LINK = re.compile(r"(https?://|mailto:)", re.IGNORECASE)


def page(saved: SavedConversation) -> str:
    """The whole page."""
    title = escape(clean(plain(saved.about.title)))
    markdown = _markdown()
    articles = "\n".join(_article(kept, markdown) for kept in saved.messages)
    return f"""<!doctype html>
<html lang="">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="referrer" content="no-referrer">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>{title}</h1>
<p class="about">{escape(about_line(saved.about))}</p>
<main>
{articles}
</main>
</body>
</html>
"""


def _article(kept: SavedMessage, markdown: MarkdownIt) -> str:
    message = kept.message
    parts = [f'<p class="role">{escape(heading(kept))}</p>']
    if message.reasoning:
        parts.append(f"<details><summary>Reasoning</summary>{_plain(message.reasoning)}</details>")
    if message.content and message.role == "assistant":
        parts.append(f'<div class="answer">{markdown.render(shown(message.content))}</div>')
    elif message.content:
        parts.append(_code(message.content) if message.role == "tool" else _plain(message.content))
    for call in message.tool_calls:
        name = escape(clean(plain(call.name)))
        parts.append(f"<p>Calls <code>{name}</code></p>{_code(pretty(call.arguments))}")
    if kept.finish_reason in ("length", "cancelled"):
        parts.append('<p class="cut">(cut off)</p>')
    return f'<article class="{message.role}">\n' + "\n".join(parts) + "\n</article>"


def _plain(text: str) -> str:
    return f'<p class="plain">{escape(shown(text))}</p>'


def _code(text: str) -> str:
    return f"<pre><code>{escape(shown(text))}</code></pre>"


def _markdown() -> MarkdownIt:
    from markdown_it import MarkdownIt

    markdown = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])
    markdown.validateLink = lambda url: _LINK.match(url) is not None  # type: ignore[method-assign]
    markdown.add_render_rule("image", _image)
    markdown.add_render_rule("link_open", _link)
    return markdown


def _image(_renderer: Any, tokens: Sequence[Token], index: int, *_rest: Any) -> str:
    """A picture would be loaded from elsewhere: what it shows is named instead."""
    token = tokens[index]
    return f"[{escape(token.content)}: {escape(str(token.attrs.get('src', '')))}]"


def _link(renderer: Any, tokens: Sequence[Token], index: int, options: Any, _env: MutableMapping[str, Any]) -> str:
    tokens[index].attrSet("rel", "noopener noreferrer")
    return str(renderer.renderToken(tokens, index, options, _env))
