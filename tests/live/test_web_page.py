"""llama-server's own web page in a browser, on the demo model. Run by scripts/test-live, which says what it needs."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from tests.server.conftest import Served

pytestmark = pytest.mark.live

CHROMIUM = "/usr/bin/chromium"
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
QUESTION = "What is the capital of France?"
ANSWER = "The capital of France is Paris."
SAMPLING = {"temperature", "top_p", "top_k", "min_p", "typ_p", "samplers", "seed", "repeat_penalty", "dynatemp_range"}
"""Words of a request that would take the place of what the server was started with."""


@pytest.fixture
def folder() -> Path:
    """The page, as scripts/build-web-ui made it."""
    return Path(os.environ["LIVE_WEB_PAGE"]).absolute()


@pytest.fixture
def browser() -> Iterator[Any]:
    """Debian's Chromium; playwright brings a driver for it and nothing else."""
    with import_module("playwright.sync_api").sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield chromium
        chromium.close()


@pytest.fixture
def screenshots(tmp_path: Path) -> Path:
    """Where pictures of the page go, for a person to look at."""
    found = Path(os.environ.get("LIVE_SCREENSHOTS") or tmp_path)
    found.mkdir(parents=True, exist_ok=True)
    return found


def test_an_answer_with_its_reasoning_folded_apart(
    serve: Callable[..., Served], folder: Path, browser: Any, screenshots: Path
) -> None:
    expect = import_module("playwright.sync_api").expect
    # The demo is too small to be sampled at 1.0.
    served = serve("--open", "--ui-path", folder, env={"GPT_OSS_TEMPERATURE": "0"})
    assert f"The web page is at {served.url}/" in served.started.err
    page = browser.new_page(viewport={"width": 1000, "height": 700})
    asked: list[dict[str, Any]] = []
    page.on(
        "request",
        lambda request: asked.append(json.loads(request.post_data)) if "chat/completions" in request.url else None,
    )
    page.goto(f"{served.url}/")
    box = page.get_by_role("textbox").first
    box.fill(QUESTION)
    box.press("Enter")

    message = page.get_by_role("group", name="Assistant message with actions")
    expect(message.get_by_text(ANSWER, exact=True)).to_be_visible(timeout=30_000)
    fold = message.get_by_role("button", name="Reasoning")
    # While it reasons the fold may be open; it closes by itself once the answer begins.
    expect(fold).to_have_attribute("aria-expanded", "false")
    page.screenshot(path=screenshots / "web-page-folded.png")
    shown = message.inner_text()
    assert shown.count(ANSWER) == 1
    assert "<|" not in shown

    fold.click()
    expect(fold).to_have_attribute("aria-expanded", "true")
    reasoning = message.locator(f"#{fold.get_attribute('aria-controls')}")
    expect(reasoning).to_contain_text("Paris")
    expect(message.get_by_text(ANSWER, exact=True)).to_be_visible()
    page.screenshot(path=screenshots / "web-page-unfolded.png")
    thought = reasoning.inner_text().strip()
    assert thought
    assert thought not in shown

    # What the server was started with holds: the page sends no sampling of its own.
    (request,) = asked
    assert not SAMPLING & set(request)
