"""What each client is told, as text to paste or run. Pure."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Mapping

from launcher.clients.configs import patches
from launcher.clients.merge import merge
from launcher.clients.types import KEY_ENV, NO_KEY, Client, Snippet, Target

_QUESTION = "Say hello."
_WEBUI_PORT = 3000  # its own default is 8080, which is the server's


def snippets(client: Client, target: Target) -> tuple[Snippet, ...]:
    """What a client is told: its settings files as they would be had it none yet, or a program or commands."""
    files = tuple(
        Snippet(language=patch.file.format, text=merge("", patch), file=patch.file)
        for patch in patches(client.name, target)
    )
    return files or (_BUILDERS[client.name](target),)


def notes(client: Client, target: Target) -> tuple[str, ...]:
    """What else there is to know, line by line: where the key comes from, and how the client is used then."""
    lines = []
    if target.keyed:
        if client.key_env == KEY_ENV and target.endpoint.key_file is None:
            lines.append(f"the key comes from the environment: {KEY_ENV}")
        elif client.key_env is not None:
            lines.append(f"the key comes from the environment: export {client.key_env}=$({target.key_command})")
        if client.name in _KEY_NOTES:
            lines.append(_KEY_NOTES[client.name](target))
    if client.use is not None:
        lines.append(f"then run: {client.use.format(model=target.endpoint.model)}")
    return tuple(lines)


def _literal(text: str) -> str:
    """A string of Python, JavaScript and JSON."""
    return json.dumps(text)


def _openai_python(target: Target) -> Snippet:
    endpoint = target.endpoint
    key = f"os.environ[{_literal(KEY_ENV)}]" if target.keyed else _literal(NO_KEY)
    text = f"""\
{"import os" + chr(10) * 2 if target.keyed else ""}from openai import OpenAI

client = OpenAI(base_url={_literal(endpoint.openai_url)}, api_key={key})
completion = client.chat.completions.create(
    model={_literal(endpoint.model)},
    messages=[{{"role": "user", "content": {_literal(_QUESTION)}}}],
)
print(completion.choices[0].message.content)
"""
    return Snippet(language="python", text=text)


def _openai_node(target: Target) -> Snippet:
    endpoint = target.endpoint
    key = f"process.env.{KEY_ENV}" if target.keyed else _literal(NO_KEY)
    text = f"""\
import OpenAI from "openai";

const client = new OpenAI({{ baseURL: {_literal(endpoint.openai_url)}, apiKey: {key} }});
const completion = await client.chat.completions.create({{
  model: {_literal(endpoint.model)},
  messages: [{{ role: "user", content: {_literal(_QUESTION)} }}],
}});
console.log(completion.choices[0].message.content);
"""
    return Snippet(language="javascript", text=text)


def _langchain(target: Target) -> Snippet:
    endpoint = target.endpoint
    key = f"os.environ[{_literal(KEY_ENV)}]" if target.keyed else _literal(NO_KEY)
    text = f"""\
{"import os" + chr(10) * 2 if target.keyed else ""}from langchain_openai import ChatOpenAI

llm = ChatOpenAI(base_url={_literal(endpoint.openai_url)}, model={_literal(endpoint.model)}, api_key={key})
print(llm.invoke({_literal(_QUESTION)}).content)
"""
    return Snippet(language="python", text=text)


def _curl(target: Target) -> Snippet:
    endpoint = target.endpoint
    body = json.dumps({"model": endpoint.model, "messages": [{"role": "user", "content": _QUESTION}]})
    words = [
        f"curl {shlex.quote(endpoint.openai_url + '/chat/completions')}",
        "-H 'Content-Type: application/json'",
        *([f'-H "Authorization: Bearer ${KEY_ENV}"'] if target.keyed else []),
        f"-d {shlex.quote(body)}",
    ]
    return Snippet(language="sh", text=" \\\n  ".join(words) + "\n")


def _open_webui(target: Target) -> Snippet:
    key = f'"${KEY_ENV}"' if target.keyed else NO_KEY
    text = f"""\
# Open WebUI keeps what it was first started with: later changes go into Admin Settings, Connections.
# In a container this machine is called host.docker.internal, and the server needs `gpt-oss serve --host 0.0.0.0`.
export OPENAI_API_BASE_URL={shlex.quote(target.endpoint.openai_url)}
export OPENAI_API_KEY={key}
open-webui serve --port {_WEBUI_PORT}
"""
    return Snippet(language="sh", text=text)


def _cline(target: Target) -> Snippet:
    endpoint = target.endpoint
    key = f'"${KEY_ENV}"' if target.keyed else NO_KEY
    shown = f"what `{target.key_command}` prints" if target.keyed else NO_KEY
    text = f"""\
# In VS Code: the gear in Cline's panel, then
#   API Provider     OpenAI Compatible
#   Base URL         {endpoint.openai_url}
#   API Key          {shown}
#   Model ID         {endpoint.model}
#   Context Window   {endpoint.n_ctx}  (under Model Configuration)
# Its command line:
cline auth --provider openai-compatible --baseurl {shlex.quote(endpoint.openai_url)} \\
  --modelid {shlex.quote(endpoint.model)} --apikey {key}
"""
    return Snippet(language="sh", text=text)


def _continue_key(target: Target) -> str:
    return f'the key comes from ~/.continue/.env: echo "{KEY_ENV}=$({target.key_command})" >> ~/.continue/.env'


def _llm_key(target: Target) -> str:
    return f"llm keeps the key itself: llm keys set gpt-oss, and paste what `{target.key_command}` prints"


def _claude_key(target: Target) -> str:
    return f"Claude Code asks for the key when it needs it: {target.key_command}"


_BUILDERS: Mapping[str, Callable[[Target], Snippet]] = {
    "openai-python": _openai_python,
    "openai-node": _openai_node,
    "langchain": _langchain,
    "curl": _curl,
    "open-webui": _open_webui,
    "cline": _cline,
}
_KEY_NOTES: Mapping[str, Callable[[Target], str]] = {
    "claude": _claude_key,
    "continue": _continue_key,
    "llm": _llm_key,
}
