"""What each client's settings files must hold. Pure.

Every format is the client's own, as of November 2026; the key itself is in none of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from launcher.clients import known
from launcher.clients.types import KEY_ENV, NO_KEY, PROVIDER, PROVIDER_TITLE, Patch, Target

SILENCE_MS = 1_800_000
"""How long a client may wait without hearing anything: half an hour. Reading a full context takes minutes on a CPU,
and a client that gives up in between makes the server begin again."""
_MAX_OUTPUT_TOKENS = 32_768
"""Most that opencode keeps free of its context for an answer."""


def patches(name: str, target: Target) -> tuple[Patch, ...]:
    """What the settings files of a client must hold; nothing for one that has none."""
    builder = _BUILDERS.get(name)
    return () if builder is None else builder(target)


def codex_provider(target: Target) -> dict[str, Any]:
    """The server as a model provider of Codex."""
    return {
        "name": PROVIDER_TITLE,
        "base_url": target.endpoint.openai_url,
        # Codex speaks no other protocol any more.
        "wire_api": "responses",
        "env_key": KEY_ENV if target.keyed else None,
        "stream_idle_timeout_ms": SILENCE_MS,
    }


def codex_profile(target: Target) -> dict[str, Any]:
    """Top-level settings of Codex that choose the server."""
    return {
        "model_provider": PROVIDER,
        "model": target.endpoint.model,
        "model_context_window": target.endpoint.n_ctx,
        # It would tell OpenAI how it is used, also on a server of one's own.
        "analytics": {"enabled": False},
    }


def claude_settings(target: Target) -> dict[str, Any]:
    """Settings of Claude Code. Their `env` overrides the environment that it is started in."""
    endpoint = target.endpoint
    env = {
        "ANTHROPIC_BASE_URL": endpoint.url,
        "ANTHROPIC_MODEL": endpoint.model,
        # Whichever of its own models it would choose for a task, there is one here.
        "ANTHROPIC_DEFAULT_OPUS_MODEL": endpoint.model,
        "ANTHROPIC_DEFAULT_SONNET_MODEL": endpoint.model,
        "ANTHROPIC_DEFAULT_HAIKU_MODEL": endpoint.model,
        "ANTHROPIC_SMALL_FAST_MODEL": endpoint.model,
        # A key of Anthropic's in the environment would be sent along.
        "ANTHROPIC_API_KEY": "",
        # The line that it puts before every prompt changes each time, so that nothing of the KV cache could be reused.
        "CLAUDE_CODE_ATTRIBUTION_HEADER": "0",
        "CLAUDE_CODE_MAX_CONTEXT_TOKENS": str(endpoint.n_ctx),
        "CLAUDE_CODE_AUTO_COMPACT_WINDOW": str(endpoint.n_ctx),
        "API_TIMEOUT_MS": str(SILENCE_MS),
    }
    if target.keyed:
        # A token would come before the command that prints the key.
        return {"apiKeyHelper": target.key_command, "env": {**env, "ANTHROPIC_AUTH_TOKEN": None}}
    return {"env": {**env, "ANTHROPIC_AUTH_TOKEN": NO_KEY}}


def opencode_provider(target: Target) -> dict[str, Any]:
    """The server as a provider of opencode."""
    endpoint = target.endpoint
    return {
        "npm": "@ai-sdk/openai-compatible",
        "name": PROVIDER_TITLE,
        "options": {"baseURL": endpoint.openai_url, "apiKey": f"{{env:{KEY_ENV}}}" if target.keyed else None},
        "models": {
            endpoint.model: {
                "name": endpoint.model,
                "reasoning": True,
                "tool_call": True,
                "limit": {"context": endpoint.n_ctx, "output": min(_MAX_OUTPUT_TOKENS, endpoint.n_ctx // 4)},
            }
        },
    }


def _codex(target: Target) -> tuple[Patch, ...]:
    return (
        Patch(file=known.CODEX_CONFIG, values={"model_providers": {PROVIDER: codex_provider(target)}}),
        Patch(file=known.CODEX_PROFILE, values=codex_profile(target)),
    )


def _claude(target: Target) -> tuple[Patch, ...]:
    return (Patch(file=known.CLAUDE_SETTINGS, values=claude_settings(target)),)


def _opencode(target: Target) -> tuple[Patch, ...]:
    return (
        Patch(
            file=known.OPENCODE_CONFIG,
            values={"provider": {PROVIDER: opencode_provider(target)}},
            defaults={"$schema": "https://opencode.ai/config.json"},
        ),
    )


def _continue(target: Target) -> tuple[Patch, ...]:
    endpoint = target.endpoint
    model = {
        "name": f"{endpoint.model} (local)",
        "provider": "openai",
        "model": endpoint.model,
        "apiBase": endpoint.openai_url,
        # Continue looks such names up in `.env` beside its configuration.
        "apiKey": f"${{{{ secrets.{KEY_ENV} }}}}" if target.keyed else None,
        "capabilities": ["tool_use"],
        "defaultCompletionOptions": {"contextLength": endpoint.n_ctx},
    }
    return (
        Patch(
            file=known.CONTINUE_CONFIG,
            values={"models": [model]},
            defaults={"name": "Local", "version": "1.0.0", "schema": "v1"},
        ),
    )


def _aider(target: Target) -> tuple[Patch, ...]:
    endpoint = target.endpoint
    model = f"openai/{endpoint.model}"
    return (
        Patch(
            file=known.AIDER_CONFIG,
            values={
                "model": model,
                "openai-api-base": endpoint.openai_url,
                # Where the server wants a key it comes from the environment; another service's is none of its business.
                "openai-api-key": None if target.keyed else NO_KEY,
            },
        ),
        Patch(
            file=known.AIDER_METADATA,
            values={
                model: {
                    "max_tokens": endpoint.n_ctx,
                    "max_input_tokens": endpoint.n_ctx,
                    "max_output_tokens": endpoint.n_ctx,
                    "input_cost_per_token": 0,
                    "output_cost_per_token": 0,
                    "litellm_provider": "openai",
                    "mode": "chat",
                }
            },
        ),
    )


def _llm(target: Target) -> tuple[Patch, ...]:
    endpoint = target.endpoint
    model = {
        "model_id": endpoint.model,
        "model_name": endpoint.model,
        "api_base": endpoint.openai_url,
        "api_key_name": PROVIDER if target.keyed else None,
        "can_stream": True,
        "supports_tools": True,
        "supports_schema": True,
        "reasoning": True,
    }
    return (Patch(file=known.LLM_MODELS, values=[model], identity="model_id"),)


_BUILDERS: Mapping[str, Callable[[Target], tuple[Patch, ...]]] = {
    "codex": _codex,
    "claude": _claude,
    "opencode": _opencode,
    "continue": _continue,
    "aider": _aider,
    "llm": _llm,
}
