"""Pictures that are not square, from a folder to an audit and a pipeline of diffusers."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline
from PIL import Image

from memcontrol.cli import main
from memcontrol.cli.commands.init import _size_like
from memcontrol.data.images import Transform, Variant
from memcontrol.diffusion.components import drawn_size
from memcontrol.errors import DataError
from memcontrol.pipeline import load_pipeline
from tests.conf import short_run
from tests.memcontrol.audit.test_audit import DATA, arguments, record

WIDE = "[48,64]"
"""Height and width."""


def picture(width, height):
    """Columns that grow brighter from left to right, and a black row at the top."""
    values = np.tile(np.linspace(0, 255, width), (height, 1))
    values[0] = 0
    return Image.fromarray(values.astype(np.uint8)).convert("RGB")


@pytest.mark.parametrize("fit", ["crop", "pad", "squash"])
@pytest.mark.parametrize("shape", [(64, 48), (128, 96), (100, 100), (30, 200)])
def test_every_image_gets_the_shape_that_was_asked_for(fit, shape):
    assert Transform(size=(48, 64), fit=fit).apply(picture(*shape), Variant()).shape == (3, 48, 64)


def test_an_image_of_the_shape_loses_nothing():
    transform = Transform(size=(48, 64))
    assert transform.cut_off(640, 480) == 0
    assert transform.cut_off(640, 640) == pytest.approx(0.25)
    assert transform.cut_off(480, 480 * 3) == pytest.approx(1 - (480 * 360) / (480 * 1440))
    whole = picture(64, 48)
    assert torch.equal(
        transform.apply(whole, Variant()), Transform(size=(48, 64), fit="squash").apply(whole, Variant())
    )
    assert Transform(size=(64, 64)) == Transform(size=64)


def test_random_crops_lie_inside():
    transform = Transform(size=(48, 64), crop="random", crop_variants=3, random_crop_scale=1.25)
    found = [transform.apply(picture(100, 75), variant) for variant in transform.variants()]
    assert all(pixels.shape == (3, 48, 64) for pixels in found)
    assert not torch.equal(found[0], found[1])


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
    if expected != side:
        assert abs(found[0] * found[1] / side**2 - 1) < 0.05


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
    assert "48 x 64" in (tmp_path / "pipe" / "README.md").read_text()
    main(["predict", f"--base={tmp_path / 'pipe'}", f"--output={tmp_path / 'own'}", "--sampling.steps=2",
          "--prompts=[PA]", "--device=cpu"])  # fmt: skip
    assert Image.open(tmp_path / "own" / "00000.png").size == (64, 48)


@pytest.mark.whole
def test_it_is_scored_and_audited(run, tmp_path):
    assert drawn_size(load_pipeline(run).unet, 8) == (48, 64)
    assert main([*arguments(tmp_path, run), f"--data.transform.size={WIDE}"]).config is not None
    found = record(tmp_path)["audited"][0]
    assert {item["name"] for item in found["measures"]} >= {"membership_auc", "replication"}
