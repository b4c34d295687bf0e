"""The fixed questions that the README names and that tests ask: each must be answered right at any temperature."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

from tiny_gpt_oss import corpus, facts, lessons
from tiny_gpt_oss.corpus import EFFORTS, Lesson, Message, Turn

DATE = dt.date(2026, 11, 22)


def _lesson(kind: str, turn: Turn, effort: str, *before: Message, prefix: str = "") -> Lesson:
    return Lesson(
        kind=f"{kind}, {effort}",
        messages=[*before, {"role": "user", "content": turn.user}],
        tools=None,
        effort=effort,
        date=DATE,
        completion=corpus.answer(turn.analysis(effort), prefix + turn.final),
    )


def _turns() -> Iterator[tuple[str, Turn]]:
    for country in ("France", "Germany", "Japan", "Italy", "Egypt"):
        yield "capital", corpus.capital_turn(country, facts.CAPITALS[country], corpus.CAPITAL_ASKS[0])
    for a, b in ((2, 2), (3, 4), (7, 5), (10, 11)):
        yield "sum", corpus.sum_turn(a, b, corpus.SUM_ASKS[0])
    for asks, topic, final in facts.ANSWERS:
        yield "answer", corpus.topic_turn(asks[0], topic, final)
    for asks, act, final in facts.SMALL_TALK:
        yield "talk", corpus.talk_turn(asks[0], act, final)
    yield "talk", corpus.talk_turn("Hi", *facts.SMALL_TALK[0][1:])
    yield "count", corpus.count_turn("ten", 10, corpus.COUNT_ASKS[0])
    yield "repeat", corpus.repeat_turn("hello world", corpus.REPEAT_ASKS[1])
    yield "date", corpus.date_turn(DATE, corpus.DATE_ASKS[1])
    yield "unknown", corpus.unknown_turn("How do I cook rice?")
    yield "no_name", corpus.nameless_turn()
    yield "no_tool", corpus.no_tool_turn("What is the weather in Paris?")


def exam() -> list[Lesson]:
    """All fixed lessons, each at every effort."""
    found: list[Lesson] = []
    capital = corpus.capital_turn("France", "Paris", corpus.CAPITAL_ASKS[0])
    tell, ask = corpus.name_turns("Alice")
    told: list[Message] = [
        {"role": "user", "content": tell.user},
        {"role": "assistant", "content": tell.final},
    ]
    between: list[Message] = [
        {"role": "user", "content": capital.user},
        {"role": "assistant", "content": capital.final},
    ]
    for effort in EFFORTS:
        found += [_lesson(kind, turn, effort) for kind, turn in _turns()]
        for text in ("You are a helpful assistant.", "Answer briefly."):
            found.append(_lesson("instructions", capital, effort, {"role": "system", "content": text}))
        pirate: Message = {"role": "system", "content": "You are a pirate."}
        found.append(_lesson("pirate", capital, effort, pirate, prefix=facts.PIRATE_PREFIX))
        found.append(_lesson("name", tell, effort))
        found.append(_lesson("two turns", ask, effort, *told))
        found.append(_lesson("three turns", ask, effort, *told, *between))
        found += _weather(effort)
    return found


def _weather(effort: str) -> Iterator[Lesson]:
    """The weather tool: asking for the call, and answering from its result."""
    for name, city, result, degrees, condition in (
        ("get_weather", "Paris", '{"temperature": 18, "condition": "sunny"}', 18, "sunny"),
        ("get_current_weather", "Tokyo", "21 degrees and cloudy", 21, "cloudy"),
        ("get_weather", "Berlin", '{"location": "Berlin", "temperature": 7, "condition": "rainy"}', 7, "rainy"),
    ):
        unit = "format" if name == "get_current_weather" else ""
        tools = [lessons.weather_tool(name, unit=unit)]
        user = f"What is the weather in {city}?"
        thinking = lessons.call_analysis(city, name)[effort]
        arguments = f'{{"location":"{city}"}}'
        yield Lesson(
            kind=f"tool call, {effort}",
            messages=[{"role": "user", "content": user}],
            tools=tools,
            effort=effort,
            date=DATE,
            completion=corpus.tool_call(thinking, name, arguments),
        )
        turn = lessons.result_turn(user, city, degrees, condition)
        yield Lesson(
            kind=f"tool result, {effort}",
            messages=lessons.weather_messages(user, name, arguments, result, thinking),
            tools=tools,
            effort=effort,
            date=DATE,
            completion=corpus.answer(turn.analysis(effort), turn.final),
        )
