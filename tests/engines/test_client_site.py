"""Addresses, keys, proxies and TLS of the HTTP engine."""

from __future__ import annotations

import base64
import shutil
import socket
import socketserver
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from launcher.engines.client import dial
from launcher.engines.client.dial import Interrupt, ProxyRefusedError, StoppedError, proxy_of
from launcher.engines.client.faults import unreachable
from launcher.engines.client.request import most_tokens
from launcher.engines.client.site import Key, Site, checked_key, key_of, parse_site, redirected
from launcher.engines.client.wire import Wire
from launcher.engines.types import Message, ToolCall
from launcher.errors import NetworkError, UsageError
from tests.cli.sandbox import assert_runnable
from tests.fakes.openai_api import DEADLINE_S, answer, openai_api


@pytest.mark.parametrize(
    ("text", "url", "root"),
    [
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080/v1", ""),
        ("localhost:8080", "http://localhost:8080/v1", ""),
        ("https://api.example.com", "https://api.example.com/v1", ""),
        ("api.example.com/openai/v1/", "https://api.example.com/openai/v1", "/openai"),
        ("http://[::1]:80/v1/chat/completions", "http://[::1]/v1", ""),
        ("HTTPS://Example.com:443/v1beta/openai", "https://example.com/v1beta/openai", "/v1beta/openai"),
        ("http://10.0.0.1/my models/v1", "http://10.0.0.1/my%20models/v1", "/my%20models"),
    ],
)
def test_addresses_as_people_write_them(text: str, url: str, root: str) -> None:
    if " " in text:
        with pytest.raises(UsageError):
            parse_site(text)
        text = text.replace(" ", "%20")
    site = parse_site(text)
    assert (site.url, site.root_path) == (url, root)


@pytest.mark.parametrize(
    "text", ["", "ftp://x/", "http://", "http://x:99999", "http://[::1", "http://a..b/", "http://x y/"]
)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_site(text)
    assert_runnable(str(caught.value.hint))


def test_a_password_in_an_address_is_refused_and_not_shown() -> None:
    for text in ("https://me:hunter2@example.com/v1", "ftp://me:hunter2@example.com/v1"):
        with pytest.raises(UsageError) as caught:
            parse_site(text)
        assert "hunter2" not in caught.value.message + str(caught.value.hint)


@pytest.mark.parametrize(
    ("location", "leads_to"),
    [
        ("/other?a=1", ("http://h:8080", "/other?a=1")),
        ("https://h/v1/x", ("https://h", "/v1/x")),
        ("http://h:8081/x", None),
        ("http://evil/x", None),
        ("//evil/x", None),
    ],
)
def test_where_redirects_may_lead(location: str, leads_to: tuple[str, str] | None) -> None:
    found = redirected(Site(scheme="http", host="h", port=8080, api_path="/v1"), "/v1/x", location)
    assert (found and (f"{found[0].scheme}://{found[0].netloc}", found[1])) == leads_to


def test_a_redirect_never_leaves_tls() -> None:
    assert redirected(Site(scheme="https", host="h", port=443, api_path="/v1"), "/v1/x", "http://h/v1/x") is None


def test_keys_of_the_environment() -> None:
    assert key_of({}) is None
    assert key_of({"OPENAI_API_KEY": " sk-1\n", "GPT_OSS_API_KEY": ""}) == Key(text="sk-1", source="OPENAI_API_KEY")
    assert key_of({"OPENAI_API_KEY": "a", "GPT_OSS_API_KEY": "b"}) == Key(text="b", source="GPT_OSS_API_KEY")
    for text in ("sk a", "sk\nX-Evil: 1", "schlüssel"):
        with pytest.raises(UsageError) as caught:
            checked_key(Key(text=text, source="FILE"))
        assert text not in caught.value.message


def test_every_byte_counts_in_the_bound() -> None:
    call = ToolCall(id="x", name="f" * 10, arguments="g" * 20)
    messages = [
        Message(role="user", content="→" * 100),
        Message(role="assistant", reasoning="r" * 40, tool_calls=(call,)),
    ]
    assert most_tokens(messages, ()) >= 300 + 30 + 40
    assert most_tokens(messages, ({"x": "y" * 500},)) - most_tokens(messages, ()) >= 500
    assert most_tokens([Message(role="user", content="\ud800")], ()) > 0


# Proxies


@pytest.fixture
def environ(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    return monkeypatch


def test_which_proxy_is_taken(environ: pytest.MonkeyPatch) -> None:
    environ.setenv("http_proxy", "proxy.example:3128")
    environ.setenv("no_proxy", "inside.example")
    found = proxy_of(parse_site("http://api.example"))
    assert found is not None
    assert (found.hostname, found.port) == ("proxy.example", 3128)
    assert proxy_of(parse_site("http://inside.example")) is None
    assert proxy_of(parse_site("https://api.example")) is None
    assert proxy_of(parse_site("http://127.0.0.1:8080")) is None
    for address in ("socks5://proxy.example:1080", "http://proxy.example:99999", "http://"):
        environ.setenv("http_proxy", address)
        with pytest.raises(ProxyRefusedError):
            proxy_of(parse_site("http://api.example"))


def test_plain_http_goes_through_a_proxy(environ: pytest.MonkeyPatch) -> None:
    with openai_api(answer(200, {"data": 1})) as proxy:
        environ.setenv("http_proxy", f"http://me:p%40ss@127.0.0.1:{proxy.port}")
        found = Wire(parse_site("http://api.example/v1"), None, Interrupt()).get("/v1/models")
    assert found == (200, {"data": 1})
    assert proxy.asked[0].path == "http://api.example/v1/models"
    assert proxy.asked[0].headers["host"] == "api.example"
    assert proxy.asked[0].headers["proxy-authorization"] == "Basic " + base64.b64encode(b"me:p@ss").decode()


def test_a_proxy_that_does_not_connect_is_named(environ: pytest.MonkeyPatch) -> None:
    with openai_api(answer(407)) as proxy:
        environ.setenv("https_proxy", f"http://127.0.0.1:{proxy.port}")
        with pytest.raises(NetworkError, match=r"proxy does not connect to api\.example:443: 407"):
            Wire(parse_site("https://api.example/v1"), None, Interrupt()).get("/v1/models")
    assert (proxy.asked[0].method, proxy.asked[0].path) == ("CONNECT", "api.example:443")


# TLS


class _Answers(socketserver.BaseRequestHandler):
    """A web server behind TLS, which also plays the proxy before it."""

    def handle(self) -> None:
        sock: socket.socket = self.request
        server: _TlsServer = self.server  # type: ignore[assignment]
        if sock.recv(7, socket.MSG_PEEK) == b"CONNECT":
            server.n_tunnels += 1
            while b"\r\n\r\n" not in sock.recv(4096):
                pass
            sock.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        try:
            with server.context.wrap_socket(sock, server_side=True) as secure:
                secure.recv(4096)
                secure.sendall(answer(200, {"ok": True}))
        except OSError:  # a client that does not trust it
            sock.close()


class _TlsServer(socketserver.ThreadingTCPServer):
    daemon_threads = False
    context: ssl.SSLContext
    n_tunnels = 0


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("openssl") is None:
        pytest.skip("openssl makes the certificate")
    path = tmp_path_factory.mktemp("tls") / "own.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,DNS:tls.example,IP:127.0.0.1"),
            *("-days", "2", "-keyout", path, "-out", path.with_suffix(".crt")),
        ],
        check=True,
        capture_output=True,
    )
    path.write_bytes(path.read_bytes() + path.with_suffix(".crt").read_bytes())
    return path


@contextmanager
def tls_server(certificate: Path) -> Iterator[_TlsServer]:
    with _TlsServer(("127.0.0.1", 0), _Answers) as server:
        server.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        server.context.load_cert_chain(certificate)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join(DEADLINE_S)


def test_a_certificate_decides(certificate: Path, environ: pytest.MonkeyPatch) -> None:
    with tls_server(certificate) as server:
        port = server.server_address[1]
        wire = Wire(parse_site(f"https://localhost:{port}"), None, Interrupt())
        with pytest.raises(NetworkError, match="cannot be trusted"):
            wire.get("/v1/models")
        environ.setenv("SSL_CERT_FILE", str(certificate.with_suffix(".crt")))
        assert wire.get("/v1/models") == (200, {"ok": True})
        environ.setenv("https_proxy", f"http://127.0.0.1:{port}")
        assert Wire(parse_site("https://tls.example"), None, Interrupt()).get("/v1/models") == (200, {"ok": True})
        assert server.n_tunnels == 1


# Connecting


@pytest.mark.skipif(sys.platform != "linux", reason="what a full backlog does is the system's own choice")
def test_a_connection_that_nobody_answers_can_be_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    interrupt = Interrupt()
    # A full backlog: the kernel drops the greeting, as a firewall would.
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        address = server.getsockname()
        held = [socket.socket() for _ in range(4)]
        try:
            for sock in held:
                sock.settimeout(0)
                sock.connect_ex(address)
            interrupt.set()
            site = parse_site(f"http://127.0.0.1:{address[1]}")
            with pytest.raises(StoppedError):
                dial.dial(site, None, interrupt)
            interrupt.clear()
            monkeypatch.setattr(dial, "CONNECT_TIMEOUT_S", 0.1)
            with pytest.raises(TimeoutError):
                dial.dial(site, None, interrupt)
        finally:
            for sock in held:
                sock.close()
    assert "does not answer" in unreachable(site, TimeoutError("no answer")).message
