"""Pages of comparisons and of folders in a real browser."""

from __future__ import annotations

import pandas as pd
import pytest

from memcontrol.cli.commands.init_page import write_overview
from memcontrol.data.cache import CacheOptions
from memcontrol.data.images import Transform
from memcontrol.data.phantom.datamodule import PhantomDataModule
from memcontrol.measures.forecast import forecast
from memcontrol.reports.comparison_figures import MethodMark, TuningLine
from memcontrol.reports.comparison_plots import methods_plot, tuning_plot
from memcontrol.reports.page import write_page
from tests.browser import needs_browser, opened, overflow

NAMES = ("base (0 %)", "full (100 %)", "lora <a href='http://a.b'>r4</a>", "svdiff <b>found</b>")


def comparison(folder):
    marks = [
        MethodMark(name, marker, (0.5 + 0.1 * n, 1.5 - 0.3 * n), (0.05, 0.1))
        for n, (name, marker) in enumerate(zip(NAMES, "soo*", strict=True))
    ]
    marks.append(MethodMark(None, "x", (0.6, 1.4), (0.1, 0.1), is_minor=True))
    lines = [TuningLine("lora_r4", [(0.6, 1.0), (0.7, 0.8)], [(0.7, 0.8)])]
    table = pd.DataFrame({"method": NAMES, "kid": ["1.5", "0.9 ± 0.1", "10.2", "-"]})
    return write_page(
        folder / "report.html", "comparison.html", has_plots=True, title="Comparison",
        plots=[methods_plot(marks, "leak", "kid"), tuning_plot(lines, {"lora": [(0.65, 0.9)]}, "leak", "kid")],
        grid=None, tables=[{"title": "Table", "columns": list(table), "rows": list(table.itertuples(index=False))}],
    )  # fmt: skip


def overview(folder):
    data = PhantomDataModule(
        sites=["C"], num_subjects=100, transform=Transform(size=32), cache=CacheOptions(folder=str(folder / "cache"))
    )
    data.setup("fit")
    found = forecast(60, 20, True)
    return write_overview(folder / "mine.html", "images <of> phantoms", data, found, ["A `finding`."], "mine.yaml")


@needs_browser
@pytest.mark.parametrize("make", [comparison, overview])
@pytest.mark.parametrize("width", [1280, 500])
def test_they_fit_the_window_and_print(make, width, tmp_path):
    with opened(make(tmp_path), width) as shown:
        assert overflow(shown) <= 0
        assert shown.locator(".plot").count() == shown.locator(".plot .main-svg").count() / 3
        shown.emulate_media(media="print")
        shown.wait_for_function("() => [...document.querySelectorAll('.main-svg')].every(p => p.clientWidth <= 680)")
        assert overflow(shown) <= 0 or width < 680  # paper is wider than this window


@needs_browser
def test_names_are_text_and_tables_are_sorted(tmp_path):
    with opened(comparison(tmp_path)) as shown:
        assert "svdiff <b>found</b>" in shown.locator("table").inner_text()
        legend = shown.locator("#plot-tradeoff .legendtext").all_text_contents()
        assert "svdiff <b>found</b>" in legend
        assert shown.locator("svg a").count() == 0  # a name is no link
        shown.locator("th button", has_text="kid").click()
        assert shown.locator("td:nth-child(2)").all_inner_texts() == ["0.9 ± 0.1", "1.5", "10.2", "-"]


@needs_browser
def test_a_method_is_hidden_by_its_name(tmp_path):
    with opened(comparison(tmp_path)) as shown:
        before = shown.locator("#plot-tradeoff .scatterlayer .trace").count()
        shown.locator("#plot-tradeoff .legendtoggle").first.click()
        shown.wait_for_function(
            f"() => document.querySelectorAll('#plot-tradeoff .scatterlayer .trace').length === {before - 1}"
        )
