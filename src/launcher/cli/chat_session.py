"""From flags to an answer: who answers, what is asked, and how it is shown."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from launcher.chat.conversation import Conversation
from launcher.chat.talk import Talk
from launcher.chat.types import View
from launcher.cli.chat_engine import Brain, demo_settings, open_brain, with_model_of
from launcher.cli.chat_view import open_view
from launcher.cli.context import load_settings
from launcher.cli.output import say
from launcher.cli.quiet import no_echo
from launcher.engines.types import FinishReason, Sampling
from launcher.errors import UsageError
from launcher.history.types import History, SavedConversation
from launcher.settings import Settings

if TYPE_CHECKING:
    from launcher.chat.turn import Tools


@dataclass(frozen=True, kw_only=True, slots=True)
class Ask:
    """What was typed beside the settings."""

    words: tuple[str, ...] = ()
    file: str | None = None
    """Of the question; `-` is stdin."""
    attach: tuple[str, ...] = ()
    resume: str | None = None
    """A conversation to go on with: an id, a title, or `last`."""
    schema: Path | None = None
    as_json: bool = False
    stream_json: bool = False
    demo: bool = False
    refresh: bool = False


def run_chat(flags: Mapping[str, Any], ask: Ask) -> int:
    """Answer one question, or hold a conversation on a terminal. Gives the exit code.

    Raises:
        LauncherError: whatever keeps it from being answered.
    """
    from launcher.cli.crash_watch import watched

    return watched(lambda: _run_chat(flags, ask))


def _run_chat(flags: Mapping[str, Any], ask: Ask) -> int:
    from launcher.chat.script import read_question

    settings = load_settings(flags)
    if ask.demo:
        settings = demo_settings(settings, flags)
    terminal = sys.stdin is not None and sys.stdin.isatty()
    question = read_question(ask.words, ask.file, None if terminal or sys.stdin is None else sys.stdin.buffer.read)
    attached = [read_attachment(name) for name in ask.attach]
    asked = "\n\n".join((*attached, question) if question else attached)
    sampling = sampling_of(settings, _schema(ask.schema))
    talks = terminal and not (question or ask.as_json or ask.stream_json)
    if talks:
        from launcher.cli.chat_talk import hold_conversation

        return hold_conversation(settings, sampling, ask, attached)
    if not asked:
        raise UsageError(
            "nothing to answer: the question is empty", hint='gpt-oss chat "What is the capital of France?"'
        )
    with open_history_of(settings) as history:
        from launcher.cli.chat_tools import opened_tools

        # What can be wrong with these is told before gigabytes are loaded.
        saved = saved_of(settings, history, ask.resume)
        settings = resumed_settings(settings, saved, ask)
        with (
            opened_tools(settings.tools, settings) as tools,
            open_brain(
                settings, demo=ask.demo, refresh=ask.refresh, asks=not (ask.as_json or ask.stream_json)
            ) as brain,
        ):
            view = script_view(settings, ask, brain)
            talk = new_talk(brain, view, settings, sampling, history=history, tools=tools)
            if saved is not None:
                resume(talk, saved)
            return _answer_one(talk, asked, ask)


def resume_chat(flags: Mapping[str, Any], conversation: str | int) -> int:
    """Go on with a conversation of the history."""
    return run_chat(flags, Ask(resume=str(conversation)))


def _answer_one(talk: Talk, question: str, ask: Ask) -> int:
    """Ask, show, and tell by the exit code how it went."""
    from launcher.chat.script import JsonLinesView, JsonView, outcome

    reason = _answered(talk, question)
    view, with_schema = talk.view, ask.schema is not None
    if isinstance(view, JsonView):
        sys.stdout.write(
            view.document(conversation=talk.conversation_id, finish_reason=reason, with_schema=with_schema)
        )
    elif isinstance(view, JsonLinesView):
        view.finish(conversation=talk.conversation_id, finish_reason=reason, with_schema=with_schema)
    done = outcome(reason, talk.last_answer() or "", with_schema=with_schema, max_tokens=talk.sampling.max_tokens)
    if done.error is not None:
        raise done.error
    if done.note is not None:
        say(done.note)
    return done.code


def _answered(talk: Talk, question: str) -> FinishReason:
    """Ask; a question that the engine cannot be asked at all is not kept."""
    before, known = talk.conversation, talk.conversation_id
    talk.conversation = before.with_user(question)
    try:
        return talk.answer()
    except UsageError:
        if known is not None:
            talk.history.replace_from(known, len(before.messages))
        elif talk.conversation_id is not None:
            talk.history.delete([talk.conversation_id])
        raise


def _schema(path: Path | None) -> str | None:
    """The schema of a file, checked before anything is loaded."""
    if path is None:
        return None
    from launcher.engines.grammar import check_schema

    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {path}: {error}", hint=f"ls -l {path}") from None
    return check_schema(text)


def read_attachment(name: str) -> str:
    """A file as the model is shown it.

    Raises:
        UsageError: it is no text, or cannot be read.
    """
    from launcher.chat.script import read_attached

    return read_attached(Path(name).expanduser())


def sampling_of(settings: Settings, json_schema: str | None = None) -> Sampling:
    """How tokens are drawn."""
    return Sampling(
        temperature=settings.temperature,
        top_p=settings.top_p,
        top_k=settings.top_k,
        min_p=settings.min_p,
        seed=settings.seed,
        max_tokens=settings.max_tokens,
        reasoning_effort=settings.reasoning_effort,
        json_schema=json_schema,
    )


def new_talk(
    brain: Brain, view: View, settings: Settings, sampling: Sampling, *, history: History, tools: Tools
) -> Talk:
    """A conversation that begins."""
    return Talk(
        engine=brain.engine,
        view=view,
        say=say,
        sampling=sampling,
        history=history,
        conversation=Conversation(reasoning_effort=sampling.reasoning_effort).with_system(settings.system),
        model=brain.model,
        file=brain.file,
        engine_name=brain.name,
        tools=tools,
        while_answering=no_echo,
    )


def saved_of(settings: Settings, history: History, text: str | None) -> SavedConversation | None:
    """The conversation to go on with; None where a new one begins.

    Raises:
        LauncherError: there is none of that name, or it cannot be read.
    """
    if text is None:
        return None
    if not settings.history:
        raise UsageError(
            "--resume goes on with a conversation of the history, which is off here",
            hint=f"gpt-oss chat --history --resume {shlex.quote(text)}",
        )
    return history.load(history.resolve(text))


def resumed_settings(settings: Settings, saved: SavedConversation | None, ask: Ask) -> Settings:
    """Settings with the model that answered last in a conversation, where nobody names another one."""
    if saved is None or ask.demo or settings.url is not None:
        return settings
    return with_model_of(saved.about, settings)


def resume(talk: Talk, saved: SavedConversation) -> None:
    """Go on with a conversation of the history."""
    from launcher.history.conversations import conversation_of

    talk.set_conversation(conversation_of(saved), saved.about.id)


@contextmanager
def open_history_of(settings: Settings) -> Iterator[History]:
    """Where conversations are kept; nowhere with `--no-history`."""
    if not settings.history:
        from launcher.history.null import NullHistory

        yield NullHistory()
        return
    from launcher.history.opening import history_path, open_history

    with open_history(history_path(), tell=say) as history:
        yield history


def script_view(settings: Settings, ask: Ask, brain: Brain) -> View:
    """What shows one answer: JSON where it is asked for, Markdown on a terminal, else text as it comes."""
    if ask.as_json or ask.stream_json:
        from launcher.chat.script import JsonLinesView, JsonView

        if ask.stream_json:
            return JsonLinesView(out=sys.stdout, model=brain.model, engine=brain.name)
        return JsonView(model=brain.model, engine=brain.name)
    return open_view(settings)
