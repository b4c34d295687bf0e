"""The thin layer over llama.cpp: the vocabulary's control tokens, the log, and files of another format."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import llama_cpp
import pytest

from launcher.demo import demo_model_path
from launcher.engines.embedded import open_engine
from launcher.engines.harmony import PlainParser
from launcher.engines.llama import LlamaContext, LlamaModel, captured_log
from launcher.engines.types import EndDelta, Message, NoteDelta, Sampling, TextDelta
from launcher.errors import EngineError
from tests.engines.demo import GREEDY, load_params

HELLO = [Message(role="user", content="hello")]
LABELS = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant:"


@pytest.fixture(name="model")
def _model() -> Iterator[LlamaModel]:
    with captured_log(llama_cpp) as log, LlamaModel.load(llama_cpp, demo_model_path(), load_params(), log) as model:
        yield model


def with_template(path: Path, template: str) -> Path:
    """The demo model with another chat template of the same length, the rest of it a comment."""
    content = demo_model_path().read_bytes()
    begin = content.index(b"tokenizer.chat_template") + len(b"tokenizer.chat_template") + 4
    length = int.from_bytes(content[begin : begin + 8], "little")
    assert len(template) + 4 <= length
    filled = (template + "{#" + " " * (length - len(template.encode()) - 4) + "#}").encode()
    path.write_bytes(content[: begin + 8] + filled + content[begin + 8 + length :])
    return path


def test_facts_of_the_model(model: LlamaModel) -> None:
    assert (model.n_swa, model.n_ctx_train) == (32, 4096)
    assert model.n_vocab > 1000
    assert model.metadata("general.architecture") == "gpt-oss"
    assert model.metadata("no.such.key") is None
    template = model.metadata("tokenizer.chat_template")
    assert template is not None
    assert len(template) > 1024, "longer than the first buffer"


def test_control_tokens_include_those_that_llama_cpp_retypes(model: LlamaModel) -> None:
    """Regression guard: `<|start|>`, `<|channel|>` and `<|message|>` become USER_DEFINED; user text matches them."""
    names = {model.piece(token) for token in model.control_tokens()}
    assert {
        b"<|start|>",
        b"<|channel|>",
        b"<|message|>",
        b"<|constrain|>",
        b"<|end|>",
        b"<|return|>",
        b"<|call|>",
    } <= names
    start = model.tokenize("<|start|>", parse_special=False)
    assert len(start) == 1, "this is why the engine cuts user text"
    assert {model.piece(t) for t in model.control_tokens() if model.is_eog(t)} >= {b"<|return|>", b"<|call|>"}


def test_tokens_spell_their_text(model: LlamaModel) -> None:
    for text in ("", "hello", "Grüße aus Köln 🙂", "a\nb\tc", "\ud800"):
        raw = text.encode("utf-8", "surrogatepass")
        assert b"".join(model.piece(token) for token in model.tokenize(text, parse_special=False)) == raw


def test_the_log_stays_out_of_the_terminal(model: LlamaModel, capfd: pytest.CaptureFixture[str]) -> None:
    with captured_log(llama_cpp) as log, LlamaContext.open(llama_cpp, model, load_params(), log):
        assert any("KV" in line for line in log)
    assert capfd.readouterr() == ("", "")


def test_a_full_cache_is_an_engine_error(model: LlamaModel) -> None:
    with captured_log(llama_cpp) as log, LlamaContext.open(llama_cpp, model, load_params(n_ctx=256), log) as context:
        tokens = model.tokenize("hello " * 64, parse_special=False)[:64]
        for start in range(0, context.n_ctx, 64):
            assert context.decode(tokens, start, logits=False)
        with pytest.raises(EngineError, match="context of 256 tokens is full") as caught:
            context.decode(tokens, context.n_ctx, logits=True)
        assert caught.value.hint == "gpt-oss chat --ctx-size 0"


def test_a_file_with_a_template_of_another_kind_is_plain(tmp_path: Path) -> None:
    with open_engine(with_template(tmp_path / "plain.gguf", LABELS), load_params()) as engine:
        assert engine.dialect.harmony is None
        assert isinstance(engine.dialect.parser(), PlainParser)
        prompt = b"".join(engine.context.model.piece(token) for token in engine.prompt_tokens(HELLO, GREEDY))
        assert prompt == b"user: hello\nassistant:"
        deltas = list(engine.chat(HELLO, Sampling(temperature=0.0, max_tokens=12)))
    assert isinstance(deltas[-1], EndDelta)
    assert all(delta.channel == "final" for delta in deltas if isinstance(delta, TextDelta))


def test_a_template_that_refuses_is_told(tmp_path: Path) -> None:
    refusing = "{{ raise_exception('roles must alternate') }}"
    with (
        open_engine(with_template(tmp_path / "strict.gguf", refusing), load_params()) as engine,
        pytest.raises(EngineError, match="roles must alternate"),
    ):
        engine.prompt_tokens(HELLO, GREEDY)


def test_an_empty_template_gives_way_to_a_minimal_one(tmp_path: Path) -> None:
    content = demo_model_path().read_bytes().replace(b"tokenizer.chat_template", b"tokenizer.chat_tempIate")
    path = tmp_path / "bare.gguf"
    path.write_bytes(content)
    with open_engine(path, load_params()) as engine:
        assert engine.dialect.harmony is not None
        note = engine.dialect.template.note
        assert note is not None
        assert "no chat template" in note
        deltas = list(engine.chat(HELLO, Sampling(temperature=0.0, max_tokens=40)))
    assert isinstance(deltas[-1], EndDelta)
    assert not any(isinstance(delta, NoteDelta) and "context" in delta.text for delta in deltas)
