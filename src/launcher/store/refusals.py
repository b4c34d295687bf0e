"""What the hub's refusals and a broken network mean to a person. Pure: a status and its headers in, an error out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from launcher.errors import NetworkError
from launcher.store.config import OFFLINE_WAYS
from launcher.text import printable
from launcher.units import format_duration

_RATE_LIMIT = re.compile(r'"\w+"\s*;\s*r\s*=\s*0\s*;\s*t\s*=\s*(\d+)')
"""The hub's `RateLimit` header (IETF draft ratelimit-headers-09): `"resolvers";r=0;t=55`, t in seconds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """What a request was about, for the message."""

    endpoint: str
    repo: str
    path: str | None = None
    revision: str | None = None
    retry: str = "gpt-oss plan"
    """Command that tries again."""


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds that the hub asks to wait, by Retry-After or by its rate-limit header; None where it says nothing.

    A Retry-After that is a date is not read: it would need a clock that agrees with the server's.
    """
    lower = {name.lower(): value for name, value in headers.items()}
    text = lower.get("retry-after", "").strip()
    if text.isdigit():
        return float(text)
    match = _RATE_LIMIT.search(lower.get("ratelimit", ""))
    return float(match[1]) if match else None


def refusal(status: int, headers: Mapping[str, str], asked: Asked) -> NetworkError:
    """The error for an answer that is none of 200, 206 and a redirect.

    The hub tells gated, private and missing apart by `X-Error-Code`; without a login it answers 401 for a repository
    that does not exist as well, so as not to give private ones away.
    """
    lower = {name.lower(): value for name, value in headers.items()}
    code = lower.get("x-error-code", "")
    url = f"{asked.endpoint}/{asked.repo}"

    details: tuple[str, ...] = ()
    hint = asked.retry
    if code == "GatedRepo":
        message, hint = f"{asked.repo} is gated: accept its terms on {url}, signed in", "hf auth login"
        details = token_ways(asked.endpoint)
        if status == 403:
            details = ("The account of the token that was sent has not been let in (yet).", *details)
    elif code == "RevisionNotFound":
        message, hint = f"{asked.repo} has no revision {asked.revision}", "gpt-oss plan"
    elif code == "EntryNotFound" or (status == 404 and asked.path is not None and code != "RepoNotFound"):
        message = f"{asked.repo} has no file {asked.path}: it was renamed or removed since it was listed (404)"
        hint = "gpt-oss plan"
    elif status == 401 and "Invalid credentials" in lower.get("x-error-message", ""):
        message, hint = "the hub does not accept the token in HF_TOKEN or of the stored login (401)", "hf auth login"
        details = token_ways(asked.endpoint)
    elif status in {401, 404} or code == "RepoNotFound":
        message = f"the hub knows no repository {asked.repo}, or it is private and needs a login ({status})"
        hint = "hf auth login" if status == 401 else "gpt-oss plan"
        details = token_ways(asked.endpoint) if status == 401 else ()
    elif status == 403:
        message, hint = f"the hub does not let this login read {asked.repo} (403)", "hf auth login"
        details = token_ways(asked.endpoint)
    elif status == 429:
        wait_s = retry_after_s(headers)
        when = "later" if wait_s is None else f"in {format_duration(wait_s)}"
        message = f"the hub has had too many requests from here (429): try again {when}"
        details = ("Requests with a login have a higher limit: hf auth login",)
    elif status >= 500:
        message, details = f"the hub is failing ({status} from {asked.endpoint}): try again later", OFFLINE_WAYS
    else:
        message = f"the hub answered {status} for {asked.path or asked.repo}"
    return NetworkError(message, url=url, status=status, hint=hint, details=details)


def token_ways(endpoint: str) -> tuple[str, ...]:
    """Which token is needed, and where to put it."""
    return (
        f"A token that may read it, of an account that was let in: {endpoint}/settings/tokens",
        "Where it goes: the variable HF_TOKEN, or the file `token` in HF_HOME, which `hf auth login` writes.",
    )


def unreachable(reason: str, asked: Asked) -> NetworkError:
    """The error for a hub that can't be reached at all. `reason` is the transport's own text."""
    host = urlsplit(asked.endpoint).hostname or asked.endpoint
    named = "" if host == "huggingface.co" else f" (HF_ENDPOINT={asked.endpoint})"
    return NetworkError(
        f"no connection to {host}{named}: {one_line(reason) or 'no answer'}",
        url=asked.endpoint,
        hint="gpt-oss chat --demo",
        details=OFFLINE_WAYS[:1],
    )


def not_the_file(asked: Asked, *, url: str, said: str, body: bytes) -> NetworkError:
    """The error for an answer with status 200 whose body is no model: an error page, a network's login page."""
    text = one_line(printable(body[:80].decode("utf-8", "replace")))
    return NetworkError(
        f"{urlsplit(url).hostname} sent something else than {asked.path}: {said}; nothing of that was kept",
        url=url,
        status=200,
        hint=asked.retry,
        details=(f"It begins: {text}",) if text else (),
    )


def one_line(text: str) -> str:
    """`text` without line breaks and runs of spaces."""
    return " ".join(text.split())
