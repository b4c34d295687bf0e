"""Child process of the self-test: compute the demo model with the llama_cpp that is first on the search path.

What it is about to do stands on a line of its own before it does it, so that a crash is told by its place.
"""

from __future__ import annotations

import ctypes
import json
import math
import os
import sys
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from launcher.builds.reference import Reference, difference
from launcher.engines.active import load_llama_cpp
from launcher.engines.ggml import LOG_ERROR, ggml_functions
from launcher.engines.llama import LlamaContext, LlamaModel, captured_log
from launcher.errors import EngineError
from launcher.planner.types import LoadParams
from launcher.records import from_jsonable, to_jsonable

MARK = "selftest: "
"""What its own lines begin with: drivers print as well."""
N_CTX = 512
# One thread: on a busy machine two would wait for each other longer than they compute.
ON_THE_CPU = LoadParams(
    n_gpu_layers=0, n_cpu_moe=0, n_ctx=N_CTX, n_batch=N_CTX, n_ubatch=N_CTX, n_parallel=1, n_threads=1,
    n_threads_batch=1, type_k="f16", type_v="f16", flash_attn=True, offload_kqv=True, swa_full=False, kv_unified=False,
    n_outputs_max=N_CTX, load_mode="mmap", repack=True, devices=(),
)  # fmt: skip
_ALL_LAYERS = 99
CASES: Mapping[str, tuple[int, bool]] = {
    "a prompt at once": (N_CTX, True),
    "a prompt in parts, without flash attention": (32, False),
    "token by token": (1, True),
}
"""Tokens at once, and whether flash attention is on: programs for a GPU are others for each."""
_GPU_TYPES = frozenset({1, 2})
"""GGML_BACKEND_DEVICE_TYPE_GPU and _IGPU (ggml-backend.h)."""

Tell = Callable[[Mapping[str, Any]], None]
Row = Sequence[float]


def main() -> None:
    """Do what the one line on stdin orders."""
    lines, sys.stdout = sys.stdout, sys.stderr

    def tell(table: Mapping[str, Any]) -> None:
        lines.write(f"\n{MARK}{json.dumps(table)}\n")
        lines.flush()

    order = json.loads(sys.stdin.readline())
    tell({"doing": "loading its libraries"})
    import llama_cpp  # here, where what Python says of it reaches stderr whole

    load_llama_cpp()  # registers backends that are files of their own
    table = json.loads(Path(order["reference"]).read_text(encoding="utf-8"))
    table.pop("schema")
    with captured_log(llama_cpp) as log, _errors_told(llama_cpp, log):
        try:
            _Test(llama_cpp, log, tell, from_jsonable(Reference, table), Path(order["model"])).run()
        except EngineError as error:
            tell({"refused": error.message})


@contextmanager
def _errors_told(llama_cpp: Any, log: deque[str]) -> Iterator[None]:
    """What llama.cpp logs as an error goes to stderr as well: where it ends the process, the log is lost."""

    @llama_cpp.llama_log_callback  # type: ignore[untyped-decorator]  # a ctypes function type
    def keep(level: int, text: bytes, _data: object) -> None:
        line = text.decode("utf-8", "replace")
        log.append(line.rstrip("\n"))
        if level == LOG_ERROR:
            sys.stderr.write(line)
            sys.stderr.flush()

    llama_cpp.llama_log_set(keep, None)
    yield


class _Test:
    """One build's test."""

    def __init__(self, llama_cpp: Any, log: deque[str], tell: Tell, reference: Reference, model: Path) -> None:
        self._lib = llama_cpp
        self._log = log
        self._tell = tell
        self._reference = reference
        self._model = model

    def run(self) -> None:
        """Tell what it is, then what it computes on the CPU and on each device."""
        lib = self._lib
        self._tell({"doing": "listing its devices"})
        lib.llama_backend_init()
        ggml = _Ggml()
        devices = ggml.gpus()
        self._tell(
            {
                "package": os.path.abspath(Path(lib.__file__).parent),  # noqa: PTH100 -- links stay as they are
                "version": str(lib.__version__),
                "commit": ggml.commit(),
                "devices": devices,
                "defaults": defaults(lib),
            }
        )
        for device in (None, *devices):
            self._compute(device)
        self._tell({"done": True})

    def _compute(self, device: str | None) -> None:
        where = device or "the CPU"
        self._tell({"doing": f"loading the demo model on {where}"})
        params = (
            ON_THE_CPU
            if device is None
            else replace(ON_THE_CPU, devices=(device,), n_gpu_layers=_ALL_LAYERS, repack=False)
        )
        with LlamaModel.load(self._lib, self._model, params, self._log) as model:
            self._check_vocabulary(model)
            # First, and as a chat begins: what runs before it may hide that a driver's own compiler crashes.
            self._tell({"doing": f"continuing a text on {where}"})
            self._tell({"device": device, "continued": self._continued(model, params)})
            for name, (n_ubatch, flash_attn) in CASES.items():
                self._tell({"doing": f"computing {name} on {where}"})
                found = self._rows(model, replace(params, n_ubatch=n_ubatch, flash_attn=flash_attn))
                predictions = [each for prompt in self._reference.prompts for each in prompt.predictions]
                self._tell({"case": name, "device": device, "found": to_jsonable(difference(predictions, list(found)))})

    def _check_vocabulary(self, model: LlamaModel) -> None:
        if model.n_vocab != self._reference.n_vocab:
            raise EngineError(f"it reads {model.n_vocab} tokens of the demo model's {self._reference.n_vocab}")
        for prompt in self._reference.prompts:
            if tuple(model.tokenize(prompt.text, parse_special=True)) != prompt.tokens:
                raise EngineError("it splits a text into other tokens")

    def _rows(self, model: LlamaModel, params: LoadParams) -> Iterator[Row]:
        with LlamaContext.open(self._lib, model, params, self._log) as context:
            for prompt in self._reference.prompts:
                context.clear()
                yield from rows_of(self._lib, context, prompt.tokens, prompt.scored)

    def _continued(self, model: LlamaModel, params: LoadParams) -> list[int]:
        """What follows the first text; answers to the others are for what only happens after a long prompt."""
        first, *more = self._reference.prompts
        more.sort(key=lambda prompt: len(prompt.tokens), reverse=True)
        with LlamaContext.open(self._lib, model, params, self._log) as context:
            for prompt in (*more, first):
                context.clear()
                said = continuation(self._lib, context, prompt.tokens, len(self._reference.continued))
        return said


def rows_of(lib: Any, context: LlamaContext, tokens: Sequence[int], scored: Sequence[int]) -> Iterator[Row]:
    """Logits at the scored positions; the context evaluates n_ubatch tokens at a time."""
    for start in range(0, len(tokens), context.n_ubatch):
        part = range(start, min(start + context.n_ubatch, len(tokens)))
        wanted = [at for at in part if at in scored]
        batch = lib.llama_batch_init(len(part), 0, 1)
        try:
            batch.n_tokens = len(part)
            for i, at in enumerate(part):
                batch.token[i], batch.pos[i], batch.n_seq_id[i] = tokens[at], at, 1
                batch.seq_id[i][0] = 0
                batch.logits[i] = at in wanted
            status = lib.llama_decode(context.pointer, batch)
        finally:
            lib.llama_batch_free(batch)
        if status != 0:
            raise EngineError(f"llama.cpp failed to decode (status {status})")
        lib.llama_synchronize(context.pointer)
        if wanted:
            n_vocab = context.model.n_vocab
            logits = lib.llama_get_logits(context.pointer)
            for i in range(len(wanted)):
                yield logits[i * n_vocab : (i + 1) * n_vocab]


def continuation(lib: Any, context: LlamaContext, tokens: Sequence[int], n_tokens: int) -> list[int]:
    """The likeliest tokens that follow."""
    said: list[int] = []
    (row,) = rows_of(lib, context, tokens, [len(tokens) - 1])
    while True:
        said.append(max(range(len(row)), key=row.__getitem__))
        if len(said) == n_tokens:
            return said
        context.decode(said[-1:], len(tokens) + len(said) - 1, logits=True)
        row = lib.llama_get_logits(context.pointer)[: context.model.n_vocab]


def defaults(lib: Any) -> dict[str, float]:
    """Plain fields of the parameters that the library fills in, as the bindings read them."""
    found = {}
    for name in ("llama_model_params", "llama_context_params"):
        values = getattr(lib, name.replace("_params", "_default_params"))()
        for field, _ in values._fields_:
            value = getattr(values, field)
            if isinstance(value, bool | int | float) and math.isfinite(value):
                found[f"{name}.{field}"] = float(value)
    return found


class _Ggml:
    """The calls of ggml that the bindings leave out."""

    def __init__(self) -> None:
        self._lib = ggml_functions(
            ("ggml_backend_dev_count", ctypes.c_size_t, ()),
            ("ggml_backend_dev_get", ctypes.c_void_p, (ctypes.c_size_t,)),
            ("ggml_backend_dev_name", ctypes.c_char_p, (ctypes.c_void_p,)),
            ("ggml_backend_dev_type", ctypes.c_int, (ctypes.c_void_p,)),
            ("ggml_commit", ctypes.c_char_p, ()),
        )

    def gpus(self) -> list[str]:
        """Names of the devices that it computes on besides the CPU."""
        lib = self._lib
        found = [lib.ggml_backend_dev_get(i) for i in range(lib.ggml_backend_dev_count())]
        return [
            lib.ggml_backend_dev_name(each).decode() for each in found if lib.ggml_backend_dev_type(each) in _GPU_TYPES
        ]

    def commit(self) -> str:
        """llama.cpp's, as the build names it."""
        name: bytes = self._lib.ggml_commit()
        return name.decode(errors="replace")


if __name__ == "__main__":
    main()
