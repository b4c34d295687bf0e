"""A model and a context of llama.cpp, as resources, over the low-level API of llama-cpp-python.

The high-level `llama_cpp.Llama` is not used: it cannot place experts, ignores misspelt arguments and keeps a logits
array of n_batch x n_vocab floats. Everything here is a thin, checked call; what to call when is `embedded`'s business.
"""

from __future__ import annotations

import ctypes
import re
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from launcher.engines.ggml import LOG_ERROR, ggml_functions
from launcher.engines.params import context_fields, model_fields, override_patterns
from launcher.errors import EngineError
from launcher.planner.types import LoadParams

_LOG_LINES = 400  # enough for a whole load at llama.cpp's info level
_DECODE_ABORTED = 2  # llama_decode: "aborted (processed ubatches will remain in the context's memory)"
_DECODE_NO_SLOT = 1  # llama_decode: "could not find a KV slot for the batch"

_CONTROL_NAME = re.compile(rb"<\|\w+\|>")

LoadProgress = Callable[[float], bool]
"""Called with 0..1 while loading; answers False to stop."""


@contextmanager
def captured_log(llama_cpp: Any, complain: Callable[[str], object] = lambda _: None) -> Iterator[deque[str]]:
    """Keep llama.cpp's last log lines instead of letting them into the terminal; `complain` is told errors at once."""
    from llama_cpp import _logger

    lines: deque[str] = deque(maxlen=_LOG_LINES)

    @llama_cpp.llama_log_callback  # type: ignore[untyped-decorator]  # a ctypes function type
    def keep(level: int, text: bytes, _data: object) -> None:
        line = text.decode("utf-8", "replace").rstrip("\n")
        lines.append(line)
        if level == LOG_ERROR:
            complain(line)

    llama_cpp.llama_log_set(keep, None)
    try:
        yield lines
    finally:
        # The callback dies with this frame: llama.cpp must not be left with a pointer to it.
        llama_cpp.llama_log_set(_logger.llama_log_callback, None)


class _TensorOverride(ctypes.Structure):
    """llama_model_tensor_buft_override (llama.h); llama-cpp-python binds the field, not the type."""

    _fields_ = (("pattern", ctypes.c_char_p), ("buft", ctypes.c_void_p))


def _ggml() -> Any:
    """What a load needs of ggml."""
    return ggml_functions(
        ("ggml_backend_cpu_buffer_type", ctypes.c_void_p, ()),
        ("ggml_backend_dev_by_name", ctypes.c_void_p, (ctypes.c_char_p,)),
    )


class LlamaModel:
    """A loaded model. `load` is the only way in; it frees the model when its block ends."""

    def __init__(self, llama_cpp: Any, pointer: Any) -> None:
        self._lib = llama_cpp
        self.pointer = pointer
        self.vocab = llama_cpp.llama_model_get_vocab(pointer)
        self.n_swa: int = llama_cpp.llama_model_n_swa(pointer)
        self.n_ctx_train: int = llama_cpp.llama_model_n_ctx_train(pointer)
        self.n_vocab: int = llama_cpp.llama_vocab_n_tokens(self.vocab)

    @classmethod
    @contextmanager
    def load(
        cls,
        llama_cpp: Any,
        path: Path,
        params: LoadParams,
        log: deque[str],
        progress: LoadProgress | None = None,
        *,
        no_alloc: bool = False,
    ) -> Iterator[LlamaModel]:
        """Load `path`, the first part of a split model included; `no_alloc` reads no weights and takes no memory.

        Raises:
            EngineError: llama.cpp refused; its last words are in `log`.
            KeyboardInterrupt: Ctrl-C while loading, or `progress` answered False; nothing stays allocated.
        """
        llama_cpp.llama_backend_init()
        fields = llama_cpp.llama_model_default_params()
        for name, value in model_fields(params).items():
            setattr(fields, name, value)
        ggml = _ggml()
        devices = (ctypes.c_void_p * (len(params.devices) + 1))()
        for i, name in enumerate(params.devices):
            devices[i] = ggml.ggml_backend_dev_by_name(name.encode())
            if not devices[i]:
                raise EngineError(f"this llama.cpp has no device {name}", hint="gpt-oss hardware")
        fields.devices = ctypes.cast(devices, ctypes.c_void_p)
        patterns = override_patterns(params)
        overrides = (_TensorOverride * (len(patterns) + 1))()
        for i, pattern in enumerate(patterns):
            overrides[i] = _TensorOverride(pattern.encode(), ggml.ggml_backend_cpu_buffer_type())
        fields.tensor_buft_overrides = ctypes.cast(overrides, ctypes.c_void_p)
        fields.no_alloc = no_alloc
        shares = (ctypes.c_float * llama_cpp.llama_max_devices())(*params.tensor_split)
        if params.tensor_split:
            fields.tensor_split = ctypes.cast(shares, ctypes.POINTER(ctypes.c_float))

        stopped = False

        @llama_cpp.llama_progress_callback  # type: ignore[untyped-decorator]
        def on_progress(done: float, _data: object) -> bool:
            # A Ctrl-C lands here, inside a C call, where an exception cannot travel: it is raised after the load.
            nonlocal stopped
            try:
                stopped = progress is not None and not progress(done)
            except KeyboardInterrupt:
                stopped = True
            return not stopped

        fields.progress_callback = on_progress
        pointer = llama_cpp.llama_model_load_from_file(str(path).encode(), fields)
        if not pointer:
            if stopped:
                raise KeyboardInterrupt
            raise EngineError(
                f"llama.cpp could not load {path.name}: {_last_error(log)}", log=tuple(log), hint="gpt-oss plan"
            )
        try:
            yield cls(llama_cpp, pointer)
        finally:
            llama_cpp.llama_model_free(pointer)

    def metadata(self, key: str) -> str | None:
        """A value of the file's header as text; None where it is not there."""
        size = 1024
        while True:
            buffer = ctypes.create_string_buffer(size)
            n = self._lib.llama_model_meta_val_str(self.pointer, key.encode(), buffer, size)
            if n < 0:
                return None
            if n < size:
                return buffer.value.decode("utf-8", "replace")
            size = n + 1

    def tokenize(self, text: str, *, parse_special: bool) -> list[int]:
        """Token ids of `text`, without BOS: templates write it. `parse_special` turns `<|start|>` into its token."""
        raw = text.encode("utf-8", "surrogatepass")
        room = len(raw) + 8
        tokens = (ctypes.c_int32 * room)()
        n = self._lib.llama_tokenize(self.vocab, raw, len(raw), tokens, room, False, parse_special)  # noqa: FBT003
        return list(tokens[:n])

    def control_tokens(self) -> list[int]:
        """Ids of all tokens that steer a stream rather than stand for text.

        Those of type CONTROL, and user-defined ones spelt `<|name|>`: llama.cpp retypes Harmony's `<|channel|>`,
        `<|message|>`, `<|start|>` and `<|constrain|>` so that they are rendered (llama_vocab::impl::load).
        """
        attr_of, vocab, lib = self._lib.llama_vocab_get_attr, self.vocab, self._lib
        control, user_defined = lib.LLAMA_TOKEN_ATTR_CONTROL, lib.LLAMA_TOKEN_ATTR_USER_DEFINED
        found = []
        for token in range(self.n_vocab):
            attr = attr_of(vocab, token)
            if attr & control or (attr & user_defined and _CONTROL_NAME.fullmatch(self.piece(token))):
                found.append(token)
        return found

    @property
    def bos_text(self) -> str:
        """Text of the token that begins a text; empty where there is none."""
        return self._token_text(self._lib.llama_vocab_bos(self.vocab))

    @property
    def eos_text(self) -> str:
        """Text of the token that ends a text; empty where there is none."""
        return self._token_text(self._lib.llama_vocab_eos(self.vocab))

    def _token_text(self, token: int) -> str:
        return self.piece(token).decode("utf-8", "replace") if token >= 0 else ""

    def piece(self, token: int) -> bytes:
        """The bytes of a token; those of a control token are its name."""
        size = 64
        while True:
            buffer = ctypes.create_string_buffer(size)
            n = self._lib.llama_token_to_piece(self.vocab, token, buffer, size, 0, True)  # noqa: FBT003
            if n >= 0:
                return buffer.raw[:n]
            size = -n

    def is_eog(self, token: int) -> bool:
        """Whether the model ends its turn with this token (`<|return|>`, `<|call|>`, `<|endoftext|>`)."""
        return bool(self._lib.llama_vocab_is_eog(self.vocab, token))


class LlamaContext:
    """A context of one sequence over a model: KV cache, compute buffers, logits of the last token."""

    def __init__(self, llama_cpp: Any, model: LlamaModel, params: LoadParams, pointer: Any) -> None:
        self._lib = llama_cpp
        self.model = model
        self.pointer = pointer
        self.n_ubatch = params.n_ubatch
        self.n_ctx: int = llama_cpp.llama_n_ctx_seq(pointer)
        self._memory = llama_cpp.llama_get_memory(pointer)
        self._batch = llama_cpp.llama_batch_init(max(1, params.n_ubatch), 0, 1)

    @classmethod
    @contextmanager
    def open(cls, llama_cpp: Any, model: LlamaModel, params: LoadParams, log: deque[str]) -> Iterator[LlamaContext]:
        """Allocate the context. Raises EngineError where llama.cpp cannot."""
        fields = llama_cpp.llama_context_default_params()
        for name, value in context_fields(params).items():
            setattr(fields, name, value)
        pointer = llama_cpp.llama_init_from_model(model.pointer, fields)
        if not pointer:
            raise EngineError(
                f"llama.cpp could not make a context of {params.n_ctx} tokens: {_last_error(log)}",
                log=tuple(log),
                hint=f"gpt-oss chat --ctx-size {max(4096, params.n_ctx // 2)}",
            )
        context = cls(llama_cpp, model, params, pointer)
        try:
            yield context
        finally:
            llama_cpp.llama_batch_free(context._batch)
            llama_cpp.llama_free(pointer)

    def decode(self, tokens: Sequence[int], position: int, *, logits: bool) -> bool:
        """Evaluate up to n_ubatch tokens at `position`; `logits` asks for those of the last one.

        Returns False where the abort callback stopped it. Raises EngineError where llama.cpp fails.
        """
        batch = self._batch
        last = len(tokens) - 1
        batch.n_tokens = len(tokens)
        for i, token in enumerate(tokens):
            batch.token[i] = token
            batch.pos[i] = position + i
            batch.n_seq_id[i] = 1
            batch.seq_id[i][0] = 0
            batch.logits[i] = logits and i == last
        status = self._lib.llama_decode(self.pointer, batch)
        if status == _DECODE_ABORTED:
            return False
        if status == _DECODE_NO_SLOT:
            raise EngineError(
                f"the context of {self.n_ctx} tokens is full at {position}", hint="gpt-oss chat --ctx-size 0"
            )
        if status != 0:
            raise EngineError(f"llama.cpp failed to decode (status {status})", hint="gpt-oss chat --debug")
        return True

    def set_abort(self, callback: Any) -> None:
        """Install a `ggml_abort_callback` (a ctypes function, kept alive by the caller), or remove it with None."""
        none = self._lib.ggml_abort_callback()  # a null function pointer
        self._lib.llama_set_abort_callback(self.pointer, callback or none, None)

    def remove_from(self, position: int) -> bool:
        """Drop every cell from `position` on."""
        return bool(self._lib.llama_memory_seq_rm(self._memory, 0, position, -1))

    def clear(self) -> None:
        """Forget everything; the buffers stay."""
        self._lib.llama_memory_clear(self._memory, False)  # noqa: FBT003

    @property
    def pos_min(self) -> int:
        """Smallest position that every layer still holds (the window's); -1 where the cache is empty."""
        return int(self._lib.llama_memory_seq_pos_min(self._memory, 0))

    def save_window(self) -> Any:
        """A copy of the sliding-window half of the cache (LLAMA_STATE_SEQ_FLAGS_PARTIAL_ONLY), as a ctypes array."""
        flags = self._lib.LLAMA_STATE_SEQ_FLAGS_PARTIAL_ONLY
        size = self._lib.llama_state_seq_get_size_ext(self.pointer, 0, flags)
        data = (ctypes.c_uint8 * size)()
        written = self._lib.llama_state_seq_get_data_ext(self.pointer, data, size, 0, flags)
        if written == 0:
            raise EngineError("llama.cpp could not save the sliding window", hint="gpt-oss chat --debug")
        return data

    def restore_window(self, data: Any) -> bool:
        """Put back what `save_window` copied; False where llama.cpp refuses it."""
        flags = self._lib.LLAMA_STATE_SEQ_FLAGS_PARTIAL_ONLY
        return bool(self._lib.llama_state_seq_set_data_ext(self.pointer, data, len(data), 0, flags))

    def perf(self) -> Any:
        """llama_perf_context_data since the last `perf_reset`: t_p_eval_ms, t_eval_ms, n_p_eval, n_eval."""
        self._lib.llama_synchronize(self.pointer)
        return self._lib.llama_perf_context(self.pointer)

    def perf_reset(self) -> None:
        """Start the timings anew."""
        self._lib.llama_perf_context_reset(self.pointer)


def _last_error(log: Sequence[str]) -> str:
    """The line of llama.cpp's log that says most: the last that speaks of an error, else the last one."""
    told = [line.strip() for line in log if line.strip()]
    errors = [line for line in told if "error" in line.lower() or "failed" in line.lower() or "invalid" in line.lower()]
    # The first complaint names the cause; the later ones only pass it on.
    return errors[0] if errors else (told[-1] if told else "it gave no reason")
