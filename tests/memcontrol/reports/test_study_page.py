"""The report of a study in a real browser: each control does what it says, and the page agrees with `search.pick`."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import numpy as np
import pytest

from memcontrol.measures import Point
from memcontrol.measures.statistics.intervals import Interval
from memcontrol.search.front import archive, pick
from memcontrol.search.options import Bounds, SearchOptions
from memcontrol.search.records import TrialRecord, TrialState
from memcontrol.search.report import write_report
from memcontrol.search.space import Parameter, SearchSpace
from memcontrol.search.study import Study
from tests.browser import needs_browser, opened, overflow

OBJECTIVES = ["membership_calibrated", "kid"]
SLOTS = ("down_blocks.0.resnets", "mid_block.attentions", "up_blocks.1.<b>odd</b>")
EVIL = "</script><script>alert(1)</script>"


def records():
    rng, found = np.random.default_rng(0), []
    for number in range(14):
        leak, bits = float(rng.uniform(0.5, 0.9)), rng.integers(0, 2, 3)
        points = []
        for step in (10, 20):
            values = {
                "membership_calibrated": leak + step / 400,
                "kid": 1.6 - leak + float(rng.normal(0, 0.05)) - step / 200,
                "recall": float(rng.uniform()),
            }
            measures = {name: Interval(v, v - 0.05, v + 0.05, 40) for name, v in values.items()}
            points.append(Point(step, (-values["membership_calibrated"], -values["kid"]), measures))
        told = {"step": 20, "rewards": list(points[-1].rewards)}
        found.append(
            TrialRecord(
                number, TrialState.COMPLETE, tuple(map(int, bits)), (float(rng.uniform()),),
                {"model.optimizer.lr": 1e-3 * (number + 1)}, str(number), 0, tuple(points), told,
                seconds={"training": 20.0, "scoring": 4.0, "total": 25.0},
            )
        )  # fmt: skip
    return [*found, TrialRecord(14, TrialState.FAILED, (1, 0, 1), (0.5,), {"model.x": EVIL}, "f", 0, error=EVIL)]


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    space = SearchSpace(SLOTS, (Parameter("model.optimizer.lr", "log", 1e-4, 1e-1),))
    made = Study(folder, SearchOptions(study=str(folder), objectives=OBJECTIVES), space, "", {})
    (made.trial(3) / "samples").mkdir(parents=True)
    (made.trial(3) / "samples" / "step-0000020.png").write_bytes(b"")
    (folder / "pareto.csv").write_text("trial\n")
    points = archive(records(), {})
    write_report(made, records(), points, pick(points, "knee", OBJECTIVES))
    return made


@pytest.fixture(scope="module")
def page(study):
    return study.folder / "report.html"


class Scripts(HTMLParser):
    """Collects what a browser takes for scripts, and what a link leads to."""

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.kinds, self.outside = [], []

    def handle_starttag(self, tag, attrs):
        known = dict(attrs)
        if tag == "script":
            self.kinds.append(known.get("type", "run"))
        self.outside += [v for k, v in attrs if k in ("src", "href") and not v.startswith("data:")]


def test_no_text_becomes_a_script(page):
    found = Scripts()
    found.feed(page.read_text())
    assert found.kinds.count("run") == 2  # plotly and ours
    assert set(found.kinds) == {"run", "application/json"}
    assert found.outside == ["pareto.csv"]
    assert re.search(r"script-src &#39;sha256-\S+=&#39; &#39;sha256-", page.read_text()[:1000])


@needs_browser
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (1280, "dark"), (500, "light")])
def test_it_fits_the_window(page, width, scheme):
    with opened(page, width, color_scheme=scheme) as shown:
        assert overflow(shown) <= 0
        assert shown.locator(".main-svg").count() >= 6
        ink = shown.evaluate("getComputedStyle(document.querySelector('#plot-front .xtitle')).fill")
        assert ink == ("rgb(229, 232, 235)" if scheme == "dark" else "rgb(28, 40, 51)")


@needs_browser
def test_a_bound_picks_what_the_search_would(page):
    points = archive(records(), {})
    with opened(page) as shown:
        for value in np.linspace(0.5, 0.95, 12).round(4):
            shown.evaluate(
                "v => { const b = document.getElementById('bound'); b.min = 0; b.max = 1; b.value = v;"
                " b.dispatchEvent(new Event('input')); }",
                float(value),
            )
            expected = pick(points, Bounds(at_most={"membership_calibrated": float(value)}), OBJECTIVES)
            said = shown.locator("#bound-says").inner_text()
            if expected is None:
                assert said.startswith("No point of the front")
            else:
                assert f": trial {expected.id}, kid {expected.measures['kid'].value:.4g}"[:-1] in said
                assert f"--search.pick '{{at_most: {{membership_calibrated: {value:g}}}}}'" in said
                assert shown.locator("#point h3").inner_text() == f"trial {expected.id}"


@needs_browser
def test_the_line_is_dragged(page):
    with opened(page) as shown:
        before = shown.locator("#bound-value").inner_text()
        line = shown.locator("#plot-front .shapelayer path").first.bounding_box()
        x, y = line["x"] + line["width"] / 2, line["y"] + line["height"] / 2
        shown.mouse.move(x, y)
        shown.mouse.down()
        shown.mouse.move(x - 120, y, steps=8)
        shown.mouse.up()
        assert float(shown.locator("#bound-value").inner_text()) < float(before)


@needs_browser
def test_a_point_is_clicked_in_the_plot_and_in_the_table(page):
    with opened(page) as shown:
        at = shown.locator("#plot-front .scatterlayer .trace").nth(2).locator(".point").first.bounding_box()
        shown.mouse.click(at["x"] + at["width"] / 2, at["y"] + at["height"] / 2)
        picked = pick(archive(records(), {}), "knee", OBJECTIVES)
        assert shown.locator("#point h3").inner_text() == f"trial {picked.id}"
        row = shown.locator("tr[data-point]").last
        row.focus()
        shown.keyboard.press("Enter")
        assert shown.locator("#point h3").inner_text() == row.get_attribute("data-point")
        assert row.evaluate("line => line.classList.contains('chosen')")
        assert "optimizer.lr" in shown.locator("#point").inner_text()


@needs_browser
def test_a_trial_leads_to_its_files(study, page):
    with opened(page) as shown:
        shown.evaluate("document.getElementById('plot-parallel').emit('plotly_click', {points: [{customdata: 3}]})")
        links = [link.get_attribute("href") for link in shown.locator("#point a").all()]
        assert links == ["trials/trial-0003/samples/step-0000020.png"]
        assert (study.folder / links[0]).exists()


@needs_browser
def test_axes_show_other_measures(page):
    with opened(page) as shown:
        shown.select_option("#axis-x", "recall")
        assert shown.locator("#plot-front .xtitle").text_content() == "recall"
        values = shown.evaluate("document.getElementById('plot-front').data[1].x")
        front = {point.id: point for point in archive(records(), {})}
        best = pick(list(front.values()), "knee", OBJECTIVES)
        assert sorted(values) == sorted(p.measures["recall"].value for key, p in front.items() if key != best.id)
        assert shown.evaluate("document.getElementById('plot-front').layout.shapes.length") == 0


@needs_browser
def test_no_button_sends_a_chart_away(page):
    """Plotly has one that uploads a chart to its makers."""
    with opened(page) as shown:
        titles = shown.evaluate("[...document.querySelectorAll('.modebar-btn')].map(b => b.dataset.title)")
        assert set(titles) == {"Zoom", "Pan", "Zoom in", "Zoom out", "Reset axes", "Download plot as a PNG"}
        assert shown.evaluate("document.getElementById('plot-front')._context.plotlyServerURL") == ""


@needs_browser
def test_tables_are_sorted_by_numbers(page):
    with opened(page) as shown:
        table = shown.locator("table.sortable").last
        for name in ("kid", "trial"):
            column = table.locator("th").all_inner_texts().index(name)
            for order in ("ascending", "descending"):
                head = table.locator("th").nth(column)
                head.locator("button").focus()
                shown.keyboard.press("Enter")
                assert head.get_attribute("aria-sort") == order
                cells = [float(t) for t in table.locator(f"tbody td:nth-child({column + 1})").all_inner_texts() if t]
                assert cells == sorted(cells, reverse=order == "descending")


@needs_browser
def test_it_prints(page, tmp_path):
    with opened(page) as shown:
        shown.pdf(path=str(tmp_path / "study.pdf"), format="A4")
        assert (tmp_path / "study.pdf").stat().st_size > 20_000
        shown.emulate_media(media="print")
        shown.wait_for_function("() => document.querySelector('#plot-front .main-svg').clientWidth <= 680")
        assert shown.locator(".controls").is_hidden()
