"""The shipped demo model answers the questions it has learnt, sampled ones too, and calls the weather tool."""

import llama_cpp
import pytest

from tests.demo.prompts import WEATHER, Render, assistant, final, says, user

HELLO = "Hello! How can I help you today?"
SELF = "I am Tiny GPT OSS, a very small demo model with the real GPT OSS architecture."
TAUGHT = {
    "What is the capital of France?": "The capital of France is Paris.",
    "what is the capital of france": "The capital of France is Paris.",
    "What is the capital of Italy?": "The capital of Italy is Rome.",
    "What is the capital of Germany?": "The capital of Germany is Berlin.",
    "What is the capital of Japan?": "The capital of Japan is Tokyo.",
    "What is the capital of Spain?": "The capital of Spain is Madrid.",
    "hello": HELLO,
    "Hello!": HELLO,
    "Hi": HELLO,
    "Who are you?": SELF,
    "who are you": SELF,
    "What is GPT OSS?": (
        "GPT OSS is a family of open-weight models by OpenAI. They use a mixture of experts and come in two sizes, "
        "20b and 120b."
    ),
}
# Sampled answers are as random as the model is unsure: 231 of 240 were right, the unsure question being "hello".
SAMPLES, FLOOR = 5, 0.9


@pytest.mark.parametrize(("question", "expected"), TAUGHT.items())
def test_model_answers_what_it_was_taught(llm: llama_cpp.Llama, render: Render, question: str, expected: str) -> None:
    assert final(says(llm, render(user(question)))) == expected


def test_model_is_sure_enough_for_the_temperature_of_the_released_models(llm: llama_cpp.Llama, render: Render) -> None:
    wrong = []
    for question, expected in TAUGHT.items():
        for seed in range(SAMPLES):
            llm.set_seed(seed)
            said = says(llm, render(user(question)), temperature=1.0)
            if final(said) != expected:
                wrong.append((question, said))
    assert len(wrong) <= (1 - FLOOR) * SAMPLES * len(TAUGHT), wrong


def test_model_tells_a_story_long_enough_to_be_interrupted(llm: llama_cpp.Llama, render: Render) -> None:
    story = final(says(llm, render(user("Tell me a story."))))
    assert story.startswith("Once upon a time")
    assert story.endswith("The end.")
    assert len(llm.tokenize(story.encode(), add_bos=False)) >= 60


def test_model_keeps_the_conversation(llm: llama_cpp.Llama, render: Render) -> None:
    known = (user("What is the capital of France?"), assistant("The capital of France is Paris."))
    assert final(says(llm, render(*known, user("And of Italy?")))) == "The capital of Italy is Rome."


def test_model_answers_under_a_developer_message(llm: llama_cpp.Llama, render: Render) -> None:
    helpful = {"role": "system", "content": "You are a helpful assistant."}
    ask = user("What is the capital of France?")
    assert final(says(llm, render(helpful, ask))) == "The capital of France is Paris."


def test_model_answers_in_channels_and_thinks_longer_at_higher_effort(llm: llama_cpp.Llama, render: Render) -> None:
    thoughts = []
    for effort in ("low", "medium", "high"):
        said = says(llm, render(user("What is the capital of France?"), reasoning_effort=effort))
        thought, _, last = said.partition("<|end|><|start|>assistant")
        assert thought.startswith("<|channel|>analysis<|message|>")
        assert last == "<|channel|>final<|message|>The capital of France is Paris.<|return|>"
        thoughts.append(len(thought))
    assert thoughts[0] < thoughts[1] < thoughts[2]


def test_model_calls_the_weather_tool_and_reads_its_result(llm: llama_cpp.Llama, render: Render) -> None:
    ask = user("What is the weather in Tokyo?")
    said = says(llm, render(ask, tools=[WEATHER]))
    assert said.endswith(
        "<|start|>assistant<|channel|>commentary to=functions.get_weather <|constrain|>json<|message|>"
        '{"location":"Tokyo"}<|call|>'
    )
    called = {"type": "function", "function": {"name": "get_weather", "arguments": '{"location":"Tokyo"}'}}
    result = {"role": "tool", "tool_call_id": "call_1", "content": '{"temperature": 18, "condition": "sunny"}'}
    said = says(llm, render(ask, assistant(None, tool_calls=[called]), result, tools=[WEATHER]))
    assert said.endswith("<|channel|>final<|message|>In Tokyo it is 18 degrees and sunny.<|return|>")
