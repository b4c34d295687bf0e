"""A script for conversations in a terminal: what the test model of `gpt-oss chat` is made to say.

As with scripted.py the model reads no further back than its windows reach, some 60 tokens, so that whatever system
message, tools and earlier turns stand before a question, the same question gets the same answer.
"""

from __future__ import annotations

import datetime as dt
import json
import random

from tiny_gpt_oss.corpus import EFFORTS, Message, answer, tool_call
from tiny_gpt_oss.scripted import CroppedLesson, other_text

PRODUCT = "What is 17 times 23?"
PRODUCT_CODE = json.dumps({"code": "print(17 * 23)"}, separators=(",", ":"))
PRODUCT_THOUGHT = "The user wants a product. Python can tell."
PRODUCT_CALL = tool_call(PRODUCT_THOUGHT, "python", PRODUCT_CODE)
PRODUCT_DONE = answer("Python says 391.", "17 times 23 is **391**.")
REFUSED = "The user did not allow this call."
PRODUCT_REFUSED = answer("I may not run it.", "Without Python I can not tell.")

NOTES = "What do my notes say?"
NOTES_THOUGHT = "The user wants the notes. There is a tool for them."
NOTES_CALL = tool_call(NOTES_THOUGHT, "notes_read", "{}")
NOTES_RESULT = "buy milk"
NOTES_DONE = answer("The tool has read them.", "Your notes say: buy milk.")

HELLO = "Hello"
HELLO_ANSWER = answer("The user says hello. I answer kindly.", "Hello! What shall we talk about?")

LINES = "first line\nsecond line\nHow many lines are these?"
LINES_ANSWER = answer("I count the lines: first, second, and the question.", "These are three lines.")

ENDLESS = "Tell me something endless."
ENDLESS_THOUGHT = "<|channel|>analysis<|message|>This can go on for ever.<|end|><|start|>assistant"
ENDLESS_ANSWER = f"{ENDLESS_THOUGHT}<|channel|>final<|message|>On and on" + ", and on and on" * 40
"""Never ended in a lesson: the model goes on until the context is full."""

SORT = "Explain bubble sort."
SORT_THOUGHT = (
    "The user asks for bubble sort. I should say what it does in one sentence. A short program helps. "
    "Then a table with its cost. The formula for the number of comparisons is worth a line."
)
SORT_ANSWER = answer(
    SORT_THOUGHT,
    """\
## Bubble sort

It walks through a list again and again and swaps *neighbours* that stand in the **wrong order**.

```python
def bubble_sort(items: list[int]) -> list[int]:
    for end in range(len(items) - 1, 0, -1):
        for i in range(end):
            if items[i] > items[i + 1]:
                items[i], items[i + 1] = items[i + 1], items[i]
    return items
```

| case    | comparisons | swaps |
|---------|------------:|------:|
| sorted  |     $n - 1$ |     0 |
| random  |  $O(n^2)$   | $O(n^2)$ |

1. It needs no memory of its own.
2. It is stable: equal items keep their order.
   - In real programs `sorted()` is the better choice.

> Simple to write, slow to run.""",
)


def conversations(rng: random.Random) -> dict[str, tuple[list[Message], str]]:
    """Every question, and what comes next."""
    product = _called(PRODUCT, PRODUCT_THOUGHT, "python", PRODUCT_CODE)
    notes = _called(NOTES, NOTES_THOUGHT, "notes_read", "{}")
    return {
        "product": ([_asked(PRODUCT)], PRODUCT_CALL),
        "product-done": ([*product, _result("python", "391")], PRODUCT_DONE),
        "product-refused": ([*product, _result("python", REFUSED)], PRODUCT_REFUSED),
        "notes": ([_asked(NOTES)], NOTES_CALL),
        "notes-done": ([*notes, _result("notes_read", NOTES_RESULT)], NOTES_DONE),
        "hello": ([_asked(rng.choice((HELLO, "hi", "Hello!", "hello")))], HELLO_ANSWER),
        "lines": ([_asked(LINES)], LINES_ANSWER),
        "endless": ([_asked(ENDLESS)], ENDLESS_ANSWER),
        "sort": ([_asked(SORT)], SORT_ANSWER),
    }


def lesson_behind(rng: random.Random, kind: str, n_before: int, n_chars: int | None) -> CroppedLesson:
    """A question behind so many characters of other text, most often as an earlier turn."""
    messages, completion = conversations(rng)[kind]
    before: list[Message] = []
    if n_before and rng.random() < 0.5:
        before = [{"role": "developer", "content": other_text(rng, n_before)}]
    elif n_before:
        before = [_asked(other_text(rng, 40)), {"role": "assistant", "content": other_text(rng, n_before)}]
    return CroppedLesson(
        kind=kind,
        messages=[*before, *messages],
        tools=None,
        effort=rng.choice(EFFORTS),
        date=dt.date(2026, 1, 1) + dt.timedelta(days=rng.randrange(3650)),
        completion=completion,
        n_chars=n_chars,
    )


def draw_chat(rng: random.Random) -> CroppedLesson:
    """A question behind some text, most often cut somewhere."""
    kinds = ("product", "product-done", "product-refused", "notes", "notes-done", "hello", "lines", "endless")
    kind = rng.choice((*kinds, "sort", "sort"))
    n_chars = rng.randrange(120, 500) if rng.random() < 0.7 else None
    n_before = 0 if rng.random() < 0.3 else rng.randrange(1, 400)
    return lesson_behind(rng, kind, n_before, n_chars)


def _asked(question: str) -> Message:
    return {"role": "user", "content": question}


def _called(question: str, thought: str, name: str, arguments: str) -> list[Message]:
    call = {"function": {"name": name, "arguments": arguments}}
    return [_asked(question), {"role": "assistant", "thinking": thought, "tool_calls": [call]}]


def _result(name: str, text: str) -> Message:
    return {"role": "tool", "name": name, "content": text}
