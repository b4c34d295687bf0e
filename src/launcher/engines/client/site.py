"""Where a server is, and the key for it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from urllib.parse import quote, urljoin, urlsplit

from launcher.errors import UsageError

KEY_VARIABLES = ("GPT_OSS_API_KEY", "OPENAI_API_KEY")
"""Looked at in this order."""
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_PORTS = {"http": 80, "https": 443}
_SUFFIXES = ("/chat/completions", "/models")
"""Ends of addresses that people copy from documentation."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Key:
    """An API key, and where it comes from. Its text is in no `repr`."""

    text: str = field(repr=False)
    source: str
    """`OPENAI_API_KEY`, or the path of a file."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Site:
    """A server's address, taken apart."""

    scheme: str
    host: str
    port: int
    api_path: str
    """Path of the OpenAI API: `/v1`."""

    @property
    def root_path(self) -> str:
        """Path that llama-server's own routes begin with."""
        return self.api_path.removesuffix("/v1")

    @property
    def is_local(self) -> bool:
        """Whether it is this machine."""
        return self.host in LOOPBACK or self.host.startswith("127.")

    @property
    def netloc(self) -> str:
        """Host and port, the latter where it is not the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """The base URL, for messages: it holds no secret."""
        return f"{self.scheme}://{self.netloc}{self.api_path}"


def parse_site(url: str) -> Site:
    """Take a URL apart. Without a scheme it is http on this machine and https elsewhere; without a path, `/v1`.

    Raises:
        UsageError: it is no URL of a server, or it holds a password.
    """
    text = url.strip()
    if "://" not in text:
        host = urlsplit(f"//{text}").hostname or ""
        text = f"{'http' if host in LOOPBACK or host.startswith('127.') else 'https'}://{text}"
    try:
        parts = urlsplit(text)
        scheme, host, port = parts.scheme.lower(), parts.hostname or "", parts.port
        host.encode("ascii" if ":" in host else "idna")
    except ValueError:  # a UnicodeError too
        raise _no_url(url) from None
    if scheme not in _PORTS or not host or any(char.isspace() for char in text):
        raise _no_url(url)
    if "@" in parts.netloc:
        raise UsageError(
            f"the address of {host} holds a name or password: put the API key into {KEY_VARIABLES[0]} instead",
            hint="GPT_OSS_API_KEY=KEY gpt-oss chat",
        )
    path = quote(parts.path.rstrip("/"), safe="/%:@~!$&'()*+,;=-._")
    for suffix in _SUFFIXES:
        path = path.removesuffix(suffix)
    return Site(scheme=scheme, host=host, port=port or _PORTS[scheme], api_path=path or "/v1")


def _no_url(url: str) -> UsageError:
    shown = "".join(char if char.isprintable() else "?" for char in url.rpartition("@")[2])[:60]
    return UsageError(f"{shown!r} is no address of a server: say http://HOST:PORT/v1", hint="gpt-oss connect")


def redirected(site: Site, path: str, location: str) -> tuple[Site, str] | None:
    """Where a redirect leads, or None where it leaves the host: neither key nor conversation go along then.

    The one change of address that is followed is from http to https on the same host.
    """
    try:
        parts = urlsplit(urljoin(f"{site.scheme}://{site.netloc}{path}", location))
        scheme, host = parts.scheme.lower(), parts.hostname or ""
        port = parts.port or _PORTS.get(scheme, 0)
    except ValueError:
        return None
    upgraded = site.scheme == "http" and scheme == "https"
    if host != site.host or not (upgraded or (scheme == site.scheme and port == site.port)):
        return None
    target = parts.path + (f"?{parts.query}" if parts.query else "")
    return replace(site, scheme=scheme, port=port), target or "/"


def key_of(environ: Mapping[str, str]) -> Key | None:
    """The key that the environment holds.

    Raises:
        UsageError: it cannot be sent.
    """
    for name in KEY_VARIABLES:
        text = environ.get(name, "").strip()
        if text:
            return checked_key(Key(text=text, source=name))
    return None


def checked_key(key: Key) -> Key:
    """The key, as a header can carry it.

    Raises:
        UsageError: it cannot be sent. The message does not show it.
    """
    if not key.text.isascii() or not key.text.isprintable() or " " in key.text:
        raise UsageError(f"{key.source} holds characters that no API key has", hint="GPT_OSS_API_KEY=KEY gpt-oss chat")
    return key
