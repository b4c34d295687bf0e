"""Code in colours, line by line: what a line was lexed to never changes, and no line is lexed twice. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from pygments.lexer import ExtendedRegexLexer, Lexer, RegexLexer  # type: ignore[import-untyped]  # it ships no types
from pygments.lexers import find_lexer_class, get_all_lexers  # type: ignore[import-untyped]  # it ships no types
from pygments.token import Text, _TokenType  # type: ignore[import-untyped]  # it ships no types

from launcher.chat.screen.spans import Row, Span, merged
from launcher.chat.screen.theme import Theme

PIECE = 400
"""Characters of a line that are lexed together; what is longer is a line of several pieces."""

_MORE_NAMES = {"py": "python", "python3": "python", "jsonc": "json", "plaintext": "text", "txt": "text"}
_MAX_STATES = 50
_STEPS_PER_CHAR = 20
"""Changes of state without a character consumed, beyond which the rest of a line is left plain."""

_HAS_C_COMMENTS = frozenset(
    (
        *("c", "cpp", "java", "javascript", "typescript", "jsx", "tsx", "css", "scss", "less", "go", "csharp"),
        *("kotlin", "swift", "scala", "php", "sql", "groovy", "dart", "cuda", "glsl", "objective-c"),
    )
)


_LIKELY = (
    *("python", "bash", "javascript", "typescript", "json", "html", "css", "sql", "c", "cpp", "java", "csharp", "go"),
    *("rust", "yaml", "markdown", "diff", "toml", "php", "kotlin", "swift", "dockerfile", "ruby"),
)


class CodeStream:
    """Lines of one language; `text` and unknown ones stay plain."""

    __slots__ = ("_comment", "_lexer", "_stack", "theme")

    def __init__(self, language: str, theme: Theme) -> None:
        self.theme = theme
        self._lexer = lexer_of(language.lower())
        self._stack: tuple[str, ...] = ("root",)
        self._comment = False
        """Within `/* */`, which pygments finds only if it is in one line."""

    def clone(self) -> CodeStream:
        """One that goes its own way."""
        other = object.__new__(CodeStream)
        other.theme, other._lexer = self.theme, self._lexer
        other._stack, other._comment = self._stack, self._comment
        return other

    def line(self, text: str, *, ends: bool = True) -> Row:
        """One line without its line feed, or a piece of one, which does not end it."""
        if self._lexer is None:
            return merged((Span(text),))
        spans: list[Span] = []
        if self._comment:
            close = text.find("*/")
            end = len(text) if close < 0 else close + 2
            self._comment = close < 0
            spans.append(Span(text[:end], self.theme.token("Comment")))
            text = text[end:]
        spans += self._lexed(text, ends=ends)
        return merged(spans)

    def _lexed(self, text: str, *, ends: bool) -> list[Span]:
        whole = text + "\n" if ends else text
        try:
            tokens = list(self._tokens(whole))
        except Exception:  # noqa: BLE001  # hundreds of lexers, made for whole programs: colours are not worth a fault
            tokens = []
        if "".join(value for _, value in tokens) != whole:
            self._lexer = None
            return [Span(text)]
        spans: list[Span] = []
        at = 0
        for kind, value in tokens:
            name = str(kind)[6:]
            if self._opens_comment(text, at, name):
                self._comment = True
                self._stack = ("root",)
                return [*spans, Span(text[at:], self.theme.token("Comment"))]
            at += len(value)
            spans.append(Span(value.rstrip("\n"), self.theme.token(name)))
        return spans

    def _opens_comment(self, text: str, at: int, name: str) -> bool:
        if self._lexer is None or self._lexer.aliases[0] not in _HAS_C_COMMENTS:
            return False
        return text.startswith("/*", at) and text.find("*/", at + 2) < 0 and not name.startswith("Literal.String")

    def _tokens(self, text: str) -> Iterator[tuple[_TokenType, str]]:
        lexer = self._lexer
        if isinstance(lexer, RegexLexer) and not isinstance(lexer, ExtendedRegexLexer):
            yield from self._walk(lexer, text)
        elif lexer is not None:  # those of JSON and YAML, say, are no plain rules: each line for itself
            yield from ((kind, value) for _, kind, value in lexer.get_tokens_unprocessed(text))

    def _walk(self, lexer: Any, text: str) -> Iterator[tuple[_TokenType, str]]:
        """What `get_tokens` of pygments does with the rules of a lexer, beginning and ending in any state."""
        stack = list(self._stack)
        at = 0
        for _ in range(_STEPS_PER_CHAR * len(text)):
            if at >= len(text):
                break
            for matches, action, change in lexer._tokens.get(stack[-1], ()):  # noqa: SLF001  # there is no other way
                if (found := matches(text, at)) is None:
                    continue
                yield from _acted(lexer, action, found)
                at = found.end()
                _change(stack, change)
                break
            else:
                if text[at] == "\n":
                    stack = ["root"]
                yield Text, text[at]
                at += 1
        yield Text, text[at:]
        self._stack = tuple(stack[-_MAX_STATES:])


def _acted(lexer: Any, action: Any, found: re.Match[str]) -> Iterator[tuple[_TokenType, str]]:
    """The tokens of one rule: it names their kind, or calls back."""
    if isinstance(action, _TokenType):
        yield action, found.group()
    elif action is not None:
        yield from ((kind, value) for _, kind, value in action(lexer, found))


def _change(stack: list[str], change: Any) -> None:
    """Enter and leave states of a lexer, as pygments documents them."""
    if change is None:
        return
    if change == "#push":
        stack.append(stack[-1])
    elif isinstance(change, int):
        del stack[max(1, len(stack) + change) :]
    else:
        for state in (change,) if isinstance(change, str) else change:
            if state == "#pop":
                del stack[max(1, len(stack) - 1) :]
            else:
                stack.append(stack[-1] if state == "#push" else state)


@lru_cache(maxsize=64)
def lexer_of(language: str) -> Lexer | None:
    """The lexer of a language, by any of its names; None for plain text and unknown ones."""
    name = _MORE_NAMES.get(language, language)
    if not name or name == "text" or len(name) > 40:
        return None
    # pygments' own search by alias goes on to the packages that are installed, which takes longer than a painting.
    found = _aliases().get(name)
    cls = find_lexer_class(found) if found else None
    return cls(stripnl=False, ensurenl=False) if cls is not None else None


@lru_cache(maxsize=1)
def _aliases() -> dict[str, str]:
    return {alias: name for name, aliases, _, _ in get_all_lexers(plugins=False) for alias in aliases}


def warm_up() -> None:
    """Load the lexers of languages that answers are likely to hold: the first use of one takes up to 70 ms."""
    for language in _LIKELY:
        CodeStream(language, Theme()).line("")


def language_of(info: str) -> str:
    """The language that a fence names: its first word."""
    words = re.split(r"[\s{,:]", info.strip().strip("{}."), maxsplit=1)
    return words[0] if words else ""
