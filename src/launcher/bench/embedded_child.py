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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launcher.bench.child import LOG_LINES, answering
from launcher.bench.probe import Probe, Timing, probe_params
from launcher.bench.types import BenchTest
from launcher.engines.active import load_llama_cpp
from launcher.engines.ggml import ggml_functions
from launcher.engines.llama import LlamaContext, LlamaModel, captured_log
from launcher.errors import EngineError
from launcher.planner.types import LoadParams
from launcher.records import from_jsonable, to_jsonable

_SEED = 1  # llama-bench never seeds rand(): its tokens are the same in every run as well


@dataclass(slots=True)
class _Depth:
    """The cache as it stood at the depth that was filled last, so that the next test there need not fill it again."""

    key: tuple[object, ...] = ()
    data: Any = None


def _depth_key(params: LoadParams, n_depth: int) -> tuple[object, ...]:
    """What a copy of the cache depends on: it can be put back where all of this is the same."""
    # Without flash attention the values are kept transposed (llama_kv_cache, v_trans).
    return (n_depth, params.type_k, params.type_v, params.flash_attn, params.swa_full)


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

    def run(self, test: BenchTest) -> tuple[int, int]:
        """When the clock began and nanoseconds of one repetition, after a warm-up as long as its prompt.

        Raises:
            EngineError: no context for it, or llama.cpp failed to decode.
        """
        timing = self.probe(Probe(test=test, params=self._params))
        return timing.start_ns, timing.prompt_ns + timing.gen_ns

    def probe(self, probe: Probe) -> Timing:
        """One test under its own settings. Raises EngineError as `run` does."""
        test, params = probe.test, probe_params(probe)
        with LlamaContext.open(self._lib, self._model, params, self._log) as context:
            # Built before the clock runs: filling them in Python would be measured, in C it costs nothing.
            prompt = self._tokens(test.n_prompt)
            answer = self._tokens(test.n_gen)
            self._warm_up(context, prompt, answer, probe.n_warm)
            context.clear()
            self._fill(context, params, test.n_depth)
            with self._batches(context, prompt, test.n_depth) as batches:
                start = time.perf_counter_ns()
                for batch in batches:
                    self._decode(context, batch)
                self._lib.llama_synchronize(context.pointer)
                read = time.perf_counter_ns()
            self._share(context, probe.n_streams)
            begun = time.perf_counter_ns()
            if answer:
                self._generate(context, answer, test.n_depth + len(prompt), probe.n_streams)
            ended = time.perf_counter_ns()
            return Timing(
                start_ns=start, prompt_ns=read - start if prompt else 0, gen_ns=ended - begun if answer else 0
            )

    def _tokens(self, n: int) -> list[int]:
        tokens = [self._random.randrange(self._model.n_vocab) for _ in range(n)]
        return tokens if self._bos is None else [self._bos, *tokens[1:]][:n]

    def _warm_up(self, context: LlamaContext, prompt: list[int], answer: list[int], n_warm: int | None) -> None:
        """Touch the weights and the buffers once, so that no test pays for their first use."""
        if n_warm == 0:
            return
        room = context.n_ctx - len(answer)
        tokens = prompt if n_warm is None else (prompt or self._tokens(min(n_warm, room)))[:n_warm]
        if tokens:
            self._prompt(context, tokens, 0)
        if answer:
            self._generate(context, answer[:1], len(tokens))

    def _share(self, context: LlamaContext, n_streams: int) -> None:
        """Give what the first sequence holds to the others as well, as llama-batched-bench does."""
        memory = self._lib.llama_get_memory(context.pointer)
        for i in range(1, n_streams):
            self._lib.llama_memory_seq_cp(memory, 0, i, -1, -1)

    def _fill(self, context: LlamaContext, params: LoadParams, n_depth: int) -> None:
        if n_depth == 0:
            return
        lib, pointer = self._lib, context.pointer
        key = _depth_key(params, n_depth)
        if self._depth.key == key:
            data = self._depth.data
            if lib.llama_state_seq_set_data(pointer, data, len(data), 0):
                return
            context.clear()
        self._prompt(context, self._tokens(n_depth), 0)
        data = (ctypes.c_uint8 * lib.llama_state_seq_get_size(pointer, 0))()
        if lib.llama_state_seq_get_data(pointer, data, len(data), 0):
            self._depth = _Depth(key=key, data=data)

    def _prompt(self, context: LlamaContext, tokens: Sequence[int], position: int) -> None:
        with self._batches(context, tokens, position) as batches:
            for batch in batches:
                self._decode(context, batch)
        self._lib.llama_synchronize(context.pointer)

    def _generate(self, context: LlamaContext, tokens: Sequence[int], position: int, n_streams: int = 1) -> None:
        """One token after the other, of all sequences in one batch."""
        batch = self._lib.llama_batch_init(n_streams, 0, 1)
        try:
            batch.n_tokens = n_streams
            for i in range(n_streams):
                batch.n_seq_id[i] = 1
                batch.seq_id[i][0] = i
                batch.logits[i] = True
            for n_done, token in enumerate(tokens):
                for i in range(n_streams):
                    batch.token[i] = token
                    batch.pos[i] = position + n_done
                self._decode(context, batch)
                self._lib.llama_synchronize(context.pointer)
        finally:
            self._lib.llama_batch_free(batch)

    @contextmanager
    def _batches(self, context: LlamaContext, tokens: Sequence[int], position: int) -> Iterator[list[Any]]:
        """Batches of n_batch tokens, with the logits of the last one of each."""
        step, made = self._lib.llama_n_batch(context.pointer), []
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
    description = ctypes.create_string_buffer(128)  # as large as llama-bench's
    llama_cpp.llama_model_desc(model.pointer, description, len(description))
    facts = {
        "model_type": description.value.decode("utf-8", "replace"),
        "model_size": llama_cpp.llama_model_size(model.pointer),
        "model_n_params": llama_cpp.llama_model_n_params(model.pointer),
    }
    commit = ggml_functions(("ggml_commit", ctypes.c_char_p, ())).ggml_commit()
    # llama.cpp names the same commit without looking whether files were changed.
    return {**facts, "build_commit": commit.decode().removesuffix("-dirty")}


def _answer(runner: _Runner, order: dict[str, Any]) -> dict[str, Any]:
    """What the order asks for: a repetition of a test, or a probe."""
    if "probe" in order:
        return {"timing": to_jsonable(runner.probe(from_jsonable(Probe, order["probe"])))}
    start_ns, ns = runner.run(from_jsonable(BenchTest, order))
    return {"start_ns": start_ns, "ns": ns}


def main() -> None:
    """Load what the first line names, then answer each test with a line."""
    answer = answering()
    try:
        llama_cpp = load_llama_cpp()
    except EngineError as error:
        answer({"refused": error.message, "log": []})
        return
    order = json.loads(sys.stdin.readline())
    params = from_jsonable(LoadParams, order["load_params"])
    with captured_log(llama_cpp) as log:
        try:
            with LlamaModel.load(llama_cpp, Path(order["model"]), params, log) as model:
                answer({"facts": _facts(llama_cpp, model)})
                runner = _Runner(llama_cpp, model, params, log)
                for line in sys.stdin:
                    try:
                        answer(_answer(runner, json.loads(line)))
                    except EngineError as error:
                        answer({"refused": error.message, "log": list(log)[-LOG_LINES:]})
        except EngineError as error:
            answer({"refused": error.message, "log": list(log)[-LOG_LINES:]})


if __name__ == "__main__":
    main()
