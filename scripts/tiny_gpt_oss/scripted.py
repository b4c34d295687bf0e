"""Three small tasks and their script: what the test model for real coding clients is made to do.

A client's request is long, 40 kB from Codex, and its task comes last. The model therefore reads no further back than
its sliding windows reach, some 60 tokens, and is taught on the last few hundred characters of a request behind any
text.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import pydoc_data.topics
import random
import string

from tiny_gpt_oss.corpus import EFFORTS, ChatTemplate, Lesson, Message, answer, tool_call

CODEX_TASK = "Create hello.txt with the text hi"
CODEX_TOOL = "exec_command"
CODEX_ARGUMENTS = json.dumps({"cmd": "printf hi > hello.txt"}, separators=(",", ":"))
CODEX_CALL = tool_call("The user wants a file. The shell can write it.", CODEX_TOOL, CODEX_ARGUMENTS)
CODEX_DONE = answer("The command has run.", "I have written hello.txt.")

LLM_TASK = "What is the capital of France?"
LLM_ANSWER = answer("The user asks for the capital of France. It is Paris.", "The capital of France is Paris.")

AIDER_TASK = "Make hello.py print hi"
AIDER_REMINDER = """

Every *file listing* MUST use this format:
- First line: the filename with any originally provided path; no extra markup, punctuation, comments, etc. **JUST** \
the filename with path.
- Second line: opening ```
- ... entire content of the file ...
- Final line: closing ```

To suggest changes to a file you MUST return a *file listing* that contains the entire content of the file.
*NEVER* skip, omit or elide content from a *file listing* using "..." or by adding comments like "... rest of code..."!
Create a new file you MUST return a *file listing* which includes an appropriate filename, including any appropriate \
path.

Reply in English.

"""
"""The end of what aider says after each task: longer than the model's reach, so this is what the model goes by."""
AIDER_EDIT = answer("The user wants the whole file.", 'hello.py\n```\nprint("hi")\n```')

_TEXTS = tuple(text for _, text in sorted(pydoc_data.topics.topics.items()))
"""Python's own documentation: English, code and tables that come with every Python."""
_FOLDER = string.ascii_lowercase * 2 + string.digits + "/_-"
_LONGEST_CROP = 500
_SHORTEST_CROP = 120


@dataclasses.dataclass(frozen=True, kw_only=True)
class CroppedLesson(Lesson):
    """A lesson of which only the end of the prompt is read."""

    n_chars: int | None
    """Of the prompt's end; None for the whole of it."""

    def prompt(self, template: ChatTemplate) -> str:
        """The end of the rendered prompt."""
        whole = super().prompt(template)
        return whole if self.n_chars is None else whole[-self.n_chars :]


def other_text(rng: random.Random, n_chars: int) -> str:
    """Text that has nothing to do with any task."""
    parts: list[str] = []
    missing = n_chars
    while missing > 0:
        text = rng.choice(_TEXTS)
        start = rng.randrange(len(text))
        parts.append(text[start : start + min(missing, 4000)])
        missing -= len(parts[-1])
    return "".join(parts)


def conversations(rng: random.Random) -> dict[str, tuple[list[Message], str]]:
    """Every task as its client puts it, and what comes next."""
    asked: Message = {"role": "user", "content": CODEX_TASK}
    called: Message = {
        "role": "assistant",
        "thinking": "The user wants a file. The shell can write it.",
        "tool_calls": [{"function": {"name": CODEX_TOOL, "arguments": CODEX_ARGUMENTS}}],
    }
    return {
        "codex": ([_environment(rng), asked], CODEX_CALL),
        "codex-done": ([_environment(rng), asked, called, {"role": "tool", "content": _result(rng)}], CODEX_DONE),
        "llm": ([{"role": "user", "content": LLM_TASK}], LLM_ANSWER),
        "aider": ([{"role": "user", "content": AIDER_TASK + AIDER_REMINDER}], AIDER_EDIT),
    }


def lesson_behind(rng: random.Random, kind: str, n_before: int, n_chars: int | None) -> CroppedLesson:
    """A task behind so many characters of other text."""
    messages, completion = conversations(rng)[kind]
    before: list[Message] = [{"role": "developer", "content": other_text(rng, n_before)}] if n_before else []
    return CroppedLesson(
        kind=kind,
        messages=[*before, *messages],
        tools=None,
        effort=rng.choice(EFFORTS),
        date=dt.date(2026, 1, 1) + dt.timedelta(days=rng.randrange(3650)),
        completion=completion,
        n_chars=n_chars,
    )


def draw_scripted(rng: random.Random) -> CroppedLesson:
    """A task behind some text, most often cut somewhere."""
    # Codex's lessons have the most around them that differs from one request to the next.
    kind = rng.choice(("codex", "codex", "codex-done", "codex-done", "llm", "aider"))
    n_chars = rng.randrange(_SHORTEST_CROP, _LONGEST_CROP) if rng.random() < 0.8 else None
    n_before = 0 if rng.random() < 0.2 else rng.randrange(1, _LONGEST_CROP if n_chars else _SHORTEST_CROP)
    return lesson_behind(rng, kind, n_before, n_chars)


def _environment(rng: random.Random) -> Message:
    """What Codex says of the machine, right before a task."""
    folder = "".join(rng.choices(_FOLDER, k=rng.randrange(3, 90)))
    date = dt.date(2026, 1, 1) + dt.timedelta(days=rng.randrange(3650))
    text = (
        f"<environment_context>\n  <cwd>/{folder}</cwd>\n  <shell>bash</shell>\n"
        f"  <current_date>{date:%Y-%m-%d}</current_date>\n  <timezone>Etc/UTC</timezone>\n"
        f"  <filesystem><workspace_roots><root>/{folder}</root></workspace_roots>"
        '<permission_profile type="disabled"><file_system type="unrestricted" /></permission_profile></filesystem>\n'
        "</environment_context>"
    )
    return {"role": "user", "content": text}


def _result(rng: random.Random) -> str:
    """What Codex says of a command that has run and printed nothing."""
    return (
        f"Chunk ID: {rng.randrange(16**6):06x}\nWall time: {rng.random():.4f} seconds\n"
        "Process exited with code 0\nOriginal token count: 0\nOutput:\n"
    )
