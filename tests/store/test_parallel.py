"""Several connections at once: every byte comes once, from wherever it can be had, and no faster than allowed."""

from __future__ import annotations

import re
import socket
import threading
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import pytest

from launcher.errors import NetworkError
from launcher.store.connection import Connection, TransientError, default_client
from launcher.store.hub import Outside, Pace, fetch, list_repo, open_remote
from launcher.store.journal import PIECE_BYTES, open_journal
from launcher.store.local import find_cached
from launcher.store.pace import RateLimit
from launcher.store.part_file import DiskFile
from launcher.store.partial import Partial
from launcher.store.refusals import Asked
from launcher.store.source import Source
from launcher.store.transfer import Line, fetch_range
from tests.fakes.hub import Hub, loopback_hub
from tests.store.build import (
    PATH,
    REPO,
    SPLIT,
    Naps,
    Remembered,
    child_fetch,
    config,
    gguf,
    model_file,
    parts_in,
    wait_until,
)

MB = 1_000_000
LARGE = gguf(6 * PIECE_BYTES + 12345, seed=3)
NOBODY = "http://127.0.0.1:9"
"""The discard port, where nobody listens."""


def spans(hub: Hub) -> list[tuple[int, int]]:
    """Ranges that storage was asked for, in order of place; an open one ends with the file."""
    found = []
    for seen in hub.requests.of("cdn", "GET"):
        match = re.fullmatch(r"bytes=(\d+)-(\d*)", seen.range or "bytes=0-")
        assert match is not None
        found.append((int(match[1]), int(match[2] or len(LARGE) - 1) + 1))
    return sorted(found)


def test_one_file_comes_in_ranges_that_touch_and_do_not_overlap(cache_dir: Path) -> None:
    with loopback_hub({REPO: {PATH: LARGE}}) as hub:
        local = fetch(model_file(hub), config=config(hub, cache_dir), pace=Pace(n_connections=3))
        assert local.first.read_bytes() == LARGE
        found = spans(hub)
        assert len(found) >= 3
        assert [start for start, _ in found] == [0, *(end for _, end in found[:-1])]
        assert hub.requests.body_bytes("cdn") == len(LARGE)


def test_ranges_come_at_the_same_time_and_no_more_than_allowed(cache_dir: Path) -> None:
    """Each waits until the other has been asked for: one after the other they would never end."""
    with loopback_hub({REPO: {PATH: LARGE}}) as hub:
        meet = threading.Barrier(2)
        at_once: list[int] = []
        open_now: list[int] = []

        class Meeting(httpx.HTTPTransport):
            def handle_request(self, request: httpx.Request) -> httpx.Response:
                if request.method == "GET" and "/cdn/" in request.url.path:
                    open_now.append(1)
                    at_once.append(len(open_now))
                    if len(at_once) <= 2:
                        meet.wait(10)
                    open_now.pop()
                return super().handle_request(request)

        def client() -> httpx.Client:
            return httpx.Client(transport=Meeting(), follow_redirects=True)

        outside = Outside(client=client)
        local = fetch(model_file(hub), config=config(hub, cache_dir), pace=Pace(n_connections=2), outside=outside)
        assert local.first.read_bytes() == LARGE
        assert max(at_once) == 2


def test_ranges_share_connections(cache_dir: Path) -> None:
    """An answer that was not read to its very end closed its connection: a handshake for every 64 MiB."""
    with loopback_hub({REPO: {PATH: LARGE}}) as hub:
        fetch(model_file(hub), config=config(hub, cache_dir), pace=Pace(n_connections=2))
        peers = [seen.peer for seen in hub.requests.of("cdn", "GET")]
        assert len(peers) > 2
        assert len(set(peers)) <= 2


def test_the_hub_is_asked_once_for_the_storage_address(cache_dir: Path) -> None:
    """The hub counts its answers; each range of a large file would be two questions instead of one."""
    with loopback_hub({REPO: {PATH: LARGE}}) as hub:
        fetch(model_file(hub), config=config(hub, cache_dir), pace=Pace(n_connections=1))
        assert len(hub.requests.of("resolve", "GET")) == 1


def test_an_address_that_ran_out_is_asked_for_anew(cache_dir: Path) -> None:
    with loopback_hub({REPO: {PATH: LARGE}}) as hub:
        faults = hub.file(REPO, PATH).faults
        faults.status, faults.times, faults.after_requests, faults.routes = 403, 1, 2, frozenset({"cdn"})
        naps = Naps()
        local = fetch(model_file(hub), config=config(hub, cache_dir), pace=Pace(n_connections=2), outside=naps.outside)
        assert local.first.read_bytes() == LARGE
        assert sorted(seen.status for seen in hub.requests.of("cdn")) == [206] * len(spans(hub)[1:]) + [403]
        assert naps.asked_s == []


def test_a_server_that_ignores_ranges_is_read_by_one_connection(cache_dir: Path) -> None:
    with loopback_hub({REPO: {PATH: LARGE}}) as hub:
        hub.file(REPO, PATH).faults.ignore_range = True
        local = fetch(model_file(hub), config=config(hub, cache_dir), pace=Pace(n_connections=4))
        assert local.first.read_bytes() == LARGE


def test_the_next_part_begins_while_the_last_one_ends(cache_dir: Path) -> None:
    with loopback_hub({REPO: {path: gguf(9000 + no, seed=no) for no, path in enumerate(SPLIT)}}) as hub:
        release = threading.Event()

        class Slow(httpx.HTTPTransport):
            def handle_request(self, request: httpx.Request) -> httpx.Response:
                if request.method == "GET" and "00001-of" in request.url.path and "/cdn/" in request.url.path:
                    assert release.wait(10)
                if request.method == "GET" and "00003-of" in request.url.path:
                    release.set()
                return super().handle_request(request)

        outside = Outside(client=lambda: httpx.Client(transport=Slow(), follow_redirects=True))
        progress = Remembered()
        local = fetch(
            model_file(hub, *SPLIT),
            config=config(hub, cache_dir),
            pace=Pace(n_connections=2),
            outside=outside,
            progress=progress,
        )
        assert [path.stat().st_size for path in local.paths] == [9000, 9001, 9002]
        assert progress.done_bytes == 27003


def test_a_limit_slows_all_connections_together(cache_dir: Path) -> None:
    with loopback_hub({REPO: {PATH: LARGE}}) as hub:
        naps = Naps()
        limit = 5 * MB
        pace = Pace(n_connections=4, limit_bytes_per_s=limit)
        fetch(model_file(hub), config=config(hub, cache_dir), pace=pace, outside=naps.outside)
        # The sleeps take no time here, so the last is told of all that is owed: 5 s, less those that passed.
        assert max(naps.asked_s) > 1.0


def test_a_mirror_helps_where_the_hub_is_not_reached_and_gets_no_token(cache_dir: Path) -> None:
    with loopback_hub({REPO: {PATH: LARGE}}) as mirror:
        settings = replace(
            config(mirror, cache_dir, token="hf_secret"), endpoint=NOBODY, mirrors=(NOBODY + "1", mirror.url)
        )
        listing = list_repo(REPO, config=settings)
        assert [file.path for file in listing.files] == [PATH]
        with open_remote(REPO, PATH, config=settings) as stream:
            assert stream.read(4) == b"GGUF"
        local = fetch(model_file(mirror), config=settings, outside=Naps().outside)
        assert local.first.read_bytes() == LARGE
        assert {seen.authorization for seen in mirror.requests} == {None}


def test_where_no_mirror_helps_the_hubs_own_trouble_is_told(hub: Hub, cache_dir: Path) -> None:
    settings = replace(config(hub, cache_dir), endpoint=NOBODY, mirrors=(NOBODY + "1",))
    for ask in (
        lambda: list_repo(REPO, config=settings),
        lambda: fetch(model_file(hub), config=settings, outside=Naps().outside),
    ):
        with pytest.raises(NetworkError, match=r"no connection to 127\.0\.0\.1") as raised:
            ask()
        assert f"The mirror {NOBODY}1 did not help" in raised.value.details[-1]


def test_a_refusal_is_not_taken_to_a_mirror(hub: Hub, cache_dir: Path) -> None:
    with loopback_hub({REPO: {PATH: gguf(600_000)}}) as mirror:
        hub.repos[REPO].gated, hub.repos[REPO].token = True, "hf_other"
        settings = replace(config(hub, cache_dir), mirrors=(mirror.url,))
        with pytest.raises(NetworkError, match="is gated"):
            fetch(model_file(hub), config=settings)
        assert len(mirror.requests) == 0


def test_a_hub_that_fails_half_way_is_left_for_a_mirror_and_nothing_comes_twice(cache_dir: Path) -> None:
    with ExitStack() as stack:
        hub, mirror = (stack.enter_context(loopback_hub({REPO: {PATH: LARGE}})) for _ in range(2))
        hub.file(REPO, PATH).faults.cut_at = 5 * PIECE_BYTES
        progress = Remembered()
        settings = replace(config(hub, cache_dir, token="hf_secret"), mirrors=(mirror.url,))
        local = fetch(
            model_file(hub),
            config=settings,
            progress=progress,
            pace=Pace(n_connections=1),
            outside=Naps().outside,
        )
        assert local.first.read_bytes() == LARGE
        assert hub.requests.body_bytes("cdn") + mirror.requests.body_bytes("cdn") == len(LARGE)
        assert any(f"going on at {mirror.url}" in phase for phase in progress.phases)
        assert {seen.authorization for seen in mirror.requests} == {None}


def test_a_mirror_that_has_another_file_is_not_taken(cache_dir: Path) -> None:
    with ExitStack() as stack:
        hub = stack.enter_context(loopback_hub({REPO: {PATH: LARGE}}))
        mirror = stack.enter_context(loopback_hub({REPO: {PATH: gguf(len(LARGE), seed=9)}}))
        hub.file(REPO, PATH).faults.cut_at = PIECE_BYTES
        settings = replace(config(hub, cache_dir), mirrors=(mirror.url,))
        with pytest.raises(NetworkError, match="broke off"):
            fetch(model_file(hub), config=settings, outside=Naps().outside)
        assert mirror.requests.body_bytes("cdn") == 0


def test_a_file_that_arrives_damaged_comes_from_the_mirror_the_second_time(cache_dir: Path) -> None:
    with ExitStack() as stack:
        hub, mirror = (stack.enter_context(loopback_hub({REPO: {PATH: LARGE}})) for _ in range(2))
        hub.file(REPO, PATH).faults.wrong_bytes = True
        settings = replace(config(hub, cache_dir), mirrors=(mirror.url,))
        assert fetch(model_file(hub), config=settings).first.read_bytes() == LARGE


def test_damage_on_the_wire_that_happens_once_costs_the_file_once_more(hub: Hub, cache_dir: Path) -> None:
    hub.file(REPO, PATH).faults.wrong_chunks = 1
    progress = Remembered()
    local = fetch(model_file(hub), config=config(hub, cache_dir), progress=progress)
    assert local.first.read_bytes() == gguf(600_000)
    assert hub.requests.body_bytes("cdn") == 2 * 600_000
    assert any("arrived damaged" in phase and "all of it is fetched again" in phase for phase in progress.phases)
    assert progress.done_bytes == 600_000


@dataclass
class Silence:
    """A server on loopback that accepts, sends a part of the answer, and then nothing for ever."""

    sent: bytes

    def serve(self, listener: socket.socket, over: threading.Event) -> None:
        peer, _ = listener.accept()
        with peer:
            peer.recv(65536)
            peer.sendall(self.sent)
            over.wait(20)


def test_a_connection_that_falls_silent_is_opened_anew(cache_dir: Path) -> None:
    """A laptop that slept, a network that changed: the old connection says nothing for ever."""
    with loopback_hub({REPO: {PATH: LARGE}}) as hub, socket.create_server(("127.0.0.1", 0)) as listener:
        over = threading.Event()
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(LARGE)}\r\n\r\n".encode()
        silent = Silence(head + LARGE[:100_000])
        thread = threading.Thread(target=silent.serve, args=(listener, over))
        thread.start()
        port = listener.getsockname()[1]
        first = threading.Event()

        class Detour(httpx.HTTPTransport):
            def handle_request(self, request: httpx.Request) -> httpx.Response:
                if request.method == "GET" and "/cdn/" in request.url.path and not first.is_set():
                    first.set()
                    request.url = request.url.copy_with(port=port)
                return super().handle_request(request)

        outside = replace(
            Naps().outside,
            client=lambda: httpx.Client(transport=Detour(), follow_redirects=True, timeout=httpx.Timeout(0.3)),
        )
        progress = Remembered()
        try:
            local = fetch(
                model_file(hub),
                config=config(hub, cache_dir),
                pace=Pace(n_connections=1),
                outside=outside,
                progress=progress,
            )
        finally:
            over.set()
            thread.join()
        assert local.first.read_bytes() == LARGE
        assert any("trying again" in phase for phase in progress.phases)


def test_a_second_process_takes_over_when_the_first_is_killed(cache_dir: Path) -> None:
    content = gguf(3 * MB)
    with loopback_hub({REPO: {PATH: content}}) as hub:
        hub.faults.bytes_per_s = 6 * MB
        file = model_file(hub)
        env = {"HF_ENDPOINT": hub.url, "HF_HUB_CACHE": str(cache_dir), "HOME": str(cache_dir)}
        with child_fetch(file, env) as child:
            wait_until(lambda: any(part.stat().st_size > MB for part in parts_in(cache_dir)))

            class Kill(Remembered):
                def phase(self, text: str) -> None:
                    super().phase(text)
                    if "another process" in text:
                        child.kill()

            progress = Kill()
            local = fetch(file, config=config(hub, cache_dir), progress=progress)
        assert local.first.read_bytes() == content
        assert any("so far: waiting for it" in phase for phase in progress.phases)
        assert progress.done_bytes == len(content)
        assert hub.requests.body_bytes("cdn") < len(content) + 4 * MB
        assert find_cached(file, cache_dir) == local.first


def test_the_client_goes_through_the_proxy_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    with default_client() as client, pytest.raises(httpx.ConnectError):
        client.get("https://127.0.0.1:1/")


@pytest.mark.parametrize("proxy", ["socks5://me:secret@127.0.0.1:9", "ftp://me:secret@127.0.0.1:9"])
def test_a_proxy_of_another_kind_is_named_without_its_password(monkeypatch: pytest.MonkeyPatch, proxy: str) -> None:
    """httpx wants a package for SOCKS that is not here; it raised ImportError."""
    monkeypatch.setenv("ALL_PROXY", proxy)
    with pytest.raises(NetworkError, match="a proxy that downloads can't use") as raised:
        default_client()
    assert "secret" not in str(raised.value)


@dataclass
class Ticks:
    """A clock that goes on by a second whenever it is looked at."""

    now: float = 0.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


@pytest.mark.parametrize(("fastest", "crawls"), [(100 * MB, True), (0.0, False)])
def test_a_connection_that_crawls_beside_another_is_given_up_with_what_it_brought(
    cache_dir: Path, fastest: float, *, crawls: bool
) -> None:
    cache_dir.mkdir()
    partial = Partial(DiskFile(cache_dir / "part"), open_journal(cache_dir / "journal", len(LARGE))[0])
    line = Line(
        limit=RateLimit(None, Ticks()), sleep=lambda _: None, fastest=lambda: fastest, clock=Ticks()
    )  # 64 KiB chunks at a few seconds each
    with loopback_hub({REPO: {PATH: LARGE}}) as hub, default_client() as client:
        connection = Connection(config(hub, cache_dir), client, lambda _: None)
        source = Source(connection, connection.look_up(Asked(endpoint=hub.url, repo=REPO, path=PATH)))
        claim = partial.claim(1)
        assert claim is not None
        if crawls:
            with pytest.raises(TransientError, match="brings only") as raised:
                fetch_range(source, claim, line)
            assert raised.value.wait_s == 0.0
            assert 0 < partial.done_bytes < len(LARGE)
        else:
            fetch_range(source, claim, line)
            assert partial.is_complete
    partial.close()
    assert (cache_dir / "part").read_bytes() == LARGE[: partial.done_bytes]
