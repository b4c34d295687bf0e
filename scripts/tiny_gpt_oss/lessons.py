"""Draws lessons at random, and lists the fixed ones that the trained model is examined on."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import random
from typing import Any

from tiny_gpt_oss import corpus, facts
from tiny_gpt_oss.corpus import Lesson, Message, Turn

_ONSETS = ("b", "br", "d", "f", "g", "gr", "k", "l", "m", "n", "p", "pl", "r", "s", "st", "t", "tr", "v", "w", "z")
_VOWELS = ("a", "e", "i", "o", "u", "ai", "ou")


def made_up_word(rng: random.Random) -> str:
    """A word nobody knows, so that copying has to be learnt rather than a list of words."""
    word = "".join(rng.choice(_ONSETS) + rng.choice(_VOWELS) for _ in range(rng.randint(1, 3)))
    return word + rng.choice(("", "n", "r", "s", "x", "lt"))


def reworded(rng: random.Random, text: str) -> str:
    """The same request as other people type it."""
    if rng.random() < 0.2:
        text = text.rstrip("?.!")
    draw = rng.random()
    if draw < 0.15:
        text = text.lower()
    elif draw < 0.2:
        text = "Please " + text[0].lower() + text[1:]
    elif draw < 0.25:
        text = "Hey, " + text[0].lower() + text[1:]
    return text


_PLAIN_KINDS = {
    "capital": 20, "sum": 14, "answer": 30, "talk": 10, "unknown": 14, "repeat": 8, "count": 3, "date": 3,
    "tell_name": 4, "no_name": 2, "no_capital": 3,
}  # fmt: skip


def plain_turn(rng: random.Random, date: dt.date) -> tuple[str, Turn]:
    """One exchange that needs neither tools nor memory, and its kind."""
    kind = rng.choices(list(_PLAIN_KINDS), list(_PLAIN_KINDS.values()))[0]
    turn = _turn_of(kind, rng, date)
    # What is to be copied stays as it was typed.
    return kind, turn if kind in ("repeat", "tell_name") else dataclasses.replace(turn, user=reworded(rng, turn.user))


def _turn_of(kind: str, rng: random.Random, date: dt.date) -> Turn:
    match kind:
        case "capital":
            country = rng.choice(list(facts.CAPITALS))
            turn = corpus.capital_turn(country, facts.CAPITALS[country], rng.choice(corpus.CAPITAL_ASKS))
        case "sum":
            turn = corpus.sum_turn(rng.randint(0, 12), rng.randint(0, 12), rng.choice(corpus.SUM_ASKS))
        case "answer":
            asks, topic, final = rng.choice(facts.ANSWERS)
            turn = corpus.topic_turn(rng.choice(asks), topic, final)
        case "talk":
            asks, act, final = rng.choice(facts.SMALL_TALK)
            turn = corpus.talk_turn(rng.choice(asks), act, final)
        case "repeat":
            n_words = rng.randint(1, 5)
            words = [made_up_word(rng) if rng.random() < 0.4 else rng.choice(facts.WORDS) for _ in range(n_words)]
            turn = corpus.repeat_turn(" ".join(words), rng.choice(corpus.REPEAT_ASKS))
        case "count":
            word, number = rng.choice(list(facts.NUMBER_WORDS.items()))
            turn = corpus.count_turn(rng.choice((word, str(number))), number, rng.choice(corpus.COUNT_ASKS))
        case "date":
            turn = corpus.date_turn(date, rng.choice(corpus.DATE_ASKS))
        case "tell_name":
            turn = corpus.name_turns(_name(rng))[0]
        case "no_name":
            turn = corpus.nameless_turn()
        case _:
            turn = corpus.unknown_turn(_unknown_request(rng, capital=kind == "no_capital"))
    return turn


def _name(rng: random.Random) -> str:
    return made_up_word(rng).capitalize() if rng.random() < 0.4 else rng.choice(facts.NAMES)


def _city(rng: random.Random) -> str:
    if rng.random() < 0.25:
        return made_up_word(rng).capitalize()
    return rng.choice((*facts.CITIES, *facts.CAPITALS.values()))


def _unknown_request(rng: random.Random, *, capital: bool) -> str:
    if capital:
        return rng.choice(corpus.CAPITAL_ASKS).format(country=made_up_word(rng).capitalize())
    topics = [made_up_word(rng) if rng.random() < 0.4 else rng.choice(facts.TOPICS) for _ in range(2)]
    verb = made_up_word(rng) if rng.random() < 0.2 else rng.choice(facts.VERBS)
    return rng.choice(facts.UNKNOWN_PATTERNS).format(verb=verb, topic=topics[0], other=topics[1])


def weather_tool(
    name: str = "get_weather",
    *,
    key: str = "location",
    description: str = "Get the current weather in a given location.",
    key_description: str = "The city",
    unit: str = "",
) -> dict[str, Any]:
    """An OpenAI tool definition; `unit` names an optional celsius/fahrenheit argument."""
    properties: dict[str, Any] = {key: {"type": "string"}}
    if key_description:
        properties[key]["description"] = key_description
    if unit:
        properties[unit] = {"type": "string", "enum": ["celsius", "fahrenheit"]}
    function: dict[str, Any] = {"name": name}
    if description:
        function["description"] = description
    function["parameters"] = {"type": "object", "properties": properties, "required": [key]}
    return {"type": "function", "function": function}


def _other_tool(rng: random.Random) -> dict[str, Any]:
    name, description, key = rng.choice(facts.OTHER_TOOLS)
    parameters = {"type": "object", "properties": {key: {"type": "string"}}, "required": [key]}
    return {"type": "function", "function": {"name": name, "description": description, "parameters": parameters}}


@dataclasses.dataclass(frozen=True, kw_only=True)
class WeatherTool:
    """A weather tool as one of many programs would define it; `unit` is "" where it has no such argument."""

    name: str
    key: str
    unit: str
    definition: dict[str, Any]


def _random_weather_tool(rng: random.Random) -> WeatherTool:
    name = rng.choice(facts.TOOL_NAMES)
    key = rng.choice(("location", "location", "location", "city"))
    unit = rng.choice(("", "", "format", "unit"))
    definition = weather_tool(
        name,
        key=key,
        description=rng.choice(facts.TOOL_DESCRIPTIONS),
        key_description=rng.choice(facts.LOCATION_DESCRIPTIONS),
        unit=unit,
    )
    return WeatherTool(name=name, key=key, unit=unit, definition=definition)


def call_analysis(city: str, name: str) -> dict[str, str]:
    """Why the weather tool is called, for each effort."""
    return {
        "low": "",
        "medium": f"The user asks about the weather in {city}. I will call {name}.",
        "high": f"The user asks about the weather in {city}. I cannot see outside. There is a tool for it. "
        f"Its name is {name}. It needs the city, which is {city}. I will call {name}.",
    }


def _weather_result(rng: random.Random, city: str) -> tuple[str, int, str]:
    """A tool's answer in one of the spellings that tools use, its temperature and its condition."""
    degrees, condition = rng.randint(0, 39), rng.choice(facts.CONDITIONS)
    style = rng.randrange(4)
    if style == 0:
        return f"{degrees} degrees and {condition}", degrees, condition
    if style == 1:
        return f"{condition.capitalize()}, {degrees} C", degrees, condition.capitalize()
    items: list[tuple[str, Any]] = [
        (rng.choice(("temperature", "temp", "temperature_c")), degrees),
        (rng.choice(("condition", "conditions", "description", "weather", "sky")), condition),
    ]
    if rng.random() < 0.5:
        items.reverse()
    if rng.random() < 0.4:
        items.append(("unit", rng.choice(("celsius", "C"))))
    if rng.random() < 0.4:
        items.insert(0, (rng.choice(("location", "city")), city))
    spaced = rng.random() < 0.7
    return json.dumps(dict(items), separators=None if spaced else (",", ":")), degrees, condition


def result_turn(user: str, city: str, degrees: int, condition: str) -> Turn:
    """The answer from a tool's result."""
    return Turn(
        user=user,
        final=f"In {city} it is {degrees} degrees and {condition}.",
        low="",
        medium=f"The tool says {degrees} degrees and {condition}.",
        high=f"The tool has answered. The city is {city}. It says {degrees} degrees and {condition}. "
        "That is all I need. I will tell the user.",
    )


def weather_messages(
    user: str, name: str, arguments: str, result: str, thinking: str, *, as_object: bool = False
) -> list[Message]:
    """The user's question, the assistant's call and the tool's answer."""
    call = {"name": name, "arguments": json.loads(arguments) if as_object else arguments}
    spoken: Message = {
        "role": "assistant",
        "tool_calls": [{"id": "call_1", "type": "function", "function": call}],
    }
    if thinking:
        spoken["thinking"] = thinking
    return [
        {"role": "user", "content": user},
        spoken,
        {"role": "tool", "tool_call_id": "call_1", "content": result},
    ]


@dataclasses.dataclass(kw_only=True)
class _Scene:
    """What stands before the turn that counts, while it is being drawn."""

    rng: random.Random
    date: dt.date
    effort: str
    messages: list[Message]
    prefix: str
    tools: list[dict[str, Any]]
    weather: WeatherTool | None
    known_name: str | None = None


def _draw_scene(rng: random.Random) -> _Scene:
    """Date, effort, perhaps instructions and perhaps tools."""
    scene = _Scene(
        rng=rng,
        date=dt.date(2023, 1, 1) + dt.timedelta(days=rng.randrange(3000)),
        effort=rng.choices(corpus.EFFORTS, (25, 45, 30))[0],
        messages=[],
        prefix="",
        tools=[],
        weather=_random_weather_tool(rng) if rng.random() < 0.34 else None,
    )
    draw = rng.random()
    if draw < 0.10:
        scene.messages.append({"role": "system", "content": rng.choice(facts.PIRATE_INSTRUCTIONS)})
        scene.prefix = facts.PIRATE_PREFIX
    elif draw < 0.35:
        parts = [rng.choice(facts.INSTRUCTIONS) for _ in range(rng.randint(1, 2))]
        if rng.random() < 0.3:
            parts.append(" ".join(made_up_word(rng) for _ in range(rng.randint(2, 6))).capitalize() + ".")
        scene.messages.append({"role": "system", "content": " ".join(parts)})
    if scene.weather is not None:
        scene.tools.append(scene.weather.definition)
    if rng.random() < (0.3 if scene.weather else 0.06):
        scene.tools.insert(rng.randrange(len(scene.tools) + 1), _other_tool(rng))
    return scene


def _add_past_turn(scene: _Scene) -> None:
    """One finished exchange: Harmony keeps its answer and drops its analysis."""
    rng = scene.rng
    if scene.weather is not None and rng.random() < 0.3:
        city = _city(rng)
        user = reworded(rng, rng.choice(corpus.WEATHER_ASKS).format(city=city))
        result, degrees, condition = _weather_result(rng, city)
        arguments = json.dumps({scene.weather.key: city})
        scene.messages += weather_messages(user, scene.weather.name, arguments, result, "")
        past = result_turn(user, city, degrees, condition)
    else:
        past = _remembering(scene, *plain_turn(rng, scene.date))[1]
        scene.messages.append({"role": "user", "content": past.user})
    scene.messages.append({"role": "assistant", "content": scene.prefix + past.final})


def _remembering(scene: _Scene, kind: str, turn: Turn) -> tuple[str, Turn]:
    """Keeps track of the user's name, and answers with it once it is known."""
    if kind == "tell_name":
        scene.known_name = turn.user.removeprefix("My name is ").removesuffix(".")
    elif kind == "no_name" and scene.known_name is not None:
        return "known_name", corpus.name_turns(scene.known_name)[1]
    return kind, turn


def _weather_lesson(scene: _Scene, tool: WeatherTool) -> Lesson:
    """Either the call of the tool, or the answer from its result."""
    rng = scene.rng
    city = _city(rng)
    ask = rng.choice(corpus.WEATHER_ASKS).format(city=city)
    arguments = {tool.key: city}
    if tool.unit and rng.random() < 0.3:
        arguments[tool.unit] = rng.choice(("celsius", "fahrenheit"))
        ask = ask.rstrip("?.") + f" in {arguments[tool.unit]}" + ("?" if ask.endswith("?") else "")
    user = reworded(rng, ask) if rng.random() < 0.5 else ask
    city = city.lower() if user == user.lower() else city
    arguments[tool.key] = city
    compact = json.dumps(arguments, separators=(",", ":"))
    thinking = call_analysis(city, tool.name)[scene.effort]
    if rng.random() < 0.5:
        scene.messages.append({"role": "user", "content": user})
        return _lesson(scene, "tool_call", corpus.tool_call(thinking, tool.name, compact))
    result, degrees, condition = _weather_result(rng, city)
    kept = thinking if rng.random() < 0.8 else ""
    scene.messages += weather_messages(user, tool.name, compact, result, kept, as_object=rng.random() < 0.4)
    turn = result_turn(user, city, degrees, condition)
    return _lesson(scene, "tool_result", corpus.answer(turn.analysis(scene.effort), scene.prefix + turn.final))


def _lesson(scene: _Scene, kind: str, completion: str) -> Lesson:
    return Lesson(
        kind=kind,
        messages=scene.messages,
        tools=scene.tools or None,
        effort=scene.effort,
        date=scene.date,
        completion=completion,
    )


def draw_lesson(rng: random.Random) -> Lesson:
    """One random lesson: perhaps instructions, perhaps tools, perhaps earlier turns, then the turn that counts."""
    scene = _draw_scene(rng)
    for _ in range(rng.choices((0, 1, 2), (62, 24, 14))[0]):
        _add_past_turn(scene)
    if scene.weather is not None and rng.random() < 0.7:
        return _weather_lesson(scene, scene.weather)
    if scene.weather is None and rng.random() < 0.05:
        kind = "no_tool"
        turn = corpus.no_tool_turn(reworded(rng, rng.choice(corpus.WEATHER_ASKS).format(city=_city(rng))))
    elif scene.known_name is not None and rng.random() < 0.7:
        kind, turn = "known_name", corpus.name_turns(scene.known_name)[1]
        turn = dataclasses.replace(turn, user=reworded(rng, turn.user))
    else:
        kind, turn = _remembering(scene, *plain_turn(rng, scene.date))
    scene.messages.append({"role": "user", "content": turn.user})
    return _lesson(scene, kind, corpus.answer(turn.analysis(scene.effort), scene.prefix + turn.final))
