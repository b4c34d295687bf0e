"""Whether a hub can be reached: one question with one deadline, and what a command does where it cannot."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import httpx
import pytest

from launcher.errors import NetworkError
from launcher.store.config import HubConfig
from launcher.store.listing import list_repo
from launcher.store.reach import KEPT_FOR_S, REACH_TIMEOUT_S, Address, Reach, first_hop
from tests.fakes.hub import Hub
from tests.store.build import REPO

NEVER = threading.Event()


class Ways:
    """What connecting comes to, and who was asked for."""

    def __init__(self, outcome: Exception | None = None, *, hangs: bool = False) -> None:
        self.outcome = outcome
        self.hangs = hangs
        self.asked: list[Address] = []

    def __call__(self, address: Address, timeout_s: float) -> None:
        self.asked.append(address)
        if self.hangs:
            NEVER.wait(0.5)
        if self.outcome is not None:
            raise self.outcome


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def test_the_deadline_is_a_few_seconds() -> None:
    assert 5 < REACH_TIMEOUT_S <= 10, "a resolver's second try comes after 5 s"


def test_a_resolver_that_never_answers_costs_the_deadline_once() -> None:
    ways, told = Ways(hangs=True), list[str]()
    reach = Reach(timeout_s=0.05, connect=ways, tell=told.append)
    for _ in range(3):
        with pytest.raises(NetworkError, match=r"no connection to huggingface\.co: no answer within 0 s"):
            reach.check("https://huggingface.co/some/where")
    assert ways.asked == [("huggingface.co", 443)]
    assert told == ["waiting for huggingface.co, 0 s at most; --offline asks nothing of the network"]


def test_the_next_command_does_not_wait_for_it_again_for_a_minute(tmp_path: Path) -> None:
    now = [1_000_000.0]
    ways, kept = Ways(hangs=True), tmp_path / "cache" / "unanswered.json"

    def why(url: str = "https://huggingface.co") -> str | None:
        """Of another command."""
        return Reach(timeout_s=0.05, connect=ways, kept=kept, now=lambda: now[0]).why_not(url)

    assert why() == "no answer within 0 s"
    now[0] += 20
    assert why() == "no answer within 0 s, 20 s ago (it is asked again after a minute)"
    assert len(ways.asked) == 1
    why("https://another.host")
    assert len(ways.asked) == 2
    now[0] += KEPT_FOR_S
    ways.hangs = False
    assert why() is None
    assert why("https://another.host") is None


@pytest.mark.parametrize(
    "content", ["", "[]", "7", '["huggingface.co", 443, "x"]', '["huggingface.co", 443, 1e999]', "\0"]
)
def test_a_damaged_note_of_it_is_none(tmp_path: Path, content: str) -> None:
    kept = tmp_path / "unanswered.json"
    kept.write_text(content)
    assert Reach(connect=Ways(), kept=kept).why_not("https://huggingface.co") is None


def test_a_refusal_is_not_kept_and_a_folder_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    kept = tmp_path / "unanswered.json"
    refused = Ways(ConnectionRefusedError(111, "Connection refused"))
    assert Reach(connect=refused, kept=kept).why_not("http://box") is not None
    assert not kept.exists()
    kept.write_text("a file in place of a folder")
    assert Reach(timeout_s=0.05, connect=Ways(hangs=True), kept=kept / "x").why_not("http://box") is not None


def test_a_refusal_is_told_at_once_and_nothing_is_said_before() -> None:
    told = list[str]()
    reach = Reach(connect=Ways(ConnectionRefusedError(111, "Connection refused")), tell=told.append)
    with pytest.raises(NetworkError, match="Connection refused"):
        reach.check("http://box:8080")
    assert told == []


def test_a_host_that_was_reached_is_not_asked_again() -> None:
    ways = Ways()
    reach = Reach(connect=ways)
    for _ in range(2):
        reach.check("https://huggingface.co/api")
    assert ways.asked == [("huggingface.co", 443)]


def test_an_http_client_asks_again_after_a_failure() -> None:
    """A download tries again, and its network comes back."""
    ways = Ways(OSError("Network is unreachable"))
    reach = Reach(connect=ways)
    client = httpx.Client(
        event_hooks={"request": [reach.hook]},
        transport=httpx.MockTransport(lambda _: httpx.Response(200)),
        trust_env=False,
    )
    with client:
        with pytest.raises(httpx.ConnectError, match="Network is unreachable"):
            client.get("https://cdn.test/a")
        ways.outcome = None
        assert [client.get("https://cdn.test/a").status_code for _ in range(2)] == [200, 200]
    assert len(ways.asked) == 2


@pytest.mark.parametrize(
    ("url", "proxies", "hop"),
    [
        ("https://huggingface.co/x", {}, ("huggingface.co", 443)),
        ("http://[::1]:8080", {}, ("::1", 8080)),
        ("https://huggingface.co", {"https_proxy": "http://proxy.corp:3128"}, ("proxy.corp", 3128)),
        ("https://huggingface.co", {"https_proxy": "proxy.corp:3128"}, ("proxy.corp", 3128)),
        ("https://huggingface.co", {"all_proxy": "socks5://proxy.corp"}, ("proxy.corp", 1080)),
        ("https://hub.corp", {"https_proxy": "http://proxy.corp:3128", "no_proxy": "hub.corp"}, ("hub.corp", 443)),
        ("https://", {}, None),
        ("gopher://huggingface.co", {}, None),
    ],
)
def test_a_proxy_is_what_a_request_connects_to(
    url: str, proxies: dict[str, str], hop: Address | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in proxies.items():
        monkeypatch.setenv(name, value)
    assert first_hop(url) == hop


@pytest.mark.parametrize("url", ["https://hub:99999", "https://[::1", "https://"])
def test_what_is_no_address_is_left_to_the_request(url: str) -> None:
    assert Reach(connect=Ways(OSError("must not be asked"))).why_not(url) is None


def test_a_listing_asks_first(hub: Hub) -> None:
    config = HubConfig(endpoint=hub.url, cache_dir=Path("unused"))
    with pytest.raises(NetworkError, match="no network here"):
        list_repo(REPO, config=config, reach=Reach(connect=Ways(OSError("no network here"))))
    assert len(hub.requests) == 0
    assert list_repo(REPO, config=config).repo == REPO


def test_a_name_that_hangs_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """The real way of connecting, with a resolver that does not answer."""
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: NEVER.wait(0.5) or [])
    assert Reach(timeout_s=0.05).why_not("https://huggingface.co") == "no answer within 0 s"
