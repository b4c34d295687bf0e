"""What failures of a server mean to a person. Pure: an exception or a status with its body in, an error out.

Whatever a server says may repeat the key, so every text of its own goes through `said`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from launcher.engines.client.site import KEY_VARIABLES, Key, Site
from launcher.errors import EngineError, LauncherError, NetworkError, UsageError
from launcher.text import printable

_MAX_SAID = 300
_OVERFLOW = ("exceed_context_size", "context_length", "context length", "context size", "maximum context")
"""In the type, code or message of a refusal: llama-server, OpenAI, and those who imitate them."""


def unreachable(site: Site, error: OSError) -> NetworkError:
    """No connection."""
    hint = "gpt-oss serve" if site.is_local else "gpt-oss chat --demo"
    name = type(error).__name__
    if isinstance(error, ConnectionRefusedError):
        message = f"nothing listens at {site.netloc}"
        hint = "gpt-oss ps" if site.is_local else hint
    elif name == "gaierror":
        message = f"no address is known for the host {site.host}"
    elif name == "SSLCertVerificationError":
        message = f"the certificate of {site.netloc} cannot be trusted: {getattr(error, 'verify_message', '') or error}"
    elif name.startswith("SSL"):
        message = f"{site.netloc} does not speak TLS: is it http:// rather than https://?"
    elif isinstance(error, TimeoutError):
        message = f"{site.netloc} does not answer"
    else:
        message = f"no connection to {site.netloc}: {error.strerror or error}"
    return NetworkError(message, url=site.url, hint=hint)


def broke_off(site: Site, error: Exception | None = None) -> NetworkError:
    """A connection that ended too early."""
    why = ""
    if isinstance(error, TimeoutError):
        why = ": nothing came for too long"
    elif isinstance(error, OSError) and error.strerror:
        why = f": {error.strerror}"
    message = f"the connection to {site.netloc} broke off in the middle of an answer{why}"
    return NetworkError(message, url=site.url, hint="gpt-oss logs" if site.is_local else "gpt-oss chat --demo")


def no_http(site: Site, error: Exception) -> NetworkError:
    """An answer that does not begin like one."""
    name = type(error).__name__
    if isinstance(error, OSError):  # RemoteDisconnected is one
        if isinstance(error, TimeoutError):
            return NetworkError(f"{site.netloc} does not answer", url=site.url, hint="gpt-oss ps")
        return broke_off(site, error)
    return _not_the_api(site, f"what it sent is no HTTP ({name})")


def _not_the_api(site: Site, why: str, details: tuple[str, ...] = ()) -> NetworkError:
    message = f"{site.url} does not answer as the OpenAI API does: {why}"
    return NetworkError(message, url=site.url, hint="gpt-oss connect", details=details)


def leads_elsewhere(site: Site, location: str) -> NetworkError:
    """A redirect to another host, or in a circle."""
    target = _plain(location.partition("?")[0])
    return NetworkError(
        f"{site.netloc} redirects to {target}; neither the conversation nor a key is sent there",
        url=site.url,
        hint="gpt-oss connect",
    )


def junk(site: Site, kind: str, body: bytes, key: Key | None) -> NetworkError:
    """An answer with status 200 that is neither events nor a completion."""
    begin = said(body.decode("utf-8", "replace"), key)[:80]
    what = f"it sent {_plain(kind) or 'something without a type'}" + (" (a web page)" if "html" in kind else "")
    return _not_the_api(site, what, (f"It begins: {begin}",) if begin else ())


def refusal(
    site: Site, status: int, headers: Mapping[str, str], body: bytes, *, key: Key | None, model: str
) -> LauncherError:
    """The error for an answer that is no success."""
    kind, message, table = _parts(body, key)
    detail = (f"It says: {message}",) if message else ()
    if status in {401, 403}:
        return _key_refused(site, status, key, detail)
    if is_overflow(kind, message):
        return overflow(site, table, detail)
    if status == 404:
        asked = f"{site.url} has no model {model!r}" if "model" in (kind + message).lower() else ""
        text = asked or f"{site.url} has no chat completions (404): is this the base URL of an OpenAI API?"
        return UsageError(text, hint="gpt-oss connect", details=detail)
    return _failed(site, status, headers, message)


def _failed(site: Site, status: int, headers: Mapping[str, str], message: str) -> LauncherError:
    detail = (f"It says: {message}",) if message else ()
    hint = "gpt-oss logs" if site.is_local else "gpt-oss chat --demo"
    if status == 429:
        wait_s = retry_after_s(headers)
        when = "later" if wait_s is None else f"in {wait_s:.0f} s"
        text = f"{site.netloc} has had too many requests, or the account has no credit (429): try again {when}"
    elif status == 503:
        text = f"{site.netloc} does not take requests now (503)"
    elif status >= 500:
        return EngineError(f"{site.netloc} failed ({status})", hint=hint, details=detail)
    else:
        text = f"{site.netloc} does not accept the request ({status})"
        return UsageError(text, hint="gpt-oss chat --help", details=detail)
    return NetworkError(text, url=site.url, status=status, hint=hint, details=detail)


def in_stream(site: Site, error: Any, *, key: Key | None) -> LauncherError:
    """The error for an error event in the middle of an answer."""
    kind, message, table = _parts(json.dumps({"error": error}).encode(), key)
    if is_overflow(kind, message):
        return overflow(site, table, (f"It says: {message}",))
    hint = "gpt-oss logs" if site.is_local else "gpt-oss chat --demo"
    return EngineError(
        f"{site.netloc} failed in the middle of an answer: {message or 'it does not say why'}", hint=hint
    )


def is_overflow(kind: str, message: str) -> bool:
    """Whether a refusal says that the prompt is longer than the context."""
    text = f"{kind} {message}".lower()
    return any(words in text for words in _OVERFLOW)


def overflow(site: Site, table: Mapping[str, Any], details: tuple[str, ...]) -> EngineError:
    """A prompt that is longer than the context."""
    n_prompt, n_ctx = table.get("n_prompt_tokens"), table.get("n_ctx")
    if isinstance(n_prompt, int) and isinstance(n_ctx, int) and n_prompt > 0:
        text = f"the conversation has {n_prompt} tokens and the context of {site.netloc} holds {n_ctx}"
        size = 1 << n_prompt.bit_length()
        return EngineError(text, hint=f"gpt-oss serve --replace --ctx-size {size}")
    return EngineError(
        f"the conversation is longer than the context of {site.netloc}", hint="gpt-oss chat --help", details=details
    )


def is_loading(status: int, body: bytes) -> bool:
    """Whether a refusal says that the model is not in memory yet: llama-server and what stands before it."""
    kind, message, _ = _parts(body, None)
    return status == 503 and (kind == "unavailable_error" or "loading" in message.lower())


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds that a server asks to wait. A date is not read: it would need a clock that agrees with the server's."""
    text = headers.get("retry-after", "").strip()
    return float(text) if text.isdecimal() and len(text) < 10 else None


def said(text: str, key: Key | None) -> str:
    """A server's own words on one line, without the key and without control characters."""
    if key is not None:
        text = text.replace(key.text, "***")
    return _plain(text)


def _plain(text: str) -> str:
    return " ".join(printable(text[:2000]).split())[:_MAX_SAID]


def _key_refused(site: Site, status: int, key: Key | None, details: tuple[str, ...]) -> NetworkError:
    if key is None:
        text = f"{site.netloc} wants an API key ({status}): set {' or '.join(KEY_VARIABLES)}"
    else:
        text = f"{site.netloc} does not accept the key of {key.source} ({status})"
    return NetworkError(text, url=site.url, status=status, hint="GPT_OSS_API_KEY=KEY gpt-oss chat", details=details)


def _parts(body: bytes, key: Key | None) -> tuple[str, str, Mapping[str, Any]]:
    """Type, message and fields of an error document; what is no such document has its text as the message."""
    text = body.decode("utf-8", "replace")
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return "", "" if text.lstrip().startswith("<") else said(text, key), {}
    error = value.get("error", value) if isinstance(value, dict) else value
    if not isinstance(error, dict):
        return "", said(error, key) if isinstance(error, str) else "", {}
    message = error.get("message") or error.get("detail") or ""
    kind = f"{error.get('type') or ''} {error.get('code') or ''}".strip()
    return _bare(kind), said(message if isinstance(message, str) else json.dumps(message), key), error


def _bare(kind: str) -> str:
    """`unavailable_error 503` as its type alone: llama-server's codes are the status once more."""
    first, _, rest = kind.partition(" ")
    return first if rest.isdecimal() else kind
