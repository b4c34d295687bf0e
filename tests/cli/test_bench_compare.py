"""`gpt-oss bench compare`, `history`, `plot` and `share` as a person and as a script use them."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from launcher.bench.compare import compare
from launcher.bench.history import FILE_NAME, parse_history
from launcher.bench.records import HISTORY_FILE, save_record
from launcher.bench.rows import Row
from launcher.cli.app import app
from launcher.cli.bench_compare_view import print_comparison
from launcher.cli.bench_history_view import print_runs
from launcher.cli.bench_plot_view import print_charts
from launcher.cli.bench_sources import Source
from launcher.cli.columns import Cell, Column, table
from launcher.cli.private_names import private_names
from launcher.errors import DamagedFileError, LauncherError, UsageError
from launcher.records import to_jsonable
from tests.bench.samples import ENERGY, LLAMA_BENCH_FILE, STEADY, record, row, scaled
from tests.cli.sandbox import Sandbox, assert_runnable
from tests.systems import POSIX

WIDTHS = (40, 80, 200)
OLD = [
    record(run_id="aaa111", test_time="2026-11-20T10:00:00Z"),
    record(scaled(1.1), run_id="aaa111", test_time="2026-11-20T10:00:00Z", engine="llama-bench"),
]
NEW = [
    record(scaled(0.8), run_id="bbb222", test_time="2026-11-21T10:00:00Z"),
    record(scaled(0.6), run_id="bbb222", test_time="2026-11-21T10:00:00Z", n_depth=4096),
]


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A history of two runs."""
    for item in [*OLD, *NEW]:
        save_record(tmp_path, item)
    return tmp_path


@pytest.fixture
def bench(state: Path) -> Callable[..., Result]:
    """Run a command below `bench` in this process."""

    def run(*words: object, stdin: str | None = None) -> Result:
        env = {"GPT_OSS_STATE_DIR": str(state)}
        return CliRunner().invoke(app, ["bench", *map(str, words)], env=env, input=stdin)

    return run


def done(result: Result) -> str:
    """What a command printed that went well."""
    assert result.exit_code == 0, result.output
    return result.stdout


def refused(result: Result, kind: type[LauncherError] = UsageError) -> LauncherError:
    """The error of a command that must fail, with a hint that can be typed."""
    error = result.exception
    assert isinstance(error, kind), result.output
    assert result.stdout == ""
    assert_runnable(error.hint or "")
    return error


def seen(monkeypatch: pytest.MonkeyPatch, width: int, draw: Callable[[], object], **environ: str) -> list[str]:
    """Lines that a function prints on a terminal of a width."""
    stream = Terminal()
    for name in ("NO_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"COLUMNS": str(width), "LINES": "40", **environ}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.stdout", stream)
    draw()
    monkeypatch.undo()
    return stream.getvalue().splitlines()


def plain(lines: Sequence[str]) -> list[str]:
    return [re.sub(r"\x1b\[\d*m", "", line) for line in lines]


# compare


def test_the_two_last_runs_are_compared(bench: Callable[..., Result]) -> None:
    out = done(bench("compare", "last~1", "last"))
    assert re.search(r"^A  last~1  2026-11-20 10:00  tiny-gpt-oss-MXFP4.gguf$", out, re.MULTILINE)
    assert re.search(r"^tg128 +100.0 +80.00 +0.800 +0.\d+ to 0.\d+ +slower$", out, re.MULTILINE)
    assert "only in A: tg128 (llama-bench)" in out
    assert "only in B: tg128 @ d4096 (embedded)" in out


def test_engines_of_one_run_are_compared_in_pairs(bench: Callable[..., Result]) -> None:
    found = json.loads(done(bench("compare", "aaa@embedded", "aaa@llama-bench", "--json")))
    assert found["schema"] == 1
    assert found["a"] == {"source": "aaa@embedded", "started_at": "2026-11-20T10:00:00Z"}
    (only,) = found["rows"]
    assert (only["name"], only["verdict"], only["ratio"]["method"]) == ("tg128", "faster", "pairs")
    assert [item["field"] for item in found["differences"]] == ["engine"]


def test_real_llama_bench_output_is_compared(bench: Callable[..., Result], tmp_path: Path) -> None:
    real = json.loads(LLAMA_BENCH_FILE.read_text())
    lines = tmp_path / "b.jsonl"
    lines.write_text("\n".join(json.dumps(item) for item in real))
    out = done(bench("compare", LLAMA_BENCH_FILE, lines))
    assert len(re.findall(r"^(pp64|tg8)( @ d64)? .* 1\.000 ", out, re.MULTILINE)) == 4
    assert "differ:" not in out
    assert "differs:" not in out
    assert "1.000" in done(bench("compare", "-", lines, stdin=LLAMA_BENCH_FILE.read_text()))


def test_a_slower_bench_fails_a_build(bench: Callable[..., Result]) -> None:
    result = bench("compare", "last~1", "last", "--fail-if-slower", "5")
    assert result.exit_code == 1
    assert result.stderr == "slower by 20.0%, and 5 % is allowed: tg128 (embedded)\n"
    assert "slower" in result.stdout
    assert bench("compare", "last~1", "last", "--fail-if-slower", "25").exit_code == 0
    assert bench("compare", "last", "last~1", "--fail-if-slower", "0").exit_code == 0
    assert bench("compare", "last~1", "last").exit_code == 0


def test_what_cannot_be_judged_fails_no_build_and_is_said(bench: Callable[..., Result], tmp_path: Path) -> None:
    for name, factor in (("a.json", 1.0), ("b.json", 0.1)):
        (tmp_path / name).write_text(json.dumps(to_jsonable(record(scaled(factor, STEADY[:3])))))
    result = bench("compare", tmp_path / "a.json", tmp_path / "b.json", "--fail-if-slower", "5")
    assert result.exit_code == 0
    assert result.stderr == "not judged, too noisy or too few samples: tg128\n"
    assert "too few: fewer than 5 samples" in result.stdout


@pytest.mark.parametrize(
    ("words", "kind", "message"),
    [
        (("last", "zzz"), UsageError, "no file and no run is called zzz"),
        (("last", "last~2"), UsageError, "only 2 runs are kept"),
        (("last", "no.json"), DamagedFileError, "no.json: no such file"),
        (("last", "no/where"), DamagedFileError, "no/where: no such file"),
        (("last", "a" * 300), UsageError, "no file and no run is called aaa"),
        (("last", "last@server"), UsageError, "last holds nothing of server, only of embedded"),
        (("-", "-"), UsageError, "stdin can be read once"),
        (("-", "last"), DamagedFileError, "-: the file is empty"),
        (("last", "."), DamagedFileError, "cannot read"),
        (("last~1@llama-bench", "last", "--fail-if-slower", "nan"), UsageError, "not a percentage"),
    ],
)
def test_what_cannot_be_compared_is_told(
    bench: Callable[..., Result], words: Sequence[str], kind: type[LauncherError], message: str
) -> None:
    assert message in refused(bench("compare", *words), kind).message


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"\xff\xfe\x00", "it is no text"), (b"| model |", "not JSON"), (b"[]", "no records"), (b"[{}]", "record 1:")],
)
def test_a_file_of_something_else_is_told(
    bench: Callable[..., Result], tmp_path: Path, content: bytes, message: str
) -> None:
    (tmp_path / "x.json").write_bytes(content)
    assert message in refused(bench("compare", "last", tmp_path / "x.json"), DamagedFileError).message


def test_nothing_in_common_is_told_with_what_is_there(bench: Callable[..., Result]) -> None:
    error = refused(bench("compare", LLAMA_BENCH_FILE, "last"))
    assert "no test in common" in error.message
    assert f"only in {LLAMA_BENCH_FILE}: pp64" in error.details
    assert "only in last: tg128 @ d4096" in error.details


def comparison(a: Sequence[Row], b: Sequence[Row]) -> Callable[[], None]:
    import sys

    when = "2026-11-20T10:00:00Z"
    first, second = (Source(name=name, started_at=when, rows=tuple(rows)) for name, rows in (("a", a), ("b", b)))
    return lambda: print_comparison(first, second, compare(a, b), sys.stdout)


@pytest.mark.parametrize("width", WIDTHS)
def test_a_comparison_fits_its_terminal(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    a = [row(n_depth=depth, engine=engine) for depth in (0, 16_384) for engine in ("embedded", "llama-bench")]
    b = [row(scaled(0.5), n_depth=item.test.n_depth, engine=item.engine, cpu_info="x y " * 20) for item in a]
    lines = plain(seen(monkeypatch, width, comparison(a, b)))
    assert max(map(len, lines)) <= width
    rows = [line for line in lines if line.startswith("tg128")]
    assert len(rows) == 4
    assert all("0.500" in line and "slower" in line for line in rows)
    assert ("interval" in "".join(lines).split("Speeds")[0]) == (width > 40)
    assert all(line == line.rstrip() for line in lines)


def test_colours_are_for_terminals_that_want_them(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = comparison([row()], [row(scaled(2))])
    assert "\x1b[32mfaster" in "".join(seen(monkeypatch, 80, draw))
    for environ in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        draw = comparison([row()], [row(scaled(2))])
        assert "\x1b" not in "".join(seen(monkeypatch, 80, draw, **environ))


def test_text_of_others_moves_no_cursor(monkeypatch: pytest.MonkeyPatch) -> None:
    evil = "\x1b[2Jx\r\n"
    a, b = [row(model_filename=evil, cpu_info=evil)], [row(model_filename=evil + "y", cpu_info="z")]
    text = "\n".join(seen(monkeypatch, 80, comparison(a, b), NO_COLOR="1"))
    assert "\x1b" not in text
    assert "\r" not in text


# history


def test_the_history_lists_runs_the_newest_first(bench: Callable[..., Result]) -> None:
    lines = done(bench("history")).splitlines()
    assert [line.split()[0] for line in lines] == ["run", "bbb222", "aaa111"]
    assert lines[2].split()[-7:] == ["tiny-gpt-oss", "embedded,", "llama-bench", "2", "-", "tg128", "100.0"]


def test_the_limit_says_what_it_leaves_out(bench: Callable[..., Result]) -> None:
    result = bench("history", "--limit", "1")
    assert len(done(result).splitlines()) == 2
    assert result.stderr == "1 older run is kept; --limit 2 shows all\n"


def test_the_history_is_json(bench: Callable[..., Result]) -> None:
    found = json.loads(done(bench("history", "--json", "--limit", "1")))
    assert (found["schema"], found["n_runs"], found["problems"]) == (1, 2, [])
    (run,) = found["runs"]
    assert (run["run_id"], run["engines"]) == ("bbb222", ["embedded"])
    assert [(test["name"], test["avg_ts"]) for test in run["tests"]] == [
        ("tg128", pytest.approx(80)),
        ("tg128 @ d4096", pytest.approx(60)),
    ]


def test_a_run_of_the_history_is_a_file_to_compare(bench: Callable[..., Result], tmp_path: Path) -> None:
    (tmp_path / "old.json").write_text(done(bench("history", "aaa", "--json")))
    assert "0.800" in done(bench("compare", tmp_path / "old.json", "last"))
    assert "tg128" in done(bench("history", "aaa"))


def test_damaged_lines_are_told_on_stderr(bench: Callable[..., Result], state: Path) -> None:
    with (state / HISTORY_FILE).open("ab") as file:
        file.write(b'{"half": ')
    result = bench("history")
    assert len(done(result).splitlines()) == 3
    assert result.stderr == "line 5 of bench.jsonl is passed over: it is damaged\n"
    assert "line 5" in json.loads(done(bench("history", "--json")))["problems"][0]


def test_an_empty_history_says_what_to_do(tmp_path: Path) -> None:
    runner, env = CliRunner(), {"GPT_OSS_STATE_DIR": str(tmp_path / "none")}
    result = runner.invoke(app, ["bench", "history"], env=env)
    assert (done(result), result.stderr) == ("", "no bench has been kept yet; gpt-oss bench measures one\n")
    for words in (["compare", "last", "last"], ["history", "last"], ["plot"], ["share"]):
        assert "no bench has been kept yet" in refused(runner.invoke(app, ["bench", *words], env=env)).message


def test_what_is_kept_is_where_it_is_read() -> None:
    assert FILE_NAME == HISTORY_FILE


@pytest.mark.parametrize("width", WIDTHS)
def test_a_history_fits_its_terminal(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    records = [record(run_id="0123456789ab", model="a-rather-long-name-of-a-model-" * 3, test_time="nonsense")]
    data = b"\n".join(json.dumps(to_jsonable(item)).encode() for item in records)
    runs = parse_history(data).runs
    now = datetime(2026, 11, 22, tzinfo=UTC)
    lines = plain(seen(monkeypatch, width, lambda: print_runs(runs, now=now)))
    assert max(map(len, lines)) <= width
    assert lines[1].startswith("0123456789ab  nonsense")
    assert lines[1].endswith("tg128 100.0")


# plot and share


def test_a_plot_is_drawn_or_written(bench: Callable[..., Result], tmp_path: Path) -> None:
    out = done(bench("plot"))
    assert out.startswith("Decode speed over depth\n")
    assert "4096" in out
    assert done(bench("plot", "--ascii")).isascii()
    result = bench("plot", "last", "last~1", "-o", tmp_path / "x.svg")
    assert (done(result), result.stderr) == ("", f"wrote {tmp_path / 'x.svg'}\n")
    text = (tmp_path / "x.svg").read_text()
    ET.fromstring(text)
    for label in ("last embedded, tg128", "last~1 embedded, tg128", "last~1 llama-bench, tg128"):
        assert f">{label}</text>" in text


@POSIX
def test_a_plot_as_png(bench: Callable[..., Result], tmp_path: Path) -> None:
    path = tmp_path / "x.PNG"
    assert done(bench("plot", "last", "last~1", "-o", path)) == ""
    with Image.open(path) as image:
        assert (image.format, image.width) == ("PNG", 1440)
        assert "last~1 llama-bench, tg128" in image.info["Description"]
    assert path.stat().st_mode & 0o777 == 0o644


def test_energy_is_compared_listed_and_drawn(bench: Callable[..., Result], state: Path) -> None:
    assert "J/tok" not in done(bench("compare", "last~1", "last")) + done(bench("history"))
    for name, joules in (("ccc", 1.5), ("ddd", 1.2)):
        fields = {**ENERGY, "j_per_token": joules, "run_id": name, "test_time": f"2026-11-2{joules * 2:.0f}T10:00:00Z"}
        for depth in (0, 64):
            save_record(state, record(**fields, n_depth=depth))
    out = done(bench("compare", "ccc", "ddd"))
    assert re.search(r"^tg128 +100.0 +100.0 .* same +1.50 +1.20$", out, re.MULTILINE)
    assert "J/tok: energy of package-0, CUDA0, idle power included" in out
    assert json.loads(done(bench("compare", "ccc", "ddd", "--json")))["rows"][0]["b_j_per_token"] == 1.2
    assert re.search(r"^ccc .* tg128 100.0 +1.50$", done(bench("history")), re.MULTILINE)
    assert json.loads(done(bench("history", "--json")))["runs"][0]["tests"][0]["energy_of"] == ["package-0", "CUDA0"]
    assert "Decode energy over depth\njoules per token, idle power included\n" in done(bench("plot", "ccc"))


def test_a_bench_draws_what_it_measured(sandbox: Sandbox) -> None:
    result = sandbox.run("bench", "--demo", "-p", "0", "-n", "4", "-d", "0,8", "-r", "1", "--plot")
    assert result.code == 0, result.err
    table, _, drawn = result.out.partition("Decode speed over depth\n")
    assert "tg4 @ d8" in table
    assert "embedded, tg4" in drawn
    assert "--plot" in sandbox.refused("bench", "--demo", "--plot", "-o", "json").error


@pytest.mark.parametrize("width", WIDTHS)
def test_a_plot_has_colours_on_a_terminal_alone(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    from launcher.bench.chart import charts_of

    charts = charts_of([row(), row(n_depth=64), row(engine="server", n_streams=2)])
    coloured = seen(monkeypatch, width, lambda: print_charts(charts))
    assert any("\x1b[36m" in line for line in coloured)
    assert max(map(len, plain(coloured))) <= width
    assert "\x1b" not in "".join(seen(monkeypatch, width, lambda: print_charts(charts), NO_COLOR="1"))


def test_a_plot_is_ascii_where_the_terminal_shows_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    from launcher.bench.chart import charts_of

    monkeypatch.setattr(Terminal, "encoding", "latin-1")
    lines = seen(monkeypatch, 80, lambda: print_charts(charts_of([row(), row(n_depth=64)])))
    assert all(line.isascii() for line in lines)


@POSIX
def test_a_plot_of_another_kind_is_refused(bench: Callable[..., Result], tmp_path: Path) -> None:
    assert "an .svg or a .png file" in refused(bench("plot", "-o", tmp_path / "x.pdf")).message
    for name in ("x.svg", "x.png"):
        assert "cannot write" in refused(bench("plot", "-o", f"/dev/null/{name}"), LauncherError).message
    assert list(tmp_path.glob("x*")) == []


def test_a_shared_file_names_nobody(bench: Callable[..., Result], state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("launcher.cli.private_names.getpass.getuser", lambda: "alicesmith")
    monkeypatch.setattr("launcher.cli.private_names.socket.gethostname", lambda: "vaultbox.corp.example")
    fields: dict[str, Any] = {"model_filename": "/home/alicesmith/m.gguf", "cpu_info": "CPU of vaultbox"}
    save_record(state, record(run_id="ccc", test_time="2026-11-22T10:00:00Z", **fields))
    out = done(bench("share", "ccc", "bbb"))
    assert "alicesmith" not in out
    assert "vaultbox" not in out
    assert [item["run_id"] for item in json.loads(out)["records"]] == ["run-1", "run-2", "run-2"]
    assert json.loads(out)["records"][0]["model_filename"] == "m.gguf"


def test_a_shared_file_is_read_back_or_shown(bench: Callable[..., Result], tmp_path: Path) -> None:
    result = bench("share", "-o", tmp_path / "x.json")
    assert done(result) == ""
    assert result.stderr == f"wrote {tmp_path / 'x.json'} with 2 tests; read it before you give it away\n"
    assert "1.000" in done(bench("compare", "last", tmp_path / "x.json"))
    done(bench("share", "last", "last~0", "-o", tmp_path / "x.html"))
    page = (tmp_path / "x.html").read_text()
    assert page.startswith("<!doctype html>")
    assert page.count("<td>tg128</td>") == 1
    assert "ends in .json or .html" in refused(bench("share", "-o", tmp_path / "x.txt")).message


def test_this_machines_names_are_known() -> None:
    import getpass
    import socket

    assert {getpass.getuser(), socket.gethostname()} <= set(private_names())


# Tables


def test_a_table_shrinks_before_it_drops() -> None:
    columns = [Column(name="a", shrink_to=6), Column(name="b", drop=1, right=True), Column(name="c", drop=2)]
    rows = [[Cell(text="abcdefghij"), Cell(text="12"), Cell(text="xyz")]]
    assert table(columns, rows, None) == ["a            b  c", "abcdefghij  12  xyz"]
    assert table(columns, rows, 17) == ["a          b  c", "abcde...  12  xyz"]
    assert table(columns, rows, 14) == ["a            b", "abcdefghij  12"]
    assert table(columns, rows, 3) == ["a", "abc..."]


def test_a_tables_texts_stay_on_their_line() -> None:
    assert table([Column(name="a")], [[Cell(text="x\x1b[2J\ny")]], None) == ["a", "x [2J y"]
