"""The clients that the launcher knows, and where each keeps its settings. Pure."""

from __future__ import annotations

import difflib

from launcher.clients.types import Client, ConfigFile
from launcher.errors import UsageError

CODEX_CONFIG = ConfigFile(path=".codex/config.toml", format="toml", folder_env="CODEX_HOME")
# A profile is a file of its own since Codex 0.134, which refuses to start on `[profiles.NAME]` in the other.
CODEX_PROFILE = ConfigFile(path=".codex/gpt-oss.config.toml", format="toml", folder_env="CODEX_HOME")
CLAUDE_SETTINGS = ConfigFile(path=".claude/settings.json", format="json", folder_env="CLAUDE_CONFIG_DIR")
OPENCODE_CONFIG = ConfigFile(
    path=".config/opencode/opencode.json", format="json", other_names=("opencode.jsonc", "config.json")
)
CONTINUE_CONFIG = ConfigFile(
    path=".continue/config.yaml", format="yaml", folder_env="CONTINUE_GLOBAL_DIR", hides="config.json"
)
AIDER_CONFIG = ConfigFile(path=".aider.conf.yml", format="yaml")
AIDER_METADATA = ConfigFile(path=".aider.model.metadata.json", format="json")
LLM_MODELS = ConfigFile(
    path=".config/io.datasette.llm/extra-openai-models.yaml",
    format="yaml",
    macos_path="Library/Application Support/io.datasette.llm/extra-openai-models.yaml",
    windows_path="AppData/Roaming/io.datasette.llm/extra-openai-models.yaml",
    folder_env="LLM_USER_PATH",
)

CLIENTS = (
    Client(name="openai-python", title="OpenAI's Python library", prints="a Python program", aliases=("openai",)),
    Client(name="openai-node", title="OpenAI's Node library", prints="a JavaScript module"),
    Client(
        name="codex",
        title="Codex CLI",
        prints="a provider and a profile",
        files=(CODEX_CONFIG, CODEX_PROFILE),
        install="npm install --global @openai/codex",
        use="codex --profile gpt-oss",
    ),
    Client(
        name="claude",
        title="Claude Code",
        prints="settings: every `claude` then uses the server",
        files=(CLAUDE_SETTINGS,),
        install="npm install --global @anthropic-ai/claude-code",
        aliases=("claude-code",),
        key_env=None,
        use="claude",
    ),
    Client(
        name="opencode",
        title="opencode",
        prints="a provider with its model",
        files=(OPENCODE_CONFIG,),
        install="npm install --global opencode-ai",
        use="opencode --model gpt-oss/{model}",
    ),
    Client(name="cline", title="Cline", prints="a command for its CLI, and what to enter in VS Code"),
    Client(
        name="continue",
        title="Continue",
        prints="a model",
        files=(CONTINUE_CONFIG,),
        key_env=None,
    ),
    Client(
        name="aider",
        title="aider",
        prints="settings: every `aider` then uses the server",
        files=(AIDER_CONFIG, AIDER_METADATA),
        install="uv tool install aider-chat",
        key_env="AIDER_OPENAI_API_KEY",
        use="aider",
    ),
    Client(name="open-webui", title="Open WebUI", prints="environment variables", aliases=("openwebui",)),
    Client(
        name="llm",
        title="llm",
        prints="a model",
        files=(LLM_MODELS,),
        install="uv tool install llm",
        key_env=None,
        use="llm -m {model}",
    ),
    Client(name="langchain", title="LangChain", prints="a Python program"),
    Client(name="curl", title="curl", prints="a command"),
)


def find(name: str) -> Client:
    """The client that is called so.

    Raises:
        UsageError: there is none.
    """
    names = {called: client for client in CLIENTS for called in (client.name, *client.aliases)}
    client = names.get(name.lower())
    if client is None:
        near = difflib.get_close_matches(name.lower(), names, n=1)
        raise UsageError(
            f"no client is called {name!r}" + (f"; did you mean {near[0]!r}?" if near else ""), hint="gpt-oss connect"
        )
    return client
