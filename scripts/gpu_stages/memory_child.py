"""Child process: load a model, make contexts, compute in them, and say what llama.cpp allocated. JSON lines.

It waits after each step, so that its parent can ask the driver what is in use then.
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from launcher.bench.child import LOG_LINES, answering
from launcher.engines.active import load_llama_cpp
from launcher.engines.llama import LlamaContext, LlamaModel, captured_log

# The same reading of llama.cpp's breakdown as of a model that is not allocated.
from launcher.engines.oracle_child import _breakdown, _Ggml
from launcher.errors import EngineError
from launcher.planner.types import LoadParams
from launcher.records import from_jsonable

_SEED = 1


def chunks(n_ctx: int, n_ubatch: int, *, deep: bool) -> list[int]:
    """How many tokens are evaluated at a time before the last one: a whole micro-batch, or the whole context."""
    step = min(n_ubatch, n_ctx - 1)
    total = n_ctx - 1 if deep else step
    return [n for n in (total % step, *[step] * (total // step)) if n]


def compute(llama_cpp: Any, context: LlamaContext, *, deep: bool) -> None:
    """Evaluate random tokens, with a whole micro-batch last of all but one, and wait for the devices."""
    chance = random.Random(_SEED)
    position = 0
    for n in (*chunks(context.n_ctx, context.n_ubatch, deep=deep), 1):
        context.decode([chance.randrange(context.model.n_vocab) for _ in range(n)], position, logits=True)
        position += n
    # A driver may crash where what is being computed is freed.
    llama_cpp.llama_synchronize(context.pointer)


class Steps:
    """What the parent asks for, one step after the other."""

    def __init__(self, llama_cpp: Any, ggml: Any, model: LlamaModel, names: Mapping[str, str], log: Any) -> None:
        self._lib = llama_cpp
        self._ggml = ggml
        self._model = model
        self._names = names
        self._log = log
        self._stack = ExitStack()
        self._context: LlamaContext | None = None

    def open(self, order: Mapping[str, Any]) -> dict[str, Any]:
        """Make a context; llama.cpp's breakdown of it."""
        params = from_jsonable(LoadParams, order["open"])
        self._context = self._stack.enter_context(LlamaContext.open(self._lib, self._model, params, self._log))
        rows = _breakdown(self._lib.llama_cpp._lib, self._ggml, self._context.pointer)  # noqa: SLF001  # what the bindings lack
        return {"rows": {self._names.get(name, name): row for name, row in rows.items()}}

    def run(self, order: Mapping[str, Any]) -> dict[str, Any]:
        """Compute in it."""
        assert self._context is not None
        compute(self._lib, self._context, deep=bool(order["run"]))
        return {}

    def close(self, _order: Mapping[str, Any]) -> dict[str, Any]:
        """Free it."""
        self._stack.close()
        self._context = None
        return {}


def main() -> None:
    """Load what the first line names, then do what each line asks."""
    answer = answering()
    llama_cpp = load_llama_cpp()
    order = json.loads(sys.stdin.readline())
    ggml = _Ggml()
    llama_cpp.llama_backend_init()
    remote = [ggml.add_remote(endpoint) for endpoint in order["endpoints"]]
    params = from_jsonable(LoadParams, order["load_params"])
    named = remote or list(params.devices)
    with captured_log(llama_cpp) as log:
        try:
            placed = replace(params, devices=tuple(named[: len(params.devices)]))
            with LlamaModel.load(llama_cpp, Path(order["model"]), placed, log) as model:
                answer({})
                steps = Steps(llama_cpp, ggml, model, dict(zip(named, params.devices, strict=False)), log)
                _follow(steps, answer, log)
        except EngineError as error:
            answer({"refused": error.message, "log": list(log)[-LOG_LINES:]})


def _follow(steps: Steps, answer: Callable[[Mapping[str, Any]], None], log: Any) -> None:
    for line in sys.stdin:
        order = json.loads(line)
        step = next(getattr(steps, name) for name in ("open", "run", "close") if name in order)
        try:
            answer(step(order))
        except EngineError as error:
            steps.close({})
            answer({"refused": error.message, "log": list(log)[-LOG_LINES:]})


if __name__ == "__main__":
    main()
