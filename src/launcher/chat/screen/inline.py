"""Styles within a paragraph, decided as soon as they can be. Pure.

What a sign means may hang on text to come: an asterisk begins emphasis only if another ends it. Each is waited for over
a bounded number of characters, counted in the text and not in its pieces, so the result does not depend on how the text
came. After that, emphasis counts as begun, and anything else as text.
"""

from __future__ import annotations

import html
import re
from dataclasses import dataclass, field

from launcher.chat.screen import links
from launcher.chat.screen.emphasis import LOOKAHEAD, PUNCTUATION, Sign, before_all, end_what_is_open, flanks, row_of
from launcher.chat.screen.safe import clean
from launcher.chat.screen.spans import Row, Span, styled
from launcher.chat.screen.theme import UNDERLINE, Theme

_MAX_OPEN = 12
"""Emphasis within emphasis; signs beyond are text."""

_SPECIAL = re.compile(r"[\\`*_~$\[!<&]|[hH][tT][tT][pP][sS]?://|[hH](?:[tT](?:[tT](?:[pP](?:[sS]?(?::/?)?)?)?)?)?\Z")
_RUN = {char: re.compile(re.escape(char) + "+") for char in "*_~`"}
_BREAK = re.compile(r"<br[ \t]*/?>", re.IGNORECASE)
_UNFINISHED_TAG = re.compile(
    r"<(?:b(?:r[ \t]{0,9}/?)?|h(?:t(?:t(?:ps?(?:://?[^\s<>]*)?)?)?)?|m[a-z:@.]*)?\Z", re.IGNORECASE
)
_ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[a-zA-Z][a-zA-Z0-9]{1,31});")
_UNFINISHED_ENTITY = re.compile(r"&(?:#[xX]?)?[a-zA-Z0-9]{0,31}\Z")
_MATH = {r"\(": r"\)", r"\[": r"\]", "$$": "$$"}


@dataclass(slots=True)
class _Parse:
    """One pass over a text."""

    signs: list[Sign] = field(default_factory=list)
    stack: list[Sign] = field(default_factory=list)
    limit: int = -1
    """Where the first thing begins that cannot be decided yet."""
    failed: dict[int, int] = field(default_factory=dict)
    """Lengths of backtick runs that have no partner before some place."""


class InlineStream:
    """Text in, styled spans out."""

    __slots__ = ("_before", "_open", "_text", "base", "theme")

    def __init__(self, theme: Theme, base: str = "") -> None:
        self.theme = theme
        self.base = base
        """Style of everything, as of a heading."""
        self._text = ""
        """From the first character that is not decided."""
        self._open: tuple[tuple[str, int], ...] = ()
        """Emphasis that has begun and is no longer waited for."""
        self._before = " "

    def clone(self) -> InlineStream:
        """One that goes its own way."""
        other = InlineStream(self.theme, self.base)
        other._text, other._open, other._before = self._text, self._open, self._before
        return other

    def feed(self, text: str) -> Row:
        """What is decided now."""
        self._text += text
        parse = self._parse(final=False, shown=False)
        end = len(self._text) if parse.limit < 0 else parse.limit
        cut = min([end, *(sign.pos for sign in parse.stack if end < sign.pos + LOOKAHEAD)])
        if cut <= 0:
            return ()
        begun = [sign for sign in parse.stack if sign.pos < cut]
        row = row_of([sign for sign in parse.signs if sign.pos < cut], begun, self.base)
        self._open = tuple((sign.sign, sign.n) for sign in begun)
        self._before = self._text[cut - 1]
        self._text = self._text[cut:]
        return row

    def preview(self) -> Row:
        """What is not decided, as it looks at present: emphasis and code that have begun look like it."""
        if not self._text:
            return ()
        parse = self._parse(final=False, shown=True)
        return row_of(parse.signs, parse.stack, self.base)

    def finish(self) -> Row:
        """The rest of the text, with signs that nothing answered as text. The stream is empty after it."""
        parse = self._parse(final=True, shown=True)
        end = len(self._text)
        row = row_of(parse.signs, [sign for sign in parse.stack if end >= sign.pos + LOOKAHEAD], self.base)
        self._text, self._open, self._before = "", (), " "
        return row

    # Reading

    def _parse(self, *, final: bool, shown: bool) -> _Parse:
        parse = _Parse()
        for sign, n in self._open:
            run = before_all(sign, n)
            parse.signs.append(run)
            parse.stack.append(run)
        text, at = self._text, 0
        while at < len(text):
            found = _SPECIAL.search(text, at)
            start = found.start() if found else len(text)
            if start > at:
                parse.signs.append(Sign(at, Span(text[at:start], self.base)))
            if not found:
                break
            at = self._special(parse, start, final=final, shown=shown)
            if parse.limit >= 0 and not shown:
                break
        return parse

    def _special(self, parse: _Parse, at: int, *, final: bool, shown: bool) -> int:
        """Read what begins at a special character; gives where to go on."""
        char = self._text[at]
        if char in "*_~":
            return self._emphasis(parse, at, final=final, shown=shown)
        if char == "`":
            return self._code(parse, at, final=final)
        if char in "\\$":
            return self._math_or_escape(parse, at, final=final)
        if char in "[!":
            return self._link(parse, at, final=final)
        if char in "hH":
            return self._bare_url(parse, at, final=final)
        return self._tag_or_entity(parse, at, final=final)

    def _plain(self, parse: _Parse, at: int, end: int) -> int:
        parse.signs.append(Sign(at, Span(self._text[at:end], self.base)))
        return end

    def _undecided(self, parse: _Parse, at: int) -> None:
        if parse.limit < 0:
            parse.limit = at

    def _styled(self, parse: _Parse, at: int, text: str, sgr: str, url: str = "") -> None:
        parse.signs.append(Sign(at, Span(text, styled(self.base, sgr), url if self.theme.links else "")))

    def _emphasis(self, parse: _Parse, at: int, *, final: bool, shown: bool) -> int:
        text = self._text
        sign = text[at]
        found = _RUN[sign].match(text, at)
        end = found.end() if found else at + 1
        n = end - at
        before = text[at - 1] if at else self._before
        cut_off = end == len(text)
        if cut_off and not final:
            self._undecided(parse, at)
            if not shown:
                return end  # it may yet end something, which is undecided as long
        after = " " if cut_off else text[end]
        opens, closes = flanks(sign, n, before, after)
        run = Sign(at, sign=sign, n=n)
        if closes:
            end_what_is_open(parse.stack, run)
        parse.signs.append(run)
        if (
            run.n == n and opens and len(parse.stack) < _MAX_OPEN
        ):  # what ended something begins nothing: it would be decided in halves
            parse.stack.append(run)
        elif cut_off and not final:
            run.literal = False  # it begins or ends something, and the next character tells
        return end

    def _code(self, parse: _Parse, at: int, *, final: bool) -> int:
        text = self._text
        found = _RUN["`"].match(text, at)
        end = found.end() if found else at + 1
        n, bound = end - at, end + LOOKAHEAD
        if end == len(text) and not final:
            self._undecided(parse, at)
            return end
        close = -1
        if parse.failed.get(n, -1) < min(bound, len(text)):
            for run in _RUN["`"].finditer(text, end):
                if run.start() >= bound:
                    break
                if run.end() - run.start() == n:
                    close = run.end()
                    break
            if close < 0:
                parse.failed[n] = min(bound, len(text))
        if close < 0 and (final or len(text) > bound + n):
            return self._plain(parse, at, end)
        if close < 0 or (close == len(text) and not final):
            self._undecided(parse, at)
            close = len(text)
        self._styled(parse, at, text[at:close].replace("\n", " "), self.theme.code)
        return close

    def _math_or_escape(self, parse: _Parse, at: int, *, final: bool) -> int:
        text = self._text
        pair = text[at : at + 2]
        if len(pair) == 1 and not final:
            self._undecided(parse, at)
            return at + 1
        if pair in _MATH:
            closing = _MATH[pair]
            close = text.find(closing, at + 2, at + 2 + LOOKAHEAD)
            end = close + 2
        elif pair[0] == "$":
            close = _closing_dollar(text, at)
            end = close + 1
            if close >= 0 and end == len(text) and not final:
                self._undecided(parse, at)
        elif pair[1:] in PUNCTUATION and len(pair) > 1:
            parse.signs.append(Sign(at, Span(pair[1], self.base)))
            return at + 2
        else:
            return self._plain(parse, at, at + 1) if pair != "\\\n" else at + 1
        if close >= 0:
            self._styled(parse, at, text[at:end], self.theme.math)
            return end
        if not final and len(text) < at + 2 + LOOKAHEAD and (pair[0] != "$" or not text[at + 1].isspace()):
            self._undecided(parse, at)
        return self._plain(parse, at, at + (1 if pair[0] == "$" and pair != "$$" else 2))

    def _link(self, parse: _Parse, at: int, *, final: bool) -> int:
        text = self._text
        begin = at + (text[at] == "!")
        if begin == len(text) and not final:
            self._undecided(parse, at)
        if text[begin : begin + 1] != "[":
            return self._plain(parse, at, at + 1)
        found = links.match_link(text, begin, LOOKAHEAD)
        if found is None or found == "more":
            if found and not final:
                self._undecided(parse, at)
            return self._plain(parse, at, begin + 1)
        end, label, target = found
        target = clean(html.unescape(re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", target))).replace("\n", "")
        url = links.clickable(target)
        for span in parse_inline(label, self.theme, styled(self.base, UNDERLINE)):
            parse.signs.append(Sign(at, Span(span.text, span.sgr, url if self.theme.links else "")))
        if target and target != label:
            parse.signs.append(Sign(at, Span(" (" if label else "(", self.base)))
            self._styled(parse, at, target, UNDERLINE, url)
            parse.signs.append(Sign(at, Span(")", self.base)))
        return end

    def _bare_url(self, parse: _Parse, at: int, *, final: bool) -> int:
        text = self._text
        before = text[at - 1] if at else self._before
        found = links.BARE_URL.match(text, at)
        if found is None or before.isalnum():
            if not final and (len(text) - at < len("https://") or text[at:].lower() == "https://"):
                self._undecided(parse, at)
            return self._plain(parse, at, at + 1)
        n = len(found.group().partition("://")[2])
        if found.end() == len(text) and not final and n < links.MAX_URL:
            self._undecided(parse, at)
        url = links.trimmed(found.group())
        if len(url) <= len("https://"):
            return self._plain(parse, at, at + 1)
        self._styled(parse, at, url, UNDERLINE, links.clickable(url))
        return at + len(url)

    def _tag_or_entity(self, parse: _Parse, at: int, *, final: bool) -> int:
        text = self._text
        if text[at] == "&":
            if found := _ENTITY.match(text, at):
                parse.signs.append(Sign(at, Span(clean(html.unescape(found.group())), self.base)))
                return found.end()
            if not final and _UNFINISHED_ENTITY.match(text, at):
                self._undecided(parse, at)
            return self._plain(parse, at, at + 1)
        if found := _BREAK.match(text, at):
            parse.signs.append(Sign(at, Span("\n", self.base)))
            return found.end()
        if found := links.AUTOLINK.match(text, at):
            self._styled(parse, at, found.group(1), UNDERLINE, links.clickable(found.group(1)))
            return found.end()
        if not final and len(text) - at < links.MAX_URL and _UNFINISHED_TAG.match(text, at):
            self._undecided(parse, at)
        return self._plain(parse, at, at + 1)


def parse_inline(text: str, theme: Theme, base: str = "") -> Row:
    """A whole text, as of a table's cell."""
    stream = InlineStream(theme, base)
    stream._text = text  # noqa: SLF001  # nothing is to be decided early
    return stream.finish()


def _closing_dollar(text: str, at: int) -> int:
    """Where `$` at this place ends a formula: no space inside of either, and no digit after, as in `$5 or $10`."""
    if text[at + 1 : at + 2].isspace():
        return -1
    close = at
    while (close := text.find("$", close + 1, at + LOOKAHEAD)) >= 0:
        if not text[close - 1].isspace() and text[close - 1] != "\\" and not text[close + 1 : close + 2].isdigit():
            return close
    return -1
