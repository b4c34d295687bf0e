"""Reads `mcp.json`, in the form that MCP clients share. Pure.

    {"mcpServers": {"files": {"command": "npx", "args": [...], "env": {...}, "cwd": "..."},
                    "web": {"url": "https://...", "headers": {"Authorization": "Bearer ${env:WEB_TOKEN}"}}}}

VS Code calls the outer key `servers`. Only the servers that are asked for are looked at closely, so that one with a
slip does not keep the others from being used.
"""

from __future__ import annotations

import difflib
import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from launcher.errors import DamagedFileError, UsageError
from launcher.tools.mcp_types import McpServer, Transport

_KEYS = ("mcpServers", "servers")
_ALLOW_KEYS = ("autoApprove", "alwaysAllow")
_TRANSPORTS: dict[str, Transport] = {
    "stdio": "stdio",
    "http": "http",
    "streamable-http": "http",
    "streamableHttp": "http",
    "streamable_http": "http",
    "sse": "sse",
}
"""What clients write for `type` (some: `transport`)."""
_VARIABLE = re.compile(r"\$\{(?:env:)?(?P<name>[^}:]+)(?::-(?P<default>[^}]*))?\}|\$\{(?P<other>[^}]*)\}")


@dataclass(frozen=True, kw_only=True, slots=True)
class McpConfig:
    """The servers of a file, not looked at yet."""

    file: str
    entries: Mapping[str, Any]

    @property
    def names(self) -> tuple[str, ...]:
        """What the servers are called, in their order."""
        return tuple(self.entries)

    def server(self, name: str, environ: Mapping[str, str]) -> McpServer:
        """One server, with `${NAME}` filled in from the environment.

        Raises:
            UsageError: there is none of that name, or its entry makes no sense.
        """
        if name not in self.entries:
            close = difflib.get_close_matches(name, self.names, n=1)
            guess = f"; did you mean {close[0]!r}?" if close else ""
            known = f" (it has {', '.join(self.names)})" if self.names and not close else ""
            raise UsageError(f"{self.file}: no MCP server is called {name!r}{guess}{known}", hint=_hint(self.file))
        return _Entry(file=self.file, name=name, environ=environ).read(self.entries[name])


def parse_mcp_config(text: str, *, file: str) -> McpConfig:
    """Read the file's JSON. `file` is its path, for messages.

    Raises:
        DamagedFileError: it is no JSON.
        UsageError: it is JSON, but no such configuration.
    """
    try:
        table = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DamagedFileError(f"{file}: {error}", path=file, hint=_hint(file)) from error
    entries = next((table[key] for key in _KEYS if key in table), None) if isinstance(table, dict) else None
    if not isinstance(entries, dict):
        raise UsageError(f'{file}: expected {{"mcpServers": {{"NAME": {{...}}}}}}', hint=_hint(file))
    return McpConfig(file=file, entries=entries)


def _hint(file: str) -> str:
    return f"ls -l {shlex.quote(file)}"


@dataclass(frozen=True, kw_only=True, slots=True)
class _Entry:
    """Reads one entry; carries what its messages name."""

    file: str
    name: str
    environ: Mapping[str, str]

    def read(self, raw: Any) -> McpServer:
        table = self._table("", raw)
        transport, is_named = self._transport(table)
        allow = [word for key in _ALLOW_KEYS for word in self._texts(key, table.get(key, []))]
        if transport == "stdio":
            return McpServer(
                name=self.name,
                transport=transport,
                command=self._filled("command", table["command"]),
                args=tuple(self._texts("args", table.get("args", []))),
                env=self._mapping("env", table.get("env", {})),
                cwd=None if table.get("cwd") is None else self._filled("cwd", table["cwd"]),
                allow=tuple(allow),
            )
        url = self._filled("url", table["url"])
        if not url.startswith(("http://", "https://")):
            self._fail("url", f"expected http:// or https://, found {_shorten(url)}")
        return McpServer(
            name=self.name,
            transport=transport,
            url=url,
            headers=self._mapping("headers", table.get("headers", {})),
            allow=tuple(allow),
            falls_back=not is_named,
        )

    def _transport(self, table: Mapping[str, Any]) -> tuple[Transport, bool]:
        word = table.get("type", table.get("transport"))
        if ("command" in table) == ("url" in table):
            keys = [key for key in table if key not in ("command", "url")]
            close = [key for word in ("command", "url") for key in difflib.get_close_matches(word, keys, n=1)]
            guess = f"; did you mean it by {close[0]!r}?" if close else ""
            self._fail("", f'expected either "command" or "url"{guess}')
        natural: Transport = "stdio" if "command" in table else "http"
        if word is None:
            return natural, False
        found = _TRANSPORTS.get(word) if isinstance(word, str) else None
        if found is None:
            self._fail("type", f"expected stdio, http or sse, found {_shorten(word)}")
        if (found == "stdio") != (natural == "stdio"):
            self._fail("type", f'{word!r} does not go with "{"command" if natural == "stdio" else "url"}"')
        return found, True

    def _table(self, key: str, raw: Any) -> Mapping[str, Any]:
        if not isinstance(raw, dict):
            self._fail(key, f"expected an object, found {_shorten(raw)}")
        return raw

    def _mapping(self, key: str, raw: Any) -> dict[str, str]:
        return {name: self._filled(f"{key}.{name}", value) for name, value in self._table(key, raw).items()}

    def _texts(self, key: str, raw: Any) -> Sequence[str]:
        if not isinstance(raw, list):
            self._fail(key, f"expected a list of texts, found {_shorten(raw)}")
        return [self._filled(f"{key}[{at}]", value) for at, value in enumerate(raw)]

    def _filled(self, key: str, raw: Any) -> str:
        """A text with its variables replaced."""
        # Numbers are what people write for ports.
        if isinstance(raw, bool) or not isinstance(raw, str | int | float):
            self._fail(key, f"expected text, found {_shorten(raw)}")
        text = str(raw)
        if "\0" in text:
            self._fail(key, "a text with a NUL character")

        def value_of(match: re.Match[str]) -> str:
            name, default = match["name"], match["default"]
            if name is None:
                self._fail(key, f"{match.group()} is for other clients: write the value itself, or ${{env:NAME}}")
            found = self.environ.get(name, default)
            if found is None:
                self._fail(key, f"the environment has no variable {name}")
            return found

        return _VARIABLE.sub(value_of, text)

    def _fail(self, key: str, what: str) -> NoReturn:
        where = f"{self.name}.{key}" if key else self.name
        raise UsageError(f"{self.file}: {where}: {what}", hint=_hint(self.file))


def _shorten(raw: Any) -> str:
    text = repr(raw)
    return text if len(text) <= 40 else text[:37] + "..."
