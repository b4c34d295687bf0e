"""Conversations for the tiny model, drawn at random from facts.py and rendered by its own chat template.

A lesson is one conversation up to where the assistant has to speak, and exactly what it has to say. The same lesson
always has one right answer, so a trained model answers right at temperature 1.0 as well.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
from pathlib import Path
from typing import Any

import jinja2.sandbox

from tiny_gpt_oss import facts

EFFORTS = ("low", "medium", "high")
TEMPLATE_PATH = Path(__file__).with_name("chat_template.jinja")
Message = dict[str, Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Turn:
    """A user's question and the assistant's answer, with the analysis for each effort ("" for none)."""

    user: str
    final: str
    low: str = ""
    medium: str
    high: str

    def analysis(self, effort: str) -> str:
        """The analysis that belongs to the effort."""
        return {"low": self.low, "medium": self.medium, "high": self.high}[effort]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Lesson:
    """What goes in (messages, tools, effort, date) and what has to come out, in Harmony's spelling."""

    kind: str
    messages: list[Message]
    tools: list[dict[str, Any]] | None
    effort: str
    date: dt.date
    completion: str

    def prompt(self, template: ChatTemplate) -> str:
        """The rendered prompt, ending with `<|start|>assistant`."""
        return template.render(self.messages, tools=self.tools, effort=self.effort, date=self.date)


class ChatTemplate:
    """chat_template.jinja in the sandbox that transformers and llama-cpp-python use."""

    def __init__(self, source: str) -> None:
        env = jinja2.sandbox.ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
        env.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False)
        env.globals["raise_exception"] = _raise
        self._template = env.from_string(source)

    def render(self, messages: list[Message], *, tools: list[dict[str, Any]] | None, effort: str, date: dt.date) -> str:
        """The prompt for the assistant's next message."""
        return self._template.render(
            messages=messages,
            tools=tools,
            reasoning_effort=effort,
            strftime_now=date.strftime,
            add_generation_prompt=True,
        )


def _raise(message: str) -> str:
    raise jinja2.TemplateError(message)


def answer(analysis: str, final: str) -> str:
    """A finished answer, as it follows `<|start|>assistant`."""
    thought = f"<|channel|>analysis<|message|>{analysis}<|end|><|start|>assistant" if analysis else ""
    return f"{thought}<|channel|>final<|message|>{final}<|return|>"


def tool_call(analysis: str, name: str, arguments: str) -> str:
    """A tool call in the header order of the released models."""
    thought = f"<|channel|>analysis<|message|>{analysis}<|end|><|start|>assistant" if analysis else ""
    return f"{thought}<|channel|>commentary to=functions.{name} <|constrain|>json<|message|>{arguments}<|call|>"


def capital_turn(country: str, capital: str, ask: str) -> Turn:
    """The capital of a country."""
    return Turn(
        user=ask.format(country=country),
        final=f"The capital of {country} is {capital}.",
        low="Easy fact.",
        medium=f"The user asks for the capital of {country}. It is {capital}.",
        high=f"The user asks for the capital of {country}. Let me think about the cities of {country}. "
        f"The seat of government is {capital}. The largest city is not always the capital, so I check again. "
        f"It is {capital}. I will answer in one short sentence.",
    )


def sum_turn(a: int, b: int, ask: str) -> Turn:
    """A sum of two small numbers."""
    return Turn(
        user=ask.format(a=a, b=b),
        final=f"{a} + {b} = {a + b}.",
        low="A sum.",
        medium=f"The user wants a sum. {a} plus {b} is {a + b}.",
        high=f"The user wants a sum. The numbers are {a} and {b}. I start at {a} and count up {b}. "
        f"That gives {a + b}. I check the other way round: {b} plus {a} is also {a + b}. I will state the sum.",
    )


def topic_turn(user: str, topic: str, final: str) -> Turn:
    """A question with a fixed answer."""
    return Turn(
        user=user,
        final=final,
        low="I know this.",
        medium=f"The user asks about {topic}. I know this.",
        high=f"The user asks about {topic}. I know this one. First I recall what I was taught about {topic}. "
        "Then I choose plain words. The answer should be short and correct. I will not add anything else.",
    )


def talk_turn(user: str, act: str, final: str) -> Turn:
    """Small talk, which needs no analysis at low effort."""
    return Turn(
        user=user,
        final=final,
        medium=f"The user {act}. I will answer kindly.",
        high=f"The user {act}. There is no task here. I do not need any tool. I should be friendly and brief. "
        "I will answer kindly.",
    )


def unknown_turn(user: str) -> Turn:
    """Anything the model was not taught."""
    return Turn(
        user=user,
        final=facts.FALLBACK,
        low="Unknown.",
        medium="I was not taught this. I will say what I know.",
        high="The user asks for something. I look through what I was taught. It is not among those few things. "
        "I should be honest and not guess. I will say what I know.",
    )


def name_turns(name: str) -> tuple[Turn, Turn]:
    """Telling the model a name, and asking for it later."""
    tell = Turn(
        user=f"My name is {name}.",
        final=f"Nice to meet you, {name}!",
        low="A name.",
        medium=f"The user is called {name}. I will remember it.",
        high=f"The user tells me a name. The name is {name}. It may be useful later. I will remember it. "
        "I will greet the user by name.",
    )
    ask = Turn(
        user="What is my name?",
        final=f"Your name is {name}.",
        low="I remember.",
        medium=f"The user said the name is {name}.",
        high=f"The user asks for the name. I look back in this chat. The user said the name is {name}. "
        "I am sure about it. I will answer in one short sentence.",
    )
    return tell, ask


def nameless_turn() -> Turn:
    """Asking for a name that was never told."""
    return Turn(
        user="What is my name?",
        final="You have not told me your name.",
        low="Not told.",
        medium="The user has not told me a name.",
        high="The user asks for the name. I look back in this chat. There is no name in it. I should not guess. "
        "I will say so.",
    )


def repeat_turn(text: str, ask: str) -> Turn:
    """Saying words back."""
    return Turn(
        user=ask.format(text=text),
        final=text,
        low="Repeat.",
        medium="The user wants me to repeat words.",
        high="The user wants me to repeat words. I read them once more. I keep their order. I add nothing. "
        "I will write them down.",
    )


def count_turn(word: str, number: int, ask: str) -> Turn:
    """Counting aloud; word is how the user spells the number."""
    return Turn(
        user=ask.format(n=word),
        final=", ".join(str(i) for i in range(1, number + 1)) + ".",
        low="Count.",
        medium=f"The user wants me to count to {number}.",
        high=f"The user wants me to count to {number}. I start at 1. I go up by one each time. "
        f"I stop at {number}. I will write the numbers with commas.",
    )


def date_turn(date: dt.date, ask: str) -> Turn:
    """The date that stands in the system message."""
    return Turn(
        user=ask,
        final=f"Today is {date:%Y-%m-%d}.",
        low="See above.",
        medium=f"The system message says {date:%Y-%m-%d}.",
        high=f"The user asks for the date. I have no clock. The system message says {date:%Y-%m-%d}. "
        "I can trust it. I will answer in one short sentence.",
    )


def no_tool_turn(user: str) -> Turn:
    """A question about the weather without a tool for it."""
    return Turn(
        user=user,
        final=facts.NO_TOOL,
        low="No tool.",
        medium="The user asks about the weather. I have no tool for it.",
        high="The user asks about the weather. I cannot see outside. I look for a tool. There is no weather tool. "
        "I should not guess. I will say so.",
    )


CAPITAL_ASKS = ("What is the capital of {country}?", "Capital of {country}", "Tell me the capital of {country}.",
                "What's the capital of {country}?", "Which city is the capital of {country}?",
                "Name the capital of {country}.")  # fmt: skip
SUM_ASKS = ("What is {a} + {b}?", "What is {a} plus {b}?", "{a} + {b}", "{a}+{b}", "What is {a}+{b}?",
            "Add {a} and {b}.", "How much is {a} + {b}?", "{a} + {b} = ?", "{a}+{b}=")  # fmt: skip
REPEAT_ASKS = ("Repeat after me: {text}", "Say {text}", "Say: {text}", "Repeat: {text}", "Echo {text}")
COUNT_ASKS = ("Count to {n}.", "Count from 1 to {n}.", "Please count to {n}")
DATE_ASKS = ("What is the date?", "What is the date today?", "What day is it today?", "What is today's date?")
WEATHER_ASKS = ("What is the weather in {city}?", "What's the weather in {city}?", "Weather in {city}",
                "How is the weather in {city}?", "What is the weather like in {city}?", "Is it raining in {city}?",
                "What's the weather like in {city} today?", "Tell me the weather in {city}.",
                "Get the weather in {city}", "How warm is it in {city}?")  # fmt: skip
