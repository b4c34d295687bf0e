"""Child process: read a text by a reference setting, then by a candidate, and compare each prediction. JSON lines.

In a process of its own, since llama.cpp ends the process where an assertion fails, and since numpy has no business in
the launcher's. The two settings are loaded one after the other: of two models of 12 GB only one is held at a time, and
one that both share is loaded once. The reference's logits lie in a file without a name until then, whole, so that what
is compared is what llama.cpp computed.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from shutil import disk_usage
from typing import IO, Any

from launcher.bench.child import LOG_LINES, answering
from launcher.bench.quality_reading import HARMONY, PLAIN, Window, batches_of, passage_text, reading_params, windows_of
from launcher.bench.quality_types import Position, Reading, Setting
from launcher.engines.active import load_llama_cpp
from launcher.engines.llama import LlamaContext, LlamaModel, captured_log
from launcher.errors import DoesNotFitError, EngineError, LauncherError, UsageError
from launcher.planner.types import LoadParams
from launcher.records import from_jsonable, to_jsonable
from launcher.units import format_bytes

_FLOAT_BYTES = 4
_SPARE_BYTES = 256 << 20
"""Left on the disk beside the logits."""

Answer = Callable[[Mapping[str, Any]], None]
Row = Any
"""Logits of one position, a numpy array of float32."""


def loads_alike(one: Setting, other: Setting) -> bool:
    """Whether a model that is loaded for one serves the other: only what a context takes differs."""
    levelled = replace(
        other.load_params,
        **{
            name: getattr(one.load_params, name)
            for name in (
                *("n_ctx", "n_batch", "n_ubatch", "n_parallel", "n_threads", "n_threads_batch", "type_k", "type_v"),
                *("flash_attn", "offload_kqv", "swa_full", "kv_unified", "n_outputs_max", "op_offload"),
            )
        },
    )
    return one.model == other.model and levelled == one.load_params


class _Comparison:
    """One order, from the text to the compared positions."""

    def __init__(self, llama_cpp: Any, log: deque[str], answer: Answer, order: dict[str, Any]) -> None:
        self._lib = llama_cpp
        self._log = log
        self._answer = answer
        self._reference = from_jsonable(Setting, order["reference"])
        self._candidate = from_jsonable(Setting, order["candidate"])
        self._reading = from_jsonable(Reading, order["reading"])
        self._scratch = Path(order["scratch"])

    def run(self) -> list[Position]:
        """Compare.

        Raises:
            EngineError: llama.cpp cannot load, or failed to decode.
            UsageError: the two have different vocabularies, or the text is too short.
            DoesNotFitError: the disk does not hold the logits.
        """
        if self._candidate.model != self._reference.model:
            # Before a minute is spent on the reference.
            with self._loaded(self._candidate, no_alloc=True) as model:
                theirs = self._vocabulary(model)
        else:
            theirs = None
        positions: list[Position] = []
        with ExitStack() as files, ExitStack() as models:
            model = models.enter_context(self._loaded(self._reference))
            ours = self._vocabulary(model)
            if theirs is not None and theirs != ours:
                raise UsageError(
                    f"{self._candidate.model.name} has another vocabulary than {self._reference.model.name} "
                    f"({theirs[0]} tokens, {ours[0]} there): their predictions cannot be compared"
                )
            windows = self._windows(model)
            n_rows = sum(len(window.scored) for window in windows)
            kept = files.enter_context(self._scratch_file(n_rows * model.n_vocab * _FLOAT_BYTES))
            for _, row in self._rows(model, self._reference.load_params, windows, "reference"):
                kept.write(row.tobytes())
            kept.seek(0)
            if not loads_alike(self._reference, self._candidate):
                models.close()
                model = models.enter_context(self._loaded(self._candidate))
            for token, row in self._rows(model, self._candidate.load_params, windows, "candidate"):
                positions.append(compared(_row(kept, model.n_vocab), row, token))
        return positions

    def _loaded(self, setting: Setting, *, no_alloc: bool = False) -> Any:
        params = replace(setting.load_params, load_mode="none", repack=False) if no_alloc else setting.load_params
        return LlamaModel.load(self._lib, setting.model, params, self._log, no_alloc=no_alloc)

    def _vocabulary(self, model: LlamaModel) -> tuple[int, list[list[int]]]:
        return model.n_vocab, self._tokens(model)

    def _tokens(self, model: LlamaModel) -> list[list[int]]:
        marks = HARMONY if model.metadata("general.architecture") == "gpt-oss" else PLAIN
        return [
            model.tokenize(passage_text(passage, marks), parse_special=bool(passage.question))
            for passage in self._reading.passages
        ]

    def _windows(self, model: LlamaModel) -> tuple[Window, ...]:
        lib = self._lib
        windows = windows_of(
            self._tokens(model),
            self._reading,
            bos=lib.llama_vocab_bos(model.vocab) if lib.llama_vocab_get_add_bos(model.vocab) else None,
            n_ubatch=max(self._reference.load_params.n_ubatch, self._candidate.load_params.n_ubatch),
        )
        if not any(window.scored for window in windows):
            raise UsageError("the text is too short to compare anything")
        return windows

    def _scratch_file(self, needed: int) -> IO[bytes]:
        free = disk_usage(self._scratch).free
        if free < needed + _SPARE_BYTES:
            raise DoesNotFitError(
                f"{self._scratch} has no room for the reference's logits: {format_bytes(needed + _SPARE_BYTES)} are "
                f"needed, {format_bytes(free)} free",
                needs_bytes=needed + _SPARE_BYTES,
                has_bytes=free,
            )
        return tempfile.TemporaryFile(dir=self._scratch)  # the caller's stack closes it

    def _rows(
        self, model: LlamaModel, params: LoadParams, windows: Sequence[Window], what: str
    ) -> Iterator[tuple[int, Row]]:
        """Each compared position's next token and logits. A row is llama.cpp's own memory: use it before the next."""
        params = reading_params(params, windows)
        n_tokens = sum(len(window.tokens) for window in windows)
        n_read = 0
        self._answer({"reading": what, "done": 0.0})
        with LlamaContext.open(self._lib, model, params, self._log) as context:
            for window in windows:
                context.clear()
                for batch in batches_of(window, params.n_ubatch):
                    scored = [at for at in batch if at in window.scored]
                    rows = self._decoded(context, window, batch)
                    for at, row in zip(scored, rows, strict=True):
                        yield window.tokens[at + 1], row
                    n_read += len(batch)
                    self._answer({"reading": what, "done": n_read / n_tokens})

    def _decoded(self, context: LlamaContext, window: Window, positions: range) -> list[Row]:
        """Logits of the batch's compared positions, row by row."""
        import numpy as np

        lib = self._lib
        batch = lib.llama_batch_init(len(positions), 0, 1)
        try:
            batch.n_tokens = len(positions)
            for i, at in enumerate(positions):
                batch.token[i] = window.tokens[at]
                batch.pos[i] = at
                batch.n_seq_id[i] = 1
                batch.seq_id[i][0] = 0
                batch.logits[i] = at in window.scored
            status = lib.llama_decode(context.pointer, batch)
        finally:
            lib.llama_batch_free(batch)
        if status != 0:
            raise EngineError(f"llama.cpp failed to decode (status {status})")
        n_rows = sum(at in window.scored for at in positions)
        if n_rows == 0:
            lib.llama_synchronize(context.pointer)
            return []
        logits = lib.llama_get_logits(context.pointer)
        return list(np.ctypeslib.as_array(logits, shape=(n_rows, context.model.n_vocab)))


def _row(kept: IO[bytes], n_vocab: int) -> Row:
    import numpy as np

    return np.frombuffer(kept.read(n_vocab * _FLOAT_BYTES), dtype=np.float32)


def compared(reference: Row, candidate: Row, token: int) -> Position:
    """Two predictions of the token that follows, in double precision."""
    import numpy as np

    if not (np.isfinite(reference).all() and np.isfinite(candidate).all()):
        return Position(kld=None, top_margin=None, reference_nll=None, candidate_nll=None)
    ours, theirs = _log_softmax(reference), _log_softmax(candidate)
    kld = float(np.dot(np.exp(ours), ours - theirs))
    return Position(
        kld=max(0.0, kld),  # rounding goes below by 1e-16
        top_margin=float(ours.max() - ours[np.argmax(theirs)]),
        reference_nll=-float(ours[token]),
        candidate_nll=-float(theirs[token]),
    )


def _log_softmax(logits: Row) -> Row:
    import numpy as np

    wide = logits.astype(np.float64)
    wide -= wide.max()
    return wide - np.log(np.exp(wide).sum())


def main() -> None:
    """Compare what the one line on stdin names."""
    answer = answering()
    try:
        llama_cpp = load_llama_cpp()
    except EngineError as error:
        answer({"refused": error.message, "kind": EngineError.__name__, "log": []})
        return
    order = json.loads(sys.stdin.readline())
    with captured_log(llama_cpp) as log:
        try:
            positions = _Comparison(llama_cpp, log, answer, order).run()
        except LauncherError as error:
            table: dict[str, Any] = {
                "refused": error.message,
                "kind": type(error).__name__,
                "log": list(log)[-LOG_LINES:],
            }
            if isinstance(error, DoesNotFitError):
                table |= {"needs_bytes": error.needs_bytes, "has_bytes": error.has_bytes}
            answer(table)
            return
        answer({"positions": to_jsonable(positions)})


if __name__ == "__main__":
    main()
