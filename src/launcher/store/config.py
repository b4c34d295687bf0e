"""Which hub, as whom, and into which folder: the HF_* environment, read once per command."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from launcher.errors import NetworkError, UsageError
from launcher.store.local import expand, hub_cache_dir, hub_home

DEFAULT_ENDPOINT = "https://huggingface.co"
_TRUE = {"1", "ON", "YES", "TRUE"}


@dataclass(frozen=True, kw_only=True, slots=True)
class HubConfig:
    """What a request to the hub needs to know."""

    endpoint: str = DEFAULT_ENDPOINT
    """HF_ENDPOINT without a slash at the end."""
    token: str | None = None
    """Sent to the endpoint only, never to the host that a download is redirected to."""
    cache_dir: Path
    offline: bool = False
    """HF_HUB_OFFLINE: no request is made at all."""
    mirrors: tuple[str, ...] = ()
    """More hubs, asked in this order where the endpoint can't be reached or fails. None of them is sent the token."""

    def __repr__(self) -> str:
        """Leave the token out: this may end in a log."""
        shown = "None" if self.token is None else "'***'"
        where = f"endpoint={self.endpoint!r}, mirrors={self.mirrors!r}, cache_dir={self.cache_dir!r}"
        return f"HubConfig({where}, offline={self.offline}, token={shown})"

    def check_online(self, wanted: str) -> None:
        """Raise NetworkError in offline mode, saying that `wanted` would need the hub."""
        if self.offline:
            raise NetworkError(
                f"{wanted} needs the hub, and HF_HUB_OFFLINE is set",
                url=self.endpoint,
                hint="env -u HF_HUB_OFFLINE -u TRANSFORMERS_OFFLINE gpt-oss pull",
                details=OFFLINE_WAYS,
            )


OFFLINE_WAYS = (
    "Without the hub, a model that is on this disk runs: gpt-oss chat --model PATH",
    "The demo model is part of this package: gpt-oss chat --demo",
)


def hub_config(
    env: Mapping[str, str] | None = None, *, cache_dir: Path | None = None, mirrors: tuple[str, ...] = ()
) -> HubConfig:
    """Read HF_ENDPOINT, HF_TOKEN, HF_HOME, HF_HUB_CACHE and HF_HUB_OFFLINE.

    Of the process's own environment (`env` None) the token comes from huggingface_hub, which also knows a stored login
    and renews it. Raises UsageError for an endpoint or a mirror that is no URL.
    """
    if env is None:
        from huggingface_hub import get_token

        source: Mapping[str, str] = os.environ
        try:
            stored = get_token()
        except (OSError, ValueError) as error:
            reason = (error.strerror if isinstance(error, OSError) else None) or "it is no text"
            raise UsageError(f"the stored login of the hub can't be read: {reason}", hint="hf auth login") from error
    else:
        source = env
        stored = stored_token(env)
    endpoint = hub_endpoint(source)
    _check_no_password(endpoint, "HF_ENDPOINT", hint="env -u HF_ENDPOINT gpt-oss plan")
    if not is_web_address(endpoint):
        raise UsageError(
            f"HF_ENDPOINT is no web address: {endpoint!r} (write it like {DEFAULT_ENDPOINT})",
            hint="env -u HF_ENDPOINT gpt-oss plan",
        )
    if stored is not None and not (stored.isascii() and stored.isprintable()):
        # An HTTP client would refuse it as well, with the token in its message.
        raise UsageError(
            "the token of HF_TOKEN, or of the stored login, has characters that no token has", hint="hf auth login"
        )
    for mirror in mirrors:
        _check_no_password(mirror, "a mirror", hint="gpt-oss config edit")
        if not is_web_address(mirror):
            raise UsageError(
                f"no web address among the mirrors: {mirror!r} (write it like {DEFAULT_ENDPOINT})",
                hint="gpt-oss config edit",
            )
    return HubConfig(
        endpoint=endpoint,
        mirrors=tuple(mirror.rstrip("/") for mirror in mirrors if mirror.rstrip("/") != endpoint),
        token=None if _is_true(source.get("HF_HUB_DISABLE_IMPLICIT_TOKEN")) else stored,
        cache_dir=hub_cache_dir(source) if cache_dir is None else cache_dir,
        offline=hub_is_offline(source),
    )


def hub_endpoint(env: Mapping[str, str]) -> str:
    """HF_ENDPOINT as huggingface_hub reads it, without a slash at the end."""
    return env.get("HF_ENDPOINT", "").rstrip("/") or DEFAULT_ENDPOINT


def _check_no_password(address: str, what: str, *, hint: str) -> None:
    """Addresses are told in messages and kept with listings; a password in one would be told and kept as well."""
    rest = address.partition("://")[2] or address
    if "@" in rest.partition("/")[0]:
        raise UsageError(f"the address of {what} has a user or a password in it: give a token as HF_TOKEN", hint=hint)


def is_web_address(text: str) -> bool:
    """Whether a hub can be at this address."""
    return text.startswith(("https://", "http://"))


def hub_is_offline(env: Mapping[str, str]) -> bool:
    """HF_HUB_OFFLINE, or where it is not set TRANSFORMERS_OFFLINE, as huggingface_hub reads them."""
    return _is_true(env.get("HF_HUB_OFFLINE") or env.get("TRANSFORMERS_OFFLINE"))


def _is_true(text: str | None) -> bool:
    return text is not None and text.upper() in _TRUE


def stored_token(env: Mapping[str, str]) -> str | None:
    """HF_TOKEN, else what `hf auth login` wrote."""
    given = env.get("HF_TOKEN") or env.get("HUGGING_FACE_HUB_TOKEN")
    if given is None:
        path = Path(expand(env["HF_TOKEN_PATH"], env)) if "HF_TOKEN_PATH" in env else hub_home(env) / "token"
        try:
            given = path.read_text(encoding="utf-8")
        except (OSError, ValueError):
            return None
    return "".join(given.split()) or None
