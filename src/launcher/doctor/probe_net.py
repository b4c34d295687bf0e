"""The hub as it answers from here, the port to serve on, and the clock beside the hub's."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import urlsplit

from launcher.doctor.types import Hub, Port
from launcher.errors import LauncherError, NetworkError
from launcher.server.ports import holder, is_free, next_free
from launcher.server.registry import running
from launcher.store.config import DEFAULT_ENDPOINT, HubConfig, hub_config
from launcher.store.reach import Reach
from launcher.store.refusals import Asked, refusal

HUB_TIMEOUT_S = 4.0
"""For the name, the connection and the answer each; a hub that takes longer is too slow to work with."""
ASKED_REPO = "ggml-org/gpt-oss-20b-GGUF"
"""What is asked for: what a download would ask first."""


def read_hub(
    *,
    offline_by: str | None,
    environ: Mapping[str, str],
    reach: Reach | None = None,
    now_s: Callable[[], float],
) -> Hub:
    """Ask the hub for the listing of a model, with the token where there is one. Its answer tells its clock as well.

    Nothing is asked where `offline_by` says who forbids it.
    """
    try:
        config = hub_config()
    except LauncherError as error:
        return _hub(None, None, offline_by=offline_by, problem=error.message, hint=error.hint)
    source = token_source(config, environ)
    if offline_by is not None:
        return _hub(config, source, offline_by=offline_by)
    url = f"{config.endpoint}/api/models/{ASKED_REPO}"
    why = (reach or Reach(timeout_s=HUB_TIMEOUT_S)).why_not(url)
    if why is not None:
        return _hub(config, source, problem=f"no connection to {_host(config)}: {why}", hint="gpt-oss chat --demo")
    return _asked(config, source, url, now_s)


def _asked(config: HubConfig, source: str | None, url: str, now_s: Callable[[], float]) -> Hub:
    import httpx

    headers = {"User-Agent": "gpt-oss-launcher"}
    if config.token is not None:
        headers["Authorization"] = f"Bearer {config.token}"
    try:
        answer = httpx.get(url, headers=headers, timeout=HUB_TIMEOUT_S, follow_redirects=False)
    except (httpx.HTTPError, httpx.InvalidURL, ImportError, ValueError) as error:
        if isinstance(error, httpx.TimeoutException):
            problem = f"{_host(config)} takes the connection, and does not answer within {HUB_TIMEOUT_S:.0f} s"
        else:
            reason = "the connection broke off" if isinstance(error, httpx.TransportError) else "it can't be asked"
            problem = f"{_host(config)}: {reason} ({type(error).__name__})"
        return _hub(config, source, problem=problem, hint="gpt-oss chat --demo")
    skew_s = clock_skew_s(answer.headers.get("date"), now_s())
    if answer.is_success and "json" in answer.headers.get("content-type", "json"):
        return _hub(config, source, accepted=True if source else None, skew_s=skew_s)
    if answer.is_success or answer.has_redirect_location:
        # A hotel's or a company's network that answers in the hub's place.
        problem = f"{_host(config)} does not answer as a hub does: a login page of this network may stand before it"
        return _hub(config, source, problem=problem, hint="gpt-oss chat --demo", skew_s=skew_s)
    refused: NetworkError = refusal(
        answer.status_code, answer.headers, Asked(endpoint=config.endpoint, repo=ASKED_REPO)
    )
    accepted = False if source and answer.status_code == 401 else None
    return _hub(config, source, problem=refused.message, hint=refused.hint, accepted=accepted, skew_s=skew_s)


def _hub(
    config: HubConfig | None,
    source: str | None,
    *,
    offline_by: str | None = None,
    problem: str | None = None,
    hint: str | None = None,
    accepted: bool | None = None,
    skew_s: float | None = None,
) -> Hub:
    return Hub(
        host=_host(config),
        is_default=config is None or config.endpoint == DEFAULT_ENDPOINT,
        offline_by=offline_by,
        problem=problem,
        hint=hint,
        token_from=source,
        token_accepted=accepted,
        skew_s=skew_s,
    )


def _host(config: HubConfig | None) -> str:
    return (config and urlsplit(config.endpoint).hostname) or "the hub"


def token_source(config: HubConfig, environ: Mapping[str, str]) -> str | None:
    """Where the token comes from; None where there is none."""
    if config.token is None:
        return None
    named = (name for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN") if environ.get(name))
    return next(named, "hf auth login")


def clock_skew_s(date: str | None, now_s: float) -> float | None:
    """The hub's clock less ours, by the `Date` of an answer; None where it has none that can be read."""
    try:
        return parsedate_to_datetime(date or "").timestamp() - now_s
    except (TypeError, ValueError):
        return None


def read_port(host: str, port: int, state_dir: Path) -> Port:
    """Whether a server could listen on the port of the settings, and who does."""
    ours = next((record.model for record in running(state_dir) if record.port == port), None)
    problem = other = following = None
    free = False
    try:
        free = is_free(host, port)
        if not free and ours is None:
            other = holder(port)
            following = next_free(host, port)
    except (LauncherError, OSError, socket.gaierror) as error:
        problem = error.message if isinstance(error, LauncherError) else str(error)
    return Port(host=host, port=port, free=free, problem=problem, model=ours, holder=other, next_free=following)
