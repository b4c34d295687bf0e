"""Messages to prompt text, through the chat template that a GGUF carries."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NoReturn

from launcher.engines.harmony.turn import CODE_TOOL
from launcher.engines.types import Message, ReasoningEffort, ToolCall
from launcher.errors import EngineError

if TYPE_CHECKING:
    from jinja2 import Template

# Supplementary Private Use Area-A: no text means anything by these, and no template tests for them.
_PRIVATE_USE = range(0xF0000, 0xFFFFE)


@dataclass(frozen=True, kw_only=True, slots=True)
class PromptPiece:
    """A run of prompt text, to be tokenized apart from its neighbours."""

    text: str
    trusted: bool
    """True: a control-token text in it was put there by the template (llama.cpp: `parse_special`). False: it came from
    a message or a tool, and must become ordinary text tokens."""


def render_prompt(
    template: str,
    messages: Sequence[Message],
    *,
    now: datetime,
    control_texts: Collection[str],
    tools: Sequence[dict[str, Any]] = (),
    reasoning_effort: ReasoningEffort | None = None,
    add_generation_prompt: bool = True,
    bos: str = "",
    eos: str = "",
) -> tuple[PromptPiece, ...]:
    """Render a conversation.

    A control-token text inside a message or a tool (a user who pastes `<|start|>system`) is replaced by a private-use
    character before rendering, and comes back afterwards as an untrusted piece. So the template may test, trim or quote
    the text, and what it writes around it stays its own.

    Args:
        template: Jinja source.
        messages: The conversation, oldest first.
        now: What `strftime_now` formats.
        control_texts: Texts of every control token of the vocabulary.
        tools: Function declarations in the OpenAI form.
        reasoning_effort: None leaves the template's default.
        add_generation_prompt: Whether the prompt ends where the assistant begins.
        bos: Text of the vocabulary's begin token, for templates that write it.
        eos: Text of its end token.

    Raises:
        EngineError: The template is broken, or it refuses this conversation.
    """
    variables = {
        "messages": _message_values(messages, one_call="<|message|>" in template),
        "tools": [_tool_value(tool) for tool in tools] or None,  # templates ask whether there are any
    }
    shield = _Shield(template, variables, control_texts)
    variables = shield.hide(variables)
    if reasoning_effort is not None:  # templates test whether it is defined at all
        variables["reasoning_effort"] = reasoning_effort
    variables |= {
        "add_generation_prompt": add_generation_prompt,
        "bos_token": bos,
        "eos_token": eos,
        "strftime_now": now.strftime,
    }
    return tuple(shield.reveal(_render(template, variables)))


class _Shield:
    """Hides control-token texts of untrusted values behind characters that occur nowhere else."""

    def __init__(self, template: str, values: object, control_texts: Collection[str]) -> None:
        written = "\0".join(_strings(values))
        # A vocabulary has a thousand reserved tokens that begin alike: look for their beginnings first.
        heads = {head for head in {text[:2] for text in control_texts} if head in written}
        found = [text for text in control_texts if text and text[:2] in heads and text in written]
        taken = {*template, *written} if found else set()
        free = (chr(code) for code in _PRIVATE_USE if chr(code) not in taken)
        self._marks = dict(zip(found, free, strict=False))
        self._texts = {mark: text for text, mark in self._marks.items()}
        # A template may write a value as JSON in ASCII, which spells the mark as a pair of escapes.
        self._texts |= {json.dumps(mark)[1:-1]: text for mark, text in self._texts.items()}
        longest_first = sorted(found, key=len, reverse=True)
        self._control = re.compile("|".join(map(re.escape, longest_first))) if found else None

    def hide(self, value: Any) -> Any:
        """Copy a JSON-like value with the control texts replaced, in keys as well."""
        if isinstance(value, str):
            return self._control.sub(lambda match: self._marks[match.group()], value) if self._control else value
        if isinstance(value, Mapping):
            return {self.hide(key): self.hide(each) for key, each in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.hide(each) for each in value]
        return value

    def reveal(self, rendered: str) -> Iterator[PromptPiece]:
        """Split rendered text at the marks and put the control texts back, untrusted."""
        if not self._texts:
            if rendered:
                yield PromptPiece(text=rendered, trusted=True)
            return
        for part in re.split("(" + "|".join(map(re.escape, self._texts)) + ")", rendered):
            text = self._texts.get(part)
            if text is not None:
                yield PromptPiece(text=text, trusted=False)
            elif part:
                yield PromptPiece(text=part, trusted=True)


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, each in value.items():
            yield from _strings(key)
            yield from _strings(each)
    elif isinstance(value, (list, tuple)):
        for each in value:
            yield from _strings(each)


def _message_values(messages: Sequence[Message], *, one_call: bool) -> list[dict[str, Any]]:
    """Spell messages the way templates expect. `one_call` is for Harmony's template and its narrower view.

    That template takes instructions from the first message alone, renders one call per message and infers from it whose
    answer a tool message is, and refuses a call's preamble beside its reasoning. So instructions are gathered in front,
    each call gets a message of its own followed by its answer, and a preamble joins the reasoning.
    """
    if not one_call:
        return [_message_value(message) for message in messages]
    instructions = [message.content for message in messages if message.role in ("system", "developer")]
    rest = [message for message in messages if message.role not in ("system", "developer")]
    values = [{"role": "developer", "content": "\n\n".join(instructions)}] if instructions else []
    for message in _one_call_each(rest):
        value = _message_value(message)
        if message.tool_calls and message.reasoning and message.content:
            value |= {"content": "", **_reasoning_value(f"{message.reasoning}\n\n{message.content}")}
        values.append(value)
    return values


def _one_call_each(messages: Sequence[Message]) -> list[Message]:
    result: list[Message] = []
    position = 0
    while position < len(messages):
        message = messages[position]
        position += 1
        if len(message.tool_calls) < 2:
            result.append(message)
            continue
        answers: list[Message] = []
        while position < len(messages) and messages[position].role == "tool":
            answers.append(messages[position])
            position += 1
        for number, call in enumerate(message.tool_calls):
            part = replace(message, tool_calls=(call,))
            result.append(part if number == 0 else replace(part, content="", reasoning=None))
            result += [answer for answer in answers if answer.tool_call_id == call.id]
        ids = {call.id for call in message.tool_calls}
        result += [answer for answer in answers if answer.tool_call_id not in ids]
    return result


def _message_value(message: Message) -> dict[str, Any]:
    # Templates test for the presence of a key, so what a message has not is left out.
    value: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.reasoning:
        value |= _reasoning_value(message.reasoning)
    if message.tool_calls:
        value["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": _arguments_value(call)},
            }
            for call in message.tool_calls
        ]
    if message.tool_call_id is not None:
        value["tool_call_id"] = message.tool_call_id
    if message.name is not None:
        value["name"] = message.name
    return value


def _reasoning_value(reasoning: str) -> dict[str, Any]:
    # Harmony's template reads the first key, most others the second.
    return {"thinking": reasoning, "reasoning_content": reasoning}


def _arguments_value(call: ToolCall) -> Any:
    """An object where the arguments are one, also for bare code: a template would write that as a JSON string."""
    try:
        parsed = json.loads(call.arguments)
    except (ValueError, RecursionError):
        parsed = None
    if isinstance(parsed, dict):
        return parsed
    return {"code": call.arguments} if call.name == CODE_TOOL else call.arguments


def _tool_value(tool: Mapping[str, Any]) -> dict[str, Any]:
    """Give a declaration the OpenAI envelope and a description, which templates add to text unasked."""
    function = dict(tool.get("function", tool))
    function.setdefault("description", "")
    return {"type": "function", "function": function}


def _render(source: str, variables: Mapping[str, Any]) -> str:
    from jinja2 import TemplateError

    try:
        return _compiled(source).render(**variables)
    except TemplateError as error:
        reason = str(error)
    except (TypeError, ValueError, KeyError, IndexError, AttributeError, ArithmeticError, RecursionError) as error:
        # A template is a program of somebody else's: it can fail in each of these ways on a message.
        reason = f"{type(error).__name__}: {error}"
    line = " ".join(reason.split())
    raise EngineError(f"the model's chat template refused this conversation: {line}")


@lru_cache(maxsize=4)
def _compiled(source: str) -> Template:
    """Compile a template for the environment that chat templates expect (that of transformers and llama.cpp).

    Kept, because a model has one template, it is rendered several times a turn, and compiling the one of gpt-oss takes
    100 ms.
    """
    from jinja2 import TemplateError, nodes
    from jinja2.ext import Extension
    from jinja2.parser import Parser
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        """`{% generation %}` marks what a trainer learns from; for inference it is its content."""

        tags = {"generation"}  # noqa: RUF012 - the base class declares it so

        def parse(self, parser: Parser) -> list[nodes.Node]:
            next(parser.stream)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    def raise_exception(message: object) -> NoReturn:
        raise TemplateError(str(message))

    def tojson(
        value: Any,
        ensure_ascii: bool = False,
        indent: int | None = None,
        separators: tuple[str, str] | None = None,
        sort_keys: bool = False,
    ) -> str:
        # Jinja's own escapes <, > and & for HTML, which a model was never trained on.
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols", Generation]
    )
    environment.filters["tojson"] = tojson
    environment.globals["raise_exception"] = raise_exception
    return environment.from_string(source)
