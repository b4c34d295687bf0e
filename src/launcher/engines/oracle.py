"""Ask llama.cpp itself what it would allocate, without allocating it: the planner's yardstick."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launcher.engines.active import child_environ
from launcher.engines.stand_ins import stand_ins
from launcher.errors import EngineError
from launcher.hardware.types import EngineBuild
from launcher.planner.types import LoadParams
from launcher.records import to_jsonable

LOAD_DEADLINE_S = 60.0
"""A vocabulary is parsed in a second; a minute means that it never will."""
CASE_DEADLINE_S = 2.0
"""More for each case; one takes 20 ms, or a second where the model is loaded again."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OracleRow:
    """One device, or `CPU` for all host memory, in llama.cpp's breakdown."""

    device: str
    model_bytes: int
    context_bytes: int
    compute_bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class OracleAnswer:
    """What llama.cpp would allocate, or why it refuses."""

    rows: tuple[OracleRow, ...] = ()
    refused: str | None = None

    def row(self, device: str) -> OracleRow:
        """The row of a device; nothing where it has none."""
        nothing = OracleRow(device=device, model_bytes=0, context_bytes=0, compute_bytes=0)
        return next((row for row in self.rows if row.device == device), nothing)


def ask(
    model: Path,
    cases: Sequence[LoadParams],
    *,
    n_stand_ins: int = 0,
    engine: EngineBuild | None = None,
    python: str = sys.executable,
    deadline_s: float | None = None,
) -> tuple[OracleAnswer, ...]:
    """What each case would take. Weights are not read, nothing is repacked or mapped: `no_alloc` counts neither.

    Args:
        model: a GGUF, or its header with a hole behind (`catalogue.skeleton`).
        cases: those that load alike stand together, since each other load takes a second.
        n_stand_ins: loopback ggml-rpc-servers that stand for the cases' devices, in their order.
        engine: the build that is asked; the environment's by default.
        python: of the child.
        deadline_s: for all of them.

    Raises:
        EngineError: the child died, hung or said something that is no answer; or the system is not Linux.
    """
    if not sys.platform.startswith("linux"):
        raise EngineError("llama.cpp's own breakdown can be read on Linux only", hint="gpt-oss plan")
    limit = deadline_s if deadline_s is not None else LOAD_DEADLINE_S + CASE_DEADLINE_S * len(cases)
    with stand_ins(n_stand_ins, engine) as endpoints:
        lines = [json.dumps({"model": str(model), "endpoints": endpoints})]
        lines += [json.dumps(to_jsonable(case)) for case in cases]
        try:
            done = subprocess.run(  # noqa: PLW1510 -- its status is looked at below
                [python, "-m", "launcher.engines.oracle_child"],
                input="\n".join(lines) + "\n",
                capture_output=True,
                text=True,
                env=child_environ(os.environ, None if engine is None else engine.site),
                timeout=limit,
            )
        except subprocess.TimeoutExpired as error:
            raise EngineError(f"llama.cpp did not answer within {limit:.0f} s", hint="gpt-oss plan") from error
    answers = tuple(parse_answer(line) for line in done.stdout.splitlines())
    if done.returncode or len(answers) != len(cases):
        last = tuple(done.stderr.strip().splitlines()[-5:])
        how = f"ended with status {done.returncode}" if done.returncode else "left cases unanswered"
        raise EngineError(f"llama.cpp {how} while it was asked", log=last, details=last, hint="gpt-oss plan")
    return answers


def parse_answer(line: str) -> OracleAnswer:
    """An answer from its line. Raises EngineError for anything else."""
    try:
        found: dict[str, Any] = json.loads(line)
        if "refused" in found:
            return OracleAnswer(refused=str(found["refused"]))
        rows = (
            OracleRow(device=name, model_bytes=int(a), context_bytes=int(b), compute_bytes=int(c))
            for name, (a, b, c) in found["rows"].items()
        )
        return OracleAnswer(rows=tuple(rows))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise EngineError(f"llama.cpp's answer cannot be read: {line[:80]!r}", hint="gpt-oss plan") from error
