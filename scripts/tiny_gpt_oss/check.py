"""Examines GGUF files through llama.cpp: the same tokens, the same logits, and the right answers."""

from __future__ import annotations

import collections
import dataclasses
import random
from collections.abc import Iterable
from pathlib import Path

import llama_cpp
import numpy as np
import torch

from tiny_gpt_oss.corpus import ChatTemplate, Lesson
from tiny_gpt_oss.lessons import draw_lesson
from tiny_gpt_oss.model import TinyGptOss
from tiny_gpt_oss.tokenizer import TinyTokenizer

GGML_TYPE_F32 = 0
# The longest completion, the story at high effort, is some 200 tokens.
MAX_NEW_TOKENS = 320


@dataclasses.dataclass(frozen=True, kw_only=True)
class Score:
    """How many completions were right: exactly as taught, or right in what the user sees (the last message)."""

    asked: int
    exact: int
    right: int
    by_kind: dict[str, str]
    wrong: list[str]

    def share(self) -> float:
        """The share of right answers."""
        return self.right / max(1, self.asked)


def open_model(path: Path, *, logits_all: bool = False) -> llama_cpp.Llama:
    """The file in llama.cpp, with an F32 cache so that logits can be compared."""
    return llama_cpp.Llama(
        model_path=str(path), n_ctx=1024, n_batch=1024, n_threads=1, logits_all=logits_all, verbose=False,
        type_k=GGML_TYPE_F32, type_v=GGML_TYPE_F32, seed=1,
    )  # fmt: skip


def held_out_lessons(n_lessons: int, seed: int) -> list[Lesson]:
    """Lessons from a seed that training never draws from."""
    rng = random.Random(f"exam {seed}")
    return [draw_lesson(rng) for _ in range(n_lessons)]


def token_differences(
    llm: llama_cpp.Llama, tokenizer: TinyTokenizer, template: ChatTemplate, lessons: Iterable[Lesson]
) -> int:
    """How many lessons llama.cpp's tokenizer reads otherwise than ours; must be 0."""
    differing = 0
    for lesson in lessons:
        text = lesson.prompt(template) + lesson.completion
        differing += llm.tokenize(text.encode(), add_bos=False, special=True) != tokenizer.encode(text)
    return differing


def logits_difference(llm: llama_cpp.Llama, model: TinyGptOss, ids: list[int]) -> float:
    """The largest difference of any logit at any position between llama.cpp (F32 file) and torch."""
    llm.reset()  # type: ignore[no-untyped-call]
    llm.eval(ids)
    theirs = np.array(llm.scores[: len(ids)])
    with torch.no_grad():
        ours = model(torch.tensor([ids]))[0][0].numpy()
    return float(np.abs(theirs - ours).max())


def complete(llm: llama_cpp.Llama, prompt: str, temperature: float, *, max_new_tokens: int = MAX_NEW_TOKENS) -> str:
    """What the model says after the prompt, control tokens included, through its end-of-generation token."""
    vocab = llama_cpp.llama_model_get_vocab(llm.model)
    ids = llm.tokenize(prompt.encode(), add_bos=False, special=True)
    said: list[int] = []
    for token in llm.generate(ids, temp=temperature, top_k=0, top_p=1.0, min_p=0.0):
        said.append(token)
        if llama_cpp.llama_vocab_is_eog(vocab, token) or len(said) >= max_new_tokens:
            break
    return llm.detokenize(said, special=True).decode(errors="replace")


def last_message(completion: str) -> str:
    """The final answer or the tool call, without the analysis before it."""
    return completion.rsplit("<|start|>assistant", 1)[-1]


def examine(
    llm: llama_cpp.Llama, template: ChatTemplate, lessons: Iterable[Lesson], temperature: float, samples: int = 1
) -> Score:
    """Asks every lesson `samples` times."""
    asked, exact, right = 0, 0, 0
    kinds: dict[str, list[int]] = collections.defaultdict(lambda: [0, 0])
    wrong: list[str] = []
    for lesson in lessons:
        prompt = lesson.prompt(template)
        for sample in range(samples):
            llm.set_seed(sample)
            said = complete(llm, prompt, temperature)
            good = last_message(said) == last_message(lesson.completion)
            asked, exact, right = asked + 1, exact + (said == lesson.completion), right + good
            kinds[lesson.kind][0] += good
            kinds[lesson.kind][1] += 1
            if not good:
                wrong.append(f"{lesson.messages[-1].get('content')!r} -> {last_message(said)!r}")
    by_kind = {kind: f"{good}/{total}" for kind, (good, total) in sorted(kinds.items())}
    return Score(asked=asked, exact=exact, right=right, by_kind=by_kind, wrong=wrong)
