"""Feeds Harmony, spelled with its control tokens as text, to a parser."""

import re

from launcher.engines.harmony import HarmonyTokens, TurnParser
from launcher.engines.types import ChatDelta, FinishReason, NoteDelta, TextDelta, ToolCallDelta

# Nothing like the ids of the real vocabulary: they are data.
IDS = {
    "<|start|>": 7,
    "<|end|>": 3,
    "<|message|>": 11,
    "<|channel|>": 2,
    "<|constrain|>": 5,
    "<|return|>": 13,
    "<|call|>": 1,
    "<|endoftext|>": 0,
    "<|reserved|>": 17,
}
TEXT_ID = 100
TOKENS = HarmonyTokens(
    start=7, end=3, message=11, channel=2, constrain=5, return_=13, call=1, endoftext=0, other=frozenset({17})
)


def tokens(output: str, n_bytes: int = 3) -> list[tuple[int, bytes]]:
    """Spell an output as tokens; text in pieces of `n_bytes`, which cut characters as real tokens do."""
    result = []
    for part in re.split(r"(<\|\w+\|>)", output):
        if part in IDS:
            result.append((IDS[part], part.encode()))
        else:
            data = part.encode()
            result += [(TEXT_ID, data[at : at + n_bytes]) for at in range(0, len(data), n_bytes)]
    return result


def run(parser: TurnParser, fed: list[tuple[int, bytes]], reason: FinishReason = "stop") -> list[ChatDelta]:
    deltas: list[ChatDelta] = []
    for token, piece in fed:
        deltas += parser.feed(token, piece)
    return [*deltas, *parser.finish(reason)]


def text(deltas: list[ChatDelta], channel: str) -> str:
    return "".join(delta.text for delta in deltas if isinstance(delta, TextDelta) and delta.channel == channel)


def notes(deltas: list[ChatDelta]) -> list[str]:
    return [delta.text for delta in deltas if isinstance(delta, NoteDelta)]


def calls(deltas: list[ChatDelta]) -> list[list[str]]:
    return [[delta.call.name, delta.call.arguments] for delta in deltas if isinstance(delta, ToolCallDelta)]


def merged(deltas: list[ChatDelta]) -> list[tuple[str, str]]:
    """Deltas with neighbouring texts of one channel joined, so that two chunkings of one output compare equal."""
    result: list[tuple[str, str]] = []
    for delta in deltas:
        item: tuple[str, str]
        match delta:
            case TextDelta():
                item = (delta.channel, delta.text)
            case ToolCallDelta():
                item = ("call", f"{delta.call.name}({delta.call.arguments})")
            case NoteDelta():
                item = ("note", delta.text)
            case _:
                raise AssertionError(delta)
        if result and item[0] == result[-1][0] in ("analysis", "commentary", "final"):
            item = (item[0], result.pop()[1] + item[1])
        result.append(item)
    return result
