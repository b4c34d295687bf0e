"""How a client is started on the server for one run, without touching its settings files. Pure.

Settings on the command line come before those of files, wherever a client knows both. The key never goes there: other
users can list a command line.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from launcher.clients.configs import claude_settings, codex_profile, codex_provider, opencode_provider
from launcher.clients.types import KEY_ENV, NO_KEY, PROVIDER, Client, Launch, Target
from launcher.errors import UsageError


def launch(client: Client, target: Target, args: Sequence[str]) -> Launch:
    """The command that starts a client on the server.

    Raises:
        UsageError: this client cannot be started so.
    """
    builder = _BUILDERS.get(client.name)
    if builder is None:
        raise UsageError(
            f"{client.title} cannot be started here: gpt-oss launch knows {', '.join(_BUILDERS)}",
            hint=f"gpt-oss connect {client.name}",
        )
    return builder(target, tuple(args))


def _codex(target: Target, args: tuple[str, ...]) -> Launch:
    provider = {key: value for key, value in codex_provider(target).items() if value is not None}
    settings = {f"model_providers.{PROVIDER}": provider, **codex_profile(target)}
    flags = [word for name, value in settings.items() for word in ("--config", f"{name}={_toml(value)}")]
    return Launch(program="codex", args=(*flags, *args), env={}, key_envs=(KEY_ENV,))


def _toml(value: Any) -> str:
    """A value as Codex reads it on its command line. JSON's strings are TOML's as well."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key} = {_toml(item)}" for key, item in value.items()) + "}"
    return json.dumps(value)


def _claude(target: Target, args: tuple[str, ...]) -> Launch:
    settings = claude_settings(target)
    # A token in the person's own settings would come before the command that prints the key.
    env = {name: "" if value is None else value for name, value in settings["env"].items()}
    return Launch(
        program="claude",
        # Not the environment: the `env` of the person's settings files would override that.
        args=("--settings", json.dumps({**settings, "env": env}), *args),
        env={},
        key_envs=(KEY_ENV,),
        unset=(
            "ANTHROPIC_API_KEY",
            "ANTHROPIC_AUTH_TOKEN",
            "CLAUDE_CODE_USE_BEDROCK",
            "CLAUDE_CODE_USE_FOUNDRY",
            "CLAUDE_CODE_USE_VERTEX",
        ),
    )


def _opencode(target: Target, args: tuple[str, ...]) -> Launch:
    provider = opencode_provider(target)
    options = {key: value for key, value in provider["options"].items() if value is not None}
    model = f"{PROVIDER}/{target.endpoint.model}"
    content = {"model": model, "small_model": model, "provider": {PROVIDER: {**provider, "options": options}}}
    return Launch(
        program="opencode", args=args, env={"OPENCODE_CONFIG_CONTENT": json.dumps(content)}, key_envs=(KEY_ENV,)
    )


def _aider(target: Target, args: tuple[str, ...]) -> Launch:
    endpoint = target.endpoint
    flags = ("--model", f"openai/{endpoint.model}", "--openai-api-base", endpoint.openai_url)
    return Launch(
        program="aider",
        # It would warn that it does not know the model's context and price.
        args=(*flags, "--no-show-model-warnings", *args),
        env={
            # Its library would fetch a list of prices at every start, and wait for it where there is no network.
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            # Without a key it would send the one that the person has for OpenAI.
            **({} if target.keyed else {"AIDER_OPENAI_API_KEY": NO_KEY}),
        },
        key_envs=("AIDER_OPENAI_API_KEY",),
    )


def _llm(target: Target, args: tuple[str, ...]) -> Launch:
    if target.keyed:
        raise UsageError(
            "llm takes a key for one run on its command line alone, where other users can read it",
            hint="gpt-oss connect llm --write",
        )
    endpoint = target.endpoint
    words = ("openai", "endpoint", endpoint.openai_url, "--model", endpoint.model)
    return Launch(program="llm", args=(*words, *(args or ("--chat",))), env={})


_BUILDERS: Mapping[str, Callable[[Target, tuple[str, ...]], Launch]] = {
    "codex": _codex,
    "claude": _claude,
    "opencode": _opencode,
    "aider": _aider,
    "llm": _llm,
}
