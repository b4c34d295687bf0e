"""A conversation that goes on: its state, and what a line that was typed does to it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Literal

from launcher.chat.commands import find, is_command, nearest
from launcher.chat.conversation import Conversation
from launcher.chat.turn import Tools, Turn, run_turn
from launcher.chat.types import View
from launcher.engines.types import Engine, FinishReason, Message, Sampling, Timings
from launcher.errors import LauncherError
from launcher.history.types import History


@dataclass(frozen=True, kw_only=True, slots=True)
class Next:
    """What comes after a line."""

    do: Literal["ask", "quit", "model"]
    """Read another line, leave, or go on with another model."""
    text: str = ""
    """For `ask`: what stands in the prompt already. For `model`: the model."""


ASK = Next(do="ask")


@dataclass(kw_only=True, slots=True)
class Talk:
    """A conversation on one engine. Commands change it in place."""

    engine: Engine
    view: View
    say: Callable[[str], None]
    sampling: Sampling
    history: History
    conversation: Conversation = field(default_factory=Conversation)
    model: str
    file: str | None = None
    engine_name: str = "embedded"
    tools: Tools = field(default_factory=Tools)
    attached: list[str] = field(default_factory=list)
    """Files that go along with the next question."""
    conversation_id: int | None = None
    """In the history; None until the first question."""
    timings: list[Timings] = field(default_factory=list)
    """Of every answer of the engine so far."""
    n_prompt: int = 0
    """Tokens that the context held after the last answer."""
    while_answering: Callable[[], AbstractContextManager[None]] = nullcontext
    """Entered around each turn."""
    _taken_up: bool = field(default=False, init=False)
    """Another model may have answered in this conversation so far."""

    def question(self, text: str) -> FinishReason | None:
        """Ask; where that fails, what went wrong is said, and the conversation is as it was before. None: failed."""
        before, n_before = self.conversation, len(self.conversation.messages)
        whole = "\n\n".join((*self.attached, text) if text else tuple(self.attached))
        self.conversation = before.with_user(whole)
        try:
            reason = self.answer()
        except LauncherError as error:
            self.view.close()
            self.tell(error)
            self.conversation = before
            if self.conversation_id is not None:
                self.history.replace_from(self.conversation_id, n_before)
            return None
        self.attached.clear()
        return reason

    def answer(self) -> FinishReason:
        """Answer what stands last in the conversation, and keep it as it comes."""
        self._keep()
        with self.while_answering():
            turn = run_turn(
                self.engine, self.conversation, self.sampling, self.view, tools=self.tools, record=self._record
            )
        self._take(turn)
        return turn.finish_reason

    def tell(self, error: LauncherError) -> None:
        """What went wrong, as every command says it."""
        hint = [f"hint:  {error.hint}"] if error.hint else []
        self.say("\n".join((f"error: {error.message}", *error.details, *hint)))

    def set_conversation(self, conversation: Conversation, conversation_id: int | None) -> None:
        """Go on with another conversation."""
        self.conversation, self.conversation_id = conversation, conversation_id
        self.n_prompt = 0
        self._taken_up = conversation_id is not None
        self.attached.clear()
        if conversation.reasoning_effort is not None:
            self.sampling = replace(self.sampling, reasoning_effort=conversation.reasoning_effort)

    def cut(self, conversation: Conversation) -> None:
        """Take messages back from the end, in the history too."""
        self.conversation = conversation
        if self.conversation_id is not None:
            self.history.replace_from(self.conversation_id, len(conversation.messages))

    def last_question(self) -> str | None:
        """What was asked last."""
        return next((m.content for m in reversed(self.conversation.messages) if m.role == "user"), None)

    def last_answer(self) -> str | None:
        """What the model said last."""
        said = (m.content for m in reversed(self.conversation.messages) if m.role == "assistant" and m.content)
        return next(said, None)

    def _keep(self) -> None:
        """Write down what stands in the conversation before the model begins."""
        if self.conversation_id is not None:
            if self._taken_up:
                self.history.set_model(self.conversation_id, model=self.model, file=self.file, engine=self.engine_name)
                self._taken_up = False
            self.history.append(self.conversation_id, self.conversation.messages[-1])
            return
        self.conversation_id = self.history.begin(
            self.conversation.messages,
            model=self.model,
            file=self.file,
            engine=self.engine_name,
            reasoning_effort=self.sampling.reasoning_effort,
        )

    def _record(self, message: Message, reason: FinishReason | None, timings: Timings | None) -> None:
        if self.conversation_id is not None:
            self.history.append(self.conversation_id, message, finish_reason=reason, timings=timings)

    def _take(self, turn: Turn) -> None:
        self.conversation = turn.conversation
        self.timings.extend(turn.timings)
        last = turn.timings[-1]
        self.n_prompt = last.cache_n + last.prompt_n + last.predicted_n


def talk_on(
    talk: Talk,
    read: Callable[[str], str],
    do: Callable[[Talk, str, str], Next],
    *,
    first: str = "",
) -> Next:
    """Read lines and do what they say, until one says to leave or to go on with another model.

    Args:
        talk: The conversation.
        read: Gives what was typed; its argument stands in the prompt already. Raises EOFError at the end of input.
        do: Carries a /command out: its name, and what follows it.
        first: What stands in the first prompt.
    """
    prefilled = first
    while True:
        try:
            line = read(prefilled)
        except EOFError:
            return Next(do="quit")
        except KeyboardInterrupt:
            talk.say("(Ctrl-D or /quit leaves)")
            prefilled = ""
            continue
        prefilled = ""
        if not line.strip():
            continue
        if not is_command(line):
            talk.question(line.strip("\n"))
            continue
        word, _, rest = line.strip().partition(" ")
        command = find(word)
        if command is None:
            close = nearest(word)
            talk.say(f"There is no {word}" + (f"; did you mean {close}?" if close else ". /help lists the commands."))
            continue
        try:
            after = do(talk, command.name, rest.strip())
        except LauncherError as error:
            talk.tell(error)
            continue
        if after.do != "ask":
            return after
        prefilled = after.text
