"""Pages of other origins: what they may read, and how a browser is told."""

from __future__ import annotations

import httpx
import pytest

from launcher.server.shield.cors import allowed, preflight
from launcher.server.shield.run import start_shield
from launcher.server.shield.types import ShieldConfig
from tests.fakes.upstream import endless_upstream
from tests.server.malformed import PATHS, Running, request, running_server
from tests.server.shield.conftest import free_port

PAGE = "http://a.example:3000"
ALLOW = "access-control-allow-origin"


@pytest.mark.parametrize(
    ("origins", "origin", "answer"),
    [
        (PAGE, PAGE, PAGE),
        (PAGE, "http://b.example", None),
        (PAGE, "http://a.example", None),
        (PAGE, "null", None),
        (PAGE, None, None),
        (f"http://b.example, {PAGE}/", PAGE, PAGE),
        ("*", "http://b.example", "*"),
        ("*", None, "*"),
        ("localhost", "http://localhost:5173", "http://localhost:5173"),
        ("localhost", "http://[::1]:5173", "http://[::1]:5173"),
        ("localhost", "http://localhost.evil.example", None),
        ("localhost", "http://[", None),
    ],
)
def test_an_origin_is_allowed_by_name(origins: str, origin: str | None, answer: str | None) -> None:
    found = allowed(origins, origin)
    assert found.get("Access-Control-Allow-Origin") == answer
    # Without this a cache would give one page the answer that another may read.
    assert ("Vary" in found) is (origins != "*")


def test_a_preflight_allows_the_key_by_its_name() -> None:
    found = preflight(allowed(PAGE, PAGE), "authorization, content-type")
    assert found["Access-Control-Allow-Headers"] == "authorization, content-type"
    assert "POST" in found["Access-Control-Allow-Methods"]
    assert preflight(allowed(PAGE, "http://b.example"), "authorization") == {"Vary": "Origin"}


def test_the_shields_own_answers_can_be_read(client: httpx.Client, server: Running) -> None:
    config = ShieldConfig(port=0, upstream_url=server.url, cors_origins=f"http://b.example,{PAGE}", max_body_bytes=400)
    with start_shield(config) as shield:

        def ask(path: str, body: object, origin: str = PAGE) -> httpx.Response:
            return client.post(shield.url + path, json=body, headers={"Origin": origin})

        refused = {
            413: (PATHS["chat"], {"messages": "x" * 1000}),
            400: (PATHS["chat"], {"messages": [], "functions": [1]}),
            404: ("/nowhere", {}),
        }
        for status, (path, body) in refused.items():
            answer = ask(path, body)
            assert (answer.status_code, answer.headers[ALLOW]) == (status, PAGE)
            assert answer.json()["error"]["message"]
            assert ALLOW not in ask(path, body, "http://evil.example").headers
        for stream in (False, True):
            for shape in ("good-answer", "bare-final"):
                for n in (1, 2):
                    body = request("chat", shape, stream=stream, tools=False) | {"n": n}
                    answer = ask(PATHS["chat"], body)
                    assert answer.headers.get_list(ALLOW) == [PAGE], (stream, shape, n)
        one = client.get(f"{shield.url}/v1/models/nothing", headers={"Origin": PAGE})
        assert (one.status_code, one.headers[ALLOW]) == (404, PAGE)
        found = client.get(f"{shield.url}/v1/models/gpt-oss-20b", headers={"Origin": PAGE})
        assert (found.status_code, found.headers[ALLOW]) == (200, PAGE)
    config = ShieldConfig(port=0, upstream_url="http://127.0.0.1:1", cors_origins=PAGE)
    with start_shield(config) as shield:
        answer = client.post(shield.url + PATHS["chat"], json={}, headers={"Origin": PAGE})
        assert (answer.status_code, answer.headers[ALLOW]) == (503, PAGE)


def test_a_queue_that_is_full_can_be_read(client: httpx.Client) -> None:
    with endless_upstream() as upstream:
        config = ShieldConfig(port=0, upstream_url=upstream.url, cors_origins=PAGE, max_queued=0)
        with start_shield(config) as shield:
            answer = client.post(shield.url + PATHS["chat"], json={}, headers={"Origin": PAGE})
    assert (answer.status_code, answer.headers[ALLOW]) == (503, PAGE)


def test_a_preflight_needs_no_key_and_no_server(client: httpx.Client) -> None:
    asked = {
        "Origin": PAGE,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type",
    }
    with running_server(free_port(), "--api-key", "secret") as locked:
        config = ShieldConfig(port=0, upstream_url=locked.url, cors_origins=PAGE)
        with start_shield(config) as shield:
            answer = client.options(shield.url + PATHS["chat"], headers=asked)
            assert answer.status_code == 204
            assert answer.headers[ALLOW] == PAGE
            assert "authorization" in answer.headers["access-control-allow-headers"]
            assert ALLOW not in client.options(shield.url + PATHS["chat"], headers=asked | {"Origin": "null"}).headers
            wrong = client.post(shield.url + PATHS["chat"], json={}, headers={"Origin": PAGE})
            assert (wrong.status_code, wrong.headers[ALLOW]) == (401, PAGE)
    with start_shield(ShieldConfig(port=0, upstream_url="http://127.0.0.1:1", cors_origins=PAGE)) as shield:
        assert client.options(shield.url + PATHS["chat"], headers=asked).headers[ALLOW] == PAGE
