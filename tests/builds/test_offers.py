"""What is remembered of an offer that was no yes, and when it is made again."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from launcher.builds.offers import AGAIN_AFTER, FILE_NAME, Answer, is_due, keep_answer, read_answer

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
NO = Answer(never=False, date="2026-11-25T12:00:00+00:00", launcher="0.1.0", gpus=("A", "B"))
NEVER = replace(NO, never=True)


def due(answer: Answer | None, *, launcher: str = "0.1.0", gpus: tuple[str, ...] = ("A", "B"), days: float = 0) -> bool:
    return is_due(answer, launcher=launcher, gpus=gpus, now=NOW + timedelta(days=days))


def test_what_was_never_asked_is_due() -> None:
    assert due(None)


def test_after_a_no_it_is_silent_for_a_fortnight() -> None:
    assert AGAIN_AFTER.days == 14
    assert [due(NO, days=days) for days in (0, 1, 13.9, 14, 100)] == [False, False, False, True, True]


def test_another_gpu_or_another_launcher_is_a_reason_to_ask() -> None:
    assert due(NO, gpus=("A", "C"))
    assert due(NO, gpus=("A",))
    assert due(NO, gpus=("A", "B", "B"))
    assert not due(NO, gpus=("B", "A")), "their order is none"
    assert due(NO, launcher="0.2.0")


def test_a_clock_that_was_set_back_is_no_reason_for_silence() -> None:
    assert due(NO, days=-1)


def test_never_is_never() -> None:
    assert not due(NEVER, days=1000, gpus=("C",), launcher="9.9.9")


@pytest.mark.parametrize("answer", [NO, NEVER])
def test_an_answer_is_kept(tmp_path: Path, answer: Answer) -> None:
    assert read_answer(tmp_path) is None
    keep_answer(tmp_path / "state", answer)
    assert read_answer(tmp_path / "state") == answer


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[]",
        "null",
        '{"schema": 2, "never": true, "date": "2026-11-25T12:00:00+00:00", "launcher": "1", "gpus": []}',
        '{"schema": 1, "never": true, "date": "yesterday", "launcher": "1", "gpus": []}',
        '{"schema": 1, "never": "perhaps", "date": "2026-11-25T12:00:00+00:00", "launcher": "1", "gpus": []}',
        '{"schema": 1, "date": "2026-11-25T12:00:00+00:00"}',
    ],
)
def test_a_damaged_file_is_no_answer(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE_NAME).write_text(text)
    assert read_answer(tmp_path) is None
