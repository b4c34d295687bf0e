"""Every hint in the source is a command that can be typed."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import launcher
from tests.cli.sandbox import assert_runnable

SOURCE = Path(launcher.__file__).parent
_PLACEHOLDER = "7"
"""Stands for what a hint is filled with: it passes for a number, a path, a quant and a repository."""


def hints() -> Iterator[tuple[str, str]]:
    """Every literal `hint=`, `retry=` or `hint = `, with its place; f-strings with their values replaced."""
    for path in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            for expression in _expressions(node):
                text = _text(expression)
                if text is not None:
                    yield f"{path.relative_to(SOURCE)}:{expression.lineno}", text


def _expressions(node: ast.AST) -> Iterator[ast.expr]:
    if isinstance(node, ast.keyword):
        names, value = {node.arg}, node.value
    elif isinstance(node, ast.Assign):
        names, value = {target.id for target in node.targets if isinstance(target, ast.Name)}, node.value
    else:
        return
    if names & {"hint", "retry", "_HINT"}:
        yield from [value.body, value.orelse] if isinstance(value, ast.IfExp) else [value]


def _text(expression: ast.expr) -> str | None:
    if isinstance(expression, ast.Constant) and isinstance(expression.value, str):
        return expression.value
    if isinstance(expression, ast.JoinedStr):
        parts = [part.value if isinstance(part, ast.Constant) else _PLACEHOLDER for part in expression.values]
        text = "".join(map(str, parts))
        # `HF_HOME=... {retry}`: the command itself is another literal, and is checked there.
        return text.replace(f" {_PLACEHOLDER}", " gpt-oss pull") if text.startswith("HF_HOME=") else text
    return None


@pytest.mark.parametrize(("place", "hint"), [pytest.param(place, hint, id=place) for place, hint in hints()])
def test_a_hint_can_be_typed(place: str, hint: str) -> None:
    assert_runnable(hint)


def test_hints_are_found() -> None:
    assert len(list(hints())) > 40


@pytest.mark.parametrize("hint", ["gpt-oss plna", "gpt-oss chat --nope", "gpt-oss plan --ctx-size many", "try again"])
def test_what_cannot_be_typed_is_told(hint: str) -> None:
    with pytest.raises(AssertionError):
        assert_runnable(hint)
