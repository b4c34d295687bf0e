"""Child process: load a model as the embedded engine does, and measure one repetition for each line. JSON lines.

What llama-bench does (tools/llama-bench/llama-bench.cpp, `llama_bench`, `test_prompt`, `test_gen`), in its order: a
context as large as the test, a warm-up, the depth filled or put back, then the clock: random tokens of the prompt in
batches of n_batch, or one by one, and a wait for the devices. In a process of its own, since llama.cpp ends the process
where an assertion fails, and since its peak of memory is then the engine's alone.
"""

from __future__ import annotations

import ctypes
import json
import random
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from launcher.bench.types import BenchTest
from launcher.engines.llama import LlamaContext, LlamaModel, captured_log
from launcher.errors import EngineError
from launcher.planner.types import LoadParams
from launcher.records import from_jsonable

_SEED = 1  # llama-bench never seeds rand(): its tokens are the same in every run as well
_LOG_LINES = 20


@dataclass(slots=True)
class _Depth:
    """The cache as it stood at the depth that was filled last, so that the next test there need not fill it again."""

    n_depth: int = 0
    data: Any = None


class _Runner:
    """Runs tests on one model."""

    def __init__(self, llama_cpp: Any, model: LlamaModel, params: LoadParams, log: deque[str]) -> None:
        self._lib = llama_cpp
        self._model = model
        self._params = params
        self._log = log
        self._depth = _Depth()
        self._random = random.Random(_SEED)  # noqa: S311  # tokens, not secrets
        self._bos = llama_cpp.llama_vocab_bos(model.vocab) if llama_cpp.llama_vocab_get_add_bos(model.vocab) else None

    def run(self, test: BenchTest) -> int:
        """Nanoseconds of one repetition.

        Raises:
            EngineError: no context for it, or llama.cpp failed to decode.
        """
        params = replace(self._params, n_ctx=test.n_ctx)
        with LlamaContext.open(self._lib, self._model, params, self._log) as context:
            # Built before the clock runs: filling them in Python would be measured, in C it costs nothing.
            prompt = self._tokens(test.n_prompt)
            answer = self._tokens(test.n_gen)
            if prompt:
                self._prompt(context, prompt, 0)
            if answer:
                self._generate(context, answer[:1], len(prompt))
            context.clear()
            self._fill(context, test.n_depth)
            with self._batches(prompt, test.n_depth) as batches:
                start = time.perf_counter_ns()
                for batch in batches:
                    self._decode(context, batch)
                self._lib.llama_synchronize(context.pointer)
                if answer:
                    self._generate(context, answer, test.n_depth + len(prompt))
                return time.perf_counter_ns() - start

    def _tokens(self, n: int) -> list[int]:
        tokens = [self._random.randrange(self._model.n_vocab) for _ in range(n)]
        return tokens if self._bos is None else [self._bos, *tokens[1:]][:n]

    def _fill(self, context: LlamaContext, n_depth: int) -> None:
        if n_depth == 0:
            return
        lib, pointer = self._lib, context.pointer
        if self._depth.n_depth == n_depth:
            data = self._depth.data
            if lib.llama_state_seq_set_data(pointer, data, len(data), 0):
                return
            context.clear()
        self._prompt(context, self._tokens(n_depth), 0)
        data = (ctypes.c_uint8 * lib.llama_state_seq_get_size(pointer, 0))()
        if lib.llama_state_seq_get_data(pointer, data, len(data), 0):
            self._depth = _Depth(n_depth=n_depth, data=data)

    def _prompt(self, context: LlamaContext, tokens: Sequence[int], position: int) -> None:
        with self._batches(tokens, position) as batches:
            for batch in batches:
                self._decode(context, batch)
        self._lib.llama_synchronize(context.pointer)

    def _generate(self, context: LlamaContext, tokens: Sequence[int], position: int) -> None:
        with self._batches(tokens[:1], position) as (batch,):
            for i, token in enumerate(tokens):
                batch.token[0] = token
                batch.pos[0] = position + i
                self._decode(context, batch)
                self._lib.llama_synchronize(context.pointer)

    @contextmanager
    def _batches(self, tokens: Sequence[int], position: int) -> Iterator[list[Any]]:
        """Batches of n_batch tokens, with the logits of the last one of each."""
        step, made = self._params.n_batch, []
        try:
            for start in range(0, len(tokens), step):
                chunk = tokens[start : start + step]
                batch = self._lib.llama_batch_init(len(chunk), 0, 1)
                made.append(batch)
                batch.n_tokens = len(chunk)
                for i, token in enumerate(chunk):
                    batch.token[i] = token
                    batch.pos[i] = position + start + i
                    batch.n_seq_id[i] = 1
                    batch.seq_id[i][0] = 0
                    batch.logits[i] = i == len(chunk) - 1
            yield made
        finally:
            for batch in made:
                self._lib.llama_batch_free(batch)

    def _decode(self, context: LlamaContext, batch: Any) -> None:
        status = self._lib.llama_decode(context.pointer, batch)
        if status != 0:
            raise EngineError(f"llama.cpp failed to decode (status {status})")


def _facts(llama_cpp: Any, model: LlamaModel) -> dict[str, Any]:
    """What llama.cpp says of the model and of itself, in llama-bench's fields."""
    from llama_cpp import _ggml

    description = ctypes.create_string_buffer(128)  # as large as llama-bench's
    llama_cpp.llama_model_desc(model.pointer, description, len(description))
    facts = {
        "model_type": description.value.decode("utf-8", "replace"),
        "model_size": llama_cpp.llama_model_size(model.pointer),
        "model_n_params": llama_cpp.llama_model_n_params(model.pointer),
    }
    # On Windows a function is found only in the library that defines it, and this one is another's.
    commit = getattr(_ggml.libggml, "ggml_commit", None)
    if commit is None:
        return facts
    commit.restype = ctypes.c_char_p
    # llama.cpp names the same commit without looking whether files were changed.
    return {**facts, "build_commit": commit().decode().removesuffix("-dirty")}


def main() -> None:
    """Load what the first line names, then answer each test with a line."""
    # Anything that llama.cpp prints would be taken for an answer.
    answers, sys.stdout = sys.stdout, sys.stderr

    def answer(table: dict[str, Any]) -> None:
        answers.write(json.dumps(table) + "\n")
        answers.flush()

    import llama_cpp

    order = json.loads(sys.stdin.readline())
    params = from_jsonable(LoadParams, order["load_params"])
    with captured_log(llama_cpp) as log:
        try:
            with LlamaModel.load(llama_cpp, Path(order["model"]), params, log) as model:
                answer({"facts": _facts(llama_cpp, model)})
                runner = _Runner(llama_cpp, model, params, log)
                for line in sys.stdin:
                    try:
                        answer({"ns": runner.run(from_jsonable(BenchTest, json.loads(line)))})
                    except EngineError as error:
                        answer({"refused": error.message, "log": list(log)[-_LOG_LINES:]})
        except EngineError as error:
            answer({"refused": error.message, "log": list(log)[-_LOG_LINES:]})


if __name__ == "__main__":
    main()
