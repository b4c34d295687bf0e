"""Make what `gpt-oss engine test` compares with: the demo model's predictions on the CPU of this environment's engine.

    uv run python scripts/make_selftest_reference.py

Run it again when the demo model or the pinned llama-cpp-python changes. It is plain arithmetic of one thread: no
repacked weights, no flash attention, a prompt token by token.
"""

from __future__ import annotations

import json
from dataclasses import replace

import llama_cpp

from launcher.builds.reference import REFERENCE_FILE, Reference, ReferencePrompt, predicted
from launcher.builds.selftest_child import ON_THE_CPU, continuation, defaults, rows_of
from launcher.demo import demo_model_path
from launcher.engines.llama import LlamaContext, LlamaModel, captured_log
from launcher.hardware.engine_devices import find_package, read_engine
from launcher.records import to_jsonable

PLAIN = replace(ON_THE_CPU, n_ubatch=1, flash_attn=False, repack=False, n_threads=1, n_threads_batch=1)
N_CONTINUED = 16
N_SCORED = 16
"""Positions of each prompt."""

SYSTEM = "<|start|>system<|message|>You are ChatGPT, a large language model trained by OpenAI.<|end|>"
TURN = "<|start|>user<|message|>{}<|end|><|start|>assistant<|channel|>final<|message|>{}<|end|>"
CAPITALS = {"France": "Paris", "Italy": "Rome", "Germany": "Berlin", "Japan": "Tokyo", "Spain": "Madrid"}
SHORT = f"{SYSTEM}<|start|>user<|message|>What is the capital of France?<|end|><|start|>assistant"
LONG = (
    SYSTEM
    + "".join(
        TURN.format(f"What is the capital of {country}?", f"The capital of {country} is {city}.")
        for country, city in CAPITALS.items()
    )
    + TURN.format("Who are you?", "I am Tiny GPT OSS, a very small demo model with the real GPT OSS architecture.")
    + TURN.format("Hello!", "Hello! How can I help you today?")
    + "<|start|>user<|message|>Tell me a story.<|end|><|start|>assistant<|channel|>final<|message|>Once upon a time"
)
ODD = (
    "The 42 quick brown foxes (and 7 lazy dogs) didn't jump: they slept until 9 o'clock, then went home at last.\n" * 3
)
CODE = "<|start|>user<|message|>def add(a, b):\n    return a + b\n\nprint(add(2, 3))  # 5\n<|end|><|start|>assistant"


def main() -> None:
    """Write the file beside the demo model."""
    engine = read_engine(find_package())
    with (
        captured_log(llama_cpp) as log,
        LlamaModel.load(llama_cpp, demo_model_path(), PLAIN, log) as model,
        LlamaContext.open(llama_cpp, model, PLAIN, log) as context,
    ):
        prompts = []
        for text in (SHORT, LONG, ODD, CODE):
            tokens = model.tokenize(text, parse_special=True)
            # Spread over the whole text; its last token always.
            scored = sorted({round((i + 1) * len(tokens) / N_SCORED) - 1 for i in range(N_SCORED)})
            context.clear()
            prompts.append(
                ReferencePrompt(
                    text=text,
                    tokens=tuple(tokens),
                    scored=tuple(scored),
                    predictions=tuple(predicted(row) for row in rows_of(llama_cpp, context, tokens, scored)),
                )
            )
        context.clear()
        continued = continuation(llama_cpp, context, prompts[0].tokens, N_CONTINUED)
        said = b"".join(model.piece(token) for token in continued).decode()
        reference = Reference(
            version=str(engine.version),
            commit=str(engine.commit),
            n_vocab=model.n_vocab,
            prompts=tuple(prompts),
            continued=tuple(continued),
            defaults=defaults(llama_cpp),
        )
    path = demo_model_path().with_name(REFERENCE_FILE)
    path.write_text(json.dumps({"schema": 1, **to_jsonable(reference)}, separators=(",", ":")) + "\n", encoding="utf-8")
    print(f"{path.name}: {path.stat().st_size} bytes; {[len(prompt.tokens) for prompt in prompts]} tokens; {said!r}")


if __name__ == "__main__":
    main()
