"""What /commands print, and how they read what is typed after them. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from launcher.chat.commands import COMMANDS, Command
from launcher.chat.conversation import Conversation
from launcher.engines.types import Engine, Sampling, Timings
from launcher.errors import UsageError
from launcher.system.shell import split

_BAR = 32  # columns
_FENCE = "```"
_TITLE_CHARS = 60


def help_text(commands: Sequence[Command] = COMMANDS) -> str:
    """Every command on a line of its own."""
    width = max(len(f"{command.name} {command.usage}") for command in commands)
    lines = [f"{f'{command.name} {command.usage}':<{width}}  {command.help}" for command in commands]
    return "\n".join([*lines, "Ctrl-C stops an answer; what came of it is kept."])


def stats_text(timings: Sequence[Timings]) -> str:
    """Tokens and speed of all answers so far."""
    if not timings:
        return "Nothing has been answered yet."
    n_prompt = sum(t.prompt_n for t in timings)
    n_reused = sum(t.cache_n for t in timings)
    n_predicted = sum(t.predicted_n for t in timings)
    decode_s = sum(t.predicted_ms for t in timings) / 1e3
    read_s = sum(t.prompt_ms for t in timings) / 1e3
    rows = [
        ("answers", f"{len(timings):,}"),
        ("written", f"{n_predicted:,} tokens{_rate(n_predicted, decode_s)}"),
        ("read", f"{n_prompt:,} tokens{_rate(n_prompt, read_s)}"),
        ("reused", f"{n_reused:,} tokens, {n_reused / max(1, n_reused + n_prompt):.0%} of all prompts"),
        ("first token", f"{statistics.median(t.ttft_ms for t in timings) / 1e3:.2f} s (median)"),
    ]
    return "\n".join(f"{name:<12} {value}" for name, value in rows)


def _rate(n_tokens: int, seconds: float) -> str:
    return f", {n_tokens / seconds:,.1f} tok/s" if seconds > 0 else ""


def context_text(
    engine: Engine, conversation: Conversation, sampling: Sampling, functions: Sequence[dict[str, Any]]
) -> str:
    """What fills the context: parts are differences of prompts that grow, since a template adds words of its own."""
    messages = conversation.messages

    def count(part: Conversation, *, tools: bool = True) -> int:
        return engine.count_tokens(part.messages, sampling, tools=functions if tools else (), exact=True)

    instructions = Conversation(messages=tuple(m for m in messages if m.role in ("system", "developer")))
    asked = conversation.without_last_turn() != conversation
    before = conversation.without_last_turn() if asked else instructions
    n_plain, n_tools, n_before = count(instructions, tools=False), count(instructions), count(before)
    n_all = count(conversation) if asked else n_before
    rows = [("instructions", n_plain), ("tools", n_tools - n_plain), ("earlier", max(0, n_before - n_tools))]
    rows.append(("last turn", max(0, n_all - n_before)))
    if engine.n_ctx is not None:
        rows.append(("free", max(0, engine.n_ctx - n_all)))
    whole = engine.n_ctx or max(1, n_all)
    lines = [f"{name:<13}{n:>9,}  {'█' * round(_BAR * n / whole)}".rstrip() for name, n in rows if n or name == "free"]
    size = f"{engine.n_ctx:,}" if engine.n_ctx is not None else "?"
    unknown = (
        ["(this server does not count tokens: these are the most that they can be)"] if engine.n_ctx is None else []
    )
    return "\n".join([*lines, f"{'context':<13}{size:>9}", *unknown])


def file_names(text: str) -> list[str]:
    """Names separated by spaces, with quotes around those that hold some; a name that is there is taken whole."""
    if Path(text).expanduser().exists():
        return [text]
    try:
        return split(text)
    except ValueError as error:
        raise UsageError(f"cannot read {text!r}: {error}") from None


def last_code_block(text: str) -> str | None:
    """The inside of the last fenced block; None where there is none."""
    blocks: list[list[str]] = []
    fence = ""
    for line in text.splitlines():
        bare = line.lstrip()
        if fence and bare.startswith(fence) and not bare.strip(fence[0]).strip():
            fence = ""
        elif fence:
            blocks[-1].append(line)
        elif bare.startswith((_FENCE, "~~~")):
            fence = bare[: len(bare) - len(bare.lstrip(bare[0]))]
            blocks.append([])
    return "\n".join(blocks[-1]) if blocks else None


def shortened(text: str) -> str:
    """The first line, as much of it as a title has."""
    line = text.strip().splitlines()[0] if text.strip() else ""
    return line if len(line) <= _TITLE_CHARS else f"{line[: _TITLE_CHARS - 1]}…"
