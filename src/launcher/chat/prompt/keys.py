"""What the keys of the prompt do, besides what emacs and vi have them do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from prompt_toolkit.application import run_in_terminal
from prompt_toolkit.buffer import Buffer
from prompt_toolkit.document import Document
from prompt_toolkit.enums import DEFAULT_BUFFER
from prompt_toolkit.filters import Condition, emacs_mode, has_completions, has_focus, vi_insert_mode
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.keys import Keys

from launcher.chat.commands import find
from launcher.chat.prompt.complete import completes
from launcher.chat.prompt.pastes import Pastes
from launcher.chat.prompt.text import clean, ends_with_backslash, needs_more


@dataclass(frozen=True, kw_only=True, slots=True)
class Actions:
    """What keys call that is not of the input itself; None leaves a key without effect."""

    on_reasoning: Callable[[], None] | None = None
    """Writes to the terminal, which is the caller's meanwhile."""
    edit: Callable[[str], str] | None = None
    """Runs an editor on a text and gives back what came of it."""


def chat_bindings(pastes: Pastes, actions: Actions) -> KeyBindings:
    """The bindings; they come after those of emacs and vi, and so before them."""
    keys = KeyBindings()
    away = _Away()
    _add_writing(keys, pastes)
    _add_leaving(keys, away)
    _add_calling(keys, pastes, actions, away)
    return keys


def _add_writing(keys: KeyBindings, pastes: Pastes) -> None:
    focused = has_focus(DEFAULT_BUFFER)
    inserting = focused & (emacs_mode | vi_insert_mode)

    @keys.add("enter", filter=focused)
    def _send(event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        if buffer.complete_state and buffer.complete_state.current_completion:
            _choose(buffer)
        elif _begins_line(buffer):
            buffer.insert_text("\n")
        else:
            buffer.validate_and_handle()

    @keys.add("c-j", filter=focused)
    @keys.add("escape", "enter", filter=inserting)
    @keys.add("escape", "c-j", filter=inserting)
    def _new_line(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    @keys.add(Keys.BracketedPaste, filter=focused)
    def _paste(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text(pastes.of_paste(clean(event.data)))

    @keys.add("c-g", filter=focused & has_completions, eager=True)
    def _cancel(event: KeyPressEvent) -> None:
        event.current_buffer.cancel_completion()

    @keys.add("tab", filter=inserting)
    def _tab(event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        if not completes(buffer.document.text_before_cursor):
            buffer.insert_text("\t")
        elif buffer.complete_state and buffer.complete_state.completions:
            buffer.complete_next()
        else:
            _choose_first(buffer)


def _add_leaving(keys: KeyBindings, away: _Away) -> None:
    here = Condition(lambda: not away.is_away)

    @keys.add("c-c", filter=has_focus(DEFAULT_BUFFER))
    @keys.add("<sigint>", filter=here)
    def _interrupt(event: KeyPressEvent) -> None:
        buffer = event.app.layout.get_buffer_by_name(DEFAULT_BUFFER)
        if buffer is None or not buffer.text:
            event.app.exit(exception=KeyboardInterrupt())
            return
        event.app.clipboard.set_text(buffer.text)  # Ctrl-Y brings back what was cleared by mistake
        buffer.reset()

    @keys.add("<sigint>", filter=~here)
    def _not_ours(_event: KeyPressEvent) -> None:
        """A Ctrl-C in the editor is the editor's."""


def _add_calling(keys: KeyBindings, pastes: Pastes, actions: Actions, away: _Away) -> None:
    focused = has_focus(DEFAULT_BUFFER)

    @keys.add("c-o", filter=focused)
    def _reasoning(_event: KeyPressEvent) -> None:
        if actions.on_reasoning is not None:
            run_in_terminal(actions.on_reasoning)

    @keys.add("c-x", "c-e", filter=focused)
    def _edit(event: KeyPressEvent) -> None:
        if actions.edit is not None:
            event.app.create_background_task(away.edit(event.current_buffer, pastes, actions.edit))


@dataclass(slots=True)
class _Away:
    """Whether the terminal is an editor's."""

    is_away: bool = False

    async def edit(self, buffer: Buffer, pastes: Pastes, edit: Callable[[str], str]) -> None:
        """Have the whole text edited. It is not sent: a second look costs one key, a question sent too early more."""
        text = pastes.expand(buffer.text)
        self.is_away = True
        try:
            edited = await run_in_terminal(lambda: edit(text), in_executor=True)
        finally:
            self.is_away = False
        if edited != text:
            shown = pastes.of_text(clean(edited))
            buffer.save_to_undo_stack()
            buffer.document = Document(shown, len(shown))


def _begins_line(buffer: Buffer) -> bool:
    r"""Whether Enter is a line break: in an open block, or after a `\`, which goes."""
    document = buffer.document
    if not document.is_cursor_at_the_end or not needs_more(document.text):
        return False
    if ends_with_backslash(document.text) and not needs_more(document.text[:-1]):
        buffer.delete_before_cursor()
    return True


def _choose_first(buffer: Buffer) -> None:
    """Select the first completion, as soon as there is one: whoever types fast presses Tab before the list is there."""
    text = buffer.text

    def choose() -> None:
        state = buffer.complete_state
        if buffer.text == text and state is not None and state.completions and state.complete_index is None:
            buffer.go_to_completion(0)

    def on_change(_buffer: Buffer) -> None:
        if buffer.text != text or buffer.complete_state is None or buffer.complete_state.completions:
            buffer.on_completions_changed -= on_change
            # Not at once: the list may turn out to be what is there already, and is dropped then.
            asyncio.get_running_loop().call_soon(choose)

    buffer.on_completions_changed += on_change
    buffer.start_completion()


def _choose(buffer: Buffer) -> None:
    """Take the completion that is selected, and go on to what may follow it."""
    buffer.complete_state = None
    text = buffer.document.text_before_cursor
    command = find(text)
    if command is not None and command.completes is not None:
        buffer.insert_text(" ")
    if command is not None or text.endswith("/"):
        buffer.start_completion()
