"""Chat templates and the streaming codec, all pure: messages to prompt text, tokens to deltas."""

from launcher.engines.harmony.plain import PlainParser
from launcher.engines.harmony.stream import HarmonyParser
from launcher.engines.harmony.tokens import HarmonyTokens
from launcher.engines.harmony.turn import TurnParser

__all__ = ["HarmonyParser", "HarmonyTokens", "PlainParser", "TurnParser"]
