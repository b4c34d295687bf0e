"""Text cut where llama.cpp's tokenizer would overflow its stack. Pure."""

from __future__ import annotations

import re

MAX_RUN = 1000
"""Characters of one kind in a row. llama.cpp splits text into words by `std::regex`, which calls itself for every
character of a word (unicode_regex_split_stl, src/unicode.cpp): between 20,000 and 40,000 of them end the process on a
stack of 8 MiB. Threads of macOS have 512 KiB."""

# What may be one word: white space, letters, or anything else but digits, which come in threes. The name of a control
# token, which must not be cut, begins no run.
_OTHER = r"(?:(?!<[|/]?\w+\|?>|\[/?\w+\])(?:[^\w\s]|[_\x1c-\x1f\x85]))"
_RUN = re.compile("|".join(f"{kind}{{1,{MAX_RUN}}}" for kind in (r"\s", r"[^\W\d_]", _OTHER)))


def cut_runs(text: str) -> list[str]:
    """Cut text after every `MAX_RUN` characters of one kind, as in Base64 or a line of dashes; other text is whole.

    A cut costs a token or two. What comes later never moves one, so that the beginning of a prompt stays the same.
    """
    if len(text) <= MAX_RUN:
        return [text]
    ends = [found.end() for found in _RUN.finditer(text) if found.end() - found.start() == MAX_RUN]
    return [text[start:end] for start, end in zip([0, *ends], [*ends, len(text)], strict=True) if start < end]
