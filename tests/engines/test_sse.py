"""Events are cut out of a stream by the standard's rules, whatever its pieces."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.engines.client.sse import MAX_EVENT_BYTES, EventReader, EventTooLongError


def read(*pieces: bytes) -> list[str]:
    reader = EventReader()
    return [data for piece in pieces for data in reader.feed(piece)]


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_lines_of_every_kind(end: bytes) -> None:
    lines = (
        b"\xef\xbb\xbfdata: a",
        b"",
        b": comment",
        b"data:b",
        b"data:  c",
        b"id: 7",
        b"",
        b"",
        b"event: x",
        b"",
        b"data",
    )
    assert read(end.join([*lines, b"", b""])) == ["a", "b\n c", ""]


def test_lines_that_end_with_cr_alone() -> None:
    assert read(b"data: a\r", b"\rdata: b\r\r", b"data: c") == ["a", "b"]


def test_an_event_that_is_not_ended_says_nothing() -> None:
    assert read(b"data: a\n") == []


@given(
    st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\r\n")), max_size=6),
    st.sampled_from(["\n", "\r\n"]),
    st.lists(st.integers(0, 200), max_size=20),
)
def test_pieces_make_no_difference(texts: list[str], end: str, cuts: list[int]) -> None:
    data = "".join(f"data: {text}{end}{end}" for text in texts).encode()
    at = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    assert read(*(data[a:b] for a, b in itertools.pairwise(at))) == texts


def test_an_event_is_not_read_for_ever() -> None:
    reader = EventReader()
    reader.feed(b"data: " + b"x" * (MAX_EVENT_BYTES // 2))
    with pytest.raises(EventTooLongError):
        reader.feed(b"x" * (MAX_EVENT_BYTES // 2))
    reader = EventReader()
    line = b"data: " + b"x" * (MAX_EVENT_BYTES // 2) + b"\n"
    reader.feed(line)
    with pytest.raises(EventTooLongError):
        reader.feed(line + line)
