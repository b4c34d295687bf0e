"""The prompt of a capable terminal: prompt_toolkit's line editor, as a chat needs it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from prompt_toolkit import PromptSession, print_formatted_text
from prompt_toolkit.application import get_app
from prompt_toolkit.buffer import Buffer
from prompt_toolkit.enums import EditingMode
from prompt_toolkit.filters import Always, Condition, is_done
from prompt_toolkit.formatted_text import FormattedText, StyleAndTextTuples
from prompt_toolkit.input import Input
from prompt_toolkit.key_binding.vi_state import InputMode
from prompt_toolkit.layout import ConditionalContainer, FormattedTextControl, HSplit, Window
from prompt_toolkit.layout.processors import TabsProcessor
from prompt_toolkit.output import ColorDepth, Output
from prompt_toolkit.styles import Style
from prompt_toolkit.utils import get_cwidth

from launcher.chat.prompt.complete import completes
from launcher.chat.prompt.history import HistoryFile
from launcher.chat.prompt.keys import Actions, chat_bindings
from launcher.chat.prompt.pastes import Pastes
from launcher.chat.prompt.status import status_line
from launcher.chat.prompt.text import clean, finished
from launcher.chat.prompt.types import EditMode, Sources, Status
from launcher.chat.prompt.widgets import ChatHistory, CommandCompleter, HistorySuggest, PasteLabels

MARK = ">>> "
CONTINUED = "... "
MENU_ROWS = 6
"""Rows kept free for completions, while there may be some."""
_ANY_HEIGHT = 1_000_000
VI_ESCAPE_S = 0.1
"""How long a lone Escape waits for the rest of a sequence: short enough for vi, long enough for a slow ssh."""

# Attributes and no colours of our own: they look right on dark and light terminals, and with NO_COLOR.
_STYLE = Style.from_dict(
    {
        "prompt": "bold",
        "continuation": "dim",
        "paste": "italic",
        "auto-suggestion": "dim",
        "status": "dim",
        "completion-menu": "noinherit bg:default fg:default",
        "completion-menu.completion": "bg:default fg:default",
        "completion-menu.completion.current": "bg:default fg:default reverse",
        "completion-menu.meta.completion": "bg:default fg:default dim",
        "completion-menu.meta.completion.current": "bg:default fg:default dim reverse",
        "scrollbar.background": "bg:default",
        "scrollbar.button": "bg:default reverse",
        "search": "bg:default fg:default underline",
        "validation-toolbar": "bg:default fg:default reverse",
    }
)


class FullPrompt:
    """Reads one question after another. `input` and `output` are the terminal's, or a test's."""

    def __init__(
        self,
        *,
        history: HistoryFile,
        input: Input | None = None,  # noqa: A002  # prompt_toolkit's word
        output: Output | None = None,
        status: Callable[[], Status | None] | None = None,
        sources: Sources | None = None,
        edit_mode: EditMode = "emacs",
        actions: Actions | None = None,
        colours: bool = True,
    ) -> None:
        self._status = status
        self._pastes = Pastes()
        self._completer = CommandCompleter(sources or Sources())
        chat_history = ChatHistory(history, self._pastes)
        self._session: PromptSession[str] = PromptSession(
            [("class:prompt", MARK)],
            prompt_continuation=_continuation,
            multiline=True,
            input=input,
            output=output,
            history=chat_history,
            auto_suggest=HistorySuggest(chat_history),
            completer=self._completer,
            complete_while_typing=Condition(_completing),
            reserve_space_for_menu=MENU_ROWS,
            key_bindings=chat_bindings(self._pastes, actions or Actions()),
            editing_mode=EditingMode.VI if edit_mode == "vi" else EditingMode.EMACS,
            input_processors=[PasteLabels(self._pastes), TabsProcessor(char1=" ", char2=" ")],
            enable_suspend=True,
            search_ignore_case=True,
            style=_STYLE,
            include_default_pygments_style=False,
            color_depth=None if colours else ColorDepth.DEPTH_1_BIT,
        )
        if edit_mode == "vi":
            self._session.app.ttimeoutlen = VI_ESCAPE_S
            self._session.app.timeoutlen = VI_ESCAPE_S
        # Otherwise the input, and not the space below the bar, keeps the rows that a menu took.
        self._session.layout.current_window.dont_extend_height = Always()
        self._keep_tall_texts()
        if status is not None or edit_mode == "vi":
            self._add_bar()

    def read(self, default: str = "") -> str:
        """What the person sends.

        Raises:
            EOFError: Ctrl-D on an empty line, or the terminal is gone.
            KeyboardInterrupt: Ctrl-C on an empty line.
        """
        self._completer.forget()
        self._session.app.erase_when_done = False
        with _leaving_on_sigterm(self._session):
            text = self._session.prompt(default=self._pastes.of_text(clean(default)))
        if self._session.app.erase_when_done:
            self._print(text)
        return finished(clean(self._pastes.expand(text)))

    def _keep_tall_texts(self) -> None:
        """Of a text that is taller than the window only a part is drawn: it is erased and printed when it is sent."""
        buffer = self._session.default_buffer
        accept = buffer.accept_handler

        def on_accept(buffer: Buffer) -> bool:
            size = self._session.output.get_size()
            needed = self._session.layout.container.preferred_height(size.columns, _ANY_HEIGHT).preferred
            self._session.app.erase_when_done = needed > size.rows
            return accept is None or accept(buffer)

        buffer.accept_handler = on_accept

    def _print(self, text: str) -> None:
        shown = "".join(self._pastes.label(char) or char for char in text)
        print_formatted_text(
            FormattedText([("class:prompt", MARK), ("", shown.replace("\n", f"\n{CONTINUED}"))]),
            output=self._session.output,
            style=_STYLE,
            color_depth=self._session.color_depth,
        )

    def _add_bar(self) -> None:
        # prompt_toolkit's own bar waits for the terminal to tell where its cursor is. Ours is right below the input,
        # and asks nothing: an answer that comes late over ssh would end up in what is typed next.
        window = Window(FormattedTextControl(self._bar), height=1, dont_extend_height=True, wrap_lines=False)
        container = self._session.layout.container
        if isinstance(container, HSplit):
            container.children.append(ConditionalContainer(window, filter=~is_done))

    def _bar(self) -> StyleAndTextTuples:
        app = get_app()
        mode = ""
        if app.editing_mode == EditingMode.VI:
            mode = "[I] " if app.vi_state.input_mode == InputMode.INSERT else "[N] "
        try:
            status = None if self._status is None else self._status()
        except Exception:  # noqa: BLE001  # whatever is wrong with it, the person can still write
            status = None
        # The last column stays free: some terminals wrap when it is written.
        width = app.output.get_size().columns - 1 - len(mode)
        text = "" if status is None else status_line(status, width, width_of=get_cwidth)
        return [("class:status", mode + text)]


def _completing() -> bool:
    return completes(get_app().current_buffer.document.text_before_cursor)


def _continuation(_width: int, _line: int, wrap_count: int) -> StyleAndTextTuples:
    """A mark before further lines, and none before the rest of a long one: the terminal would show none either."""
    return [] if wrap_count else [("class:continuation", CONTINUED)]


@contextmanager
def _leaving_on_sigterm(session: PromptSession[str]) -> Iterator[None]:
    """Give the terminal back before a SIGTERM ends the process; its own default would leave it without echo."""
    in_main = threading.current_thread() is threading.main_thread()
    if not in_main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return

    def leave(_signum: int, _frame: object) -> None:
        app = session.app
        if app.is_running and app.loop is not None and not app.is_done:
            app.loop.call_soon_threadsafe(lambda: app.exit(exception=SystemExit(128 + signal.SIGTERM)))
        else:
            raise SystemExit(128 + signal.SIGTERM)

    signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
