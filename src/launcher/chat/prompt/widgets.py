"""The pieces of prompt_toolkit's input that know of conversations: history, suggestions, completion, pastes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable, Sequence

from prompt_toolkit.auto_suggest import AutoSuggest, Suggestion
from prompt_toolkit.buffer import Buffer
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.history import History
from prompt_toolkit.layout.processors import Processor, Transformation, TransformationInput
from prompt_toolkit.layout.utils import explode_text_fragments

from launcher.chat.prompt.complete import Candidate, candidates
from launcher.chat.prompt.history import HistoryFile
from launcher.chat.prompt.later import Once, in_thread
from launcher.chat.prompt.pastes import Pastes
from launcher.chat.prompt.types import Sources

COMPLETE_TIMEOUT_S = 3.0
"""A folder or a list that takes longer is given up: the next completion should not wait behind it."""


class ChatHistory(History):
    """The entries of the file, newest first, with pastes whole in the file and folded in the input."""

    def __init__(self, file: HistoryFile, pastes: Pastes) -> None:
        super().__init__()
        self._file = file
        self._pastes = pastes

    def load_history_strings(self) -> Iterable[str]:
        """All of them, the newest first."""
        return [self._pastes.of_text(text) for text in reversed(self._file.load())]

    def store_string(self, string: str) -> None:
        """Write one more to the file."""
        self._file.append(self._pastes.expand(string))

    @property
    def newest_first(self) -> Sequence[str]:
        """Without the copy that `get_strings` makes, since every keystroke asks."""
        return self._loaded_strings


class HistorySuggest(AutoSuggest):
    """Suggests how the newest entry goes on that begins with what was typed."""

    def __init__(self, history: ChatHistory) -> None:
        self._history = history

    def get_suggestion(self, buffer: Buffer, document: Document) -> Suggestion | None:  # noqa: ARG002  # its interface
        """The rest of that entry's first line."""
        text = document.text
        if not text.strip() or "\n" in text:
            return None
        for entry in self._history.newest_first:
            if entry.startswith(text) and len(entry) > len(text):
                rest = entry[len(text) :].partition("\n")[0]
                return Suggestion(rest) if rest else None
        return None


class CommandCompleter(Completer):
    """Completes /commands in a thread, so that a slow folder or a slow list never holds up typing."""

    def __init__(self, sources: Sources) -> None:
        self._given = sources
        self._sources = sources
        self.forget()

    def forget(self) -> None:
        """Ask the sources anew when they are needed next: models and conversations come and go."""
        given = self._given
        self._sources = Sources(
            models=Once(given.models), conversations=Once(given.conversations), tools=Once(given.tools)
        )

    def get_completions(
        self,
        document: Document,
        complete_event: CompleteEvent,  # noqa: ARG002  # its interface
    ) -> Iterable[Completion]:
        """In this thread."""
        return [_completion(one, document) for one in candidates(document.text_before_cursor, self._sources)]

    async def get_completions_async(
        self,
        document: Document,
        complete_event: CompleteEvent,  # noqa: ARG002  # its interface
    ) -> AsyncGenerator[Completion, None]:
        """In a thread; nothing where that fails or takes long."""
        text, sources = document.text_before_cursor, self._sources
        found = asyncio.wrap_future(in_thread(lambda: candidates(text, sources)))
        try:
            await asyncio.wait({found}, timeout=COMPLETE_TIMEOUT_S)
            if found.done() and found.exception() is None:
                for one in found.result():
                    yield _completion(one, document)
        finally:
            # Otherwise the thread would call back into a loop that is closed.
            found.cancel()


def _completion(one: Candidate, document: Document) -> Completion:
    start = one.start - len(document.text_before_cursor)
    return Completion(one.text, start_position=start, display=one.display, display_meta=one.meta)


class PasteLabels(Processor):
    """Shows the character that stands for a paste as its label."""

    def __init__(self, pastes: Pastes) -> None:
        self._pastes = pastes

    def apply_transformation(self, transformation_input: TransformationInput) -> Transformation:
        """Lay one line out, and tell which column is which character."""
        fragments = transformation_input.fragments
        if not any(self._pastes.has_marks(fragment[1]) for fragment in fragments):
            return Transformation(fragments)
        shown: StyleAndTextTuples = []
        columns = []
        column = 0
        for fragment in explode_text_fragments(fragments):
            columns.append(column)
            label = self._pastes.label(fragment[1])
            shown.append(fragment if label is None else (f"{fragment[0]} class:paste", label))
            column += 1 if label is None else len(label)
        columns.append(column)

        def to_display(index: int) -> int:
            return columns[index] if index < len(columns) else column + index - len(columns) + 1

        def to_source(display: int) -> int:
            before = [index for index, start in enumerate(columns) if start <= display]
            return before[-1]

        return Transformation(shown, source_to_display=to_display, display_to_source=to_source)
