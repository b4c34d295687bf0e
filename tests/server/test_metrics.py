"""Reading /metrics and /slots, and how fast a server is between two looks."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

import launcher.server
from launcher.configs import configs_dir
from launcher.server.metrics import (
    PREFIX,
    PROMPT_TOKENS,
    PROMPT_TOKENS_CACHED,
    REQUESTS_DEFERRED,
    REQUESTS_PROCESSING,
    TOKENS_PREDICTED,
    Reading,
    Sample,
    ServerFlags,
    Slot,
    at_rest,
    follow,
    kv_use,
    parse_metrics,
    parse_slots,
    server_flags,
)
from tests.server.live import Live, llama_server

TEXT = """\
# HELP llamacpp:prompt_tokens_total Number of prompt tokens processed, excluding cached tokens
# TYPE llamacpp:prompt_tokens_total counter
llamacpp:prompt_tokens_total 1.23457e+06
# TYPE llamacpp:requests_processing gauge
llamacpp:requests_processing 2
llamacpp:predicted_tokens_seconds -nan
llamacpp:spec_decode_num_accepted_tokens_per_pos_total{position="0"} 7
half a line
"""


def slot(**fields: Any) -> Slot:
    given = {
        "id": 0,
        "n_ctx": 2048,
        "is_processing": True,
        "id_task": 1,
        "n_prompt_tokens": 0,
        "n_prompt_tokens_processed": 0,
        "n_prompt_tokens_cache": 0,
        "n_decoded": 0,
    }
    return Slot(**{**given, **fields})


def sample(at_s: float, read: float, written: float, *slots: Slot, pid: int = 1) -> Sample:
    return Sample(at_s=at_s, server_pid=pid, values={PROMPT_TOKENS: read, TOKENS_PREDICTED: written}, slots=slots)


def followed(*samples: Sample) -> list[Reading]:
    readings: list[Reading] = []
    for each in samples:
        readings.append(follow(readings[-1] if readings else None, each))
    return readings


def test_the_prometheus_text_is_read_and_what_is_no_number_left_out() -> None:
    assert parse_metrics(TEXT) == {
        "llamacpp:prompt_tokens_total": 1_234_570,
        "llamacpp:requests_processing": 2,
        'llamacpp:spec_decode_num_accepted_tokens_per_pos_total{position="0"}': 7,
    }
    assert parse_metrics("<html>") == {}


@given(st.text())
def test_any_text_is_read_as_metrics(text: str) -> None:
    parse_metrics(text)


@pytest.mark.parametrize("text", ["", "{}", '{"error": {"code": 501}}', "[1]", "[{}]", '[{"id": 0}]', '[{"id": []}]'])
def test_what_is_no_list_of_slots_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_slots(text)


def test_a_slot_that_had_no_request_is_empty() -> None:
    (found,) = parse_slots('[{"id": 1, "n_ctx": 2048, "speculative": false, "is_processing": false}]')
    assert found == slot(id=1, is_processing=False, id_task=None)
    assert (found.state, found.share) == ("idle", 0)


def test_the_first_look_has_no_speed() -> None:
    (first,) = followed(sample(0, 100, 50))
    assert (first.prompt_tokens_per_s, first.predicted_tokens_per_s) == (None, None)
    assert (first.prompt_tokens, first.predicted_tokens) == (100, 50)


def test_an_answer_counts_while_it_is_written() -> None:
    """Keeps out: 0 tokens per second for a minute, then an answer's thousand in one second."""
    readings = followed(
        sample(0, 10, 0, slot(n_decoded=0)),
        sample(1, 10, 0, slot(n_decoded=30)),
        sample(2, 10, 0, slot(n_decoded=60)),
        sample(3, 10, 90, slot(is_processing=False)),
    )
    assert [reading.predicted_tokens_per_s for reading in readings] == [None, 30, 30, 30]


def test_a_prompt_counts_while_it_is_read() -> None:
    """llama-server adds a prompt to its counter when it has been read."""
    readings = followed(
        sample(0, 0, 0, slot(n_prompt_tokens_processed=0)),
        sample(1, 0, 0, slot(n_prompt_tokens_processed=512)),
        sample(2, 0, 0, slot(n_prompt_tokens_processed=1024)),
        sample(3, 1500, 1, slot(n_prompt_tokens_processed=1500, n_decoded=1)),
        sample(4, 1500, 21, slot(is_processing=False)),
    )
    assert [reading.prompt_tokens_per_s for reading in readings] == [None, 512, 512, 476, 0]


def test_requests_that_came_and_went_between_two_looks_count() -> None:
    readings = followed(sample(0, 0, 0), sample(2, 300, 100))
    assert (readings[1].prompt_tokens_per_s, readings[1].predicted_tokens_per_s) == (150, 50)


def test_short_answers_beside_a_long_one_count() -> None:
    long = [slot(id=1, id_task=9, n_decoded=n) for n in (100, 120)]
    readings = followed(sample(0, 0, 0, long[0]), sample(1, 0, 60, long[1]))
    assert readings[1].predicted_tokens_per_s == 80


@pytest.mark.parametrize("pid", [1, 2], ids=["same number", "another process"])
def test_a_server_that_began_anew_has_no_negative_speed(pid: int) -> None:
    readings = followed(
        sample(0, 5000, 900, slot(n_decoded=70)), sample(1, 40, 10, pid=pid), sample(2, 60, 15, pid=pid)
    )
    assert [reading.restarted for reading in readings] == [False, True, False]
    assert [reading.prompt_tokens_per_s for reading in readings] == [None, 40, 20]
    assert [reading.predicted_tokens_per_s for reading in readings] == [None, 10, 5]


def test_another_process_that_has_done_more_already_counts_from_zero() -> None:
    readings = followed(sample(0, 50, 5), sample(1, 70, 8, pid=2))
    assert (readings[1].prompt_tokens_per_s, readings[1].predicted_tokens_per_s) == (70, 8)


def test_counters_of_six_digits_do_not_shake_the_speed() -> None:
    """Keeps out: 12,345,678 tokens are told as 1.23457e+07, so a counter jumps by 100 while 30 were written."""
    exact = [12_345_600 + 30 * second for second in range(9)]
    told = [float(f"{count:.6g}") for count in exact]
    assert len(set(told)) > 1
    readings = followed(
        *(sample(second, 0, told[0], slot(n_decoded=30 * second)) for second in range(8)),
        sample(8, 0, told[8], slot(is_processing=False)),
    )
    speeds = [reading.predicted_tokens_per_s for reading in readings[1:]]
    assert speeds[:7] == [30] * 7
    assert speeds[7] is not None
    assert 0 <= speeds[7] <= 100


COUNTS = st.integers(0, 10**9)
SLOTS = st.builds(
    lambda index, busy, task, read, written: slot(
        id=index, is_processing=busy, id_task=task, n_prompt_tokens_processed=read, n_decoded=written
    ),
    st.integers(0, 2),
    st.booleans(),
    st.integers(0, 3),
    st.integers(0, 5000),
    st.integers(0, 5000),
)
SAMPLES = st.builds(
    lambda at_s, read, written, slots, pid: Sample(
        at_s=at_s, server_pid=pid, values={PROMPT_TOKENS: read, TOKENS_PREDICTED: written}, slots=slots
    ),
    st.floats(0, 1e6),
    COUNTS,
    COUNTS,
    st.none() | st.lists(SLOTS, max_size=3).map(tuple),
    st.integers(1, 2),
)


@given(st.lists(SAMPLES, max_size=6))
def test_no_speed_is_ever_negative(samples: list[Sample]) -> None:
    for reading in followed(*samples):
        for value in (reading.prompt_tokens_per_s, reading.predicted_tokens_per_s):
            assert value is None or value >= 0


def test_at_rest_slots_keep_what_they_hold() -> None:
    (still,) = at_rest([slot(n_prompt_tokens=90, n_decoded=4)])
    assert (still.state, still.n_prompt_tokens, still.n_decoded) == ("idle", 90, 0)
    assert at_rest(None) == ()


def test_the_size_of_the_cache_depends_on_whether_slots_share_it() -> None:
    two = (slot(n_prompt_tokens=100), slot(id=1, n_prompt_tokens=50))
    shared, apart, unknown = (kv_use(two, kv_unified=unified) for unified in (True, False, None))
    assert shared is not None
    assert apart is not None
    assert unknown is not None
    assert (shared.n_tokens, shared.n_cells) == (150, 2048)
    assert (apart.n_tokens, apart.n_cells) == (150, 4096)
    assert (unknown.n_cells, unknown.share) == (None, None)
    assert kv_use((), kv_unified=True) is None


def test_what_a_command_says_about_watching() -> None:
    assert server_flags(None) == ServerFlags(may_sleep=True, kv_unified=None)
    assert server_flags(("llama-server", "--kv-unified")) == ServerFlags(may_sleep=False, kv_unified=True)
    asleep = server_flags(("llama-server", "--sleep-idle-seconds", "60", "--no-kv-unified"))
    assert asleep == ServerFlags(may_sleep=True, kv_unified=False)
    assert not server_flags(("llama-server", "--sleep-idle-seconds", "-1")).may_sleep


# The real server


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    with llama_server(tmp_path_factory.mktemp("state")) as running:
        assert running.complete() == 8
        yield running


@pytest.fixture(scope="module")
def told(live: Live) -> dict[str, float]:
    return parse_metrics(httpx.get(f"{live.url}/metrics", timeout=30).text)


def test_the_real_server_tells_what_is_read_here(live: Live, told: dict[str, float]) -> None:
    assert {PROMPT_TOKENS, PROMPT_TOKENS_CACHED, TOKENS_PREDICTED, REQUESTS_PROCESSING, REQUESTS_DEFERRED} <= set(told)
    assert told[TOKENS_PREDICTED] == 8
    assert all(name.startswith(PREFIX) for name in told)
    slots = parse_slots(httpx.get(f"{live.url}/slots", timeout=30).text)
    assert [found.id for found in slots] == [0, 1]
    assert all((found.n_ctx, found.state) == (2048, "idle") for found in slots)
    assert max(found.n_prompt_tokens for found in slots) >= 8


def test_the_page_about_metrics_names_exactly_what_the_server_tells(told: dict[str, float]) -> None:
    page = (Path(launcher.server.__file__).parent / "METRICS.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(llamacpp:\w+)` ", page, flags=re.MULTILINE)
    assert len(rows) == len(set(rows))
    # Told only by a server that drafts tokens ahead.
    assert set(rows) == set(told) | {"llamacpp:spec_decode_num_accepted_tokens_per_pos_total"}


def names_in(expression: str) -> set[str]:
    """Metrics of a PromQL expression: words that are no function, keyword, label or unit of time."""
    bare = re.sub(r"\{[^}]*\}|\[[^\]]*\]|\b(by|without|on|ignoring)\s*\([^)]*\)", " ", expression)
    words = re.findall(r"[a-zA-Z_:][\w:]*(?!\w|\s*\()", bare)
    return set(words) - {"and", "or", "unless"}


def test_names_are_found_in_an_expression() -> None:
    found = names_in('sum by (instance) (rate(a:b_total{job="x"}[$__rate_interval])) / clamp_min(c, 1) or absent(d)')
    assert found == {"a:b_total", "c", "d"}


def test_the_dashboard_asks_only_for_what_the_server_tells(told: dict[str, float]) -> None:
    dashboard = json.loads((configs_dir() / "grafana-dashboard.json").read_text(encoding="utf-8"))
    targets = [(panel, target) for panel in dashboard["panels"] for target in panel.get("targets", ())]
    assert targets
    for panel, target in targets:
        names = names_in(target["expr"])
        assert names, panel["title"]
        assert names <= set(told), panel["title"]
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            assert set(re.findall(r"llamacpp:\w+", variable["query"]["query"])) <= set(told)


def test_the_dashboard_can_be_imported() -> None:
    """What Grafana's import wants: no id, a source that is chosen, panels with numbers of their own on 24 columns."""
    dashboard = json.loads((configs_dir() / "grafana-dashboard.json").read_text(encoding="utf-8"))
    assert dashboard["id"] is None
    assert dashboard["schemaVersion"] >= 39
    assert dashboard["title"]
    (source,) = [item for item in dashboard["templating"]["list"] if item["type"] == "datasource"]
    assert (source["name"], source["query"]) == ("datasource", "prometheus")
    numbers = [panel["id"] for panel in dashboard["panels"]]
    assert len(numbers) == len(set(numbers))
    taken: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert place["x"] + place["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells
        if panel["type"] != "row":
            assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
            assert [target["refId"] for target in panel["targets"]] == ["A", "B", "C", "D"][: len(panel["targets"])]
            assert panel["fieldConfig"]["defaults"]["unit"]
