"""Charts of rows: what they hold, as SVG and in a terminal."""

from __future__ import annotations

import io
import math
import re
from itertools import pairwise
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from launcher.bench.chart import Chart, Point, Series, charts_of, number, ticks, x_ticks
from launcher.bench.plot import to_svg
from launcher.bench.plot_layout import COLOURS, HEAD_SIZE, LEFT, TOP, Scale, in_words, legend, tops
from launcher.bench.plot_png import SCALE, dashes, to_png
from launcher.bench.plot_text import MAX_WIDTH, MIN_WIDTH, Line, to_lines
from tests.bench.samples import ENERGY, STEADY, row, scaled

SVG = "{http://www.w3.org/2000/svg}"
DEPTHS = [row(scaled(factor), n_depth=depth) for factor, depth in ((1, 0), (0.8, 4096), (0.5, 16_384))]
STREAMS = [row(scaled(n**0.5), engine="server", n_streams=n) for n in (1, 2, 4)]


def chart(*points: Point, label: str = "embedded", title: str = "Decode speed") -> Chart:
    series = (Series(label=label, points=points),)
    return Chart(title=title, x_label="tokens", y_label="tokens per second", series=series)


def shown(lines: list[Line]) -> list[str]:
    return ["".join(piece.text for piece in line) for line in lines]


# Charts


def test_rows_become_speed_over_depth_and_over_streams() -> None:
    others = [row(n_prompt=512, n_gen=n_gen, n_depth=depth) for n_gen in (0, 128) for depth in (0, 4096)]
    found = charts_of([*DEPTHS, *others, *STREAMS])
    assert [item.title for item in found] == [
        "Decode speed over depth",
        "Prompt speed over depth",
        "Prompt and decode speed over depth",
        "Speed over streams",
    ]
    decode, _, _, streams = found
    assert [series.label for series in decode.series] == ["embedded, tg128", "server, tg128"]
    assert [point.x for point in decode.series[0].points] == [0, 4096, 16_384]
    assert decode.series[0].points[0].mean == 100
    assert decode.series[0].points[0].stddev == pytest.approx(0.790569, abs=1e-6)
    assert [point.x for point in streams.series[0].points] == [1, 2, 4]
    assert decode.x_values == (0, 4096, 16_384)


def test_energy_is_drawn_where_it_is_known_each_kind_of_it_as_a_line() -> None:
    rows = [row(n_depth=depth, **{**ENERGY, "j_per_token": 1.5 + depth}) for depth in (0, 64)]
    speed, energy = charts_of([*rows, row(n_depth=128)])
    assert (speed.title, energy.title) == ("Decode speed over depth", "Decode energy over depth")
    assert energy.y_label.startswith("joules per token")
    assert [(point.x, point.mean, point.stddev) for point in energy.series[0].points] == [(0, 1.5, 0), (64, 65.5, 0)]
    of_one = [row(n_depth=depth, **{**ENERGY, "energy_of": ("CUDA0",)}) for depth in (0, 64)]
    assert [series.label for series in charts_of([*rows, *of_one])[1].series] == [
        "embedded, tg128, of package-0, CUDA0",
        "embedded, tg128, of CUDA0",
    ]
    served = [row(engine="server", n_streams=n, **ENERGY) for n in (1, 2)]
    assert [item.title for item in charts_of(served)] == ["Speed over streams", "Energy over streams"]


def test_a_single_place_is_drawn_only_where_nothing_else_is() -> None:
    alone = [row(), row(n_prompt=512, n_gen=0)]
    assert len(charts_of(alone)) == 2
    assert [item.title for item in charts_of([*alone, *STREAMS])] == ["Speed over streams"]


def test_one_stream_alone_is_no_chart_of_streams() -> None:
    assert len(charts_of([row(engine="server")])) == 1
    assert charts_of([]) == ()


def test_what_differs_makes_lines_of_its_own_and_names_them() -> None:
    rows = [row(n_threads=1), row(n_threads=2), row(model_filename="/m/b.gguf"), row(model_filename="/m/b.gguf")]
    (found,) = charts_of(rows)
    assert [series.label for series in found.series] == [
        "embedded, tiny-gpt-oss-MXFP4.gguf, tg128, n_threads 1",
        "embedded, tiny-gpt-oss-MXFP4.gguf, tg128, n_threads 2",
        "embedded, b.gguf, tg128, n_threads 1",
    ]
    by_depth = charts_of([*STREAMS, row(engine="server", n_streams=2, n_depth=512)])[-1]
    assert [series.label for series in by_depth.series] == ["server, tg128 @ d0", "server, tg128 @ d512"]


@given(st.floats(0.001, 1e9), st.integers(1, 12))
def test_ticks_are_round_hold_the_range_and_are_about_as_many(high: float, n: int) -> None:
    found = ticks(0, high, n)
    assert found[0] == 0
    assert found[-1] >= high * (1 - 1e-6)
    assert 2 <= len(found) <= n + 2
    assert re.fullmatch(r"[125]0*(\.0+)?e.*", f"{found[1]:.6e}")


@pytest.mark.parametrize(("low", "high"), [(1, 1), (2, 1), (0, float("inf")), (float("nan"), 1)])
def test_no_range_has_no_ticks(low: float, high: float) -> None:
    with pytest.raises(ValueError, match="no range"):
        ticks(low, high, 5)


def test_the_x_axis_names_what_was_measured_unless_it_prints_over_another() -> None:
    assert x_ticks([0, 4096, 16_384]) == (0, 4096, 16_384)
    assert x_ticks([0, 100, 4096, 16_300, 16_384]) == (0, 4096, 16_384)
    assert x_ticks([1, 2, 4, 8], n=2) == (1, 4, 8)
    assert x_ticks([7]) == (7,)


@pytest.mark.parametrize(("value", "text"), [(0, "0"), (0.25, "0.25"), (4096, "4096"), (20.0, "20"), (-0.0, "0")])
def test_a_tick_has_no_digits_that_say_nothing(value: float, text: str) -> None:
    assert number(value) == text


# SVG


def test_an_svg_is_well_formed_and_told_in_words() -> None:
    root = ET.fromstring(to_svg(charts_of([*DEPTHS, *STREAMS]), title="bench <of> & mine"))
    assert root.attrib["role"] == "img"
    titles = [found.text for found in root.findall(f"{SVG}title")]
    assert titles == ["bench <of> & mine"]
    description = root.find(f"{SVG}desc")
    assert description is not None
    assert "50.00 ± 0.40 at 16384" in str(description.text)
    ids = {found.attrib["id"] for found in root.iter() if "id" in found.attrib}
    assert set(root.attrib["aria-labelledby"].split()) == ids
    style = root.find(f"{SVG}style")
    assert style is not None
    assert "prefers-color-scheme: dark" in str(style.text)


def test_marks_stand_where_the_numbers_are() -> None:
    svg = to_svg([chart(Point(x=0, mean=100, stddev=0), Point(x=10, mean=50, stddev=0))], title="t")
    (line,) = re.findall(r'<polyline class="line s0" points="([^"]+)"', svg)
    (x0, y0), (x1, y1) = (map(float, place.split(",")) for place in line.split())
    bottom = float(re.findall(r'<line class="axis"[^>]*y1="(\d+)" y2="\1"', svg)[0])
    assert x0 < x1
    assert bottom - y0 == pytest.approx(2 * (bottom - y1), abs=0.2)
    labels = {text: float(y) - 4 for y, text in re.findall(r'y="([\d.]+)" text-anchor="end">(\d+)<', svg)}
    assert (labels["100"], labels["0"]) == pytest.approx((y0, bottom))
    assert labels["100"] == TOP, "the highest tick is the top"


def test_error_bars_are_as_long_as_the_deviation() -> None:
    assert 'class="bar' not in to_svg([chart(Point(x=0, mean=100, stddev=0))], title="t")
    svg = to_svg([chart(Point(x=0, mean=100, stddev=50), Point(x=1, mean=100, stddev=25))], title="t")
    heights = [float(low) - float(high) for low, high in re.findall(r'd="M[\d.]+ ([\d.]+)V([\d.]+)M', svg)]
    assert heights[0] == pytest.approx(2 * heights[1], abs=0.3)
    ends = [(float(low) + float(high)) / 2 for low, high in re.findall(r'd="M[\d.]+ ([\d.]+)V([\d.]+)M', svg)]
    (line,) = re.findall(r'<polyline class="line s0" points="([^"]+)"', svg)
    assert ends == pytest.approx([float(place.split(",")[1]) for place in line.split()], abs=0.2)


def test_many_series_wrap_their_legend_within_the_page() -> None:
    rows = [
        row(engine=engine, n_gen=n, model_filename="m" * 20) for engine in ("embedded", "server") for n in range(1, 9)
    ]
    root = ET.fromstring(to_svg(charts_of(rows), title="t"))
    width, height = (float(root.attrib[name]) for name in ("width", "height"))
    legends = [found for found in root.iter(f"{SVG}text") if "tg" in str(found.text)]
    assert len(legends) == 16
    assert len({found.attrib["y"] for found in legends}) > 1
    for found in legends:
        assert float(found.attrib["x"]) + 6 * len(str(found.text)) < width
        assert float(found.attrib["y"]) < height


def test_text_of_others_is_escaped() -> None:
    svg = to_svg([chart(Point(x=0, mean=1, stddev=0), label='<b>"&\x1b\x00')], title="\x07]]>")
    assert "<b>" not in svg
    assert "\x1b" not in svg
    ET.fromstring(svg)


def test_no_chart_is_no_svg() -> None:
    with pytest.raises(ValueError, match="no chart"):
        to_svg([], title="t")


def test_words_hold_every_number() -> None:
    text = in_words([chart(Point(x=0, mean=12.345, stddev=0.5), Point(x=64, mean=7, stddev=0))])
    assert text == "Decode speed: embedded: 12.35 ± 0.50 at 0, 7.00 ± 0.00 at 64 (x: tokens, y: tokens per second)."


# PNG


def drawn(*charts: Chart) -> Image.Image:
    return Image.open(io.BytesIO(to_png(charts, title="bench"))).convert("RGB")


def near(image: Image.Image, x: float, y: float) -> tuple[int, ...]:
    found = image.getpixel((round(x * SCALE), round(y * SCALE)))
    assert isinstance(found, tuple)
    return found


def n_colours(image: Image.Image, left: float, top: float, right: float, bottom: float) -> int:
    part = image.crop((round(left * SCALE), round(top * SCALE), round(right * SCALE), round(bottom * SCALE)))
    return len(part.getcolors(part.width * part.height) or ())


def rgb(colour: str) -> tuple[int, ...]:
    return tuple(bytes.fromhex(colour[1:]))


def test_a_png_has_the_marks_where_the_svg_has_them() -> None:
    charts = charts_of([*DEPTHS, *STREAMS])
    image = drawn(*charts)
    starts, height = tops(charts)
    assert image.size == (720 * SCALE, math.ceil(height * SCALE))
    for one, top in zip(charts, starts, strict=True):
        scale = Scale(one)
        for i, series in enumerate(one.series):
            for point in series.points[1:]:
                assert near(image, scale.x(point.x), top + scale.y(point.mean)) == rgb(COLOURS[i])
        for entry in legend(one):
            assert near(image, (entry.x + entry.line_end) / 2, top + entry.y) == rgb(COLOURS[entry.series])
            letters = n_colours(image, entry.text_x, top + entry.y - 8, 700, top + entry.y + 6)
            assert letters > 10, "letters, with soft edges"


def test_a_png_has_titles_and_both_axes() -> None:
    one = charts_of(DEPTHS)[0]
    image = drawn(one)
    bottom = Scale(one).y(0)
    places = {
        "title": (LEFT, 18 - HEAD_SIZE, 250, 20),
        "y label": (LEFT, 25, 250, 38),
        "y number": (30, bottom - 6, LEFT - 6, bottom + 6),
        "x number": (85, bottom + 8, 105, bottom + 21),
        "x label": (300, bottom + 26, 460, bottom + 42),
    }
    for name, box in places.items():
        assert n_colours(image, *box) > 5, name


def test_a_png_is_described_in_words() -> None:
    told = Image.open(io.BytesIO(to_png([chart(Point(x=0, mean=12.345, stddev=0.5), label="né\x1b")], title="t")))
    assert told.info["Title"] == "t"
    assert told.info["Description"].startswith("Decode speed: né : 12.35 ± 0.50 at 0")
    with pytest.raises(ValueError, match="no chart"):
        to_png([], title="t")


@pytest.mark.parametrize("pattern", [(7.0, 4.0), (2.0, 3.0), (9.0, 3.0, 2.0, 3.0)])
def test_dashes_cover_their_share_of_a_line(pattern: tuple[float, ...]) -> None:
    places = [(0.0, 0.0), (300.0, 0.0), (300.0, 400.0), (0.0, 400.0)]
    length = sum(math.dist(a, b) for piece in dashes(places, pattern) for a, b in pairwise(piece))
    assert length == pytest.approx(1000 * sum(pattern[::2]) / sum(pattern), abs=max(pattern))
    assert list(dashes(places, ())) == [places]


def test_a_label_that_no_row_holds_is_cut() -> None:
    one = chart(Point(x=0, mean=1, stddev=0), label="m" * 500)
    (entry,) = legend(one)
    assert entry.label.endswith("...")
    assert entry.text_x + 8 * len(entry.label) <= 720
    assert f">{entry.label}</text>" in to_svg([one], title="t")


# Terminal


@pytest.mark.parametrize("width", [1, 40, 80, 200])
@pytest.mark.parametrize("ascii_only", [True, False])
def test_a_chart_stays_within_its_columns(width: int, ascii_only: bool) -> None:
    for item in charts_of([*DEPTHS, *STREAMS, row(n_gen=7, model_filename="a long name " * 20)]):
        lines = shown(to_lines(item, width, ascii_only=ascii_only))
        assert max(map(len, lines)) <= min(max(width, MIN_WIDTH), MAX_WIDTH)
        assert all(line == line.rstrip() for line in lines)
        assert not ascii_only or all(line.isascii() for line in lines)


def test_a_terminal_shows_marks_where_the_numbers_are() -> None:
    lines = shown(to_lines(charts_of(DEPTHS)[0], 60, ascii_only=True))
    marked = [(i, line.index("o")) for i, line in enumerate(lines) if "|" in line and "o" in line]
    assert len(marked) == 3
    (top, left), (middle, between), (low, right) = marked
    assert top < middle < low
    assert left < between < right
    ticks_at = [i for i, char in enumerate(lines[16]) if char == "+"][1:]
    assert ticks_at == [left, between, right]
    assert lines[17].split() == ["0", "4096", "16384"]
    assert "." in lines[middle]


def test_lines_are_braille_and_each_has_its_own_mark() -> None:
    rows = [*DEPTHS, *(row(scaled(0.3), engine="llama-bench", n_depth=depth) for depth in (0, 16_384))]
    lines = to_lines(charts_of(rows)[0], 80)
    text = "\n".join(shown(lines))
    assert re.search("[\u2801-\u28ff]", text)
    assert {piece.series for line in lines for piece in line} == {None, 0, 1}
    assert shown(lines)[-2:] == ["o embedded, tg128", "x llama-bench, tg128"]


def test_wide_samples_stand_out_of_their_mark() -> None:
    narrow = shown(to_lines(chart(Point(x=0, mean=50, stddev=0.1)), 40, ascii_only=True))
    wide = shown(to_lines(chart(Point(x=0, mean=50, stddev=40)), 40, ascii_only=True))
    assert sum("." in line and "|" in line for line in narrow) <= 1
    assert sum("." in line and "|" in line for line in wide) >= 6


def test_control_characters_reach_no_terminal() -> None:
    lines = shown(to_lines(chart(Point(x=0, mean=1, stddev=0), label="x\x1b[2J\r\n", title="\x07"), 40))
    assert all(line.isprintable() for line in lines)


def test_a_chart_of_many_lines_repeats_its_marks() -> None:
    (found,) = charts_of([row(STEADY, n_gen=n) for n in range(1, 11)])
    assert shown(to_lines(found, 80))[-2:] == ["o embedded, tg9", "x embedded, tg10"]
