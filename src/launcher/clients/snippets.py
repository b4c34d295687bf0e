"""What each client is told, as text to paste or run. Pure."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Mapping

from launcher.clients.configs import patches
from launcher.clients.merge import merge
from launcher.clients.types import KEY_ENV, NO_KEY, Client, Snippet, Target
from launcher.system.shell import quoted

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
            lines.append(f"the key comes from the environment: {_exported(client.key_env, target)}")
        if client.name in _KEY_NOTES:
            lines.append(_KEY_NOTES[client.name](target))
    if client.use is not None:
        lines.append(f"then run: {client.use.format(model=target.endpoint.model)}")
    return tuple(lines)


def _exported(name: str, target: Target) -> str:
    if target.system == "win32":
        return f"$env:{name} = {target.key_command}"
    return f"export {name}=$({target.key_command})"


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
    if target.system == "win32":
        lines = [
            f"Invoke-RestMethod {quoted(endpoint.openai_url + '/chat/completions', system='win32')} -Method Post",
            "-ContentType 'application/json'",
            *([f'-Headers @{{Authorization = "Bearer $env:{KEY_ENV}"}}'] if target.keyed else []),
            f"-Body {quoted(body, system='win32')}",
        ]
        return Snippet(language="powershell", text=" `\n  ".join(lines) + "\n")
    words = [
        f"curl {shlex.quote(endpoint.openai_url + '/chat/completions')}",
        "-H 'Content-Type: application/json'",
        *([f'-H "Authorization: Bearer ${KEY_ENV}"'] if target.keyed else []),
        f"-d {shlex.quote(body)}",
    ]
    return Snippet(language="sh", text=" \\\n  ".join(words) + "\n")


def _open_webui(target: Target) -> Snippet:
    windows = target.system == "win32"
    url = target.endpoint.openai_url
    if windows:
        key = f"$env:{KEY_ENV}" if target.keyed else f"'{NO_KEY}'"
        variables = f"$env:OPENAI_API_BASE_URL = '{url}'\n$env:OPENAI_API_KEY = {key}"
    else:
        key = f'"${KEY_ENV}"' if target.keyed else NO_KEY
        variables = f"export OPENAI_API_BASE_URL={shlex.quote(url)}\nexport OPENAI_API_KEY={key}"
    text = f"""\
# Open WebUI keeps what it was first started with: later changes go into Admin Settings, Connections.
# In a container this machine is called host.docker.internal, and the server needs `gpt-oss serve --host 0.0.0.0`.
{variables}
open-webui serve --port {_WEBUI_PORT}
"""
    return Snippet(language="powershell" if windows else "sh", text=text)


def _cline(target: Target) -> Snippet:
    endpoint, system = target.endpoint, target.system
    windows = system == "win32"
    variable = f"$env:{KEY_ENV}" if windows else f'"${KEY_ENV}"'
    key, goes_on = variable if target.keyed else NO_KEY, "`" if windows else "\\"
    shown = f"what `{target.key_command}` prints" if target.keyed else NO_KEY
    text = f"""\
# In VS Code: the gear in Cline's panel, then
#   API Provider     OpenAI Compatible
#   Base URL         {endpoint.openai_url}
#   API Key          {shown}
#   Model ID         {endpoint.model}
#   Context Window   {endpoint.n_ctx}  (under Model Configuration)
# Its command line:
cline auth --provider openai-compatible --baseurl {quoted(endpoint.openai_url, system=system)} {goes_on}
  --modelid {quoted(endpoint.model, system=system)} --apikey {key}
"""
    return Snippet(language="powershell" if windows else "sh", text=text)


def _continue_key(target: Target) -> str:
    add = f'"{KEY_ENV}=$({target.key_command})" >> ~/.continue/.env'
    if target.system == "win32":
        # A text inside of a text: the command's own quotes would end it.
        add = f"'{KEY_ENV}=' + ({target.key_command}) | Add-Content -Encoding utf8 ~/.continue/.env"
        return f"the key comes from ~/.continue/.env: {add}"
    return f"the key comes from ~/.continue/.env: echo {add}"


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
