"""The shipped demo model: its header is a real gpt-oss header, its template is Harmony, its log is its own."""

import ctypes
import hashlib
from typing import Any

import jinja2
import llama_cpp
import pytest
from llama_cpp._ggml import libggml

from launcher.demo import demo_model_path
from tests.demo.prompts import WEATHER, Render, assistant, user

GGML_TYPE_F32, GGML_TYPE_Q8_0, GGML_TYPE_MXFP4 = 0, 8, 39
SYSTEM = (
    "<|start|>system<|message|>You are ChatGPT, a large language model trained by OpenAI.\n"
    "Knowledge cutoff: 2024-06\nCurrent date: 2026-11-22\n\nReasoning: {effort}\n\n"
    "# Valid channels: analysis, commentary, final. Channel must be included for every message."
)
CALL = {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": '{"location":"Paris"}'}}


def tensor_types() -> dict[str, int]:
    """Name to ggml type of every tensor, read by ggml itself."""

    class Params(ctypes.Structure):
        _fields_ = (("no_alloc", ctypes.c_bool), ("ctx", ctypes.c_void_p))

    libggml.gguf_init_from_file.restype = ctypes.c_void_p
    libggml.gguf_init_from_file.argtypes = [ctypes.c_char_p, Params]
    libggml.gguf_get_n_tensors.restype = ctypes.c_int64
    libggml.gguf_get_tensor_name.restype = ctypes.c_char_p
    for function in (libggml.gguf_get_n_tensors, libggml.gguf_free):
        function.argtypes = [ctypes.c_void_p]
    for function in (libggml.gguf_get_tensor_name, libggml.gguf_get_tensor_type):
        function.argtypes = [ctypes.c_void_p, ctypes.c_int64]
    handle = libggml.gguf_init_from_file(str(demo_model_path()).encode(), Params(no_alloc=True, ctx=None))
    count = libggml.gguf_get_n_tensors(handle)
    found = {
        libggml.gguf_get_tensor_name(handle, i).decode(): libggml.gguf_get_tensor_type(handle, i) for i in range(count)
    }
    libggml.gguf_free(handle)
    return found


def test_header_is_a_gpt_oss_header(llm: llama_cpp.Llama) -> None:
    meta = llm.metadata
    assert meta["general.architecture"] == "gpt-oss"
    assert meta["general.name"] == "Tiny GPT OSS (demo)"
    assert meta["general.license"] == "apache-2.0"
    assert meta["general.file_type"] == "38"
    assert meta["gpt-oss.rope.scaling.type"] == "yarn"
    assert meta["tokenizer.ggml.pre"] == "gpt-4o"
    assert int(meta["gpt-oss.expert_used_count"]) < int(meta["gpt-oss.expert_count"])
    assert int(meta["gpt-oss.attention.sliding_window"]) < 128


def test_file_is_small_and_is_the_one_the_log_describes(log: Any) -> None:
    content = demo_model_path().read_bytes()
    assert len(content) == log["file"]["bytes"] < 4_000_000
    assert hashlib.sha256(content).hexdigest() == log["file"]["sha256"]


def test_log_shows_that_the_graph_is_right_and_the_answers_are(log: Any) -> None:
    assert log["graph"]["max_logit_difference"] < 1e-2
    assert log["graph"]["lessons_tokenised_differently"] == 0
    assert log["graph"]["compared_tokens"] > 4 * log["config"]["n_swa"]
    scores = log["after_quantisation"]
    for name, floor in (("exam_greedy", 0.8), ("exam_temperature_1", 0.7)):
        assert scores[name]["right"] >= floor * scores[name]["asked"] > 0


def test_tensors_have_the_names_and_types_of_the_released_files(llm: llama_cpp.Llama) -> None:
    found = tensor_types()
    n_layer = int(llm.metadata["gpt-oss.block_count"])
    expected = {
        "token_embd.weight": GGML_TYPE_Q8_0,
        "output.weight": GGML_TYPE_Q8_0,
        "output_norm.weight": GGML_TYPE_F32,
    }
    for layer in range(n_layer):
        block = f"blk.{layer}."
        for name in ("attn_norm.weight", "post_attention_norm.weight", "attn_sinks.weight", "ffn_gate_inp.weight"):
            expected[block + name] = GGML_TYPE_F32
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            expected[block + name + ".weight"] = GGML_TYPE_Q8_0
            expected[block + name + ".bias"] = GGML_TYPE_F32
        for name in ("ffn_gate_exps", "ffn_up_exps", "ffn_down_exps"):
            expected[block + name + ".weight"] = GGML_TYPE_MXFP4
            expected[block + name + ".bias"] = GGML_TYPE_F32
        expected[block + "ffn_gate_inp.bias"] = GGML_TYPE_F32
    assert found == expected
    assert len(found) == 19 * n_layer + 3


@pytest.mark.parametrize(
    ("token", "ends"),
    [
        ("<|endoftext|>", True),
        ("<|return|>", True),
        ("<|call|>", True),
        ("<|end|>", False),
        ("<|start|>", False),
        ("<|message|>", False),
        ("<|channel|>", False),
        ("<|constrain|>", False),
        ("<|startoftext|>", False),
        ("<|endofprompt|>", False),
    ],
)
def test_harmony_tokens_are_single_and_end_generation_as_in_the_released_models(
    llm: llama_cpp.Llama, token: str, ends: bool
) -> None:
    ids = llm.tokenize(token.encode(), add_bos=False, special=True)
    assert len(ids) == 1
    assert llama_cpp.llama_vocab_is_eog(llama_cpp.llama_model_get_vocab(llm.model), ids[0]) is ends


def test_template_renders_a_plain_question(render: Render) -> None:
    assert render(user("Hi")) == (
        SYSTEM.format(effort="medium") + "<|end|><|start|>user<|message|>Hi<|end|><|start|>assistant"
    )


def test_template_takes_effort_identity_and_text_parts(render: Render) -> None:
    text = render(user([{"type": "text", "text": "Hi"}]), reasoning_effort="high", model_identity="You are a test.")
    assert text.startswith("<|start|>system<|message|>You are a test.\nKnowledge cutoff")
    assert "Reasoning: high\n" in text
    assert "<|start|>user<|message|>Hi<|end|>" in text


@pytest.mark.parametrize("role", ["system", "developer"])
def test_template_turns_a_system_message_into_the_developer_message(render: Render, role: str) -> None:
    text = render({"role": role, "content": "Be brief."}, user("Hi"))
    assert "<|end|><|start|>developer<|message|># Instructions\n\nBe brief.<|end|><|start|>user" in text


def test_template_renders_tools_as_typescript(render: Render) -> None:
    text = render({"role": "system", "content": "Be brief."}, user("Hi"), tools=[WEATHER])
    assert "\nCalls to these tools must go to the commentary channel: 'functions'.<|end|>" in text
    assert (
        "Be brief.\n\n# Tools\n\n## functions\n\nnamespace functions {\n\n"
        "// Get the current weather in a given location.\ntype get_weather = (_: {\n// The city\nlocation: string,\n"
        'format?: "celsius" | "fahrenheit", // default: "celsius"\n}) => any;\n\n} // namespace functions<|end|>'
    ) in text


def test_template_keeps_analysis_inside_a_chain_of_tool_calls_only(render: Render) -> None:
    chain = (
        user("Weather in Paris?"),
        assistant(None, thinking="I will call it.", tool_calls=[CALL]),
        {"role": "tool", "tool_call_id": "call_1", "content": "18 degrees"},
    )
    open_chain = render(*chain)
    assert open_chain.endswith(
        "<|start|>assistant<|channel|>analysis<|message|>I will call it.<|end|>"
        "<|start|>assistant<|channel|>commentary to=functions.get_weather <|constrain|>json<|message|>"
        '{"location":"Paris"}<|call|>'
        "<|start|>functions.get_weather to=assistant<|channel|>commentary<|message|>18 degrees<|end|><|start|>assistant"
    )
    closed = render(*chain, assistant("18 degrees.", reasoning_content="I read it."), user("Thanks"))
    assert "analysis<|message|>" not in closed
    assert "<|start|>assistant<|channel|>final<|message|>18 degrees.<|end|>" in closed


def test_template_shows_the_last_analysis_and_return_without_a_generation_prompt(render: Render) -> None:
    text = render(user("Hi"), assistant("Hello!", thinking="Greet."), add_generation_prompt=False)
    assert text.endswith(
        "<|start|>assistant<|channel|>analysis<|message|>Greet.<|end|>"
        "<|start|>assistant<|channel|>final<|message|>Hello!<|return|>"
    )


def test_template_refuses_a_tool_result_that_nothing_asked_for(render: Render) -> None:
    with pytest.raises(jinja2.TemplateError, match="tool call"):
        render({"role": "tool", "content": "18 degrees"})
