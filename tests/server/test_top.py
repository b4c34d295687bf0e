"""`gpt-oss top`: the page at every width, the command in pipes and on a terminal."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.console import Console

from launcher.cli.serve_view import request_on_windows
from launcher.cli.top_screen import look, pressed_at, show, take_page
from launcher.cli.top_view import Page, as_json
from launcher.records import to_jsonable
from launcher.server import registry
from launcher.server.memory import MemoryRow
from launcher.server.metrics import KvUse, Reading, Sample, Slot
from launcher.server.watch import Status, Watch, away
from launcher.units import GIB
from tests.cli.sandbox import Sandbox, free_port
from tests.cli.test_interrupts import on_a_terminal
from tests.server.conftest import Served
from tests.server.live import llama_server, record_of

SLOT = Slot(
    id=0,
    n_ctx=131_072,
    is_processing=True,
    id_task=3,
    n_prompt_tokens=120_500,
    n_prompt_tokens_processed=118_000,
    n_prompt_tokens_cache=0,
    n_decoded=2_500,
)
VALUES = {
    "llamacpp:prompt_tokens_total": 12_345_678.0,
    "llamacpp:prompt_tokens_cached_total": 2_000_000.0,
    "llamacpp:tokens_predicted_total": 1_234_567.0,
    "llamacpp:requests_processing": 1.0,
    "llamacpp:requests_deferred": 3.0,
}
SAMPLE = Sample(at_s=5, server_pid=1, values=VALUES, slots=(SLOT, replace(SLOT, id=1, is_processing=False)))
READING = Reading(
    sample=SAMPLE,
    prompt_tokens=12_345_678,
    predicted_tokens=1_234_567,
    prompt_tokens_per_s=2048.26,
    predicted_tokens_per_s=31.4,
)
MEMORY = (
    MemoryRow(name="CPU", used_bytes=5 * GIB, planned_bytes=6 * GIB, anonymous_bytes=2 * GIB, mapped_bytes=3 * GIB),
    MemoryRow(name="CUDA0", used_bytes=None, planned_bytes=8 * GIB),
)
NOW = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
STARTED = "2026-01-02T00:59:00+00:00"


def status(**fields: object) -> Status:
    record = replace(record_of(8080, 1, Path("log")), started_at=STARTED, model="gpt-oss-120b")
    given = {"record": record, "state": "ready", "reading": READING, "kv": KvUse(n_tokens=150_000, n_cells=262_144)}
    return Status(**{**given, **fields})  # type: ignore[arg-type]


def page(**fields: object) -> Page:
    given = {"status": status(), "memory": MEMORY, "now": NOW, "history": (READING,) * 300, "live": True}
    return Page(**{**given, **fields})  # type: ignore[arg-type]


def printed(shown: Page, width: int, *, encoding: str = "utf-8", colour: bool = False) -> list[str]:
    output = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    console = Console(file=output, width=width, force_terminal=colour, legacy_windows=False)
    console.print(shown)
    output.flush()
    output.seek(0)
    return output.read().splitlines()


@pytest.mark.parametrize("width", [20, 40, 59, 80, 200, 500])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    lines = printed(page(), width)
    assert all(cell_len(line) <= width for line in lines)
    assert len(lines) == len(page().lines(width)), "nothing is wrapped"


@pytest.mark.parametrize("width", [40, 80, 200])
def test_what_matters_is_there_at_every_width(width: int) -> None:
    text = "\n".join(printed(page(), width))
    for part in (
        *("gpt-oss-120b", "8080", "ready", "up 2h 5m", "2,048.3", "31.4", "12,345,678 in", "1,234,567 out"),
        *("1 running, 3 waiting", "150,000 of 262,144 tokens", "57%", "writing", "idle", "120,500", "92%"),
        *(
            "CPU",
            "5.0 GiB",
            "6.0 GiB",
            "83%",
            "buffers",
            "2.0 GiB",
            "mapped",
            "3.0 GiB",
            "CUDA0",
            "8.0 GiB",
            "q leaves",
        ),
    ):
        assert part in text, part


def test_a_wide_terminal_shows_more() -> None:
    narrow, wide = ("\n".join(printed(page(), width)) for width in (40, 80))
    for part in ("http://127.0.0.1:8080", "2,000,000 cached", "118,000", "2,500"):
        assert part in wide
        assert part not in narrow


def test_plain_text_has_no_bars_and_no_way_out() -> None:
    text = "\n".join(printed(page(live=False), 200))
    assert "q leaves" not in text
    assert text.isascii()
    assert all(line == line.rstrip() for line in text.splitlines())


def test_a_terminal_without_block_letters_gets_others() -> None:
    assert "".join(printed(page(), 80, encoding="ascii")).isascii()


def test_no_color_leaves_no_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "\x1b[32m" in "".join(printed(page(), 80, colour=True))
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[3" not in "".join(printed(page(), 80, colour=True)).replace("\x1b[39m", "")


def test_a_name_cannot_write_to_the_terminal() -> None:
    record = replace(status().record, model="evil\x1b]0;title\x07")
    assert "\x1b" not in "".join(printed(page(status=status(record=record)), 80))


def test_states_are_words() -> None:
    asleep = "\n".join(printed(page(status=status(state="asleep", kv=None)), 80))
    assert "asleep" in asleep
    assert "empty while the model sleeps" in asleep
    gone = "\n".join(printed(page(status=away(status().record)), 80))
    assert "away" in gone
    assert "it has ended" in gone
    assert "up 2h" not in gone


def test_the_page_as_data_leaves_nothing_out() -> None:
    full, empty = (to_jsonable(as_json(page(status=each))) for each in (status(), away(status().record)))
    assert set(full) == set(empty)
    assert full["predicted_tokens_per_s"] == 31.4
    assert full["slots"][0]["n_decoded"] == 2_500
    assert full["memory"][0]["planned_bytes"] == 6 * GIB
    assert empty["metrics"] is None


# Looking again and again


def test_a_server_that_goes_is_told_and_one_that_comes_back_is_found(tmp_path: Path) -> None:
    port = free_port()
    with Watch() as watch:
        with llama_server(tmp_path, port=port) as live:
            record = live.record
            assert look(watch, tmp_path, record).state == "ready"
        gone = look(watch, tmp_path, record)
        assert (gone.state, gone.problem) == ("away", "it has ended")
        with llama_server(tmp_path, port=port) as again:
            back = look(watch, tmp_path, gone.record)
            assert back.state == "ready"
            assert back.record.server_pid == again.process.pid
            assert back.reading is not None
            assert back.reading.restarted


def test_a_crashed_server_is_away_while_its_launcher_lives(tmp_path: Path) -> None:
    with llama_server(tmp_path) as live, Watch() as watch:
        live.process.kill()
        live.process.wait()
        found = look(watch, tmp_path, live.record)
        assert found.state == "away"
        assert found.problem is not None
        assert "starts again" in found.problem


def test_a_page_takes_two_looks_for_its_speeds(tmp_path: Path) -> None:
    with llama_server(tmp_path) as live, Watch() as watch:

        def sleep(seconds: float) -> None:
            assert seconds == 1
            live.complete(12)

        shown = take_page(watch, tmp_path, live.record, interval_s=1, sleep=sleep)
    reading = shown.status.reading
    assert reading is not None
    assert reading.predicted_tokens == 12
    assert reading.predicted_tokens_per_s is not None
    assert reading.predicted_tokens_per_s > 0
    assert shown.memory[0].used_bytes is not None


def test_q_ends_it_at_once(tmp_path: Path) -> None:
    record = record_of(free_port(), None, tmp_path)
    waits: list[float] = []

    def key(timeout_s: float) -> str:
        waits.append(timeout_s)
        return "q"

    with Watch() as watch:
        show(watch, tmp_path, record, interval_s=60, key=key)
    assert len(waits) == 1


# The command


def state_dir(sandbox: Sandbox) -> Path:
    return Path(sandbox.env["GPT_OSS_STATE_DIR"])


def test_piped_it_is_one_page_and_json_one_document(sandbox: Sandbox) -> None:
    with llama_server(state_dir(sandbox)) as running:
        running.complete(8)
        plain = sandbox.run("top", "--interval", "0.2")
        data = sandbox.run("top", "--json", "--interval", "0.2", "--port", running.record.port)
    assert (plain.code, data.code, plain.err, data.err) == (0, 0, "", "")
    assert "0 running, 0 waiting" in plain.out
    assert "\x1b" not in plain.out
    found = json.loads(data.out)
    assert found["schema"] == 1
    assert found["state"] == "ready"
    assert found["metrics"]["llamacpp:tokens_predicted_total"] == 8
    assert found["memory"][0]["used_bytes"] > 0


def test_a_server_of_ours_is_watched(served: Served) -> None:
    found = json.loads(served.sandbox.run("top", "--json", "--interval", "0.2").out)
    assert (found["port"], found["state"], found["problem"]) == (served.port, "ready", None)
    assert len(found["slots"]) == 4
    assert found["kv"]["n_cells"] > 0


def test_without_a_server_there_is_nothing_to_watch(sandbox: Sandbox) -> None:
    assert sandbox.refused("top").code == 2
    assert sandbox.refused("top", "--port", 8123).code == 2


def test_of_several_servers_one_is_named(sandbox: Sandbox) -> None:
    for port in (8123, 8124):
        registry.save(state_dir(sandbox), record_of(port, None, Path("log")))
    done = sandbox.refused("top")
    assert (done.code, done.hint) == (2, "gpt-oss top --port 8123")


def test_an_interval_that_would_only_heat_is_refused(sandbox: Sandbox) -> None:
    assert sandbox.run("top", "--interval", "0").code == 2


@pytest.mark.parametrize("way_out", ["q", "\x03"], ids=["q", "ctrl-c"])
def test_on_a_terminal_it_is_alive_until_one_leaves(sandbox: Sandbox, way_out: str) -> None:
    with (
        llama_server(state_dir(sandbox)) as running,
        on_a_terminal(sandbox, "top", "--interval", "0.2") as terminal,
    ):
        terminal.wait_for("0 running, 0 waiting")
        terminal.wait_for("q leaves")
        running.complete(30)
        terminal.wait_for("30 out")
        terminal.type(way_out)
        terminal.wait_for(r"\x1b\[\?1049l")  # the screen as it was before
        assert terminal.code() == 0


def test_help_has_two_examples(sandbox: Sandbox) -> None:
    done = sandbox.run("top", "--help", env={"COLUMNS": "120"})
    assert done.code == 0
    assert done.out.partition("Examples:")[2].partition("╭")[0].count("gpt-oss top") >= 2
    assert "--debug" in done.out


class Keys:
    """Windows' console: keys that come after so many looks."""

    def __init__(self, keys: str, *, after: int = 0) -> None:
        self.keys, self.after = list(keys), after

    def kbhit(self) -> bool:
        self.after -= 1
        return self.after < 0 and bool(self.keys)

    def getwch(self) -> str:
        return self.keys.pop(0)


def test_a_key_of_windows_is_looked_for_until_the_time_is_over() -> None:
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    def pressed(console: Keys) -> str | None:
        return pressed_at(console, 1.0, clock=lambda: now[0], sleep=sleep)

    assert pressed(Keys("q")) == "q"
    assert now == [0.0]
    assert pressed(Keys("q", after=3)) == "q"
    assert 0 < now[0] < 0.2
    assert pressed(Keys("")) is None
    assert 1.0 < now[0] < 1.3
    arrow = Keys("\xe0Hq")
    assert pressed(arrow) is None, "an arrow comes as two keys"
    assert pressed(arrow) == "q"


def test_the_first_request_on_windows_is_powershells(tmp_path: Path) -> None:
    text = request_on_windows(record_of(8123, None, tmp_path / "log", key_file=tmp_path / "8123.key"))
    first, *others = text.split(" `\n  ")
    assert first == "Invoke-RestMethod http://127.0.0.1:8123/v1/chat/completions -Method Post"
    assert others[0].startswith('-Headers @{Authorization = "Bearer " + (powershell -NoProfile')
    assert json.loads(others[1].partition("-Body '")[2].removesuffix("'"))["messages"]
    assert "-Headers" not in request_on_windows(record_of(8123, None, tmp_path / "log"))
