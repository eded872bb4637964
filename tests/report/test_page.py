"""The demo's page and charts: whole, self-contained, and nothing in the data can break them."""

from __future__ import annotations

import itertools
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pocketlora_export.report.chart import HEIGHT, WIDTH, Series, line_chart, nice_ticks
from pocketlora_export.report.demo_result import AdapterResult, Curve, DemoResult, Sample, Swap
from pocketlora_export.report.page import write_page

HOSTILE = "</p><script>alert('x')</script> & more"


def adapter(name: str) -> AdapterResult:
    curve = Curve([(1, 4.0), (2, 3.5), (3, 3.25)], [(0, 4.5), (3, 3.0)])
    return AdapterResult(name, f"out/{name}", 8, 123456, 150, 20, 3, 900, 1.5, 90.0, 20.5, curve)


def result() -> DemoResult:
    labels = ("base", "notes", "log", "base again")
    samples = [
        Sample(label, prompt, f"{label} writes {HOSTILE}", [1]) for label in labels for prompt in ("This", "That")
    ]
    return DemoResult(
        model="pocket",
        parameters=3_700_000,
        scheme="nf4",
        base_bytes=2_130_944,
        threads=2,
        adapters=[adapter("notes"), adapter("log")],
        samples=samples,
        generation_tokens_per_second=812.0,
        swap=Swap(40, 0.004, 0.1, 20, 3.0),
        peak_rss_anon=60_000_000,
        peak_rss_file=90_000_000,
        base_private_dirty=0,
        bundle_seconds=12.0,
        seconds=60.0,
    )


class _Reader(HTMLParser):
    """Checks that tags are balanced, and collects text and attributes."""

    VOID = ("meta", "br", "line", "circle", "polyline")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def html(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("page") / "demo.html"
    write_page(result(), path)
    assert [p.name for p in path.parent.iterdir()] == ["demo.html"]
    return path.read_text(encoding="utf-8")


def test_the_page_holds_every_sample_and_figure(html: str) -> None:
    reader = _Reader()
    reader.feed(html)
    assert reader.open == []
    assert reader.seen.count("svg") == 2
    assert "script" not in reader.seen
    assert reader.text.count(HOSTILE) == 8
    for figure in ("90.00", "20.50", "0.004", "812", "60.0 MB", "2.1 MB", "600"):
        assert figure in reader.text


def test_the_page_needs_nothing_from_outside(html: str) -> None:
    assert re.findall(r"https?:|//[a-z]|@import|url\(|src=|<link", html) == []


def test_the_summary_is_json() -> None:
    summary = json.loads(json.dumps(result().as_json(), allow_nan=False))
    assert summary["adapters"][0]["tokens_per_second"] == 600.0
    assert "curve" not in summary["adapters"][0]
    assert summary["samples"][0]["label"] == "base"


VALUES = st.floats(-1e6, 1e6, allow_nan=False)


@given(VALUES, VALUES)
def test_ticks_cover_the_values_with_round_steps(a: float, b: float) -> None:
    low, high = min(a, b), max(a, b)
    ticks = nice_ticks(low, high)
    slack = 1e-6 * max(1.0, high - low)
    assert ticks[0] <= low + slack
    assert ticks[-1] >= high - slack
    assert 2 <= len(ticks) <= 9
    steps = {round(y - x, 6) for x, y in itertools.pairwise(ticks)}
    assert all(step > 0 for step in steps) or high - low < 1e-5


@given(st.lists(st.tuples(st.integers(0, 500), st.floats(0, 20)), min_size=1, max_size=30))
def test_every_point_lies_inside_the_picture(points: list[tuple[int, float]]) -> None:
    svg = line_chart("a <title>", [Series("loss & more", sorted(points), "train", True)], x_label="x", y_label="y")
    root = ET.fromstring(svg)
    circles = list(root.iter("circle"))
    assert len(circles) == len(points)
    for circle in circles:
        assert 0 <= float(circle.attrib["cx"]) <= WIDTH
        assert 0 <= float(circle.attrib["cy"]) <= HEIGHT


def test_larger_values_are_drawn_higher_and_later_steps_further_right(tmp_path: Path) -> None:
    svg = line_chart("t", [Series("s", [(0, 1.0), (10, 3.0)], "train", True)], x_label="x", y_label="y")
    first, second = ET.fromstring(svg).iter("circle")
    assert float(first.attrib["cx"]) < float(second.attrib["cx"])
    assert float(first.attrib["cy"]) > float(second.attrib["cy"])
