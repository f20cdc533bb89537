"""Reports open in a browser, at both widths, without asking anything of the network."""

from __future__ import annotations

import pytest
from PIL import Image

from memcontrol.audit import AuditOptions, ExtractionOptions
from memcontrol.audit.audited import Audited
from memcontrol.audit.patients import patients_at_risk
from memcontrol.audit.report import write_report
from memcontrol.audit.sources import Source
from memcontrol.audit.verdict import Patients, judge
from memcontrol.data.cache import CacheOptions
from memcontrol.data.features import split_pixels
from memcontrol.data.images import Transform
from memcontrol.data.phantom.datamodule import PhantomDataModule
from memcontrol.measures import Evidence, RealImages, Sampled, Samples, Scene, ScoringOptions, measure
from memcontrol.measures.encoders import PhantomEncoder
from tests.browser import needs_browser, opened, overflow
from tests.memcontrol.audit.test_front_page import ABOUT


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    data = PhantomDataModule(
        sites=["C"], num_subjects=120, split_fractions=[0.2, 0.1, 0.7], transform=Transform(size=64),
        cache=CacheOptions(folder=str(folder / "cache")),
    )  # fmt: skip
    data.setup("test")
    real = RealImages(data, "test", PhantomEncoder())
    images = split_pixels(data, "validate", list(range(12)))
    features, copy_features = real.encoder.encode(images), real.copy_encoder.encode(images)
    sampled = Sampled([-1] * 12, [str(i) for i in range(12)], images, features, copy_features)
    options = AuditOptions(scoring=ScoringOptions(num_images=12), extraction=ExtractionOptions(prompts=0))
    evidence = Evidence({Samples("train"): sampled})
    measures = measure(evidence, real, options.scoring)
    verdict = judge(measures, None, [], Patients(24, 84, 12, 42), None, 0.01, 0.01)
    (folder / "names").write_text("\n".join(real.subjects("train")))
    ranked = patients_at_risk(Scene(real, options.scoring), evidence, None, False)
    item = Audited(Source(folder / "pictures", "pictures"), evidence, measures, None, verdict, ranked=ranked)
    about = {**ABOUT, "command": "memcontrol audit <x>"}
    write_report([item], [], real, options, about, folder / "report.html")
    return folder / "report.html"


def test_page_is_self_contained(page):
    text = page.read_text()
    assert "No leak found" in text
    assert "&lt;x&gt;" in text
    assert 'src="http' not in text
    assert text.count("<script>") == 2  # plotly and ours
    assert "<x>" not in text
    assert "Patients most at risk" in text
    assert not [name for name in page.with_name("names").read_text().split() if f">{name}<" in text]


@needs_browser
@pytest.mark.parametrize("width", [1280, 500])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_fits_the_window(page, tmp_path, width, scheme):
    with opened(page, width, color_scheme=scheme) as shown:
        assert overflow(shown) <= 0
        assert shown.locator("#plot-distances-0 .bars .point").count() == 80
        table = shown.locator("table.sortable").first
        table.locator("th button").nth(1).click()
        assert table.locator("th").nth(1).get_attribute("aria-sort") == "ascending"
        shot = tmp_path / "shot.png"
        shown.screenshot(path=str(shot))
    assert len(set(Image.open(shot).convert("L").resize((64, 64)).tobytes())) > 20


@needs_browser
def test_the_first_page_fits_one_sheet(page, tmp_path):
    with opened(page) as shown:
        shown.pdf(path=str(tmp_path / "audit.pdf"), format="A4")
        shown.emulate_media(media="print")
        shown.set_viewport_size({"width": 794 - 90, "height": 1123 - 90})  # A4 less margins, at 96 dots per inch
        last = shown.locator(".front .sign").last.bounding_box()
        assert last["y"] + last["height"] < 1123 - 90 - 100  # room for what a longer verdict says
