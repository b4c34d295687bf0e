"""What the tests of the demo model ask, and how they hear the answer."""

from typing import Any, Protocol

import llama_cpp

Message = dict[str, Any]

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the current weather in a given location.",
        "parameters": {
            "type": "object",
            "properties": {
                "location": {"type": "string", "description": "The city"},
                "format": {"type": "string", "enum": ["celsius", "fahrenheit"], "default": "celsius"},
            },
            "required": ["location"],
        },
    },
}


class Render(Protocol):
    """The file's own template over messages."""

    def __call__(self, *messages: Message, add_generation_prompt: bool = True, **variables: Any) -> str: ...


def user(content: Any) -> Message:
    return {"role": "user", "content": content}


def assistant(content: str | None = "", **fields: Any) -> Message:
    return {"role": "assistant", "content": content, **fields}


def says(llm: llama_cpp.Llama, prompt: str, temperature: float = 0.0) -> str:
    """The completion of a rendered prompt, control tokens spelled out; no sampler narrows what a temperature allows."""
    ids = llm.tokenize(prompt.encode(), add_bos=False, special=True)
    vocab = llama_cpp.llama_model_get_vocab(llm.model)
    said = []
    for token in llm.generate(ids, temp=temperature, top_k=0, top_p=1.0, min_p=0.0):
        said.append(token)
        if llama_cpp.llama_vocab_is_eog(vocab, token) or len(said) == 300:
            break
    return llm.detokenize(said, special=True).decode(errors="replace")


def final(said: str) -> str:
    """The final answer of a completion; "" where it has none or is cut off."""
    _, found, text = said.partition("<|channel|>final<|message|>")
    return text.removesuffix("<|return|>") if found and text.endswith("<|return|>") else ""
