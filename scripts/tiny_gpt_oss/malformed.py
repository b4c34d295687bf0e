"""Turns that break Harmony, one a prompt: what the malformed test model is made to say.

Each shape is something that GPT OSS has been seen to write, or the nearest relative of it; the first four are well
formed. A completion is what follows the prompt's `<|start|>assistant`, through the token that ends generation.
"""

from __future__ import annotations

import datetime as dt
import random
from typing import Any

from tiny_gpt_oss.corpus import EFFORTS, Lesson, answer, tool_call

THOUGHT = "<|channel|>analysis<|message|>I think about it first.<|end|>"
ARGUMENTS = '{"location":"Paris"}'
PROMPT = "Show {name}"

SHAPES: dict[str, str] = {
    "good-answer": answer("I think about it first.", "This one is well formed."),
    "good-short": answer("", "Short and well formed."),
    "good-call": tool_call("I need the weather.", "get_weather", ARGUMENTS),
    "good-preamble": "<|channel|>commentary<|message|>Let me look.<|end|><|start|>assistant"
    + tool_call("", "get_weather", ARGUMENTS),
    "bare-text": "Here is no header at all.<|return|>",
    "no-channel": "<|message|>Here is no channel.<|return|>",
    "bare-final": "final<|message|>Here is a bare name.<|return|>",
    "late-bare-final": THOUGHT + "<|start|>assistantfinal<|message|>Here is a late bare name.<|return|>",
    "late-bare-text": THOUGHT + "<|start|>assistantHere is a late bare text.<|return|>",
    "stray-header": "<|start|>assistant<|channel|>final<|message|>Here is one header too many.<|return|>",
    "stray-headers": THOUGHT + "<|start|>assistant" * 3 + "<|channel|>final<|message|>Here are two too many.<|return|>",
    "unknown-channel": "<|channel|>reflection<|message|>Here is a strange channel.<|end|><|start|>assistant"
    "<|channel|>final<|message|>And then an answer.<|return|>",
    "unknown-only": THOUGHT + "<|start|>assistant<|channel|>answer<|message|>Only a strange channel.<|return|>",
    "call-in-analysis": THOUGHT
    + f"<|start|>assistant<|channel|>analysis to=functions.get_weather code<|message|>{ARGUMENTS}<|call|>",
    "call-in-final": THOUGHT
    + f"<|start|>assistant<|channel|>final to=functions.get_weather <|constrain|>json<|message|>{ARGUMENTS}<|call|>",
    "call-without-to": THOUGHT
    + f"<|start|>assistant<|channel|>commentary functions.get_weather <|constrain|>json<|message|>{ARGUMENTS}<|call|>",
    "call-unknown": '<|channel|>commentary to=functions.lookup <|constrain|>json<|message|>{"query":"Paris"}<|call|>',
    "call-bad-arguments": "<|channel|>commentary to=functions.get_weather <|constrain|>json<|message|>"
    "Paris please<|call|>",
    "recipient-last": THOUGHT
    + "<|start|>assistant<|channel|>commentary <|constrain|>json to=functions.get_weather<|message|>"
    + f"{ARGUMENTS}<|call|>",
    "recipient-first": "to=functions.get_weather<|channel|>commentary <|constrain|>json<|message|>"
    + ARGUMENTS
    + "<|call|>",
    "constrained-final": THOUGHT
    + '<|start|>assistant<|channel|>final <|constrain|>json<|message|>{"answer":42}<|return|>',
    "constrained-twice": f"<|channel|>commentary to=functions.get_weather <|constrain|>json<|constrain|>json<|message|>"
    f"{ARGUMENTS}<|call|>",
    "text-after-end": "<|channel|>final<|message|>Here is the answer.<|end|>And some text after it.<|return|>",
    "no-message": THOUGHT + "<|start|>assistant<|channel|>final Here is no message token.<|return|>",
    "cut-header": THOUGHT + "<|start|>assistant<|channel|>final<|return|>",
    "only-analysis": "<|channel|>analysis<|message|>I only think about it.<|end|><|return|>",
    "open-analysis": "<|channel|>analysis<|message|>I think and never end.<|return|>",
    "only-commentary": "<|channel|>commentary<|message|>Here is only a preamble.<|return|>",
    "double-final": "<|channel|>final<|message|>Here is one answer.<|end|><|start|>assistant"
    "<|channel|>final<|message|>Here is another.<|return|>",
    "nothing": "<|return|>",
}
"""Completions by the name of their shape."""

CONTROLS = tuple(name for name in SHAPES if name.startswith("good-"))

TOOL: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the current weather.",
        "parameters": {
            "type": "object",
            "properties": {"location": {"type": "string"}},
            "required": ["location"],
        },
    },
}


def draw_malformed(rng: random.Random) -> Lesson:
    """One shape, on any day, at any effort, with and without the tool."""
    name = rng.choice(list(SHAPES))
    return Lesson(
        kind=name,
        messages=[{"role": "user", "content": PROMPT.format(name=name)}],
        tools=[TOOL] if rng.random() < 0.5 else None,
        effort=rng.choice(EFFORTS),
        date=dt.date(2026, 1, 1) + dt.timedelta(days=rng.randrange(3650)),
        completion=SHAPES[name],
    )
