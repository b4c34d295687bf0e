"""What each /command does. Whatever touches the world comes in from outside."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast, get_args

from launcher.chat.attachments import too_large
from launcher.chat.commands import find
from launcher.chat.conversation import Conversation
from launcher.chat.reports import context_text, file_names, help_text, last_code_block, shortened, stats_text
from launcher.chat.talk import ASK, Next, Talk
from launcher.chat.turn import Tools
from launcher.chat.types import ReasoningView
from launcher.engines.types import ReasoningEffort
from launcher.errors import UsageError
from launcher.history.types import SavedConversation

_OSC_52_MAX_BYTES = 74_994
"""Base64 of what xterm and tmux take; more is dropped by them in silence."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Loaded:
    """A conversation to go on with."""

    conversation: Conversation
    conversation_id: int | None
    """None: it is not in the history yet."""
    title: str


@dataclass(frozen=True, kw_only=True, slots=True)
class World:
    """What commands need of the outside."""

    set_reasoning: Callable[[ReasoningView], None]
    """Show the reasoning so from now on."""
    reasoning: Callable[[], ReasoningView]
    open_tools: Callable[[str], Tools]
    """Tools by the words of `--tools`; those that were open are closed."""
    read_attachment: Callable[[str], str]
    """A file as the model is shown it. Raises UsageError for what is no text."""
    load: Callable[[str], Loaded]
    """By an id of the history, a title, or a file."""
    save: Callable[[Path, str], None]
    """Write a file, whole or not at all."""
    spell: Mapping[str, Callable[[SavedConversation], str]]
    """Exporters by format: md, json, html."""
    saved: Callable[[Talk], SavedConversation]
    """The conversation with what is known of it."""
    to_terminal: Callable[[str], None] | None
    """Writes escape sequences; None where there is no terminal that would take them."""


def act(world: World, talk: Talk, name: str, rest: str) -> Next:
    """Carry one command out.

    Raises:
        LauncherError: it cannot be done; the conversation is as it was.
    """
    return _ACTIONS[name](world, talk, rest)


def _help(_world: World, talk: Talk, rest: str) -> Next:
    if not rest:
        talk.say(help_text())
        return ASK
    command = find(rest if rest.startswith("/") else f"/{rest}")
    if command is None:
        raise UsageError(f"there is no command {rest!r}; /help lists them")
    others = f" (also {', '.join(command.aliases)})" if command.aliases else ""
    talk.say(f"{command.name} {command.usage}".strip() + f": {command.help}{others}")
    return ASK


def _effort(_world: World, talk: Talk, rest: str) -> Next:
    if rest not in get_args(ReasoningEffort):
        talk.say(f"The effort is {talk.sampling.reasoning_effort or 'medium'}; say /effort low, medium or high.")
        return ASK
    effort = cast("ReasoningEffort", rest)
    talk.sampling = replace(talk.sampling, reasoning_effort=effort)
    talk.conversation = talk.conversation.with_effort(effort)
    if talk.conversation_id is not None:
        talk.history.set_effort(talk.conversation_id, effort)
    talk.say(f"Reasoning effort: {effort}.")
    return ASK


def _reasoning(world: World, talk: Talk, rest: str) -> Next:
    if rest not in get_args(ReasoningView):
        talk.say(f"Thoughts are shown {world.reasoning()!r}; say /reasoning full, fold or hide.")
        return ASK
    world.set_reasoning(cast("ReasoningView", rest))
    talk.say(f"Thoughts from now on: {rest}.")
    return ASK


def _system(_world: World, talk: Talk, rest: str) -> Next:
    now = next((m.content for m in talk.conversation.messages if m.role in ("system", "developer")), None)
    if not rest:
        talk.say(f"The instructions are: {now}" if now else "There are no instructions; /system TEXT sets them.")
        return ASK
    text = None if rest == "-" else rest
    talk.conversation = talk.conversation.with_system(text)
    if talk.conversation_id is not None:
        talk.history.set_system(talk.conversation_id, text)
    talk.say("The instructions are set." if text else "The instructions are gone.")
    return ASK


def _model(_world: World, talk: Talk, rest: str) -> Next:
    if not rest:
        talk.say(f"The model is {talk.model} ({talk.engine_name}); /model NAME goes on with another one.")
        return ASK
    return Next(do="model", text=rest)


def _attach(world: World, talk: Talk, rest: str) -> Next:
    if not rest:
        n = len(talk.attached)
        talk.say(f"{n} files wait for the next question." if n else "say /attach FILE; - takes what waits back")
        return ASK
    if rest == "-":
        talk.attached.clear()
        talk.say("Nothing is attached.")
        return ASK
    for name in file_names(rest):
        text = world.read_attachment(name)
        _check_room(talk, name, text)
        talk.attached.append(text)
        talk.say(f"{name}: {len(text):,} characters go along with the next question.")
    return ASK


def _check_room(talk: Talk, name: str, text: str) -> None:
    n_ctx = talk.engine.n_ctx
    if n_ctx is None:
        return
    with_it = Conversation().with_user("\n\n".join((*talk.attached, text)))
    n_tokens = talk.engine.count_tokens(with_it.messages, talk.sampling)
    if n_tokens >= n_ctx:
        raise UsageError(
            f"{name} makes a prompt of {n_tokens:,} tokens, and the context holds {n_ctx:,}",
            hint=too_large(n_tokens, n_ctx).hint,
        )


def _tools(world: World, talk: Talk, rest: str) -> Next:
    if rest:
        talk.tools = world.open_tools("" if rest == "off" else ",".join(rest.replace(",", " ").split()))
    if not talk.tools.tools:
        talk.say("No tools: the model can call nothing. /tools python lets it run Python.")
        return ASK
    for tool in talk.tools.tools:
        always = tool.title in talk.tools.always
        rule = "runs without asking" if always or tool.verdict == "allow" else "asks before each call"
        talk.say(f"{tool.title}: {'never runs' if tool.verdict == 'deny' else rule}")
    return ASK


def _retry(_world: World, talk: Talk, _rest: str) -> Next:
    question = talk.last_question()
    if question is None:
        raise UsageError("nothing has been asked yet")
    talk.cut(talk.conversation.without_last_turn())
    talk.question(question)
    return ASK


def _edit(_world: World, talk: Talk, _rest: str) -> Next:
    question = talk.last_question()
    if question is None:
        raise UsageError("nothing has been asked yet")
    talk.cut(talk.conversation.without_last_turn())
    return Next(do="ask", text=question)


def _undo(_world: World, talk: Talk, _rest: str) -> Next:
    question = talk.last_question()
    if question is None:
        raise UsageError("nothing has been asked yet")
    talk.cut(talk.conversation.without_last_turn())
    talk.say(f"Taken back: {shortened(question)}")
    return ASK


def _clear(_world: World, talk: Talk, _rest: str) -> Next:
    system = next((m.content for m in talk.conversation.messages if m.role in ("system", "developer")), None)
    fresh = Conversation(reasoning_effort=talk.sampling.reasoning_effort).with_system(system)
    talk.set_conversation(fresh, None)
    talk.say("A new conversation.")
    return ASK


def _save(world: World, talk: Talk, rest: str) -> Next:
    if not talk.conversation.messages:
        raise UsageError("nothing has been said yet")
    if rest.endswith(".json") or Path(rest).name != rest:
        path = Path(rest).expanduser()
        world.save(path, world.spell["json"](world.saved(talk)))
        talk.say(f"Saved as {path}; /load {path} goes on with it.")
        return ASK
    if talk.conversation_id is None:
        raise UsageError("this conversation is in no history; /save FILE.json writes it to a file")
    if rest:
        talk.history.set_title(talk.conversation_id, rest)
    talk.say(f"Saved as conversation {talk.conversation_id}; gpt-oss history resume {talk.conversation_id} goes on.")
    return ASK


def _load(world: World, talk: Talk, rest: str) -> Next:
    if not rest:
        raise UsageError("say /load ID or /load FILE", hint="gpt-oss history list")
    loaded = world.load(rest)
    talk.set_conversation(loaded.conversation, loaded.conversation_id)
    said = sum(message.role in ("user", "assistant") for message in loaded.conversation.messages)
    talk.say(f"Going on with {loaded.title!r}, {said} messages.")
    return ASK


def _export(world: World, talk: Talk, rest: str) -> Next:
    kind, _, name = rest.partition(" ")
    if kind not in world.spell:
        raise UsageError(f"say /export {', '.join(world.spell)} and perhaps a file")
    if not talk.conversation.messages:
        raise UsageError("nothing has been said yet")
    text = world.spell[kind](world.saved(talk))
    if not name:
        path = Path(f"conversation-{talk.conversation_id or 'unsaved'}.{kind}")
        if path.exists():
            raise UsageError(f"{path} is there already; /export {kind} FILE writes another one")
    else:
        path = Path(name.strip()).expanduser()
    world.save(path, text)
    talk.say(f"Written: {path}")
    return ASK


def _copy(world: World, talk: Talk, rest: str) -> Next:
    answer = talk.last_answer()
    if answer is None:
        raise UsageError("there is no answer to copy yet")
    text = last_code_block(answer) if rest == "code" else answer
    if text is None:
        raise UsageError("the last answer has no code block")
    if world.to_terminal is None:
        raise UsageError("this terminal has no clipboard that can be reached; /export md writes a file")
    sequence = base64.b64encode(text.encode()).decode()
    if len(sequence) > _OSC_52_MAX_BYTES:
        raise UsageError(f"{len(text):,} characters are more than a terminal's clipboard takes; /export md FILE")
    world.to_terminal(f"\x1b]52;c;{sequence}\x07")
    talk.say(f"{len(text):,} characters are handed to the terminal's clipboard.")
    return ASK


def _stats(_world: World, talk: Talk, _rest: str) -> Next:
    talk.say(stats_text(talk.timings))
    return ASK


def _context(_world: World, talk: Talk, _rest: str) -> Next:
    talk.say(context_text(talk.engine, talk.conversation, talk.sampling, talk.tools.functions))
    return ASK


def _quit(_world: World, _talk: Talk, _rest: str) -> Next:
    return Next(do="quit")


_ACTIONS: dict[str, Callable[[World, Talk, str], Next]] = {
    "/help": _help,
    "/effort": _effort,
    "/reasoning": _reasoning,
    "/system": _system,
    "/model": _model,
    "/attach": _attach,
    "/tools": _tools,
    "/retry": _retry,
    "/edit": _edit,
    "/undo": _undo,
    "/clear": _clear,
    "/save": _save,
    "/load": _load,
    "/export": _export,
    "/copy": _copy,
    "/stats": _stats,
    "/context": _context,
    "/quit": _quit,
}
