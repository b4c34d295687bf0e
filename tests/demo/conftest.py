"""The demo model, its log and its template."""

import datetime as dt
import json
from collections.abc import Iterator
from typing import Any

import jinja2
import jinja2.sandbox
import llama_cpp
import pytest

from launcher.demo import demo_model_path
from tests.demo.prompts import Message, Render

TODAY = dt.date(2026, 11, 22)


@pytest.fixture(scope="module", name="llm")
def _llm() -> Iterator[llama_cpp.Llama]:
    model = llama_cpp.Llama(str(demo_model_path()), n_ctx=1024, n_threads=1, verbose=False, seed=1)
    yield model
    model.close()


@pytest.fixture(scope="module", name="log")
def _log() -> Any:
    return json.loads(demo_model_path().with_name("training-log.json").read_text())


@pytest.fixture(name="render")
def _render(llm: llama_cpp.Llama) -> Render:
    env = jinja2.sandbox.ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    env.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False)

    def raise_exception(message: str) -> None:
        raise jinja2.TemplateError(message)

    template = env.from_string(llm.metadata["tokenizer.chat_template"])

    def run(*messages: Message, add_generation_prompt: bool = True, **variables: Any) -> str:
        return template.render(
            messages=list(messages),
            add_generation_prompt=add_generation_prompt,
            strftime_now=TODAY.strftime,
            raise_exception=raise_exception,
            **variables,
        )

    return run
