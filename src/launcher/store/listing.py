"""What a hub repository holds, and at which commit, by huggingface_hub."""

from __future__ import annotations

import importlib
from importlib.util import find_spec
from typing import TYPE_CHECKING

from launcher.errors import NetworkError, UsageError
from launcher.store.cache import is_commit, is_sha256
from launcher.store.config import HubConfig, hub_config
from launcher.store.connection import may_pass
from launcher.store.reach import Reach
from launcher.store.refusals import Asked, one_line, refusal, unreachable
from launcher.store.types import HubFile, RepoListing

if TYPE_CHECKING:
    from huggingface_hub.hf_api import RepoSibling

_ABSURD_BYTES = 2**50
"""A thousand times the largest file of a model."""
LISTING_TIMEOUT_S = 10.0
"""The answer is a few kB that the hub gives in under a second; past this the catalogue's fallback serves better."""


def list_repo(
    repo: str,
    *,
    revision: str | None = None,
    config: HubConfig | None = None,
    timeout_s: float = LISTING_TIMEOUT_S,
    reach: Reach | None = None,
) -> RepoListing:
    """List the files of `repo` with sizes and hashes, at the commit that `revision` (None: `main`) stands for now.

    One request, and one to each mirror in order where the hub can't be asked now; `reach` remembers between several
    listings whether there is a way to each. Raises NetworkError where the hub is offline, unreachable or refuses,
    UsageError for a name that can't be a repository.
    """
    config = config or hub_config()
    config.check_online(f"listing {repo}")
    reach = reach or Reach()
    try:
        return _list_at(Asked(endpoint=config.endpoint, repo=repo, revision=revision), config.token, timeout_s, reach)
    except NetworkError as error:
        if not may_pass(error):
            raise
        for mirror in config.mirrors:
            try:
                return _list_at(Asked(endpoint=mirror, repo=repo, revision=revision), None, timeout_s, reach)
            except NetworkError as other:
                error.details += (f"The mirror {mirror} did not help: {other.message}",)
        raise


def _list_at(asked: Asked, token: str | None, timeout_s: float, reach: Reach) -> RepoListing:
    """Ask one hub."""
    reach.check(asked.endpoint)
    repo = asked.repo
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled

    # Else it first asks its default endpoint how to tell which program started this one, without a deadline on the
    # look-up of the name, even where a mirror is listed, and tells the hub. Nothing is told here of who asks.
    constants.HF_HUB_DISABLE_TELEMETRY = True
    # token False, not None: None would make huggingface_hub look for a token by itself.
    api = HfApi(endpoint=asked.endpoint, token=token or False, library_name="gpt-oss-launcher")
    try:
        info = api.model_info(repo, revision=asked.revision, files_metadata=True, timeout=timeout_s)
    except HFValidationError:
        raise UsageError(
            f"not a hub repository: {repo!r} (write it like owner/name)", hint="gpt-oss plan --model auto"
        ) from None
    except OfflineModeIsEnabled:
        raise NetworkError(f"listing {repo} needs the hub, and huggingface_hub is offline") from None
    except HfHubHTTPError as error:
        raise refusal(error.response.status_code, error.response.headers, asked) from error
    except transport_errors() as error:
        raise unreachable(str(error), asked) from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        # A proxy or a network's login page that answers 200 with HTML, or JSON of another shape.
        raise NetworkError(
            f"{asked.endpoint} answered with something that is no listing of {repo}: {one_line(str(error))[:80]}",
            url=asked.endpoint,
            hint="env -u HF_ENDPOINT gpt-oss plan",
        ) from error
    if not isinstance(info.sha, str) or not is_commit(info.sha) or info.siblings is None:
        raise NetworkError(f"{asked.endpoint} lists {repo} without a commit or files", url=asked.endpoint)
    return RepoListing(repo=repo, commit=str(info.sha), files=tuple(map(_hub_file, _named(info.siblings))))


def _named(siblings: list[RepoSibling]) -> list[RepoSibling]:
    """Without entries that are no files: nothing checks the types of a listing, whatever its records promise."""
    return [sibling for sibling in siblings if isinstance(sibling.rfilename, str)]


def _hub_file(sibling: RepoSibling) -> HubFile:
    sha256 = sibling.lfs.sha256 if sibling.lfs else None
    size_bytes = sibling.size if sibling.size is not None or sibling.lfs is None else sibling.lfs.size
    known_sha256 = sha256 if isinstance(sha256, str) and is_sha256(sha256) else None
    known_size = isinstance(size_bytes, int) and not isinstance(size_bytes, bool) and 0 <= size_bytes < _ABSURD_BYTES
    return HubFile(
        path=sibling.rfilename,
        size_bytes=size_bytes if known_size else None,
        sha256=known_sha256,
        etag=known_sha256 or sibling.blob_id,
    )


def transport_errors() -> tuple[type[Exception], ...]:
    """Errors of the HTTP client under huggingface_hub: 1.x speaks through httpx, 2.x through its successor httpx2."""
    return tuple(importlib.import_module(name).TransportError for name in ("httpx", "httpx2") if find_spec(name))
