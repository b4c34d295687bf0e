"""How one loaded model speaks: its chat template in, a parser for its stream out. Harmony or plain, by its file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from launcher.engines.harmony import HarmonyParser, HarmonyTokens, PlainParser, TurnParser
from launcher.engines.harmony.formats import ChatTemplate, choose_template
from launcher.engines.harmony.template import PromptPiece, render_prompt
from launcher.engines.llama import LlamaModel
from launcher.engines.types import Message, ReasoningEffort


@dataclass(frozen=True, kw_only=True, slots=True)
class Dialect:
    """A model's template and control tokens."""

    template: ChatTemplate
    harmony: HarmonyTokens | None
    """None: the model knows no channels."""
    control_texts: frozenset[str]
    ends: frozenset[int]
    """Tokens that end a turn (llama.cpp's EOG set)."""
    control: frozenset[int]
    bos: str
    eos: str

    @classmethod
    def of_model(cls, model: LlamaModel) -> Dialect:
        """Read it from a loaded model."""
        control = {token: model.piece(token).decode("utf-8", "replace") for token in model.control_tokens()}
        by_text = {text: token for token, text in control.items()}
        template = choose_template(model.metadata("tokenizer.chat_template"), by_text.__contains__)
        return cls(
            template=template,
            harmony=HarmonyTokens.from_vocabulary(by_text.get, control) if template.format == "harmony" else None,
            control_texts=frozenset(by_text),
            ends=frozenset(token for token in control if model.is_eog(token)),
            control=frozenset(control),
            bos=model.bos_text,
            eos=model.eos_text,
        )

    def render(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[dict[str, Any]],
        effort: ReasoningEffort | None,
        now: datetime,
    ) -> tuple[PromptPiece, ...]:
        """Spell a conversation up to where the assistant begins.

        Raises:
            EngineError: the template refuses it.
        """
        return render_prompt(
            self.template.source,
            messages,
            now=now,
            control_texts=self.control_texts,
            tools=tools,
            reasoning_effort=effort,
            bos=self.bos,
            eos=self.eos,
        )

    def parser(self) -> TurnParser:
        """Start reading one turn."""
        if self.harmony is not None:
            return HarmonyParser(self.harmony)
        return PlainParser(ends=self.ends, dropped=self.control, stops=self.template.stops)
