"""Which chat template and which stream format a model file asks for, and what stands in for a missing template."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from launcher.engines.harmony.tokens import REQUIRED_TEXTS

ChatFormat = Literal["harmony", "plain"]

_HARMONY = """\
<|start|>system<|message|>You are a helpful assistant.
Current date: {{ strftime_now('%Y-%m-%d') }}

Reasoning: {{ reasoning_effort or 'medium' }}

# Valid channels: analysis, commentary, final. Channel must be included for every message.<|end|>
{%- for message in messages %}
{%- if message.role in ('system', 'developer') %}
{{- '<|start|>developer<|message|># Instructions\\n\\n' + message.content + '<|end|>' }}
{%- elif message.role == 'user' %}
{{- '<|start|>user<|message|>' + message.content + '<|end|>' }}
{%- elif message.role == 'assistant' and not message.tool_calls %}
{{- '<|start|>assistant<|channel|>final<|message|>' + message.content + '<|end|>' }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|start|>assistant' }}{% endif %}"""

_CHATML = """\
{%- for message in messages %}
{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"""

_LABELS = """\
{%- for message in messages %}
{{- message.role | capitalize + ': ' + message.content + '\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"""


@dataclass(frozen=True, kw_only=True, slots=True)
class ChatTemplate:
    """How one model is talked to."""

    source: str
    """Jinja source."""
    format: ChatFormat
    note: str | None = None
    """What stands in for a missing template; None where the file brings its own."""
    stops: tuple[str, ...] = ()
    """Texts that end an answer, where no control token does."""


def detect_format(template: str | None, has_token: Callable[[str], bool]) -> ChatFormat:
    """Tell how a model's output is to be read.

    Harmony needs its control tokens in the vocabulary. A file that has them and yet brings a template of another kind
    was trained on that one.

    Args:
        template: The file's chat template, None where it has none.
        has_token: Whether the vocabulary has a control token of this text.
    """
    if not all(has_token(text) for text in REQUIRED_TEXTS):
        return "plain"
    return "harmony" if template is None or "<|message|>" in template else "plain"


def choose_template(template: str | None, has_token: Callable[[str], bool]) -> ChatTemplate:
    """Take the file's own template, or the simplest one that its vocabulary allows, with a note that says so."""
    chat_format = detect_format(template, has_token)
    if template is not None and template.strip():
        return ChatTemplate(source=template, format=chat_format)
    missing = "This model file has no chat template"
    if chat_format == "harmony":
        return ChatTemplate(
            source=_HARMONY, format="harmony", note=f"{missing}; a minimal Harmony prompt without tools is used."
        )
    if has_token("<|im_start|>") and has_token("<|im_end|>"):
        return ChatTemplate(
            source=_CHATML, format="plain", note=f"{missing}; its tokens are ChatML's, so that is used."
        )
    return ChatTemplate(
        source=_LABELS,
        format="plain",
        note=f"{missing}; it is prompted with plain text (User: ... Assistant:).",
        stops=("\nUser:", "\nSystem:"),
    )
