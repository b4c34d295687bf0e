"""A conversation on a terminal: the prompt, the commands, and going from one model to another."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from launcher.chat.actions import Loaded, World, act
from launcher.chat.conversation import Conversation, from_json
from launcher.chat.prompt import Sources, Status, open_prompt
from launcher.chat.talk import Next, Talk, talk_on
from launcher.chat.turn import Tools
from launcher.chat.types import ReasoningView
from launcher.cli.chat_engine import Brain, open_brain
from launcher.cli.chat_session import (
    Ask,
    new_talk,
    open_history_of,
    read_attachment,
    resume,
    resumed_settings,
    saved_of,
)
from launcher.cli.chat_tools import known_tools, opened_tools
from launcher.cli.chat_view import ChatView, open_view
from launcher.cli.output import save_text, say
from launcher.engines.types import Sampling
from launcher.errors import ExitCode, LauncherError, UsageError
from launcher.history.conversations import conversation_of, unsaved
from launcher.history.export import to_html, to_json_text, to_markdown
from launcher.history.types import History, SavedConversation
from launcher.paths import folders
from launcher.settings import Settings

_GREETING = "Ctrl-D leaves, Ctrl-C stops an answer, /help lists the commands."
_N_COMPLETED = 200  # conversations that a prompt completes


def hold_conversation(settings: Settings, sampling: Sampling, ask: Ask, attached: Sequence[str]) -> int:
    """Talk until the person leaves."""
    with open_history_of(settings) as history:
        return _Session(settings, ask, history).run(sampling, attached)


class _Session:
    """What outlives a change of the model: the history, the view, the tools, and what was said."""

    def __init__(self, settings: Settings, ask: Ask, history: History) -> None:
        self._settings = settings
        self._ask = ask
        self._history = history
        self._view: ChatView = open_view(settings, self._count_tokens)
        self._tools = ExitStack()
        self._talk: Talk | None = None
        self._brain: Brain | None = None
        self._opened = (settings, ask.demo)
        """What the engine that answers was opened with."""
        self._build: str | None = None
        """The llama.cpp build that this process has loaded: it can load no other."""

    def run(self, sampling: Sampling, attached: Sequence[str]) -> int:
        """Open one engine after another, as the person asks for them."""
        saved = saved_of(self._settings, self._history, self._ask.resume)
        self._settings = resumed_settings(self._settings, saved, self._ask)
        with self._tools:
            tools = self._tools.enter_context(opened_tools(self._settings.tools, self._settings))
            demo = self._ask.demo
            while True:
                with ExitStack() as opened:
                    brain = self._open(opened, demo=demo)
                    talk = self._begin(brain, sampling, tools, attached)
                    if saved is not None:
                        resume(talk, saved)
                        say(f"Going on with {saved.about.title!r}.")
                    after = self._talk_on(talk)
                if after.do != "model":
                    return ExitCode.DONE
                sampling, tools, attached, demo, saved = talk.sampling, talk.tools, tuple(talk.attached), False, None
                self._settings = replace(self._settings, model=after.text, quant=None)

    def _open(self, opened: ExitStack, *, demo: bool) -> Brain:
        """Open what the settings ask for; where that fails in a conversation, what answered so far is opened again."""
        refresh = self._ask.refresh
        try:
            brain = opened.enter_context(open_brain(self._with_build(), demo=demo, refresh=refresh))
        except (LauncherError, KeyboardInterrupt) as error:
            if self._talk is None:
                raise
            if isinstance(error, LauncherError):
                self._talk.tell(error)
            self._settings, demo = self._opened
            say(f"Going on with {self._talk.model}.")
            brain = opened.enter_context(open_brain(self._with_build(), demo=demo))
        self._opened = self._settings, demo
        self._build = brain.build or self._build
        return brain

    def _with_build(self) -> Settings:
        return self._settings if self._build is None else replace(self._settings, build=self._build)

    def _begin(self, brain: Brain, sampling: Sampling, tools: Tools, attached: Sequence[str]) -> Talk:
        """The conversation on an engine that was just opened; what was said before goes along."""
        before, self._brain = self._talk, brain
        talk = new_talk(brain, self._view, self._settings, sampling, history=self._history, tools=tools)
        if before is not None:
            talk.conversation, talk.conversation_id = before.conversation, before.conversation_id
            talk.timings = before.timings
            if talk.conversation_id is not None:
                self._history.set_model(talk.conversation_id, model=brain.model, file=brain.file, engine=brain.name)
        else:
            say(_GREETING)
        talk.attached.extend(attached)
        self._talk = talk
        return talk

    def _talk_on(self, talk: Talk) -> Next:
        from launcher.cli.editor import open_in_editor

        typed = folders().state / "chat_history" if self._settings.history else None
        with open_prompt(
            say=say,
            history=typed,
            status=self._status,
            sources=Sources(models=_models, conversations=self._conversations, tools=known_tools),
            edit_mode=self._settings.edit_mode,
            edit=open_in_editor,
            on_reasoning=self._view.unfold,
        ) as prompt:
            return talk_on(talk, prompt.read, partial(act, self._world()))

    def _world(self) -> World:
        tty = sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
        return World(
            set_reasoning=self._set_reasoning,
            reasoning=lambda: self._view.reasoning,
            open_tools=self._open_tools,
            read_attachment=read_attachment,
            load=self._load,
            save=save_text,
            spell={"md": to_markdown, "json": to_json_text, "html": to_html},
            saved=self._saved,
            to_terminal=_to_terminal if tty else None,
        )

    def _status(self) -> Status | None:
        talk, brain = self._talk, self._brain
        if talk is None or brain is None:
            return None
        last = talk.timings[-1] if talk.timings else None
        return Status(
            model=talk.model,
            effort=talk.sampling.reasoning_effort or "medium",
            n_context=talk.n_prompt,
            n_ctx=talk.engine.n_ctx,
            tokens_per_s=last.predicted_per_second if last is not None else None,
            memory_bytes=brain.memory_bytes,
            engine=brain.name,
            tools=tuple(tool.title for tool in talk.tools.tools),
        )

    def _count_tokens(self, text: str) -> int | None:
        """Tokens of a text by itself: two prompts that differ in nothing else. A server is busy answering then."""
        talk = self._talk
        if talk is None or talk.engine_name != "embedded":
            return None
        plain = Conversation().with_user("").messages
        whole = Conversation().with_user(text).messages
        return talk.engine.count_tokens(whole, talk.sampling) - talk.engine.count_tokens(plain, talk.sampling)

    def _set_reasoning(self, mode: ReasoningView) -> None:
        self._view.reasoning = mode

    def _open_tools(self, words: str) -> Tools:
        opened = ExitStack()
        try:
            tools = opened.enter_context(opened_tools(words or None, self._settings))
        except KeyboardInterrupt:  # a server that takes its time to start
            raise UsageError("stopped: the tools are what they were") from None
        before = self._tools.pop_all()
        self._tools.push(opened)  # before anything that Ctrl-C may end: what nobody closes is left running
        with suppress(KeyboardInterrupt):
            before.close()
        return tools

    def _load(self, text: str) -> Loaded:
        path = Path(text).expanduser()
        if path.is_file():
            try:
                table = json.loads(path.read_text(encoding="utf-8"))
            except (OSError, ValueError) as error:
                raise UsageError(f"cannot read {path}: {error}", hint="gpt-oss history list") from None
            return Loaded(conversation=from_json(table, path=str(path)), conversation_id=None, title=path.name)
        number = self._history.resolve(text)
        saved = self._history.load(number)
        return Loaded(conversation=conversation_of(saved), conversation_id=number, title=saved.about.title)

    def _saved(self, talk: Talk) -> SavedConversation:
        if talk.conversation_id is not None:
            try:
                return self._history.load(talk.conversation_id)
            except LauncherError:  # a history that went off in the middle: what is here is what there is
                pass
        return unsaved(
            talk.conversation, now=datetime.now(UTC), model=talk.model, file=talk.file, engine=talk.engine_name
        )

    def _conversations(self) -> Sequence[tuple[str, str]]:
        return [(str(about.id), about.title) for about in self._history.list(_N_COMPLETED)]


def _models() -> Sequence[str]:
    """What `--model` takes, whatever is on this disk."""
    return ("auto", "20b", "120b")


def _to_terminal(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
