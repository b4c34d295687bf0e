"""Links within a line of Markdown, and what of a URL may be given to a terminal. Pure."""

from __future__ import annotations

import re
from typing import Literal
from urllib.parse import quote

MAX_URL = 2000
BARE_URL = re.compile(rf"https?://[^\s<>\"`|\u3000-\u303f\uff00-\uff0f]{{1,{MAX_URL}}}", re.IGNORECASE)
AUTOLINK = re.compile(rf"<(https?://[^\s<>]{{1,{MAX_URL}}}|mailto:[^\s<>]{{1,200}})>", re.IGNORECASE)
_TEXT = re.compile(r"\[(?:[^\[\]\\\n]|\\.|\[[^\[\]\n]*+\])*+\]", re.DOTALL)
_TARGET = re.compile(
    r"\([ \t]*+(?:<([^<>\n]*+)>|((?:[^\s()\\]|\\.|\((?:[^\s()\\]|\\.)*+\))*+))(?:[ \t]+\"[^\"\n]*+\")?[ \t]*+\)"
)
_SAFE = "!#$%&'()*+,-./:;=?@[]_~"


def clickable(url: str) -> str:
    """The URL in the form that a terminal is given, or nothing where it should not be clicked."""
    if not re.match(r"https?://[^/\s]", url, re.IGNORECASE) or len(url) > MAX_URL:
        return ""
    return quote(url, safe=_SAFE, errors="replace")


def trimmed(url: str) -> str:
    """A bare URL without the punctuation of the sentence around it."""
    while url:
        if url[-1] in ".,;:!?'\"*_~$" or (
            url[-1] in ")]" and url.count(url[-1]) > url.count("(" if url[-1] == ")" else "[")
        ):
            url = url[:-1]
        else:
            break
    return url


def match_link(text: str, at: int, lookahead: int) -> tuple[int, str, str] | Literal["more"] | None:
    """What `[` at this place begins: (end, text, target) of a link; None if none; `more` while that is open."""
    window = text[at : at + lookahead]
    cut_off = len(text) < at + lookahead
    found = _TEXT.match(window)
    if found is None:
        return "more" if cut_off and "\n" not in window else None
    if found.end() == len(window):
        return "more" if cut_off else None
    if window[found.end()] != "(":
        return None
    target = _TARGET.match(window, found.end())
    if target is None:
        return "more" if cut_off and "\n" not in window[found.end() :] else None
    return at + target.end(), found.group()[1:-1], target.group(1) or target.group(2) or ""
