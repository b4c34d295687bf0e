"""Trains the tiny GPT OSS that ships in the package, from nothing, on two CPU cores.

    uv sync --group train
    OMP_WAIT_POLICY=passive uv run --group train python scripts/train_tiny_gpt_oss.py
    uv run --group train python scripts/train_tiny_gpt_oss.py --quick --out-dir /tmp/tiny   # the pipeline, in a minute

With a passive OMP_WAIT_POLICY, threads that wait give way: four times the steps where other programs use the cores.
It writes tiny-gpt-oss-MXFP4.gguf and training-log.json, or both as rejected-* where the exam goes badly. The log holds
what is needed to judge the file: seed, versions, loss curve, how well llama.cpp and torch agree on the same weights,
and how many questions are answered right before and after quantisation.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import importlib.metadata
import json
import os
import platform
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from tiny_gpt_oss import check, corpus, exam, export, train
from tiny_gpt_oss.model import TinyConfig, TinyGptOss
from tiny_gpt_oss.tokenizer import TinyTokenizer

REPOSITORY = Path(__file__).resolve().parents[1]
DEMO_FOLDER = REPOSITORY / "src" / "launcher" / "demo"
FILE_NAME = "tiny-gpt-oss-MXFP4.gguf"
# torch and llama.cpp run the same float32 graph in different orders of summation.
MAX_LOGIT_DIFFERENCE = 1e-2
# The fixed exam's share of right answers below which the file is not written over the shipped one.
MIN_EXAM_SHARE = 0.97


def parse_args() -> argparse.Namespace:
    """The command line."""
    defaults = train.TrainSettings()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out-dir", type=Path, default=DEMO_FOLDER, help="where the model and its log go")
    parser.add_argument("--seed", type=int, default=defaults.seed)
    parser.add_argument("--minutes", type=float, default=defaults.minutes, help="how long to train")
    parser.add_argument("--steps", type=int, default=defaults.steps, help="a number of steps instead of minutes")
    parser.add_argument("--threads", type=int, default=2, help="torch threads")
    parser.add_argument("--samples", type=int, default=3, help="times each exam question is asked at temperature 1.0")
    parser.add_argument("--quick", action="store_true", help="a few steps only: tries the pipeline, teaches nothing")
    return parser.parse_args()


def make_model(args: argparse.Namespace, log: dict[str, Any]) -> tuple[TinyGptOss, TinyTokenizer]:
    """Learns the vocabulary, then the weights."""
    template = corpus.ChatTemplate(corpus.TEMPLATE_PATH.read_text())
    config = TinyConfig()
    settings = train.TrainSettings(seed=args.seed, minutes=args.minutes, steps=30 if args.quick else args.steps)
    tokenizer = train.fit_tokenizer(template, args.seed, config.n_vocab, 200 if args.quick else 3000)
    log["config"] = dataclasses.asdict(config)
    log["settings"] = dataclasses.asdict(settings)
    log["loss_curve"] = []

    def report(entry: dict[str, float]) -> None:
        log["loss_curve"].append(entry)
        print(entry, file=sys.stderr, flush=True)

    model = train.train(config, settings, template, tokenizer, report)
    log["n_params"] = sum(parameter.numel() for parameter in model.parameters())
    return model, tokenizer


def check_graph(path: Path, model: TinyGptOss, tokenizer: TinyTokenizer) -> dict[str, Any]:
    """Same tokens and same logits in torch and in llama.cpp, on a lesson many windows long."""
    template = corpus.ChatTemplate(corpus.TEMPLATE_PATH.read_text())
    lessons = check.held_out_lessons(200, 0)
    llm = check.open_model(path, logits_all=True)
    texts = [lesson.prompt(template) + lesson.completion for lesson in lessons]
    ids = tokenizer.encode(max(texts, key=len))
    return {
        "lessons_tokenised_differently": check.token_differences(llm, tokenizer, template, lessons),
        "compared_tokens": len(ids),
        "max_logit_difference": check.logits_difference(llm, model, ids),
    }


def check_answers(path: Path, samples: int, *, quick: bool) -> dict[str, Any]:
    """The fixed exam greedy and sampled, and unseen lessons greedy and sampled."""
    template = corpus.ChatTemplate(corpus.TEMPLATE_PATH.read_text())
    llm = check.open_model(path)
    fixed = exam.exam()[:3] if quick else exam.exam()
    unseen = check.held_out_lessons(3 if quick else 200, 0)
    scores = {
        "exam_greedy": check.examine(llm, template, fixed, 0.0),
        "exam_temperature_1": check.examine(llm, template, fixed, 1.0, samples),
        "unseen_greedy": check.examine(llm, template, unseen, 0.0),
        "unseen_temperature_1": check.examine(llm, template, unseen, 1.0),
    }
    for name, score in scores.items():
        print(f"{path.name} {name}: {score.right}/{score.asked} {score.by_kind}", file=sys.stderr)
    return {name: dataclasses.asdict(score) for name, score in scores.items()}


def main() -> int:
    """Train, export, quantise, examine, write. Returns 1 where the result is not good enough to keep."""
    args = parse_args()
    torch.set_num_threads(args.threads)
    started = time.perf_counter()
    log: dict[str, Any] = {
        "command": " ".join(["scripts/train_tiny_gpt_oss.py", *sys.argv[1:]]),
        "omp_wait_policy": os.environ.get("OMP_WAIT_POLICY"),
        "seed": args.seed,
        "versions": {
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in ("torch", "gguf", "llama-cpp-python")},
        },
    }
    model, tokenizer = make_model(args, log)
    log["training_s"] = round(time.perf_counter() - started, 1)
    with tempfile.TemporaryDirectory() as folder:
        f32, mxfp4 = Path(folder) / "tiny-gpt-oss-F32.gguf", Path(folder) / FILE_NAME
        export.write_f32(f32, model, tokenizer, corpus.TEMPLATE_PATH.read_text())
        export.quantise(f32, mxfp4)
        log["graph"] = check_graph(f32, model, tokenizer)
        log["before_quantisation"] = check_answers(f32, 1, quick=args.quick)
        log["after_quantisation"] = check_answers(mxfp4, args.samples, quick=args.quick)
        content = mxfp4.read_bytes()
    log["file"] = {"name": FILE_NAME, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    log["duration_s"] = round(time.perf_counter() - started, 1)
    fixed = log["after_quantisation"]["exam_greedy"]
    good = (
        log["graph"]["max_logit_difference"] < MAX_LOGIT_DIFFERENCE
        and log["graph"]["lessons_tokenised_differently"] == 0
        and (args.quick or fixed["right"] >= MIN_EXAM_SHARE * fixed["asked"])
    )
    args.out_dir.mkdir(parents=True, exist_ok=True)
    prefix = "" if good else "rejected-"
    (args.out_dir / (prefix + FILE_NAME)).write_bytes(content)
    log_name = prefix + "training-log.json"
    (args.out_dir / log_name).write_text(json.dumps(log, indent=1, ensure_ascii=False) + "\n")
    print(f"{'wrote' if good else 'rejected'}: {args.out_dir / log_name}", file=sys.stderr)
    return 0 if good else 1


if __name__ == "__main__":
    raise SystemExit(main())
