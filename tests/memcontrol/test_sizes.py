"""Pictures that are not square, from a folder to an audit and a pipeline of diffusers."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline, UNet2DConditionModel
from PIL import Image

from memcontrol.audit.changes import KINDS, changed
from memcontrol.cli import main
from memcontrol.cli.commands.init import _size_like
from memcontrol.data.images import Transform, Variant, to_pixels
from memcontrol.diffusion.bases import load_components
from memcontrol.diffusion.components import drawn_size, register_drawn_size
from memcontrol.errors import DataError
from memcontrol.pipeline import load_pipeline
from memcontrol.reports.pictures import picture as small_picture
from memcontrol.sizes import check_size
from tests.conf import short_run
from tests.memcontrol.audit.test_audit import DATA, arguments, record
from tests.memcontrol.bases import make_base

WIDE = "[48,64]"
"""Height and width."""


def picture(width, height):
    """Columns that grow brighter from left to right, and a black row at the top."""
    values = np.tile(np.linspace(0, 255, width), (height, 1))
    values[0] = 0
    return Image.fromarray(values.astype(np.uint8)).convert("RGB")


def gray(pixels):
    """Return the values of a picture in [0, 255], with shape `(H, W)`."""
    return ((pixels / 2 + 0.5) * 255).mean(dim=0)


def grows(row):
    """Whether values grow from left to right, but for what resampling rounds."""
    return bool((row.diff() > -2).all()) and float(row[-1] - row[0]) > 60


@pytest.mark.parametrize("fit", ["crop", "pad", "squash"])
@pytest.mark.parametrize("shape", [(64, 48), (128, 96), (100, 100), (30, 200), (300, 60)])
def test_every_image_gets_the_shape_that_was_asked_for(fit, shape):
    found = gray(Transform(size=(48, 64), fit=fit).apply(picture(*shape), Variant()))
    assert found.shape == (48, 64)
    seen = found[24]
    if fit == "pad":
        there = (found > 1).any(dim=0)
        assert int(there.sum()) == pytest.approx(min(64, 48 * shape[0] / shape[1]), abs=2)
        seen = seen[there]
        assert found[:, ~there].abs().max() < 2 if bool((~there).any()) else True
    elif fit == "squash":
        assert seen[0] < 12
        assert seen[-1] > 243
    else:
        lost = max(0.0, 1 - 64 / 48 / (shape[0] / shape[1]))  # of the width
        assert seen[0] == pytest.approx(255 * lost / 2, abs=12)
        assert seen[-1] == pytest.approx(255 * (1 - lost / 2), abs=12)
    assert grows(seen)


def test_an_image_of_the_shape_loses_nothing():
    transform = Transform(size=(48, 64))
    assert transform.cut_off(640, 480) == 0
    assert transform.cut_off(640, 640) == pytest.approx(0.25)
    assert transform.cut_off(480, 480 * 3) == pytest.approx(1 - (480 * 360) / (480 * 1440))
    whole = picture(64, 48)
    assert torch.equal(transform.apply(whole, Variant()), to_pixels(whole))
    assert Transform(size=(64, 64)) == Transform(size=64)


def test_random_crops_lie_inside():
    transform = Transform(size=(48, 64), crop="random", crop_variants=3, random_crop_scale=1.25)
    found = [gray(transform.apply(picture(200, 150), variant))[24] for variant in transform.variants()]
    assert all(grows(row) for row in found)
    assert all(float(row[-1] - row[0]) == pytest.approx(255 / 1.25, abs=12) for row in found)
    assert len({round(float(row[0])) for row in found}) == 3


@pytest.mark.parametrize("kind", KINDS)
def test_a_copy_is_changed_alike_in_any_shape(kind):
    """What an audit plants: as much of a picture is left as in a square."""
    ones, zeros = torch.ones(8, 3, 48, 64), torch.zeros(8, 3, 48, 64)
    if kind in ("half", "crop 80 % off centre", "crop 90 %"):
        left = changed(ones, kind, zeros).mean(dim=(1, 2, 3))
        assert torch.allclose(left, torch.full((8,), 0.5 if kind == "half" else 1.0), atol=0.02)
    assert changed(ones, kind, zeros).shape == ones.shape


def test_pages_show_pictures_in_their_shape():
    drawn = Image.open(io.BytesIO(small_picture(torch.rand(3, 48, 64), blurred=True)))
    assert drawn.size == (128, 96)


@pytest.mark.parametrize("size", [0, 7, 12, (48, 50), (48,), (48, 64, 64), 10**5, True, (8.0, 8)])
def test_other_sizes_are_refused(size):
    with pytest.raises(DataError, match=r"`transform.size` must be a multiple of 8"):
        Transform(size=size)


@pytest.mark.parametrize(("shape", "side", "expected"), [
    ((3056, 2544), 512, (448, 576)),  # a computed radiograph on its side
    ((2544, 3056), 512, (576, 448)),
    ((2544, 3056), 64, (72, 56)),
    ((1024, 1024), 512, 512),
    ((1000, 1050), 512, 512),  # five per cent are no reason for another shape
])  # fmt: skip
def test_init_proposes_the_shape_of_most_images(shape, side, expected):
    sizes = np.array([shape, shape, (500, 500)])
    found = _size_like(sizes, side)
    assert found == expected
    assert Transform(size=found).size == found
    if expected != side:
        assert abs(found[0] * found[1] / side**2 - 1) < 0.05


@pytest.mark.parametrize("side", range(64, 1025, 8))
def test_whatever_init_proposes_can_be_trained_on(side):
    for shape in (0.5, 0.7, 1.3, 2.0):
        found = _size_like(np.array([(1000 * shape, 1000)]), side)
        assert check_size(DataError, "size", found) == found


def test_stable_diffusion_xl_draws_what_it_was_trained_on(tmp_path):
    base = make_base("sdxl", tmp_path / "xl")
    unet = load_components(str(base)).unet
    register_drawn_size(unet, (48, 64), 8)
    assert isinstance(unet.config["sample_size"], int)  # all that diffusers' pipeline can read
    assert drawn_size(unet, 8) == (48, 64)
    unet.save_pretrained(tmp_path / "unet")
    assert drawn_size(UNet2DConditionModel.from_pretrained(tmp_path / "unet"), 8) == (48, 64)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wide")
    main(
        short_run(
            folder, *DATA, f"--data.transform.size={WIDE}", "--trainer.max_steps=2", "--trainer.val_check_interval=2"
        )
    )
    return folder / "demo" / "version_0"


def test_what_was_trained_on_is_drawn(run, tmp_path, capsys):
    assert json.loads((run / "adapter" / "memcontrol.json").read_text())["image_size"] == [48, 64]
    pipe = load_pipeline(run)
    assert pipe("PA", num_inference_steps=2, output_type="np").images.shape == (1, 48, 64, 3)
    few = ["--sampling.steps=2", "--prompts=[PA]", "--device=cpu"]
    main(["predict", f"--ckpt_path={run}", f"--output={tmp_path / 'own'}", *few])
    assert Image.open(tmp_path / "own" / "00000.png").size == (64, 48)
    main(["predict", f"--ckpt_path={run}", f"--output={tmp_path / 'square'}", "--size=64", *few])
    assert Image.open(tmp_path / "square" / "00000.png").size == (64, 64)
    with pytest.raises(SystemExit):
        main(["predict", f"--ckpt_path={run}", f"--output={tmp_path / 'odd'}", "--size=[48,50]", *few])
    assert "`size` must be a multiple of 8" in capsys.readouterr().err


def test_an_export_draws_it_too_and_is_a_base(run, tmp_path):
    main(["export", f"--ckpt_path={run}", f"--output={tmp_path / 'pipe'}"])
    plain = DiffusionPipeline.from_pretrained(tmp_path / "pipe")
    plain.set_progress_bar_config(disable=True)
    assert plain("PA", num_inference_steps=2, output_type="np").images.shape == (1, 48, 64, 3)
    assert "height=48, width=64" in (tmp_path / "pipe" / "README.md").read_text()
    main(["predict", f"--base={tmp_path / 'pipe'}", f"--output={tmp_path / 'own'}", "--sampling.steps=2",
          "--prompts=[PA]", "--device=cpu"])  # fmt: skip
    assert Image.open(tmp_path / "own" / "00000.png").size == (64, 48)


@pytest.mark.whole
def test_it_is_scored_and_audited(run, tmp_path):
    assert drawn_size(load_pipeline(run).unet, 8) == (48, 64)
    assert main([*arguments(tmp_path, run), f"--data.transform.size={WIDE}"]).config is not None
    found = record(tmp_path)["audited"][0]
    assert {item["name"] for item in found["measures"]} >= {"membership_auc", "replication"}
