"""Where the bytes of one file come from: the hub or a mirror, and the storage address that it gave last."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from launcher.errors import NetworkError
from launcher.store.connection import Connection, RemoteFile, origin

if TYPE_CHECKING:
    import httpx

_DIRECT_FOR_S = 300.0
"""A storage address is signed for an hour. Asking it again saves the hub a question for each range: it counts them."""
_ADDRESS_REFUSED = frozenset({400, 401, 403, 404, 410})


class Source:
    """One file on one endpoint after another. All connections that fetch the file share it."""

    def __init__(
        self, connection: Connection, remote: RemoteFile, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.remote = remote
        self._connection = connection
        self._clock = clock
        self._direct: tuple[str, float] | None = None
        self._lock = threading.Lock()

    @contextmanager
    def open(self, wanted: str | None) -> Iterator[httpx.Response]:
        """The answer for a range (the value of a Range header), its body unread; 416 is an answer.

        Raises TransientError for trouble that may pass, NetworkError for a refusal.
        """
        headers = {} if wanted is None else {"Range": wanted}
        remote = self.remote
        with ExitStack() as stack:
            response = self._ask_storage(headers, stack)
            if response is None:
                response = stack.enter_context(self._request(remote.url, headers))
                if response.history and origin(str(response.url)) != origin(remote.url):
                    self._direct = str(response.url), self._clock() + _DIRECT_FOR_S
            yield response

    def _ask_storage(self, headers: dict[str, str], stack: ExitStack) -> httpx.Response | None:
        """The answer of the address that the hub gave last; None where there is none, or it is not good any more."""
        direct = self._direct
        if direct is None or self._clock() >= direct[1]:
            return None
        try:
            return stack.enter_context(self._request(direct[0], headers))
        except NetworkError as error:
            if error.status not in _ADDRESS_REFUSED:
                raise
            self._direct = None
            return None

    @contextmanager
    def _request(self, url: str, headers: dict[str, str]) -> Iterator[httpx.Response]:
        asked = self.remote.asked
        with self._connection.request("GET", url, asked, headers=headers, accept=frozenset({416})) as response:
            yield response

    def forget_address(self) -> None:
        """Ask the hub again at the next request."""
        self._direct = None

    def next_endpoint(self, given_up: RemoteFile) -> bool:
        """Go on with the next mirror that has the very same file; False where there is none.

        `given_up` is what the caller had no luck with: another connection may have moved on already.
        """
        with self._lock:
            if self.remote is not given_up:
                return True
            found = self._connection.same_elsewhere(given_up)
            if found is None:
                return False
            self._direct = None
            self.remote = found
            return True
