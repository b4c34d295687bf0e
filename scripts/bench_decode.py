"""Decode speed of the embedded engine beside llama-bench's tg, in interleaved pairs with the same settings.

    uv run python scripts/make_gguf.py /tmp/gpt-oss-20b-MXFP4.gguf --fill random
    uv run python scripts/bench_decode.py /tmp/gpt-oss-20b-MXFP4.gguf --pairs 5

Each pair runs llama-bench, then the embedded engine twice in a process of its own: unsampled (random tokens, as
llama-bench does) and through `chat` with the default sampling. Ratios are per pair, so a machine that drifts favours
neither. Prints one JSON document.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import time
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path

from launcher.engines.embedded import EmbeddedEngine, open_engine
from launcher.engines.params import bench_argv
from launcher.engines.types import EndDelta, Message, Sampling
from launcher.hardware.detect import detect
from launcher.planner.types import LoadParams

BENCH_TIMEOUT_S = 900  # a load of 12 GB takes half a minute, a token at most a second
CONTEXT = 512


def load_params(n_threads: int, *, repack: bool, load_mode: str) -> LoadParams:
    """What both engines load with; llama-bench sizes its context by the test, so ours is short too."""
    return LoadParams(
        n_gpu_layers=0,
        n_cpu_moe=0,
        n_ctx=CONTEXT,
        n_batch=CONTEXT,
        n_ubatch=CONTEXT,
        n_parallel=1,
        n_threads=n_threads,
        n_threads_batch=n_threads,
        type_k="f16",
        type_v="f16",
        flash_attn=True,
        offload_kqv=False,
        swa_full=False,
        kv_unified=False,
        n_outputs_max=1,
        load_mode="none" if load_mode == "none" else "mmap",
        repack=repack,
        devices=(),
    )


def llama_bench(model: Path, params: LoadParams, n_gen: int, repetitions: int) -> float:
    """llama-bench's tg in tokens per second."""
    package = find_spec("llama_cpp")
    assert package is not None
    assert package.origin is not None
    tool = Path(package.origin).parents[1] / "bin" / "llama-bench"
    argv = [str(tool), *bench_argv(params, model), "-p", "0", "-n", str(n_gen), "-r", str(repetitions), "-o", "json"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=BENCH_TIMEOUT_S, check=True)
    return float(json.loads(done.stdout)[0]["avg_ts"])


def unsampled(engine: EmbeddedEngine, n_gen: int, repetitions: int) -> float:
    """Tokens per second of bare decoding, each repetition from an empty context, after one warm-up token."""
    context, rates = engine.context, []
    draw, n_vocab = random.Random(1), context.model.n_vocab
    context.decode((draw.randrange(n_vocab),), 0, logits=True)
    for _ in range(repetitions):
        context.clear()
        start = time.perf_counter()
        for position in range(n_gen):
            context.decode((draw.randrange(n_vocab),), position, logits=True)
        rates.append(n_gen / (time.perf_counter() - start))
    context.clear()
    return statistics.fmean(rates)


def sampled(engine: EmbeddedEngine, n_gen: int) -> float:
    """Tokens per second of a chat turn with the default sampling: decode, sample, parse."""
    n, ms = 0, 0.0
    question = [Message(role="user", content="hello")]
    while n < n_gen:  # a random model may end a turn early
        for delta in engine.chat(question, Sampling(max_tokens=n_gen - n, seed=n)):
            if isinstance(delta, EndDelta):
                n += delta.timings.predicted_n
                ms += delta.timings.predicted_ms
    return n / ms * 1e3


def run_child(model: Path, params: LoadParams, n_gen: int, repetitions: int) -> None:
    """One load of the embedded engine, both measurements, as JSON."""
    with open_engine(model, params) as engine:
        bare = unsampled(engine, n_gen, repetitions)
        print(json.dumps({"unsampled": bare, "sampled": sampled(engine, n_gen)}))


def main() -> int:
    """Measure the pairs and print them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("-n", "--n-gen", type=int, default=64)
    parser.add_argument("-r", "--repetitions", type=int, default=2)
    parser.add_argument("-t", "--threads", type=int, default=None)
    parser.add_argument("--repack", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--load-mode", choices=["mmap", "none"], default="mmap")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    threads = args.threads or detect().cpu.n_threads
    params = load_params(threads, repack=args.repack, load_mode=args.load_mode)
    if args.child:
        run_child(args.model, params, args.n_gen, args.repetitions)
        return 0
    command = [sys.executable, __file__, *sys.argv[1:], "--child", "--threads", str(threads)]
    pairs = []
    for _ in range(args.pairs):
        bench = llama_bench(args.model, params, args.n_gen, args.repetitions)
        done = subprocess.run(command, capture_output=True, text=True, timeout=BENCH_TIMEOUT_S, check=True)
        pair = {"llama_bench": bench, **json.loads(done.stdout)}
        pairs.append(pair)
        print(json.dumps(pair), file=sys.stderr, flush=True)
    ratios = {
        kind: statistics.median(pair[kind] / pair["llama_bench"] for pair in pairs) for kind in ("unsampled", "sampled")
    }
    print(json.dumps({"params": asdict(params), "pairs": pairs, "median_ratio": ratios}, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
